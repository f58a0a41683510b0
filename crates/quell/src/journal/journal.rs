//! [`Journal`] holds what is to be stored until the writer takes it.
//!
//! Invariants, under the one lock:
//!
//! 1. Entries are in the order in which runs left them. A stop of a run whose acceptance is stored
//!    is in a queue of its own, which the writer takes first.
//! 2. `held` is what all that is pending holds, also that which the writer has taken. When its
//!    events are at their bound, the numbers of further events go into `gaps`; a gap is an entry
//!    before the next event of its tree, and at the latest when there is room again. Nothing else
//!    is ever left out. While the store is in trouble the others are bounded by those who ask for
//!    [`Journal::refusal`] before they begin something.
//! 3. `waker` is there exactly while the writer has nothing to do but to wait for what it has
//!    begun, or for `due`. A stop wakes it always, another entry if it may begin with that now, or
//!    if the writer sleeps without an end.
//! 4. `due` says when the first of the entries is appended at the latest: now if somebody waits
//!    for one of them, there is a batch of them, or the engine ends. Nobody waits for an event or
//!    an end; it goes with the next entry that somebody waits for, or alone after
//!    [`LINGER`](super::queue::LINGER). So a short run costs one commit, not two.
//!
//! The lock is a leaf, below that of a node and of a ring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::store::{Epoch, RunRecord, Store, StoreError};
use quell_core::{RunEvent, RunId, limits};

use crate::foreign;
use crate::journal::held::Held;
use crate::journal::leaving::Leaving;
use crate::journal::queue::{Due, Gap, Queue};
use crate::journal::{Entry, Recorded};
use crate::log::{KeepsEvents, bytes_of};
use crate::sync::waiters::Wakers;
use crate::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering};

/// What is to be stored, and where.
#[derive(Debug)]
pub(crate) struct Journal<R> {
    pub(crate) store: Arc<dyn Store>,
    /// Which boot of the store this is: the upper half of every epoch. It rises when runs of
    /// another node are taken over, and is read when a record is made.
    boot: AtomicU32,
    /// Those before it, of this engine.
    former_boots: Mutex<Vec<u32>>,
    /// No other node writes to the store.
    is_alone: bool,
    /// The engine was told to recover what an earlier process has left.
    is_recovered: AtomicBool,
    /// Set for good with `Queue::revoked`.
    is_revoked: AtomicBool,
    queue: Mutex<Queue<R>>,
}

/// What the writer is through with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) entries: usize,
    pub(super) are_stops: bool,
    pub(super) held: Held,
    /// Those of them that are not stored, and never will be.
    pub(super) lost: usize,
}

impl Done {
    pub(super) fn of<R>(entries: &[Entry<R>], are_stops: bool) -> Self {
        let mut held = Held::default();
        for entry in entries {
            held.add(Held::of(entry));
        }
        Self { entries: entries.len(), are_stops, held, lost: 0 }
    }
}

impl<R: Recorded> Journal<R> {
    pub(crate) fn new(store: Arc<dyn Store>, is_alone: bool) -> Arc<Self> {
        let boot = store.boot();
        let (boot, former_boots) = (AtomicU32::new(boot), Mutex::new(Vec::new()));
        let (is_recovered, is_revoked) = (AtomicBool::new(false), AtomicBool::new(false));
        let queue = Mutex::new(Queue::new());
        Arc::new(Self { store, boot, former_boots, is_alone, is_recovered, is_revoked, queue })
    }

    /// Notes that the engine was told to recover what an earlier process has left, and yields where
    /// that is.
    pub(crate) fn begin_to_recover(&self) -> &dyn Store {
        self.is_recovered.store(true, Ordering::Relaxed);
        &*self.store
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.is_recovered.load(Ordering::Relaxed)
    }

    /// Tells whether this engine writes with a boot, or has.
    pub(crate) fn is_own(&self, boot: u32) -> bool {
        boot == self.boot() || self.former_boots.lock().contains(&boot)
    }

