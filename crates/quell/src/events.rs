//! The log of one tree: its order, what is held of it, and who reads it.
//!
//! Readers have no queue. Each has a place in the ring and takes from there, so that a slow reader
//! costs nothing but its own events (I29): when its place has left the ring it is told `Lagged`.
//!
//! Invariants of a ring, all under its one lock:
//!
//! 1. `seq` starts at 1 and has no gaps (I30); `first..next` are held.
//! 2. A reader looks for its event and registers under one lock, so no wake-up is lost.
//! 3. Wakers leave under the lock and are woken by the caller after *its* locks are released.
//!
//! Lock order: node → ring of the tree → ring of the engine. A ring's lock is a leaf for everybody
//! else: nothing is locked, and nothing foreign called, while it is held.

use std::task::Waker;
use std::time::Instant;

use quell_core::{EventKind, RunEvent, RunId, RunStatus};

use crate::clock::Clock;
use crate::engine::Shared;
use crate::faults;
use crate::sync::{AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::waiters::{Key, Waiters, Wakers};

/// The newest entries of a sequence, and those who wait for the next.
#[derive(Debug)]
pub(crate) struct Ring<E> {
    held: Vec<E>,
    /// The place of the oldest, which the next takes when as many are held as may be.
    oldest: usize,
    next: u64,
    held_max: usize,
    waiters: Waiters,
}

/// What a place in the ring holds.
pub(crate) enum Read<E> {
    /// This entry.
    Entry(E),
    /// Nothing any more: the first entry held has this number.
    Gone { first: u64 },
    /// Nothing yet.
    Nothing,
}

/// Where the next entry goes.
enum Place<'a, E> {
    New(&'a mut Vec<E>),
    /// In the place of the oldest.
    Old(&'a mut E),
    /// Nowhere: none is held.
    No,
}

impl<E: Clone> Ring<E> {
    pub(crate) fn new(held_max: usize) -> Self {
        Self { held: Vec::new(), oldest: 0, next: 1, held_max, waiters: Waiters::default() }
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: E, wakers: &mut Wakers) {
        match self.place() {
            Place::New(held) => held.push(entry),
            Place::Old(oldest) => *oldest = entry,
            Place::No => {}
        }
        self.pushed(wakers);
    }

    /// Yields where the next entry goes.
    #[inline]
    fn place(&mut self) -> Place<'_, E> {
        if self.held.len() < self.held_max {
            return Place::New(&mut self.held);
        }
        let Some(oldest) = self.held.get_mut(self.oldest) else { return Place::No };
        self.oldest = if self.oldest + 1 == self.held_max { 0 } else { self.oldest + 1 };
        Place::Old(oldest)
    }

    /// Counts an entry that was put in its place.
    #[inline]
    fn pushed(&mut self, wakers: &mut Wakers) {
        self.next += if faults::on("skip-a-number") && self.next == 3 { 2 } else { 1 };
        self.waiters.drain_into(wakers);
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn first(&self) -> u64 {
        self.next - self.held.len() as u64
    }

    pub(crate) fn read(&self, seq: u64) -> Read<E> {
        let first = self.first();
        if seq < first {
            return Read::Gone { first };
        }
        let from_oldest = usize::try_from(seq - first).unwrap_or(usize::MAX);
        let at = self.oldest.saturating_add(from_oldest);
        let entry = match at.checked_sub(self.held.len()) {
            None => self.held.get(at),
            Some(wrapped) => self.held[..self.oldest].get(wrapped),
        };
        entry.cloned().map_or(Read::Nothing, Read::Entry)
    }

    pub(crate) fn wait(&mut self, key: &mut Key, waker: &Waker) {
        self.waiters.register(key, waker);
    }

    pub(crate) fn forget(&mut self, key: &mut Key) {
        self.waiters.remove(key);
    }

    pub(crate) fn drain_waiters(&mut self, wakers: &mut Wakers) {
        self.waiters.drain_into(wakers);
    }
}

/// An event as it is held; the rest of a [`RunEvent`] follows from its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) run: RunId,
    pub(crate) at: Instant,
    pub(crate) kind: EventKind,
}

/// The log of one tree, and what else belongs to the tree as a whole.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) root: RunId,
    ring: Mutex<Ring<Entry>>,
    rows: Rows,
}

/// How many ended runs of a tree are kept for its report.
#[derive(Debug, Default)]
struct Rows {
    max: u32,
    completed: AtomicU32,
    others: AtomicU32,
}

