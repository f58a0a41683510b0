//! How a run waits for its admission: the flag `AWAITS_ADMISSION`, and the waker of its task.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use quell_core::store::StoreError;
use quell_core::{RunId, RunKind, RunStatus};

use crate::failure::{Failure, SubmitError};
use crate::gate::Gate;
use crate::journal::Entry;
use crate::node::{Node, State, flags};
use crate::tables::admission::Candidate;

impl Candidate for Node {
    fn kind(&self) -> RunKind {
        self.kind
    }

    fn id(&self) -> RunId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn owner(&self) -> Option<&Arc<str>> {
        Self::owner(self)
    }

    fn gate(&self) -> Option<&Gate> {
        Self::gate(self)
    }

    fn starts_when_due(&self) -> bool {
        self.flags() & flags::UNDER != 0
    }

    fn status(&self) -> RunStatus {
        Self::status(self)
    }

    fn keeps_lane(&self) -> bool {
        self.flags() & flags::RESUMED != 0
    }

    fn is_stored(&self) -> bool {
        self.flags() & flags::ACCEPTANCE_STORED != 0
    }

    fn release(&self) {
        self.clear_and_wake(flags::AWAITS_ADMISSION);
    }
}

impl Node {
    /// Makes a run wait for its admission. Called before its task is spawned.
    pub(crate) fn hold_back(&self) {
        self.set(flags::AWAITS_ADMISSION | flags::GATED);
    }

    /// Makes a run of an earlier process wait until it may start. Called before its task is
    /// spawned.
    pub(crate) fn hold_start(&self) {
        self.set(flags::HELD);
    }

    /// Tells whether the run waits until it may start.
    pub(crate) fn is_held(&self) -> bool {
        self.flags() & flags::HELD != 0
    }

    /// Lets a run start that was held.
    pub(crate) fn let_start(&self) {
        self.clear_and_wake(flags::HELD);
    }

    /// Tells whether the root was to start at a due time, which may be over.
    pub(crate) fn had_due(&self) -> bool {
        self.gate().is_some_and(|gate| gate.not_before.is_some())
    }

    /// Has the first start of a run that had a due time be stored before it happens, if there is a
    /// store: if that knows of no start of it, nothing of it has executed, however its process has
    /// ended (T13). Until then it is queued, and a stop ends it as one that never began. Yields
    /// whether it waits for that now.
    pub(crate) fn stores_start(self: &Arc<Self>) -> bool {
        let journal = self.shared.journal.as_ref().filter(|_| self.had_due());
        let Some(journal) = journal else { return false };
        let mut state = self.lock();
        let is_first = self.began(&state).1.is_none() && !state.is_starting();
        let is_queued = state.life.status() == RunStatus::Queued;
        if !is_first || !is_queued || self.is_unkept() || self.has_lost_id() {
            return false;
        }
        let at = state.times.next(self.shared.clock.stamp(self.shared.clock.now()));
        state.extra().start = Some(at);
        self.set(flags::AWAITS_STORE);
        self.journal(|run| Entry::Started { run, at, is_awaited: true });
        journal.hurry();
        true
    }

    /// Notes when the body starts, and leaves that for the store unless it has it. Called under the
    /// lock.
    pub(crate) fn note_start(self: &Arc<Self>, state: &mut State, now: Instant) {
        let stored = state.extra.as_mut().and_then(|extra| extra.start.take());
        let at = stored.unwrap_or_else(|| state.times.next(self.shared.clock.stamp(now)));
        self.count_start(state, at);
        state.times.started.get_or_insert(at);
        if stored.is_none() {
            self.journal(|run| Entry::Started { run, at, is_awaited: false });
        }
    }

    /// Yields why the store has refused the run, if it has.
    pub(crate) fn refused_by_store(&self) -> Option<SubmitError> {
        if !self.is_refused() {
            return None;
        }
        let error = self.lock().extra.as_ref().and_then(|extra| extra.not_stored.clone())?;
        let is_busy = matches!(error, StoreError::LaneBusy { .. });
        Some(match self.gate().and_then(|gate| gate.full.get()).filter(|_| is_busy) {
            Some((scope, max)) => SubmitError::QueueFull { scope: scope.clone(), max: *max },
            None => SubmitError::of_store(self.id, error),
        })
    }

    /// Yields why the body is not to start: the store has refused the run, or the start that it was
    /// to have first.
    pub(crate) fn why_not_started(&self) -> Option<Failure> {
        if let Some(refused) = self.refused_by_store() {
            return Some(refused.into());
        }
        let state = self.had_due().then(|| self.lock())?;
        if !state.is_starting() || self.is_left_to_next() {
            return None;
        }
        let error = state.extra.as_ref().and_then(|extra| extra.not_stored.clone())?;
        Some(SubmitError::NotStored(error).into())
    }

    /// Clears what holds a run back, and has its task look again.
    fn clear_and_wake(&self, bits: u32) {
        let waker = {
            // Cleared under the lock under which `poll_turn` stores the waker: no wake-up is lost.
            let state = self.lock();
            self.clear(bits);
            state.body.clone()
        };
        // Not foreign code: the task of the run is the engine's.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells whether the run was admitted, what it waits for is stored and it is not held, or it is
    /// not to start any more: it was stopped, or the store has refused it, and then it does not
    /// keep its place in the queue until its turn comes.
    pub(crate) fn poll_turn(&self, waker: &Waker) -> bool {
        let held_back = flags::AWAITS_ADMISSION | flags::AWAITS_STORE | flags::HELD;
        if self.flags() & held_back == 0 {
            return true;
        }
        let mut state = self.lock();
        let bits = self.flags();
        if bits & held_back == 0 || bits & (flags::DROP | flags::REFUSED) != 0 {
            return true;
        }
        state.body = Some(waker.clone());
        false
    }
}
