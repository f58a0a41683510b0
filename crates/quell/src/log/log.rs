//! [`Log`] is the log of one tree: it keeps the order of events, and the newest of them.
//!
//! Readers have no queue. Each has a position in the log and reads from there, so that a slow
//! reader delays nobody and only loses events of its own (I29): then it reads `Lagged`.
//!
//! Invariants of a log, all under its one lock:
//!
//! 1. `seq` starts at 1 and has no gaps (I30); `first..next` are held. Times never run backwards,
//!    although a writer may have read the clock before another writer that appended first.
//! 2. A reader looks for its event and registers under one lock, so no wake-up is lost.
//! 3. Wakers are taken out under the lock; the caller wakes them when it holds no lock.
//! 4. A run that left the tree's list without a row is in `unlinked` for as long as an event of it
//!    may be held, so that a reader of a subtree can assign each event to its run.
//!
//! Lock order: node → log of the tree → ring of the engine, ledger. Nothing else is locked, and no
//! foreign code is called, while the lock of a log or of the ring is held.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use quell_core::{EventKind, RunEvent, RunId, RunStatus};

use crate::config::Limits;
use crate::log::ring::{Bounds, Read};
use crate::log::rows::Rows;
use crate::log::{Entries, Entry, Sinks, bytes_of};
use crate::sync::waiters::Wakers;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::tables::ledger::Ledger;
use crate::time::clock::Clock;

/// The log of one tree, and the counts that belong to the tree as a whole.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) root: RunId,
    /// The owner to whom the bytes of the tree are charged.
    pub(crate) account: Option<Arc<str>>,
    /// The attempt as which its events are stored, if they are.
    pub(super) attempt: Option<u32>,
    held: Mutex<Held>,
    rows: Rows,
    /// Bytes that the account was charged for runs below the root.
    charged: AtomicUsize,
    /// Bytes that remain of ended runs below the root, and were not charged.
    remains: AtomicUsize,
    /// The log that the tree left when its root was detached.
    before: Option<Weak<Self>>,
    /// The number of the `Detached` event in the previous log; zero before the tree has moved.
    /// Written under the lock of that log.
    moved_at: AtomicU64,
    /// Held while a tree moves out of this log, or into it. Taken before the lock of any node; the
    /// previous log's before this one's.
    pub(crate) moving: Mutex<()>,
}

/// The part of a log that is behind its lock.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entries: Entries,
    /// The time of the newest entry; the beginning of the clock before there is one.
    last: Instant,
    /// When the monotonic clock is compared with the wall clock next.
    compare_at: Instant,
    /// The most bytes that the log may hold. The bound of the entries is lower: the free bytes, and
    /// those that the account was charged for.
    bytes_max: usize,
    /// Bytes of the entries that the account was charged for.
    charged: usize,
    /// The account is charged no more, and what it was charged is given back.
    is_released: bool,
    /// Runs that left the tree's list: the number of the next event, the run, its parent.
    unlinked: VecDeque<(u64, RunId, RunId)>,
}

impl Held {
    /// Yields the time of an entry whose writer has read the clock as `read`: never earlier than
    /// that of the entry before.
    ///
    /// The result is returned, not read back from `last`: a load right after the store would wait
    /// for it, a third of the cost of an event (bench `events`).
    #[inline]
    fn time(&mut self, read: Instant) -> Instant {
        if self.last > read {
            return self.last;
        }
        self.last = read;
        read
    }

    /// Remembers the parent of a run that leaves the tree's list with its last event.
    fn note_unlinked(&mut self, run: RunId, parent: RunId) {
        let (first, next) = (self.entries.first(), self.entries.next());
        while self.unlinked.front().is_some_and(|(seq, ..)| *seq <= first) {
            self.unlinked.pop_front();
        }
        self.unlinked.push_back((next, run, parent));
    }
}

impl Log {
    pub(crate) fn new(
        root: RunId,
        account: Option<Arc<str>>,
        attempt: Option<u32>,
        limits: &Limits,
        clock: &Clock,
    ) -> Self {
        let (entries, bytes_max) = (limits.events_per_root_max, limits.events_per_root_bytes_max);
        let held = Held {
            entries: Entries::new(
                Bounds { entries, bytes: bytes_max.min(BYTES_FREE) },
                clock.beginning(),
            ),
            last: clock.beginning(),
            compare_at: clock.beginning(),
            bytes_max,
            charged: 0,
            is_released: false,
            unlinked: VecDeque::new(),
        };
        Self {
            root,
            account,
            attempt,
            held: Mutex::new(held),
            rows: Rows::new(limits.report_rows_max),
            charged: AtomicUsize::new(0),
            remains: AtomicUsize::new(0),
            before: None,
            moved_at: AtomicU64::new(0),
            moving: Mutex::new(()),
        }
    }

