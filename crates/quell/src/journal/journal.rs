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
//!    begun. A stop wakes it always, another entry if it may begin with that.
//!
//! The lock is a leaf, below that of a node and of a ring.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use quell_core::store::{Epoch, Store, StoreError};
use quell_core::{EventKind, RunEvent, RunId, limits};

use crate::foreign;
use crate::journal::held::Held;
use crate::journal::leaving::Leaving;
use crate::journal::{Entry, Recorded};
use crate::log::{KeepsEvents, bytes_of};
use crate::sync::waiters::{Key, Offer, Waiters, Wakers};
use crate::sync::{Mutex, MutexGuard, RandomState};

/// What is to be stored, and where.
#[derive(Debug)]
pub(crate) struct Journal<R> {
    pub(crate) store: Arc<dyn Store>,
    /// Which boot of the store this is: the upper half of every epoch.
    boot: u32,
    queue: Mutex<Queue<R>>,
}

/// The part of a journal that is behind its lock.
#[derive(Debug)]
pub(super) struct Queue<R> {
    pub(super) entries: VecDeque<Entry<R>>,
    /// Those that overtake.
    pub(super) stops: Vec<Entry<R>>,
    held: Held,
    /// Entries that were given up.
    lost: usize,
    gaps: HashMap<RunId, Gap, RandomState>,
    /// Roots that were forgotten, and that the store may still have.
    leaving: Leaving,
    pub(super) waker: Option<Waker>,
    /// An append is under way that the other entries wait for, or the store is in trouble.
    pub(super) is_held_up: bool,
    /// What is wrong with the store, until an append succeeds again.
    pub(super) trouble: Option<StoreError>,
    /// When what cannot be stored is given up; none while the engine may still be used.
    pub(super) until: Option<Instant>,
    /// The engine is gone: the writer ends when nothing is left.
    pub(super) closed: bool,
    /// Entries of which it is not known what became of them, those that the writer has included.
    pending: usize,
    /// Those of them that are stops.
    stops_pending: usize,
    /// Entries besides stops of which that is known, ever. They are stored in their order.
    done: u64,
    /// Who waits until something is stored.
    pub(super) waiting: Waiters,
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

/// Events that were left out.
#[derive(Debug)]
struct Gap {
    epoch: Epoch,
    from: u64,
    to: u64,
    at: SystemTime,
}

impl<R: Recorded> Journal<R> {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let boot = store.boot();
        Arc::new(Self { store, boot, queue: Mutex::new(Queue::new()) })
    }

    pub(crate) const fn boot(&self) -> u32 {
        self.boot
    }

    pub(crate) const fn epoch(&self, attempt: u32) -> Epoch {
        Epoch::new(self.boot, attempt)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock()
    }

