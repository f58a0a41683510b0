//! Pause and resume (T5 to T7, I24): a root whose body asks for a pause waits, with nothing of it
//! executing, until it is given an answer; then it is queued again as its next attempt.
//!
//! A pause and its end are inputs of the lifecycle, applied under the lock of the node as every
//! other one: of an answer, a stop and the expiry of a pause, one comes first, and the others find
//! that it has.
//!
//! What makes the body of the next attempt is code of a user. It is kept in the node, and leaves it
//! in one of three ways: it starts the next attempt; the driver drops it before it reports the end
//! of a body that has not paused; or the lifecycle has it dropped as a piece of work of the run, if
//! there is no attempt after the pause. So it is gone before the run is quiescent (I4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::lifecycle::{BodyEnd, Input};
use quell_core::store::{StoreError, StoredPause, StoredSoFar};
use quell_core::{
    Cause, CauseKind, EventKind, Payload, RunId, RunStatus, Stopped, Usage, Work, limits,
};

use crate::failure::Failure;
use crate::foreign;
use crate::journal::{Entry, Given};
use crate::node::outputs::Said;
use crate::node::pausing::Maker;
use crate::node::{Node, Piece, State, flags};
use crate::pause::{Pause, PauseAsked, PauseError, ResumeError};
use crate::step::deferred::Deferred;
use crate::step::hold::Hold;
use crate::sync::waiters::Wakers;
use crate::tables::admission::{Free, Leaving};

/// What is left of a maker when it leaves its node unused: it is dropped, as work of the run.
#[derive(Debug)]
pub(crate) struct UnusedMaker {
    /// What would have made the next body.
    maker: Option<Maker>,
    /// Where it is noted as work.
    place: usize,
}

impl Node {
    /// Has the run paused when its body now returns an error. Yields that error.
    pub(crate) fn pause_by_body(self: &Arc<Self>, pause: Pause) -> Failure {
        let (request, expires_in) = pause.into_parts();
        match self.ask_for_pause(request.clone(), expires_in, true) {
            Ok(()) => {
                let (run, name) = (self.id, Arc::clone(&self.name));
                Failure::from(PauseAsked { run, name, request, expires_in })
            }
            Err(Refused::Stopped(stopped)) => Failure::from(stopped),
            Err(Refused::Not(error)) => Failure::from(error),
        }
    }

    /// Has the run paused at its next checkpoint.
    pub(crate) fn pause_by_client(self: &Arc<Self>, pause: Pause) -> Result<(), PauseError> {
        if !self.is_root() {
            return Err(PauseError::NotRoot);
        }
        let (request, expires_in) = pause.into_parts();
        match self.ask_for_pause(request, expires_in, false) {
            Ok(()) => Ok(()),
            Err(Refused::Stopped(_)) => Err(PauseError::Over(self.status())),
            Err(Refused::Not(error)) => Err(error),
        }
    }

    fn ask_for_pause(
        self: &Arc<Self>,
        request: Payload,
        expires_in: Option<Duration>,
        by_body: bool,
    ) -> Result<(), Refused> {
        // Before any lock: the text may be written only now, by code of the caller.
        let (bytes, max) = (request.len(), limits::EVENT_BYTES_MAX);
        if bytes > max {
            return Err(Refused::Not(PauseError::TooLarge { bytes, max }));
        }
        if self.is_root() && !self.is_resumable() {
            return Err(Refused::Not(PauseError::NotResumable));
        }
        let mut state = self.lock();
        if state.life.is_stopping() {
            return Err(Refused::Stopped(self.refusal(&state)));
        }
        let status = state.life.status();
        if status.is_terminal() || (by_body && status != RunStatus::Running) {
            return Err(Refused::Not(PauseError::Over(status)));
        }
        let has_request = state.extra().pausing().request.is_some();
        if !by_body && has_request {
            // Whoever asked first is answered.
            return Ok(());
        }
        let kept = self.keep_charged(&mut state, Said::Request, Some(request));
        let before = kept.map_err(|max| Refused::Not(PauseError::TooLarge { bytes, max }))?;
        let pausing = state.extra().pausing();
        (pausing.expires_in, pausing.asked_by) = (expires_in, by_body.then_some(self.id));
        pausing.is_due |= by_body;
        if !by_body {
            self.set(flags::PAUSE_ASKED);
        }
        drop(state);
        foreign::release(before);
        Ok(())
    }

    /// Has the body give way at a checkpoint if a client has asked for a pause. Yields why.
    pub(crate) fn meet_pause(&self) -> Result<(), Stopped> {
        if self.flags() & flags::PAUSE_ASKED == 0 {
            return Ok(());
        }
        self.lock().extra().pausing().is_due = true;
        let at = self.shared.clock.wall(self.shared.clock.now());
        let mut cause = Cause::new(CauseKind::PauseRequested, at, self.id);
        cause.message = Some("a client has asked for a pause".into());
        Err(Stopped { cause: Arc::new(cause) })
    }

