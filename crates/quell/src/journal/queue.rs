//! [`Queue`] is what a journal has behind its lock; [`Journal`](super::Journal) has its invariants.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use quell_core::store::StoreError;
use quell_core::{EventKind, RunEvent, RunId, lifecycle};

use crate::journal::Entry;
use crate::journal::held::Held;
use crate::journal::leaving::Leaving;
use crate::journal::unaccepted::Unaccepted;
use crate::sync::RandomState;
use crate::sync::waiters::Waiters;

/// The part of a journal that is behind its lock.
#[derive(Debug)]
pub(super) struct Queue<R> {
    pub(super) entries: VecDeque<Entry<R>>,
    /// Those that overtake.
    pub(super) stops: Vec<Entry<R>>,
    pub(super) held: Held,
    pub(super) due: Due,
    /// Entries that were given up.
    pub(super) lost: usize,
    pub(super) gaps: HashMap<RunId, Gap, RandomState>,
    /// Roots that were forgotten, and that the store may still have.
    pub(super) leaving: Leaving,
    /// Roots that were refused. Each is noted before its id is free: what another run leaves under
    /// the id comes behind what it has left.
    pub(super) unaccepted: Unaccepted<R>,
    pub(super) waker: Option<Waker>,
    /// An append is under way that the other entries wait for, or the store is in trouble.
    pub(super) is_held_up: bool,
    /// The writer waits for a first entry, and has no timer.
    pub(super) is_asleep: bool,
    /// What is wrong with the store, until an append succeeds again.
    pub(super) trouble: Option<StoreError>,
    /// Why nothing is stored any more, for good.
    pub(super) revoked: Option<StoreError>,
    /// Those that came after that. They are not for the store: whoever has the runs by then decides
    /// what they are about.
    pub(super) late: Vec<Entry<R>>,
    /// When what cannot be stored is given up; none while the engine may still be used.
    pub(super) until: Option<Instant>,
    /// The engine is gone: the writer ends when nothing is left.
    pub(super) closed: bool,
    /// Entries of which it is not known what became of them, those that the writer has included.
    pub(super) pending: usize,
    /// Those of them that are stops.
    pub(super) stops_pending: usize,
    /// The first so many entries besides stops are through, ever: what became of them is known.
    pub(super) done: u64,
    /// Further ones of which that is known, although not of all before them: roots are refused at
    /// once when the store is in trouble.
    pub(super) early: u64,
    /// Who waits until something is stored.
    pub(super) waiting: Waiters,
}

/// When entries are appended at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// There are none.
    Nothing,
    At(Instant),
    Now,
}

/// Events that were left out.
#[derive(Debug)]
pub(super) struct Gap {
    /// Of the root.
    pub(super) attempt: u32,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) at: SystemTime,
}

impl<R> Queue<R> {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            stops: Vec::new(),
            held: Held::default(),
            due: Due::Nothing,
            lost: 0,
            gaps: HashMap::default(),
            leaving: Leaving::default(),
            unaccepted: Unaccepted::new(),
            waker: None,
            is_held_up: false,
            is_asleep: false,
            trouble: None,
            revoked: None,
            late: Vec::new(),
            until: None,
            closed: false,
            pending: 0,
            stops_pending: 0,
            done: 0,
            early: 0,
            waiting: Waiters::new(),
        }
    }

    pub(super) fn add(&mut self, entry: Entry<R>) {
        self.held.add(Held::of(&entry));
        self.pending += 1;
        if self.revoked.is_some() {
            return self.late.push(entry);
        }
        let is_urgent = entry.is_urgent();
        self.entries.push_back(entry);
        if is_urgent || self.entries.len() >= BATCH_MAX {
            self.due = Due::Now;
        } else if matches!(self.due, Due::Nothing) {
            self.due = Due::At(lifecycle::later(crate::sync::now(), LINGER));
        }
    }

    /// Adds the gaps of which no further event may come: they do not wait for one.
    pub(super) fn close_gaps(&mut self) {
        for (root, gap) in std::mem::take(&mut self.gaps) {
            self.add(gap.into_entry(root));
        }
    }

    /// Tells whether entries are to be appended now. At its end an engine lets nothing linger.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.due {
            Due::Nothing => false,
            Due::At(at) => at <= now || self.until.is_some() || self.closed,
            Due::Now => true,
        }
    }

    /// Yields until when the entries linger, if they do.
    pub(super) const fn lingers_until(&self) -> Option<Instant> {
        if let Due::At(at) = self.due { Some(at) } else { None }
    }

    pub(super) const fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Yields how many entries besides stops are through when all that are pending now are.
    pub(super) const fn through(&self) -> u64 {
        self.done + self.early + (self.pending - self.stops_pending) as u64
    }

    /// Counts entries besides stops of which it is known what became of them. Those that the writer
    /// has taken came before those that still wait here.
    pub(super) fn count_through(&mut self, entries: u64) {
        self.early += entries;
        if self.pending - self.stops_pending == self.entries.len() {
            self.done += std::mem::take(&mut self.early);
        }
    }

    /// Tells whether the engine is gone, and nothing is left to be stored.
    pub(super) const fn is_over(&self) -> bool {
        self.closed && self.pending == 0
    }

    /// Yields what is wrong with the store now, or for good.
    pub(super) fn trouble(&self) -> Option<&StoreError> {
        self.revoked.as_ref().or(self.trouble.as_ref())
    }

    /// Takes everything that waits but for stops.
    pub(super) fn take_all(&mut self) -> Vec<Entry<R>> {
        self.due = Due::Nothing;
        self.entries.drain(..).collect()
    }

    /// Takes the entries that the writer may append together.
    pub(super) fn take(&mut self) -> Vec<Entry<R>> {
        let taken = self.entries.drain(..self.entries.len().min(BATCH_MAX)).collect();
        self.due = if self.entries.is_empty() { Due::Nothing } else { Due::Now };
        taken
    }

    /// Not foreign code: the writer is ours.
    pub(super) fn wake(&mut self, is_stop: bool) {
        let may_begin = matches!(self.due, Due::Now) || self.is_asleep;
        let is_stop = is_stop || self.revoked.is_some();
        if (is_stop || (may_begin && !self.is_held_up))
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

impl Gap {
    pub(super) fn into_entry<R>(self, root: RunId) -> Entry<R> {
        let Self { attempt, from, to, at } = self;
        let lagged = RunEvent::new(0, root, root, at, EventKind::Lagged { from, to });
        Entry::Event(attempt, Box::new(lagged))
    }
}

/// Entries of one append: a stop never waits for more.
pub(super) const BATCH_MAX: usize = 256;

/// How long what nobody waits for may stay in the queue: about what a commit takes, so that a crash
/// loses little more than it would anyway.
pub(super) const LINGER: Duration = Duration::from_millis(2);