impl Log {
    pub(crate) fn new(root: RunId, held_max: usize, rows_max: usize) -> Self {
        let max = u32::try_from(rows_max).unwrap_or(u32::MAX);
        let rows = Rows { max, ..Rows::default() };
        Self { root, ring: Mutex::new(Ring::new(held_max)), rows }
    }

    /// Appends an event. Called under the lock of the run's node, so that the order of the log is
    /// the order of decisions. The wakers are for the caller to wake when it holds no lock.
    ///
    /// The event is made in its place: handed from function to function, it would be copied by
    /// loads that are wider than the stores that made it, and each of them waits.
    #[inline]
    pub(crate) fn append(
        &self,
        shared: &Shared,
        (run, at): (RunId, Instant),
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        let mut ring = self.ring.lock();
        if shared.events.has_readers() {
            let (seq, entry) = (ring.next(), Entry { run, at, kind: make() });
            shared.events.append(self.event(&shared.clock, seq, entry.clone()), wakers);
            return ring.push(entry, wakers);
        }
        match ring.place() {
            Place::New(held) => held.push(Entry { run, at, kind: make() }),
            Place::Old(oldest) => *oldest = Entry { run, at, kind: make() },
            Place::No => {}
        }
        ring.pushed(wakers);
    }

    /// Appends an event that was implied until now: before anybody could read.
    pub(crate) fn begin_with(&self, entry: Entry) {
        self.ring.lock().push(entry, &mut Wakers::new());
    }

    /// Takes the waiting readers out, so that they see that a run is over.
    pub(crate) fn drain_waiters(&self, wakers: &mut Wakers) {
        self.ring.lock().drain_waiters(wakers);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ring<Entry>> {
        self.ring.lock()
    }

    pub(crate) fn event(&self, clock: &Clock, seq: u64, entry: Entry) -> RunEvent {
        RunEvent::new(seq, self.root, entry.run, clock.wall(entry.at), entry.kind)
    }

    /// Makes the mark for a reader that missed `from..=to`.
    pub(crate) fn lagged(&self, clock: &Clock, run: RunId, from: u64, to: u64) -> RunEvent {
        let at = clock.wall(clock.now());
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

/// The events of every tree of an engine, for as long as somebody reads them.
#[derive(Debug)]
pub(crate) struct AllEvents {
    readers: AtomicUsize,
    ring: Mutex<Firehose>,
}

#[derive(Debug)]
pub(crate) struct Firehose {
    pub(crate) ring: Ring<RunEvent>,
    pub(crate) closed: bool,
}

impl AllEvents {
    pub(crate) fn new(held_max: usize) -> Self {
        let ring = Mutex::new(Firehose { ring: Ring::new(held_max), closed: false });
        Self { readers: AtomicUsize::new(0), ring }
    }

    pub(crate) fn join(&self) -> u64 {
        self.readers.fetch_add(1, Ordering::SeqCst);
        self.ring.lock().ring.next()
    }

    pub(crate) fn leave(&self, key: &mut Key) {
        self.readers.fetch_sub(1, Ordering::SeqCst);
        self.ring.lock().ring.forget(key);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Firehose> {
        self.ring.lock()
    }

    /// Ends every reader's stream after what it has not read yet.
    pub(crate) fn close(&self) {
        let mut wakers = Wakers::new();
        {
            let mut firehose = self.ring.lock();
            firehose.closed = true;
            firehose.ring.drain_waiters(&mut wakers);
        }
        crate::foreign::wake(wakers);
    }

    pub(crate) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) > 0
    }

    fn append(&self, event: RunEvent, wakers: &mut Wakers) {
        self.ring.lock().ring.push(event, wakers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_holds_the_newest_in_order_and_says_what_is_gone() {
        for held_max in 0..=4 {
            let (mut ring, mut wakers) = (Ring::new(held_max), Wakers::new());
            for seq in 1..=10_u64 {
                ring.push(seq, &mut wakers);
                let first = ring.first();
                assert_eq!(ring.next() - first, seq.min(held_max as u64));
                for old in 1..first {
                    assert!(matches!(ring.read(old), Read::Gone { first: now } if now == first));
                }
                for held in first..=seq {
                    assert!(matches!(ring.read(held), Read::Entry(entry) if entry == held));
                }
                assert!(matches!(ring.read(seq + 1), Read::Nothing));
            }
        }
    }
}