    /// Has the events of an empty log begin with a number.
    pub(crate) fn beginning_at(mut self, seq: u64) -> Self {
        self.held.get_mut().entries.begin_at(seq);
        self
    }

    /// Makes the log of a tree that leaves another one. The account stays the same.
    pub(crate) fn after(
        before: &Arc<Self>,
        root: RunId,
        attempt: Option<u32>,
        limits: &Limits,
        clock: &Clock,
    ) -> Self {
        let log = Self::new(root, before.account.clone(), attempt, limits, clock);
        Self { before: Some(Arc::downgrade(before)), ..log }
    }

    /// Yields the log that the tree left when its root was detached, while that log is held.
    pub(crate) fn before(&self) -> Option<Arc<Self>> {
        self.before.as_ref().and_then(Weak::upgrade)
    }

    /// Appends the `Detached` event, and publishes its number in the next log. Both happen under
    /// one hold of the lock, so that the event wakes a reader that found no number and waits.
    pub(crate) fn append_move(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        kind: EventKind,
        next: &Self,
        wakers: &mut Wakers,
    ) {
        let mut held = self.held.lock();
        self.append_to(&mut held, sinks, of, bytes_of(&kind), || kind, wakers);
        next.moved_at.store(held.entries.next() - 1, Ordering::Release);
    }

    /// Yields the number of its newest event; zero if it has none.
    pub(crate) fn last_seq(&self) -> u64 {
        self.lock().entries.next() - 1
    }

