//! [`Node::cancel`] turns a request to stop into an input, and the effects of that into an answer.

use std::borrow::Borrow;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quell_core::lifecycle::{Answer, Input, StopInput};
use quell_core::{CancelRequest, CauseKind, Disposition, StopMode};

use crate::node::{Node, Rollback, State};
use crate::step::StopOrigin;
use crate::step::deferred::{Deferred, Propagation};

impl Node {
    /// Asks this run to stop, and tells what came of it.
    pub(crate) fn cancel(self: &Arc<Self>, request: &CancelRequest) -> Disposition {
        self.cancel_within(request, None)
    }

    /// What a request says to the lifecycle; `wait` replaces the engine's abort wait.
    pub(crate) fn stop_input(&self, request: &CancelRequest, wait: Option<Duration>) -> StopInput {
        let config = &self.shared.config;
        // Nothing may execute any more when the lease is over.
        let is_loss = request.cause_kind() == CauseKind::LeaseLost;
        let wait = wait.or_else(|| is_loss.then_some(config.abort_wait));
        StopInput {
            mode: request.mode(),
            grace: request.grace_asked(),
            wait,
            escalate_after: request.escalate_after().unwrap_or(config.escalate_after),
        }
    }

    /// Leaves for the store what a further stop has added to the first, of which the hard deadline
    /// was this.
    pub(super) fn record_merged(
        self: &Arc<Self>,
        state: &State,
        answer: Option<Answer>,
        rolls_back: bool,
        hard: Option<Instant>,
    ) {
        let scheduled = state.extra.as_ref().and_then(|extra| extra.scheduled.as_ref());
        match (answer, &state.cause) {
            (Some(Answer::Escalated { to, .. }), Some(cause)) => {
                self.journal_stop(state, to, cause);
            }
            (Some(Answer::AlreadyStopping { .. }), Some(cause))
                if rolls_back || state.life.hard_deadline() < hard =>
            {
                self.journal_stop(state, StopMode::Cooperative, cause);
            }
            (Some(Answer::Scheduled { .. }), None) if rolls_back => {
                if let Some(cause) = scheduled {
                    self.journal_stop(state, StopMode::AfterStep, cause);
                }
            }
            _ => {}
        }
    }

    /// Notes that a stop takes back what a root has saved, and that it deletes it. True if it is
    /// the first one that takes that back.
    pub(super) fn note_rollback(&self, state: &mut State, origin: StopOrigin<'_>) -> bool {
        let request = origin.request.filter(|request| request.is_rollback());
        let Some(request) = request.filter(|_| self.is_root() && state.times.ended.is_none())
        else {
            return false;
        };
        let asked = if request.is_deletion() { Rollback::Deletion } else { Rollback::Asked };
        let before = state.extra().rollback;
        state.extra().rollback = before.max(asked);
        before == Rollback::No
    }

    /// Decides and records a request to stop. What it leaves to be done is the caller's.
    pub(crate) fn step_of_cancel(
        self: &Arc<Self>,
        request: &CancelRequest,
        now: Instant,
    ) -> Deferred {
        let origin = StopOrigin { request: Some(request), ..StopOrigin::default() };
        self.step(Input::Stop(self.stop_input(request, None)), origin, now, |_, _| {})
    }

    /// Asks a root to stop because its engine ends. One that is paused, or waits for others or
    /// until it is due, and is stored is left to the next process in the same step, so that no
    /// other stop comes in between. Tells whether it is.
    pub(crate) fn end_with_engine(
        self: &Arc<Self>,
        request: &CancelRequest,
        wait: Duration,
    ) -> bool {
        let input = Input::Stop(self.stop_input(request, Some(wait)));
        let origin = StopOrigin { request: Some(request), ..StopOrigin::default() };
        let now = self.shared.clock.now();
        let (mut deferred, is_left) = {
            let mut state = self.lock();
            let is_left = self.leave_to_next(&state);
            (self.step_locked(&mut state, input, origin, now, |_, _| {}), is_left)
        };
        self.carry_out(&mut deferred, now);
        is_left
    }

