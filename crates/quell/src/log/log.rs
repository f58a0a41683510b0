//! [`Log`] is the log of one tree: it keeps the order of events, and the newest of them.
//!
//! Readers have no queue. Each has a place in the ring and takes from there, so that a slow reader
//! costs nothing but its own events (I29): when its place has left the ring, it reads `Lagged`.
//!
//! Invariants of a ring, all under its one lock:
//!
//! 1. `seq` starts at 1 and has no gaps (I30); `first..next` are held. Their times never run
//!    backwards: a writer may have read the clock before another one that came first.
//! 2. A reader looks for its event and registers under one lock, so no wake-up is lost.
//! 3. Wakers leave under the lock and are woken by the caller after *its* locks are released.
//!
//! 4. A run that left the tree's list without a row is in `unlinked` for as long as an event of it
//!    may be held, so that a reader of a subtree knows to whom each event belongs.
//!
//! Lock order: node → ring of the tree → ring of the engine, ledger. A ring's lock is a leaf for
//! everybody else: nothing is locked, and nothing foreign called, while it is held.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use quell_core::{EventKind, RunEvent, RunId, RunStatus, ToolOutcome};

use crate::config::Limits;
use crate::log::Sinks;
use crate::log::ring::{Bounds, Read, Ring};
use crate::sync::waiters::Wakers;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::tables::ledger::Ledger;
use crate::time::clock::Clock;

/// An event as it is held; the rest of a [`RunEvent`] follows from its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) run: RunId,
    pub(crate) at: Instant,
    pub(crate) kind: EventKind,
}

/// Yields the bytes of the texts of an event.
pub(crate) fn bytes_of(kind: &EventKind) -> usize {
    match kind {
        EventKind::Emitted(payload) => payload.len(),
        EventKind::Queued { name, .. }
        | EventKind::Abandoned { name, .. }
        | EventKind::Detached { name, .. } => name.len(),
        EventKind::ToolStarted { call, name, input } => call.len() + name.len() + input.len(),
        EventKind::ToolEnded { call, outcome } => {
            call.len()
                + match outcome {
                    ToolOutcome::Result(Some(output)) => output.len(),
                    ToolOutcome::Error(words) => words.len(),
                    ToolOutcome::Result(None) | ToolOutcome::Cancelled | ToolOutcome::Unknown => 0,
                }
        }
        EventKind::StopRequested(cause) | EventKind::Stopping(cause) => cause.bytes(),
        EventKind::Refused { what, .. } => what.len(),
        _ => 0,
    }
}

/// The log of one tree, and what else belongs to the tree as a whole.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) root: RunId,
    /// Whom the bytes of the tree are charged to.
    pub(crate) account: Option<Arc<str>>,
    ring: Mutex<Held>,
    rows: Rows,
    /// Bytes that the account was charged for runs below the root.
    charged: AtomicUsize,
    /// Bytes of what is left of runs below the root, and was not charged for.
    remains: AtomicUsize,
    /// The log that the tree left when its root was detached.
    before: Option<Weak<Self>>,
    /// The event by which the log before says that all has moved; zero before it does. Written
    /// under the lock of that log's ring.
    moved_at: AtomicU64,
    /// Held while a tree moves out of this log, and while it moves in; taken before any node's
    /// lock, that of the log before first.
    pub(crate) moving: Mutex<()>,
}

/// What is held of a log.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) ring: Ring<Entry>,
    /// The time of the newest entry; before there is one, that at which the clock began.
    last: Instant,
    /// When the clocks are to be compared.
    compare_at: Instant,
    /// How many bytes the ring may hold at most, if the account is charged for them. Its own bound
    /// is what is free, and what was charged for.
    bytes_max: usize,
    /// Bytes of the ring that the account was charged for.
    charged: usize,
    /// Runs that left the tree's list, with their parents, and the number of the event after that.
    unlinked: VecDeque<(u64, RunId, RunId)>,
}

impl Held {
    /// Yields the time of an entry whose writer has read this: never earlier than the one before.
    ///
    /// It passes through registers: an instant that is stored and read back at once waits for the
    /// store, a third of the cost of an event (bench `events`).
    #[inline]
    fn time(&mut self, read: Instant) -> Instant {
        if self.last > read {
            return self.last;
        }
        self.last = read;
        read
    }

    /// Remembers whose child a run was that leaves the tree's list with its last event.
    fn note_unlinked(&mut self, run: RunId, parent: RunId) {
        let (first, next) = (self.ring.first(), self.ring.next());
        while self.unlinked.front().is_some_and(|(seq, ..)| *seq <= first) {
            self.unlinked.pop_front();
        }
        self.unlinked.push_back((next, run, parent));
    }
}