    /// Has every record from now on be written with a further boot.
    pub(crate) fn raise_boot(&self, boot: u32) {
        let mut former = self.former_boots.lock();
        // It never falls, whoever comes last.
        let before = self.boot.fetch_max(boot, Ordering::AcqRel);
        former.push(before.min(boot));
    }

    /// As [`raise_boot`](Self::raise_boot), for a run that has a larger one than this engine: that
    /// which follows it is this engine's.
    pub(crate) fn raise_above(&self, boot: u32) {
        if boot > self.boot() {
            self.raise_boot(boot.saturating_add(1));
        }
    }

    pub(crate) fn boot(&self) -> u32 {
        self.boot.load(Ordering::Acquire)
    }

    pub(crate) fn epoch(&self, attempt: u32) -> Epoch {
        Epoch::new(self.boot(), attempt)
    }

    /// Has nothing be stored any more, for good: others may have the runs. What is pending is
    /// given up, and counts as not stored; what comes later does not.
    pub(crate) fn revoke(&self, why: StoreError) {
        let mut queue = self.queue.lock();
        queue.close_gaps();
        self.is_revoked.store(true, Ordering::SeqCst);
        queue.revoked = Some(why);
        queue.wake(true);
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::SeqCst)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock()
    }

    /// Takes an entry. Called under the lock of its node.
    pub(crate) fn push(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        if let Some(root) = entry.leaving() {
            queue.gaps.remove(&root.id());
            queue.leaving.add(root.id(), entry.forgets());
        }
        queue.add(entry);
        queue.wake(false);
    }

    /// Notes that a root was refused: it has no log in the store, and what has its id there may be
    /// another run, which is hidden from nobody. No further entry of it comes, and none of another
    /// run with its id has come yet.
    pub(crate) fn note_refused(&self, root: RunId) {
        let mut queue = self.queue.lock();
        queue.gaps.remove(&root);
        let through = queue.through();
        queue.unaccepted.note(root, through);
    }

    /// Tells whether entries with an id are left out now, and not only those of a refused root that
    /// are still to come: what another run leaves that has this id has to wait until they are
    /// through ([`caught_up`](Self::caught_up)).
    pub(crate) fn leaves_out(&self, root: RunId) -> bool {
        let queue = self.queue.lock();
        queue.unaccepted.is_before(root, queue.done)
    }

    /// Notes that it is known what became of an entry that a root leaves with: the store has it no
    /// longer, or keeps it.
    pub(crate) fn has_left(&self, root: RunId) {
        self.queue.lock().leaving.remove(root);
    }

    /// Yields the roots that were forgotten, and that the store may still have.
    pub(crate) fn leaving(&self) -> Leaving {
        self.queue.lock().leaving.clone()
    }

    /// Tells whether a run is of one of these.
    pub(crate) fn hides_by(&self, leaving: &Leaving, record: &RunRecord) -> bool {
        leaving.hides(record, |boot| self.is_own(boot), self.is_alone)
    }

    /// Tells whether a run is of one of them now.
    pub(crate) fn hides(&self, record: &RunRecord) -> bool {
        self.hides_by(&self.leaving(), record)
    }

    /// Tells whether a root is one of them, or was refused and may be.
    pub(crate) fn is_leaving(&self, root: RunId) -> bool {
        self.queue.lock().leaving.contains(root)
    }

    /// Takes a stop of a run whose acceptance is stored: it comes before all that waits.
    pub(crate) fn push_stop(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        if queue.revoked.is_some() {
            queue.add(entry);
        } else {
            queue.held.add(Held::of(&entry));
            queue.stops.push(entry);
            queue.pending += 1;
            queue.stops_pending += 1;
        }
        queue.wake(true);
    }

    /// Yields what is wrong with the store now.
    pub(crate) fn trouble(&self) -> Option<StoreError> {
        self.queue.lock().trouble().cloned()
    }

    /// Yields why nothing may begin now that leaves more entries, and so many bytes of a state: the
    /// store is in trouble, and as much waits for it as may.
    pub(crate) fn refusal(&self, state_bytes: usize) -> Option<StoreError> {
        let queue = self.queue.lock();
        let held = &queue.held;
        let is_full = held.others >= limits::STORE_BACKLOG_MAX
            || held.state_bytes.saturating_add(state_bytes) > limits::STORE_BACKLOG_BYTES_MAX;
        queue.trouble().filter(|_| is_full).cloned()
    }

    /// Tells whether something is on its way into the store.
    pub(crate) fn is_pending(&self) -> bool {
        self.queue.lock().pending > 0
    }

    /// Gives up what cannot be stored within a time from now on.
    pub(crate) fn give_up_after(&self, time: Duration) -> Instant {
        let until = quell_core::lifecycle::later(crate::sync::now(), time);
        let mut queue = self.queue.lock();
        let until = queue.until.map_or(until, |before| before.min(until));
        queue.until = Some(until);
        queue.wake(true);
        until
    }

    /// Has what waits appended now: somebody waits for some of it.
    pub(crate) fn hurry(&self) {
        let mut queue = self.queue.lock();
        if !queue.entries.is_empty() {
            queue.due = Due::Now;
        }
        queue.wake(false);
    }

    /// Counts out entries of which it is known what became of them.
    pub(super) fn count_out(&self, done: Done, wakers: &mut Wakers) {
        let mut queue = self.queue.lock();
        queue.pending -= done.entries;
        queue.held.remove(done.held);
        if queue.held.event_bytes <= limits::STORE_BACKLOG_BYTES_MAX / 2 {
            queue.close_gaps();
        }
        queue.lost += done.lost;
        if done.are_stops {
            queue.stops_pending -= done.entries;
        } else {
            queue.count_through(done.entries as u64);
        }
        queue.waiting.drain_into(wakers);
    }

    /// Lets go of those who wait for what was given up: its time is over.
    pub(crate) fn release_waiting(&self, wakers: &mut Wakers) {
        self.queue.lock().waiting.drain_into(wakers);
    }

    /// Waits until nothing is pending, or what is was given up. Yields how many entries are not
    /// stored, ever.
    pub(crate) async fn flushed(&self) -> usize {
        let is_over = |queue: &Queue<R>| {
            let is_given_up = queue.until.is_some_and(|until| until <= crate::sync::now());
            let unstored = queue.pending + queue.lost;
            (queue.pending == 0 || is_given_up).then_some(unstored)
        };
        self.hurry();
        foreign::until(&self.queue, |queue| &mut queue.waiting, is_over).await
    }

    /// Waits until all that is in the queue now is stored, but for stops.
    pub(crate) async fn caught_up(&self) -> Result<(), StoreError> {
        let target = self.queue.lock().through();
        self.hurry();
        let is_over = |queue: &Queue<R>| {
            if queue.done >= target {
                return Some(Ok(()));
            }
            queue.trouble().cloned().map(Err)
        };
        foreign::until(&self.queue, |queue| &mut queue.waiting, is_over).await
    }

    /// Lets the writer end when nothing is left.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.wake(true);
    }
}

impl<R: Recorded> KeepsEvents for Journal<R> {
    fn push_event(&self, attempt: u32, event: RunEvent, bytes: usize) {
        let mut queue = self.queue.lock();
        if queue.held.event_bytes.saturating_add(bytes) > limits::STORE_BACKLOG_BYTES_MAX {
            let (from, at) = (event.seq, event.at);
            let gap = queue.gaps.entry(event.root);
            gap.or_insert(Gap { attempt, from, to: from, at }).to = event.seq;
            return;
        }
        if let Some(gap) = queue.gaps.remove(&event.root) {
            queue.add(gap.into_entry(event.root));
        }
        debug_assert_eq!(bytes, bytes_of(&event.kind), "it is counted out as it is counted in");
        queue.add(Entry::Event(attempt, Box::new(event)));
        queue.wake(false);
    }
}