    /// Tells how a body has ended that has returned an error: a run that may be paused and has been
    /// asked to, by itself, a client or a child, is paused.
    pub(crate) fn end_of_attempt(self: &Arc<Self>, failure: &Failure) -> BodyEnd {
        let mut state = self.lock();
        let is_due = state.extra().pausing().is_due;
        if !is_due {
            let Some(asked) = failure.pause_asked() else { return BodyEnd::Err };
            let request = Some(asked.request.clone());
            let Ok(before) = self.keep_charged(&mut state, Said::Request, request) else {
                return BodyEnd::Err;
            };
            let pausing = state.extra().pausing();
            (pausing.expires_in, pausing.asked_by) = (asked.expires_in, Some(asked.run));
            drop(state);
            foreign::release(before);
            return BodyEnd::Paused { expires_in: asked.expires_in };
        }
        BodyEnd::Paused { expires_in: state.extra().pausing().expires_in }
    }

    /// Records that the run has become paused, and locks admission before the event is written that
    /// says so. Called under the lock.
    pub(super) fn record_pause(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
        deferred: &mut Deferred,
    ) -> Option<Leaving<'_, Self>> {
        let leaving = self.hold_admission();
        // The hooks of the attempt have ended with it: no stop that comes later is about them.
        state.extra().hooks_unneeded.clear();
        let pausing = state.extra().pausing();
        pausing.is_due = false;
        pausing.paused_at = Some(now);
        let asked_by = pausing.asked_by;
        let request = pausing.request.clone().unwrap_or_else(|| Payload::from(""));
        self.clear(flags::PAUSE_ASKED);
        // Before the event, which follows from it.
        self.journal(|node| {
            let pause = node.pause_to_store(state, (request.clone(), asked_by), now);
            Entry::Paused(node, Box::new(pause))
        });
        self.write(state, now, EventKind::Paused { request }, &mut deferred.wakers);
        // The memory of its task goes back now, and not after the pause.
        state.body = None;
        // The next attempt has a span of its own.
        self.end_span(state, deferred);
        state.waiters.drain_into(&mut deferred.wakers);
        leaving
    }

    /// Yields what a store keeps of a pause.
    fn pause_to_store(
        &self,
        state: &State,
        (request, asked_by): (Payload, Option<RunId>),
        now: Instant,
    ) -> StoredPause {
        let wall = |at| self.shared.clock.wall(at);
        let mut pause = StoredPause::new(request, self.attempt_of(state), wall(now));
        pause.asked_by = asked_by;
        let expires_at = state.life.pause_expires_at();
        pause.expires_at = expires_at.map(|at| self.shared.clock.due(at));
        let pausing = state.extra.as_ref().and_then(|extra| extra.pausing.as_ref());
        let used = pausing.map_or(Duration::ZERO, |pausing| pausing.used);
        pause.timeout = state.life.timeout().map(|left| left.saturating_add(used));
        pause.timeout_stands = state.life.timeout_stands();
        let extra = state.extra.as_ref();
        // With a store, their texts were written when they were set.
        pause.so_far = StoredSoFar {
            partial: state.output.clone(),
            summary: extra.and_then(|extra| extra.summary.clone()),
            used: extra.map_or_else(Usage::default, |extra| extra.used),
        };
        pause
    }

    /// Has what would have made the next body dropped. Called under the lock.
    pub(super) fn record_unused_maker(&self, state: &mut State, deferred: &mut Deferred) {
        let maker = state.take_maker();
        let name = Arc::clone(&self.name);
        let place = state.extra().note_work(Piece { what: Work::Body, name, site: None });
        deferred.rare().maker = Some(UnusedMaker { maker, place });
    }

    /// Drops what would have made the next body; that it is gone is the end of a piece of work.
    pub(super) fn drop_maker(self: &Arc<Self>, UnusedMaker { maker, place }: UnusedMaker) {
        let hold = Hold::placed(self, place);
        foreign::run(&self.shared.couriers, move || {
            foreign::release(maker);
            drop(hold);
        });
    }

    /// Gives a paused run its answer: it is queued as its next attempt. One that is to an attempt
    /// is taken only if that one asks.
    pub(crate) fn resume(
        self: &Arc<Self>,
        answer: Payload,
        to_attempt: Option<u32>,
    ) -> Result<(), ResumeError> {
        // Before any lock: the text may be written only now, by code of the caller.
        let (bytes, max) = (answer.len(), limits::PAYLOAD_BYTES_MAX);
        if bytes > max {
            return Err(ResumeError::TooLarge { bytes, max });
        }
        if let Some(error) = self.shared.journal.as_ref().and_then(|journal| journal.trouble()) {
            // As a submit: nothing begins that could not be stored.
            return Err(ResumeError::NotTaken(error));
        }
        let now = self.shared.clock.now();
        if self.shared.admission.concerns(&**self) {
            // Who is due comes before this one.
            self.shared.admission.catch_up(now);
        }
        let mut state = self.lock();
        if self.is_left_to_next() {
            return Err(ResumeError::NotPaused(RunStatus::Stopping));
        }
        if !state.life.is_paused() {
            return Err(ResumeError::NotPaused(state.life.status()));
        }
        let asks = self.attempt_of(&state);
        if let Some(answered) = to_attempt.filter(|answered| *answered != asks) {
            return Err(ResumeError::OtherAttempt { answered, asks });
        }
        if state.extra().pausing().maker.is_none() {
            return Err(ResumeError::NoBody);
        }
        let kept = self.keep_charged(&mut state, Said::Answer, Some(answer));
        let former = kept.map_err(|max| ResumeError::TooLarge { bytes, max })?;
        let free = match self.queue_again(&mut state, now) {
            Ok(free) => free,
            Err(error) => {
                // As it was: the former answer was paid for before.
                let answer = self.keep_charged(&mut state, Said::Answer, former);
                drop(state);
                foreign::release(answer);
                return Err(error);
            }
        };
        let asked = self.keep_charged(&mut state, Said::Request, None);
        let attempt = self.record_answer(&mut state, now);
        let maker = state.take_maker();
        let mut wakers = Wakers::new();
        self.write(&mut state, now, EventKind::Resumed { attempt }, &mut wakers);
        self.rearm(&mut state);
        drop(state);
        foreign::release((former, asked));
        if let Some(Maker(start)) = maker {
            start(self);
        }
        foreign::wake(&self.shared.couriers, wakers);
        free.start();
        Ok(())
    }

    /// Counts the next attempt, and leaves the answer for the store, if there is one: the attempt
    /// does not start before it is stored, so that nothing is asked again of which an attempt has
    /// had the answer. Called under the lock. Yields the number of the attempt.
    fn record_answer(self: &Arc<Self>, state: &mut State, now: Instant) -> u32 {
        let stands = state.life.timeout_stands();
        let pausing = state.extra().pausing();
        (pausing.resumed, pausing.since) = (pausing.resumed.saturating_add(1), None);
        if let Some(paused_at) = pausing.paused_at.filter(|_| stands) {
            pausing.stood += now.saturating_duration_since(paused_at);
        }
        let (answer, stood) = (pausing.answer.clone(), pausing.stood);
        let attempt = self.attempt_of(state);
        if self.shared.journal.is_some()
            && let Some(answer) = answer
        {
            self.set(flags::AWAITS_STORE);
            let at = state.times.next(self.shared.clock.stamp(now));
            let answer = Box::new(Given { attempt, answer, stood, at });
            self.journal(|node| Entry::Resumed(node, answer));
        }
        attempt
    }

    /// Leaves a paused run to the next process, since this one ends, one that has never started to
    /// the next node, and one that had a due time to either: nothing more of it is stored, or told.
    /// Called under the lock: an answer, a start or a stop comes before, and is stored, or is not
    /// taken.
    pub(super) fn leave_to_next(&self, state: &State) -> bool {
        let is_left = self.shared.journal.is_some()
            && !self.is_refused()
            && (state.life.is_paused() || self.waits_for_next(state));
        if is_left {
            self.set(flags::LEFT_TO_NEXT);
        }
        is_left
    }

    /// Tells whether the run has never started, and whoever comes next knows that: another node is
    /// told, and the next process sees that it had a due time. One whose start the store has, or
    /// gets, is none of these, unless the store is in trouble: then nobody can say that it ends.
    /// Called under the lock.
    fn waits_for_next(&self, state: &State) -> bool {
        let is_in_trouble =
            || self.shared.journal.as_ref().is_some_and(|it| it.trouble().is_some());
        (self.shared.member.is_some() || self.had_due())
            && state.life.status() == RunStatus::Queued
            && self.began(state).1.is_none()
            && (!state.is_starting() || is_in_trouble())
            && self.flags() & flags::ACCEPTANCE_STORED != 0
    }

    /// Tells what became of the last answer: none while that is not known. Called under the lock.
    pub(crate) fn answer_stored(&self, state: &State) -> Option<Result<(), StoreError>> {
        let Some(journal) = &self.shared.journal else { return Some(Ok(())) };
        if self.flags() & flags::AWAITS_STORE != 0 {
            return journal.trouble().map(Err);
        }
        let refused = state.extra.as_ref().and_then(|extra| extra.not_stored.clone());
        Some(refused.map_or(Ok(()), Err))
    }

    /// Applies [`Input::Resumed`], and has the run wait for a slot, if it needs one. Called under
    /// the lock.
    fn queue_again(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
    ) -> Result<Free<Self>, ResumeError> {
        let is_gated = self.shared.admission.concerns(&**self);
        let mut queue = || {
            if is_gated {
                self.hold_back();
            }
            // What the body of an earlier attempt did counts no more.
            self.clear(flags::LISTENS | flags::PARKED);
            self.set(flags::RESUMED);
            let fx = state.life.on(Input::Resumed, now);
            debug_assert!(!fx.refused, "it was asked under the same lock");
            self.mirror(state, 0);
        };
        if !is_gated {
            queue();
            return Ok(Free::default());
        }
        // Under the lock of admission, which starts none that is not queued.
        let entered = self.shared.admission.enter_again(self, now, queue);
        entered.map_err(|(scope, max)| ResumeError::QueueFull { scope, max })
    }
}

/// Why a pause was not asked for.
enum Refused {
    Stopped(Stopped),
    Not(PauseError),
}