/// How many ended runs of a tree are kept for its report.
#[derive(Debug, Default)]
struct Rows {
    max: u32,
    completed: AtomicU32,
    others: AtomicU32,
}

impl Log {
    pub(crate) fn new(
        root: RunId,
        account: Option<Arc<str>>,
        limits: &Limits,
        clock: &Clock,
    ) -> Self {
        let max = u32::try_from(limits.report_rows_max).unwrap_or(u32::MAX);
        let rows = Rows { max, ..Rows::default() };
        let (entries, bytes_max) = (limits.events_per_root_max, limits.events_per_root_bytes_max);
        let ring = Ring::new(Bounds { entries, bytes: bytes_max.min(BYTES_FREE) });
        let (last, unlinked) = (clock.beginning(), VecDeque::new());
        let held = Held { ring, last, compare_at: last, bytes_max, charged: 0, unlinked };
        let ring = Mutex::new(held);
        let (moved_at, moving) = (AtomicU64::new(0), Mutex::new(()));
        let (charged, remains) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { root, account, ring, rows, charged, remains, before: None, moved_at, moving }
    }

    /// Makes the log of a tree that leaves another one. The account stays the same.
    pub(crate) fn after(before: &Arc<Self>, root: RunId, limits: &Limits, clock: &Clock) -> Self {
        let log = Self::new(root, before.account.clone(), limits, clock);
        Self { before: Some(Arc::downgrade(before)), ..log }
    }

    /// Yields the log that the tree left when its root was detached, while that log is held.
    pub(crate) fn before(&self) -> Option<Arc<Self>> {
        self.before.as_ref().and_then(Weak::upgrade)
    }

    /// Appends the event by which this log says that all has moved to the next one. Under one hold
    /// of the lock, so that a reader that finds nothing there and waits is woken by that event.
    pub(crate) fn append_move(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        kind: EventKind,
        next: &Self,
        wakers: &mut Wakers,
    ) {
        let mut held = self.ring.lock();
        self.append_to(&mut held, sinks, of, bytes_of(&kind), || kind, wakers);
        next.moved_at.store(held.ring.next() - 1, Ordering::Release);
    }