    /// Asks this run to stop; `wait` replaces the engine's abort wait.
    pub(crate) fn cancel_within(
        self: &Arc<Self>,
        request: &CancelRequest,
        wait: Option<Duration>,
    ) -> Disposition {
        let (now, mut deferred) = (self.shared.clock.now(), Deferred::default());
        let answer = self.ask_to_stop(&mut deferred, request, wait, now);
        self.carry_out(&mut deferred, now);
        answer
    }

    /// Decides and records a request to stop, and yields its answer. What it leaves to be done is
    /// the caller's.
    fn ask_to_stop(
        self: &Arc<Self>,
        deferred: &mut Deferred,
        request: &CancelRequest,
        wait: Option<Duration>,
        now: Instant,
    ) -> Disposition {
        let input = Input::Stop(self.stop_input(request, wait));
        let origin = StopOrigin { request: Some(request), ..StopOrigin::default() };
        let (mut first, mut is_left) = (None, false);
        self.step_into(deferred, input, origin, now, |state, _| {
            first.clone_from(&state.cause);
            is_left = self.is_left_to_next();
            if is_left {
                Self::refuse_stop_of_left(state);
            }
        });
        if is_left {
            return Disposition::Unknown;
        }
        let answer = deferred.fx.answer.unwrap_or(Answer::AlreadyTerminal(self.status()));
        match (answer, first) {
            (Answer::Scheduled { escalate_at }, _) => Disposition::Scheduled { escalate_at },
            (Answer::Escalated { from, to }, _) => Disposition::Escalated { from, to },
            (Answer::AlreadyTerminal(status), _) => Disposition::AlreadyTerminal { status },
            (Answer::AlreadyStopping { hard }, Some(cause)) => {
                Disposition::AlreadyStopping { cause, hard_deadline: hard }
            }
            // A stop without a cause cannot be; it would be this one's.
            (Answer::Accepted { hard } | Answer::AlreadyStopping { hard }, _) => {
                Disposition::Accepted { hard_deadline: hard }
            }
        }
    }

    /// Yields the roots whose place this run has taken, those of them that are in memory. Each of
    /// them is stopped by then: the thread that submits this run may not have come that far.
    pub(crate) fn superseded(&self) -> Vec<Arc<Self>> {
        let before: Vec<_> = {
            let state = self.lock();
            let taken = state.extra.iter().flat_map(|extra| &extra.superseded);
            taken.filter_map(Weak::upgrade).collect()
        };
        self.stop_superseded(&before);
        before
    }
}

/// Asks runs to stop, in their order. Some are decided before anything is done that follows from
/// it: the threads that are woken then find more than one to end, and do not go to sleep and wake
/// up again for each (bench `parallel`, `quorum`). One that has others below it is the last of
/// those: what is below it is told of its stop, not of one of its own that comes behind it.
///
/// The runs are there before the first one is decided. Between a decision and what follows from it
/// no foreign code runs.
pub(crate) fn cancel_each<N: Borrow<Arc<Node>>>(
    nodes: &[N],
    request: &CancelRequest,
) -> Vec<Disposition> {
    let mut answers = Vec::with_capacity(nodes.len());
    let mut decided = Vec::with_capacity(nodes.len().min(TOGETHER));
    let mut nodes = nodes.iter().map(Borrow::borrow).peekable();
    while let Some(first) = nodes.peek() {
        let now = first.shared.clock.now();
        for node in nodes.by_ref().take(TOGETHER) {
            let mut deferred = Deferred::default();
            answers.push(node.ask_to_stop(&mut deferred, request, None, now));
            let is_last = deferred.propagations.iter().any(Propagation::is_cascade);
            decided.push((node, deferred));
            if is_last {
                break;
            }
        }
        for (node, mut deferred) in decided.drain(..) {
            node.carry_out(&mut deferred, now);
        }
    }
    answers
}

/// Runs that are decided together: a signal is later by what as many decisions take, some
/// microseconds.
const TOGETHER: usize = 32;
