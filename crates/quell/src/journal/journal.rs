//! [`Journal`] holds what is to be stored until the writer takes it.
//!
//! Invariants, under the one lock:
//!
//! 1. Entries are in the order in which runs left them. A stop of a run whose acceptance is stored
//!    is in a queue of its own, which the writer takes first.
//! 2. `event_bytes` is what the events in `entries` have. When that is at its bound, the numbers
//!    of further events go into `gaps`; a gap is an entry before the next event of its tree, and
//!    before the end of that. Nothing else is ever left out.
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
    /// Bytes of the events in `entries`.
    event_bytes: usize,
    gaps: HashMap<RunId, Gap, RandomState>,
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

    pub(crate) const fn epoch(&self, attempt: u32) -> Epoch {
        Epoch::new(self.boot, attempt)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock()
    }

    /// Takes an entry. Called under the lock of its node.
    pub(crate) fn push(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        if let Entry::Ended(run, _) | Entry::Quiesced(run, _) = &entry
            && let Some(gap) = queue.gaps.remove(&run.id())
        {
            queue.add(gap.into_entry(run.id()));
        }
        queue.add(entry);
        queue.wake(false);
    }

    /// Takes a stop of a run whose acceptance is stored: it comes before all that waits.
    pub(crate) fn push_stop(&self, entry: Entry<R>) {
        let mut queue = self.queue.lock();
        queue.stops.push(entry);
        queue.pending += 1;
        queue.stops_pending += 1;
        queue.wake(true);
    }

    /// Yields what is wrong with the store now.
    pub(crate) fn trouble(&self) -> Option<StoreError> {
        self.queue.lock().trouble.clone()
    }

    /// Gives up what cannot be stored within a time from now on.
    pub(crate) fn give_up_after(&self, time: Duration) {
        let until = quell_core::lifecycle::later(crate::sync::now(), time);
        let mut queue = self.queue.lock();
        queue.until = Some(queue.until.map_or(until, |before| before.min(until)));
        queue.wake(true);
    }

    /// Counts out entries of which it is known what became of them.
    pub(super) fn count_out(&self, entries: usize, are_stops: bool, wakers: &mut Wakers) {
        let mut queue = self.queue.lock();
        queue.pending -= entries;
        if are_stops {
            queue.stops_pending -= entries;
        } else {
            queue.done += entries as u64;
        }
        queue.waiting.drain_into(wakers);
    }

    /// Waits until nothing is pending, or what is was given up. Yields how many entries those are.
    pub(crate) async fn flushed(&self) -> usize {
        let is_over = |queue: &Queue<R>| {
            let is_given_up = queue.until.is_some_and(|until| until <= crate::sync::now());
            (queue.pending == 0 || is_given_up).then_some(queue.pending)
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
        if queue.event_bytes.saturating_add(bytes) > limits::STORE_BACKLOG_BYTES_MAX {
            let (from, at) = (event.seq, event.at);
            let gap = queue.gaps.entry(event.root);
            gap.or_insert(Gap { epoch, from, to: from, at }).to = event.seq;
            return;
        }
        if let Some(gap) = queue.gaps.remove(&event.root) {
            queue.add(gap.into_entry(event.root));
        }
        queue.event_bytes += bytes + EVENT_BYTES;
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
            event_bytes: 0,
            gaps: HashMap::default(),
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
        self.entries.push_back(entry);
        self.pending += 1;
    }

    /// Tells whether the engine is gone, and nothing is left to be stored.
    pub(super) const fn is_over(&self) -> bool {
        self.closed && self.pending == 0
    }

    /// Takes everything that waits but for stops.
    pub(super) fn take_all(&mut self) -> Vec<Entry<R>> {
        self.event_bytes = 0;
        self.entries.drain(..).collect()
    }

    /// Takes the entries that the writer may append together.
    pub(super) fn take(&mut self) -> Vec<Entry<R>> {
        let taken: Vec<_> = self.entries.drain(..self.entries.len().min(BATCH_MAX)).collect();
        let events = taken.iter().filter_map(|entry| match entry {
            Entry::Event(_, event) => Some(bytes_of(&event.kind) + EVENT_BYTES),
            _ => None,
        });
        self.event_bytes = self.event_bytes.saturating_sub(events.sum());
        taken
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

/// What an event has besides its texts.
const EVENT_BYTES: usize = 256;
