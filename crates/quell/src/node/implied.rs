//! The log of a run that nobody has looked at yet.
//!
//! What happens to most roots follows from their state: accepted, started, stopped, ended, each at
//! its time. Such a root has no log until there is more to say, or somebody to say it to: a reader,
//! a child, an event of its body. Then the log is made, and begins with what was implied so far.
//!
//! Invariants, under the node's lock:
//!
//! 1. A time of [`Times`] is set after its event was written: what is
//!    implied is what was written.
//! 2. Only a root is without a log. A log, once made, stays.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::Lifecycle;
use quell_core::{Cause, EventKind};

use crate::log::{Entry, Log, Sinks, bytes_of};
use crate::node::{Node, RareState, State, flags};
use crate::sync::waiters::Wakers;
use crate::time::ticks::Ticks;
use crate::time::times::Times;

impl Node {
    /// Writes an event down, and notes the sign of life.
    pub(crate) fn write(
        &self,
        state: &mut State,
        now: Instant,
        kind: EventKind,
        wakers: &mut Wakers,
    ) {
        if state.log.is_some() || !is_implied(&kind) || self.shared.events.has_readers() {
            if matches!(kind, EventKind::Queued { .. }) {
                // Nothing was before it.
                state.log.get_or_insert_with(|| Arc::new(self.empty_log(true)));
            }
            self.append(state, now, bytes_of(&kind), || kind, wakers);
        }
        state.touch(self, now);
    }

    /// Writes down that the run was accepted, without making the event where nobody is to see it.
    pub(crate) fn write_queued(
        &self,
        state: &mut State,
        shielded: bool,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        if state.log.is_some() || self.shared.events.has_readers() {
            let (parent, kind, name) = (state.parent_id, self.kind, Arc::clone(&self.name));
            self.write(state, now, EventKind::Queued { parent, kind, name, shielded }, wakers);
        } else {
            state.touch(self, now);
        }
    }

    /// Appends an event, whose texts have so many bytes, to the log of the tree, where it is made.
    #[inline]
    pub(crate) fn append(
        &self,
        state: &mut State,
        now: Instant,
        bytes: usize,
        make: impl FnOnce() -> EventKind,
        wakers: &mut Wakers,
    ) {
        let mut sinks = self.shared.sinks();
        if sinks.journal.is_some() {
            // A successor gives the number to another event.
            if self.is_left() {
                return;
            }
            if self.flags() & flags::REFUSED != 0 {
                sinks.journal = None;
            }
        }
        self.log_of(state).append(sinks, (&self.id, now), bytes, make, wakers);
    }

    /// Yields the log of the run's tree.
    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(self.log_of(&mut self.lock()))
    }

    /// As [`Node::log`], for a caller that holds the lock already.
    #[inline]
    pub(crate) fn log_of<'a>(&self, state: &'a mut State) -> &'a Arc<Log> {
        // Whatever is not needed to see that there is a log is in the cold part (bench `events`).
        let State { log, times, cause, life, extra, .. } = state;
        log.get_or_insert_with(|| self.new_log(times, cause.as_ref(), life, extra.as_deref()))
    }

    /// Makes the log of a root, with what was implied so far.
    #[cold]
    fn new_log(
        &self,
        times: &Times,
        cause: Option<&Arc<Cause>>,
        life: &Lifecycle,
        extra: Option<&RareState>,
    ) -> Arc<Log> {
        let refused = || extra.is_some_and(|extra| extra.not_stored.is_some());
        let is_lost = self.is_left() && (times.ended.is_none() || refused() || self.has_unstored());
        // What follows from a run that has ended is told by its report as well.
        let log = self.empty_log(times.ended.is_none());
        let tell = |at: Option<Ticks>, kind: EventKind| {
            if let Some(at) = at.map(|at| self.shared.clock.at_ticks(at)) {
                log.begin_with(self.sinks(), Entry { run: self.id, at, kind });
            }
        };
        let (kind, name) = (self.kind, Arc::clone(&self.name));
        let queued = EventKind::Queued { parent: None, kind, name, shielded: false };
        tell(Some(times.queued), queued);
        tell(times.started, EventKind::Started);
        // A successor gives the numbers to other events.
        if is_lost {
            return Arc::new(log);
        }
        if let Some(cause) = cause {
            tell(times.stopped, EventKind::Stopping(Arc::clone(cause)));
        }
        tell(times.ended, EventKind::Ended(life.status()));
        Arc::new(log)
    }

    /// Yields what the log writes with. Nothing of a run is stored that
    /// the store has refused, or that is left to the next process.
    fn sinks(&self) -> Sinks<'_> {
        let sinks = self.shared.sinks();
        if self.is_unkept() { Sinks { journal: None, ..sinks } } else { sinks }
    }

    fn empty_log(&self, is_stored: bool) -> Log {
        let attempt = self.stored_attempt().filter(|_| is_stored);
        self.shared.new_log(self.id, self.owner().map(Arc::clone), attempt)
    }
}

/// Tells whether an event of a root follows from its state.
const fn is_implied(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Queued { .. }
            | EventKind::Started
            | EventKind::Stopping(_)
            | EventKind::Ended(_)
    )
}