    /// Tells whether the previous log has the `Detached` event.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved_at.load(Ordering::Acquire) > 0
    }

    /// Tells whether the previous log has the `Detached` event among its first `seq` events.
    pub(crate) fn has_moved_by(&self, seq: u64) -> bool {
        let at = self.moved_at.load(Ordering::Acquire);
        at > 0 && at <= seq
    }

    /// Finds the log of a root among the previous logs, and yields it with the log that follows it.
    /// Yields none if there is no such log, or no more.
    pub(crate) fn next_after_root(self: &Arc<Self>, root: RunId) -> Option<(Arc<Self>, Arc<Self>)> {
        let mut next = Arc::clone(self);
        loop {
            let before = next.before()?;
            if before.root == root {
                return Some((before, next));
            }
            next = before;
        }
    }

    /// Yields the log that follows a previous one, or this one if a log between the two is gone.
    pub(crate) fn next_after(self: &Arc<Self>, log: &Arc<Self>) -> Option<Arc<Self>> {
        if Arc::ptr_eq(self, log) {
            return None;
        }
        let mut next = Arc::clone(self);
        while let Some(before) = next.before() {
            if Arc::ptr_eq(&before, log) {
                return Some(next);
            }
            next = before;
        }
        Some(Arc::clone(self))
    }

    /// Appends an event whose texts have `bytes` bytes. Called under the lock of the run's node, so
    /// that the order of the log is the order of decisions. The caller wakes the wakers when it
    /// holds no lock.
    #[inline]
    pub(crate) fn append(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        bytes: usize,
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        self.append_to(&mut self.held.lock(), sinks, of, bytes, make, wakers);
    }

    /// As [`Log::append`], for the end of a run. If it leaves the tree's list, `leaves` is its
    /// parent.
    pub(crate) fn append_end(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        status: RunStatus,
        leaves: Option<RunId>,
        wakers: &mut Wakers,
    ) {
        let mut held = self.held.lock();
        self.append_to(&mut held, sinks, of, 0, || EventKind::Ended(status), wakers);
        if let Some(parent) = leaves {
            held.note_unlinked(*of.0, parent);
        }
    }

    #[inline]
    fn append_to(
        &self,
        held: &mut Held,
        sinks: Sinks<'_>,
        (run, mut read): (&RunId, Instant),
        bytes: usize,
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        if read >= held.compare_at {
            (read, held.compare_at) = sinks.clock.compare_if_due(read);
        }
        let at = held.time(read);
        let is_over = if self.attempt.is_some() || sinks.events.has_readers() {
            self.append_told(held, sinks, Entry { run: *run, at, kind: make() }, bytes, wakers)
        } else {
            held.entries.push(bytes, || Entry { run: *run, at, kind: make() }, wakers)
        };
        held.entries.pack_if_due(at);
        if is_over {
            self.charge(sinks.ledger, held);
        }
    }

    /// Charges the account for a log that has grown, and raises the bound of its entries by the
    /// charge. If it is at its own bound, or the account has no more bytes, the oldest entries
    /// leave instead.
    #[cold]
    fn charge(&self, ledger: &Ledger, held: &mut Held) {
        // Events beyond the bound of the log leave first, so that nothing is charged for them.
        held.entries.set_bytes_max(held.bytes_max);
        held.entries.make_room();
        if held.is_released {
            return;
        }
        let mut may_hold = BYTES_FREE + held.charged;
        while held.entries.bytes() > may_hold && may_hold < held.bytes_max {
            if ledger.charge(self.account.as_ref(), BYTES_STEP).is_err() {
                break;
            }
            held.charged += BYTES_STEP;
            may_hold += BYTES_STEP;
        }
        held.entries.set_bytes_max(may_hold.min(held.bytes_max));
        held.entries.make_room();
    }

    /// Counts bytes that were charged and released for runs below the root.
    pub(crate) fn count_charge(&self, charged: usize, released: usize) {
        if charged > 0 {
            self.charged.fetch_add(charged, Ordering::Relaxed);
        }
        if released > 0 {
            self.charged.fetch_sub(released, Ordering::Relaxed);
        }
    }

    /// Counts the bytes of an ended run below the root that stays in the tree.
    pub(crate) fn count_remains(&self, bytes: usize) {
        if bytes > 0 {
            self.remains.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Ends the charges of a tree: its last event follows, or was written. Yields how many bytes
    /// the account was charged for without the root. The caller releases them.
    pub(crate) fn end_charges(&self) -> usize {
        let mut held = self.held.lock();
        held.is_released = true;
        held.charged + self.charged.load(Ordering::Relaxed)
    }

    /// Yields about how many bytes an ended tree has without its root.
    pub(crate) fn bytes(&self) -> usize {
        let (charged, remains) =
            (self.charged.load(Ordering::Relaxed), self.remains.load(Ordering::Relaxed));
        self.rows.count() * NODE_BYTES + charged + remains + self.held.lock().entries.bytes()
    }

    /// Adds to a set of runs their descendants that have left the tree's list.
    pub(crate) fn add_unlinked(&self, members: &mut HashSet<RunId>) {
        // Backwards, since a run leaves after its descendants: parents come before children.
        for (_, run, parent) in self.held.lock().unlinked.iter().rev() {
            if members.contains(parent) {
                members.insert(*run);
            }
        }
    }

    /// Appends an event that was implied until now: before there was a reader.
    pub(crate) fn begin_with(&self, sinks: Sinks<'_>, mut entry: Entry) {
        let mut held = self.held.lock();
        entry.at = held.time(entry.at);
        if self.attempt.is_some() {
            let event = self.event(sinks.clock, held.entries.next(), entry.clone());
            self.journal(sinks, event, bytes_of(&entry.kind));
        }
        if held.entries.push(bytes_of(&entry.kind), || entry, &mut Wakers::new()) {
            // These events are few and bounded, and are not charged: if the tree has ended already,
            // nothing would release the charge.
            let may_hold = held.entries.bytes().min(held.bytes_max);
            held.entries.set_bytes_max(may_hold);
            held.entries.make_room();
        }
    }

    /// Takes out the wakers of waiting readers, so that they see that a run has ended.
    pub(crate) fn drain_waiters(&self, wakers: &mut Wakers) {
        self.held.lock().entries.drain_waiters(wakers);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    #[inline]
    pub(crate) fn event(&self, clock: &Clock, seq: u64, entry: Entry) -> RunEvent {
        RunEvent::new(seq, self.root, entry.run, clock.wall(entry.at), entry.kind)
    }

    /// Makes the `Lagged` event of a reader that missed `from..=to`, with the time of the next
    /// event.
    pub(crate) fn lagged(&self, clock: &Clock, run: RunId, from: u64, to: u64) -> RunEvent {
        let next = match self.held.lock().entries.read(to + 1) {
            Read::Entry(next) => Some(next.at),
            Read::Gone { .. } | Read::Nothing => None,
        };
        let at = clock.wall(next.unwrap_or_else(|| clock.now()));
        RunEvent::new(0, self.root, run, at, EventKind::Lagged { from, to })
    }

    /// Takes a row of the report for a run that ended, if there is one.
    pub(crate) fn take_row(&self, status: RunStatus) -> bool {
        self.rows.take(status)
    }
}

/// The bytes of a run besides its texts, about.
pub(crate) const NODE_BYTES: usize = 1 << 10;

/// The bytes that a log may hold without a charge. The number of live roots bounds their sum.
const BYTES_FREE: usize = 8 << 10;

/// The step in which bytes are charged, so that few events ask the ledger.
const BYTES_STEP: usize = 64 << 10;