    /// Tells whether the log before says that all has moved.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved_at.load(Ordering::Acquire) > 0
    }

    /// Tells whether the log before says so in its first so many events.
    pub(crate) fn has_moved_by(&self, seq: u64) -> bool {
        let at = self.moved_at.load(Ordering::Acquire);
        at > 0 && at <= seq
    }

    /// Finds, on the way to this log, the log of a root, and yields it with the one that came after
    /// it; none if it was not on the way, or is gone.
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

    /// Yields the log that comes after another one on the way to this: a run may have moved more
    /// than once. If one between is gone, this one.
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

    /// Appends an event whose texts have so many bytes. Called under the lock of the run's node, so
    /// that the order of the log is the order of decisions. The wakers are for the caller to wake
    /// when it holds no lock.
    #[inline]
    pub(crate) fn append(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        bytes: usize,
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        self.append_to(&mut self.ring.lock(), sinks, of, bytes, make, wakers);
    }

    /// As [`Log::append`], for the end of a run, which leaves the list of this parent with it.
    pub(crate) fn append_end(
        &self,
        sinks: Sinks<'_>,
        of: (&RunId, Instant),
        status: RunStatus,
        leaves: Option<RunId>,
        wakers: &mut Wakers,
    ) {
        let mut held = self.ring.lock();
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
        (run, read): (&RunId, Instant),
        bytes: usize,
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        if read >= held.compare_at {
            held.compare_at = sinks.clock.compare_if_due(read);
        }
        let at = held.time(read);
        let is_over = if sinks.events.has_readers() {
            let (seq, entry) = (held.ring.next(), Entry { run: *run, at, kind: make() });
            let event = self.event(sinks.clock, seq, entry.clone());
            sinks.events.append(bytes, event, wakers);
            held.ring.push(bytes, || entry, wakers)
        } else {
            held.ring.push(bytes, || Entry { run: *run, at, kind: make() }, wakers)
        };
        if is_over {
            self.charge(sinks.ledger, held);
        }
    }

    /// Charges the account for a ring that has grown, and raises the ring's bound by what was paid
    /// for. If the log has as much as it may, or live runs hold too much already, the ring gives up
    /// its oldest events instead.
    #[cold]
    fn charge(&self, ledger: &Ledger, held: &mut Held) {
        // What is beyond the bound of a log leaves before anything is charged.
        held.ring.set_bytes_max(held.bytes_max);
        held.ring.make_room();
        let mut may_hold = BYTES_FREE + held.charged;
        while held.ring.bytes() > may_hold && may_hold < held.bytes_max {
            if ledger.charge(self.account.as_ref(), BYTES_STEP).is_err() {
                break;
            }
            held.charged += BYTES_STEP;
            may_hold += BYTES_STEP;
        }
        held.ring.set_bytes_max(may_hold.min(held.bytes_max));
        held.ring.make_room();
    }

    /// Counts what the account was charged for runs below the root, and what was released.
    pub(crate) fn count_charge(&self, charged: usize, released: usize) {
        if charged > 0 {
            self.charged.fetch_add(charged, Ordering::Relaxed);
        }
        if released > 0 {
            self.charged.fetch_sub(released, Ordering::Relaxed);
        }
    }

    /// Counts what is left of a run below the root that stays in the tree.
    pub(crate) fn count_remains(&self, bytes: usize) {
        if bytes > 0 {
            self.remains.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Measures a tree that is over, apart from its root: about how many bytes it has, and what the
    /// account was charged for them, which is the caller's to release.
    pub(crate) fn settle(&self) -> (usize, usize) {
        let rows =
            self.rows.completed.load(Ordering::Relaxed) + self.rows.others.load(Ordering::Relaxed);
        let charged = self.charged.swap(0, Ordering::Relaxed);
        let mut held = self.ring.lock();
        let remains = self.remains.load(Ordering::Relaxed);
        let bytes = rows as usize * NODE_BYTES + charged + remains + held.ring.bytes();
        (bytes, charged + std::mem::take(&mut held.charged))
    }

    /// Adds to a set of runs those below them that have left the tree's list.
    pub(crate) fn add_unlinked(&self, members: &mut HashSet<RunId>) {
        // A run leaves after those below it.
        for (_, run, parent) in self.ring.lock().unlinked.iter().rev() {
            if members.contains(parent) {
                members.insert(*run);
            }
        }
    }

    /// Appends an event that was implied until now: before anybody could read.
    pub(crate) fn begin_with(&self, mut entry: Entry) {
        let mut held = self.ring.lock();
        entry.at = held.time(entry.at);
        if held.ring.push(bytes_of(&entry.kind), || entry, &mut Wakers::new()) {
            // Not charged for: these are few and their texts are bounded, and where the tree is
            // over already nothing would release the charge.
            let may_hold = held.ring.bytes().min(held.bytes_max);
            held.ring.set_bytes_max(may_hold);
            held.ring.make_room();
        }
    }

    /// Takes the waiting readers out, so that they see that a run is over.
    pub(crate) fn drain_waiters(&self, wakers: &mut Wakers) {
        self.ring.lock().ring.drain_waiters(wakers);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.ring.lock()
    }

    #[inline]
    pub(crate) fn event(&self, clock: &Clock, seq: u64, entry: Entry) -> RunEvent {
        RunEvent::new(seq, self.root, entry.run, clock.wall(entry.at), entry.kind)
    }

    /// Makes the mark for a reader that missed `from..=to`, with the time of what comes after it.
    pub(crate) fn lagged(&self, clock: &Clock, run: RunId, from: u64, to: u64) -> RunEvent {
        let next = match self.ring.lock().ring.read(to + 1) {
            Read::Entry(next) => Some(next.at),
            Read::Gone { .. } | Read::Nothing => None,
        };
        let at = clock.wall(next.unwrap_or_else(|| clock.now()));
        RunEvent::new(0, self.root, run, at, EventKind::Lagged { from, to })
    }

    /// Takes a row of the report for a run that ended. Completed runs and the others have a budget
    /// each, so that many completed ones cannot crowd out one that failed late.
    pub(crate) fn take_row(&self, status: RunStatus) -> bool {
        let used = match status {
            RunStatus::Completed => &self.rows.completed,
            _ => &self.rows.others,
        };
        if used.load(Ordering::Relaxed) >= self.rows.max {
            return false;
        }
        used.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// What every run of a tree costs, about.
pub(crate) const NODE_BYTES: usize = 1 << 10;

/// What a log may hold without being charged for it: there are as many as live roots.
const BYTES_FREE: usize = 8 << 10;

/// Logs are charged for in steps, so that few events ask the ledger.
const BYTES_STEP: usize = 64 << 10;