    /// Takes an entry. Called under the lock of its node.
    pub(crate) fn push(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        if let Some(root) = entry.leaving() {
            queue.gaps.remove(&root.id());
            queue.leaving.add(root.id());
        }
        queue.add(entry);
        queue.wake(false);
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

    /// Tells whether a root is one of them.
    pub(crate) fn is_leaving(&self, root: RunId) -> bool {
        self.queue.lock().leaving.contains(root)
    }

    /// Takes a stop of a run whose acceptance is stored: it comes before all that waits.
    pub(crate) fn push_stop(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        queue.held.add(Held::of(&entry));
        queue.stops.push(entry);
        queue.pending += 1;
        queue.stops_pending += 1;
        queue.wake(true);
    }

    /// Yields what is wrong with the store now.
    pub(crate) fn trouble(&self) -> Option<StoreError> {
        self.queue.lock().trouble.clone()
    }

    /// Yields why nothing may begin now that leaves more entries, and so many bytes of a state: the
    /// store is in trouble, and as much waits for it as may.
    pub(crate) fn refusal(&self, state_bytes: usize) -> Option<StoreError> {
        let queue = self.queue.lock();
        let held = &queue.held;
        let is_full = held.others >= limits::STORE_BACKLOG_MAX
            || held.state_bytes.saturating_add(state_bytes) > limits::STORE_BACKLOG_BYTES_MAX;
        queue.trouble.clone().filter(|_| is_full)
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

    /// Counts out entries of which it is known what became of them.
    pub(super) fn count_out(&self, done: Done, wakers: &mut Wakers) {
        let mut queue = self.queue.lock();
        queue.pending -= done.entries;
        queue.held.remove(done.held);
        if queue.held.event_bytes <= limits::STORE_BACKLOG_BYTES_MAX / 2 {
            // No further event of the tree may come, so its gap does not wait for one.
            for (root, gap) in std::mem::take(&mut queue.gaps) {
                queue.add(gap.into_entry(root));
            }
        }
        queue.lost += done.lost;
        if done.are_stops {
            queue.stops_pending -= done.entries;
        } else {
            queue.done += done.entries as u64;
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
        let mut wait = Waiting { journal: self, key: None };
        poll_fn(|cx| wait.poll(cx.waker(), is_over)).await
    }

    /// Waits until all that is in the queue now is stored, but for stops.
    pub(crate) async fn caught_up(&self) -> Result<(), StoreError> {
        let target = {
            let queue = self.queue.lock();
            queue.done + (queue.pending - queue.stops_pending) as u64
        };
        let is_over = |queue: &Queue<R>| {
            if queue.done >= target {
                return Some(Ok(()));
            }
            queue.trouble.clone().map(Err)
        };
        let mut wait = Waiting { journal: self, key: None };
        poll_fn(|cx| wait.poll(cx.waker(), is_over)).await
    }

    /// Lets the writer end when nothing is left.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.wake(true);
    }
}

impl<R: Recorded> KeepsEvents for Journal<R> {
    fn push_event(&self, epoch: Epoch, event: RunEvent, bytes: usize) {
        let mut queue = self.queue.lock();
        if queue.held.event_bytes.saturating_add(bytes) > limits::STORE_BACKLOG_BYTES_MAX {
            let (from, at) = (event.seq, event.at);
            let gap = queue.gaps.entry(event.root);
            gap.or_insert(Gap { epoch, from, to: from, at }).to = event.seq;
            return;
        }
        if let Some(gap) = queue.gaps.remove(&event.root) {
            queue.add(gap.into_entry(event.root));
        }
        debug_assert_eq!(bytes, bytes_of(&event.kind), "it is counted out as it is counted in");
        queue.add(Entry::Event(epoch, Box::new(event)));
        queue.wake(false);
    }
}

/// One who waits for something to be stored.
struct Waiting<'a, R> {
    journal: &'a Journal<R>,
    key: Key,
}

impl<R> Waiting<'_, R> {
    fn poll<T>(&mut self, waker: &Waker, is_over: impl Fn(&Queue<R>) -> Option<T>) -> Poll<T> {
        let mut offer = Offer::new(waker, &self.key, false);
        loop {
            let mut queue = self.journal.queue.lock();
            if let Some(over) = is_over(&queue) {
                let removed = queue.waiting.remove(&mut self.key);
                drop(queue);
                drop(removed);
                return Poll::Ready(over);
            }
            if queue.waiting.register(&mut self.key, &mut offer) {
                return Poll::Pending;
            }
            drop(queue);
            offer.renew();
        }
    }
}

impl<R> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        let removed = self.journal.queue.lock().waiting.remove(&mut self.key);
        foreign::release(removed);
    }
}

impl<R> Queue<R> {
    fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            stops: Vec::new(),
            held: Held::default(),
            lost: 0,
            gaps: HashMap::default(),
            leaving: Leaving::default(),
            waker: None,
            is_held_up: false,
            trouble: None,
            until: None,
            closed: false,
            pending: 0,
            stops_pending: 0,
            done: 0,
            waiting: Waiters::new(),
        }
    }

    fn add(&mut self, entry: Entry<R>) {
        self.held.add(Held::of(&entry));
        self.entries.push_back(entry);
        self.pending += 1;
    }

    pub(super) const fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Tells whether the engine is gone, and nothing is left to be stored.
    pub(super) const fn is_over(&self) -> bool {
        self.closed && self.pending == 0
    }

    /// Takes everything that waits but for stops.
    pub(super) fn take_all(&mut self) -> Vec<Entry<R>> {
        self.entries.drain(..).collect()
    }

    /// Takes the entries that the writer may append together.
    pub(super) fn take(&mut self) -> Vec<Entry<R>> {
        self.entries.drain(..self.entries.len().min(BATCH_MAX)).collect()
    }

    /// Not foreign code: the writer is ours.
    fn wake(&mut self, is_urgent: bool) {
        if (is_urgent || !self.is_held_up)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

impl Gap {
    fn into_entry<R>(self, root: RunId) -> Entry<R> {
        let Self { epoch, from, to, at } = self;
        let lagged = RunEvent::new(0, root, root, at, EventKind::Lagged { from, to });
        Entry::Event(epoch, Box::new(lagged))
    }
}

/// Entries of one append: a stop never waits for more.
pub(super) const BATCH_MAX: usize = 256;
