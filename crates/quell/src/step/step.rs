//! [`Node::apply`] brings one input to one node: it decides under the lock, records the decision,
//! and leaves the rest for when the lock is released.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{BodyAction, Effects, Input, Trigger};
use quell_core::{CancelRequest, Cause, CauseKind, EventKind, StopMode};

use crate::foreign;
use crate::journal::Entry;
use crate::node::{Node, State, flags};
use crate::step::cascade;
use crate::step::deferred::{Deferred, Propagation};
use crate::tables::admission::Leaving;

/// What comes with an input besides the input.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StopOrigin<'a> {
    /// The request, for a stop of this run.
    pub(crate) request: Option<&'a CancelRequest>,
    /// The cause, for a stop that comes from elsewhere.
    pub(crate) cause: Option<&'a Arc<Cause>>,
    /// The caller has told the parent already to expect wake-ups from this step, and takes that
    /// back when they were made.
    pub(crate) is_counted: bool,
}

impl Node {
    /// Applies one input and everything that follows from it, here and at other nodes; `edit` is
    /// called under the lock, between the decision and its record.
    pub(crate) fn apply(
        self: &Arc<Self>,
        input: Input,
        origin: StopOrigin<'_>,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Effects {
        let now = self.shared.clock.now();
        let mut deferred = Deferred::default();
        self.step_into(&mut deferred, input, origin, now, edit);
        self.carry_out(&mut deferred, now);
        deferred.fx
    }

    /// Carries out what a step of this run leaves to be done, here and at other nodes.
    #[expect(clippy::inline_always, reason = "saves each step of a run 30 instructions")]
    #[inline(always)]
    pub(crate) fn carry_out(self: &Arc<Self>, deferred: &mut Deferred, now: Instant) {
        if deferred.fx.ended.is_some() {
            // The handle is ready before the parent counts the child out: the last poll of a
            // parent that does not listen must find it (D10).
            let mut propagations = std::mem::take(&mut deferred.propagations);
            self.finish(deferred, now);
            cascade::work_off(&mut propagations, now);
        } else {
            // Descendants are signalled before this run's own waiters wake.
            cascade::work_off(&mut deferred.propagations, now);
            self.finish(deferred, now);
        }
    }

    /// Decides and records under the lock.
    pub(crate) fn step(
        self: &Arc<Self>,
        input: Input,
        origin: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Deferred {
        let mut deferred = Deferred::default();
        self.step_into(&mut deferred, input, origin, now, edit);
        deferred
    }

    /// As [`Node::step`], with what is left to be done put where it is to be: to move it costs more
    /// than some steps do (callgrind, `cancel_tree/flat`).
    pub(crate) fn step_into(
        self: &Arc<Self>,
        deferred: &mut Deferred,
        input: Input,
        origin: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) {
        self.decide(&mut self.lock(), deferred, input, origin, now, edit);
    }

    /// As [`Node::step`], for a caller that holds the lock already.
    pub(crate) fn step_locked(
        self: &Arc<Self>,
        state: &mut State,
        input: Input,
        origin: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Deferred {
        let mut deferred = Deferred::default();
        self.decide(state, &mut deferred, input, origin, now, edit);
        deferred
    }

    fn decide(
        self: &Arc<Self>,
        state: &mut State,
        deferred: &mut Deferred,
        input: Input,
        origin: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) {
        // Only a store is told of a deadline that a further stop has made earlier.
        let hard = self.shared.journal.as_ref().and_then(|_| state.life.hard_deadline());
        let fx = &mut deferred.fx;
        state.life.on_into(input, now, fx);
        if fx.accepted.is_some()
            && let Some(listens) = self.latch_hearing()
        {
            fx.body = fx.body.max(state.life.judge(listens));
        }
        let is_asked = matches!(input, Input::ParentStopped { .. } | Input::Stop(_));
        if is_asked && state.life.is_live_and_stopping() && self.flags() & flags::CASCADING != 0 {
            // Another thread may still be signalling the descendants. This cancel must not return
            // before they are signalled either, so it signals them too (I2).
            fx.cascade = state.life.cascade();
        }
        edit(state, fx);
        if matches!(input, Input::Started) && !fx.refused {
            self.write(state, now, EventKind::Started, &mut deferred.wakers);
            self.note_start(state, now);
            self.mirror(state, 0);
        } else {
            self.record(state, origin, hard, now, deferred);
        }
        self.rearm(state);
    }

    /// Moves the timer of the run to where the lifecycle wants it.
    pub(super) fn rearm(self: &Arc<Self>, state: &mut State) {
        let wanted = state.life.next_wakeup().map(|at| self.shared.clock.ticks(at));
        if wanted != state.armed.map(|key| key.at) {
            state.armed = self.shared.control.rearm(self, state.armed, wanted);
        }
    }

    /// Carries out what needs no lock, in an order that others rely on: hooks and tokens, then this
    /// run's own task, then everybody else's wakers, then `tracing`, then the runs for which this
    /// one has made room, then retention.
    pub(crate) fn finish(self: &Arc<Self>, deferred: &mut Deferred, now: Instant) {
        let Deferred { task, wakers, propagations, cause, fx, retire, rolled_back, rare, above } =
            deferred;
        debug_assert!(propagations.is_empty(), "what is to be done elsewhere was done");
        let shared = &self.shared;
        let free = rare.take().map(|rare| self.finish_rare(*rare));
        if let Some(task) = task.take() {
            task.wake();
        }
        if !wakers.is_empty() || above.is_some() {
            self.wake_with_news(std::mem::take(wakers), above.take());
        }
        self.trace(fx, cause.as_ref());
        if let Some(free) = free {
            free.start();
        }
        if *retire {
            if shared.journal.is_none() {
                shared.retire_or_forget(self, *rolled_back, now);
            } else if self.is_unkept() {
                // What a refused root had is free already: `refuse` sees to it.
                if self.is_left_to_next() {
                    shared.undo(self);
                }
                shared.retire(self, now);
            } else if fx.quiesced && !self.ended_non_quiescent() {
                self.leave_if_it_stays();
            }
        }
        if fx.ended.is_some() && self.is_root() {
            shared.finish_closing();
        }
    }

    fn record(
        self: &Arc<Self>,
        state: &mut State,
        origin: StopOrigin<'_>,
        hard: Option<Instant>,
        now: Instant,
        deferred: &mut Deferred,
    ) {
        if deferred.fx.is_nothing() && !state.life.is_aborting() {
            debug_assert_eq!(self.status(), self.told_status(state), "there is nothing to publish");
            return;
        }
        let (fx, mut set, mut leaving) = (deferred.fx, 0, None);
        // Whatever asks for a stop is answered.
        if fx.answer.is_some() || fx.accepted.is_some() {
            (set, leaving) = self.record_asked(state, origin, hard, now, deferred);
        }
        if fx.aborted {
            state.aborted = true;
            self.shared.counters.body_aborted();
            self.write(state, now, EventKind::Aborted, &mut deferred.wakers);
        }
        self.record_hooks(state, now, deferred);
        set |= self.record_body(state, deferred) | self.record_cascade(state, now, deferred);
        if let Some(stage) = fx.ladder {
            deferred.propagations.push(Propagation::Ladder(Arc::clone(self), stage));
        }
        let gives_back = fx.ended.is_some() || fx.quiesced;
        if fx.ended.is_some() {
            self.record_left(state, now, deferred);
        }
        if gives_back {
            leaving = leaving.or_else(|| self.hold_admission());
            deferred.retire = state.life.is_quiescent() && state.parent_id.is_none();
            self.give_back(state, &fx, deferred.retire);
        }
        if fx.paused {
            leaving = self.record_pause(state, now, deferred);
        }
        if let Some(status) = fx.ended {
            set |= self.record_end(state, status, now, deferred);
        }
        if fx.quiesced {
            self.record_quiescence(state, now, deferred);
        }
        self.publish(state, set, leaving, now, deferred);
        if gives_back {
            // The status flags were published just now. Wake readers that checked them before.
            state.waiters.drain_into(&mut deferred.wakers);
            if let Some(log) = &state.log {
                log.drain_waiters(&mut deferred.wakers);
            }
            deferred.rolled_back = state.is_rollback();
        }
        // The parent's last poll must come after this run's waiters were woken by this step. An end
        // needs no count unless a courier wakes them: otherwise they are woken before the parent
        // counts the child out.
        if !deferred.wakers.is_empty() && (fx.ended.is_none() || foreign::is_barred()) {
            deferred.count_news(state, origin.is_counted);
        }
    }

    /// Records what a step says about a stop that was asked for. Yields the flags that say so, and
    /// the lock of admission, if the run has no use for its place any more.
    fn record_asked(
        self: &Arc<Self>,
        state: &mut State,
        origin: StopOrigin<'_>,
        hard: Option<Instant>,
        now: Instant,
        deferred: &mut Deferred,
    ) -> (u32, Option<Leaving<'_, Self>>) {
        let fx = deferred.fx;
        let rolls_back = self.note_rollback(state, origin);
        if fx.scheduled {
            let at = self.shared.clock.stamp(now);
            let cause = Arc::new(self.cause_of(origin, at));
            state.extra().scheduled = Some(Arc::clone(&cause));
            self.journal_stop(state, StopMode::AfterStep, &cause);
            self.write(state, now, EventKind::StopRequested(cause), &mut deferred.wakers);
        }
        // Who waits has no use for its place any more, and who never started none for its lane;
        // its task may drop the body later (I21). What has started keeps its lane until it has
        // ended.
        let waits = state.times.started.is_none() || self.flags() & flags::AWAITS_ADMISSION != 0;
        let leaving = if fx.accepted.is_some() && waits { self.hold_admission() } else { None };
        match fx.accepted {
            Some(trigger) => self.record_stop(state, trigger, origin, now, deferred),
            None if fx.scheduled => {}
            None => self.record_merged(state, fx.answer, rolls_back, hard),
        }
        (if fx.scheduled { flags::SCHEDULED } else { 0 }, leaving)
    }

    /// Has the body dropped or polled, if it is to be, and yields the flags that say so. What would
    /// have made the next one is dropped if there is none.
    fn record_body(&self, state: &mut State, deferred: &mut Deferred) -> u32 {
        if deferred.fx.drops_maker {
            self.record_unused_maker(state, deferred);
        }
        let mut set = match deferred.fx.body {
            BodyAction::Leave => 0,
            BodyAction::PollThenDrop => flags::POLL_DROP,
            BodyAction::Drop => flags::DROP,
        };
        if deferred.fx.body != BodyAction::Leave {
            deferred.task.clone_from(&state.body);
        }
        if state.life.is_aborting() && self.flags() & flags::ABORTING == 0 {
            // Wake the waiters once when the hard deadline comes: some wait for just that.
            set |= flags::ABORTING;
            state.waiters.drain_into(&mut deferred.wakers);
        }
        set
    }

    /// Has the children signalled, if there are any or the run fails, and yields the flags that
    /// say so. The token and the waiters of a run that fails are told, too.
    fn record_cascade(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
        deferred: &mut Deferred,
    ) -> u32 {
        let Some(cascade) = deferred.fx.cascade else { return 0 };
        if !cascade.failing && state.life.live_children() == 0 {
            return 0;
        }
        let cause = self.cause_for_children(state, cascade.failing, now);
        if cascade.failing {
            // What is left of the run is to give way: it may wait for the token, or here.
            deferred.tell(state);
        }
        deferred.propagations.push(Propagation::Cascade(Arc::clone(self), cascade, cause));
        if cascade.failing { flags::CASCADING | flags::FAILING } else { flags::CASCADING }
    }

    fn record_quiescence(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
        deferred: &mut Deferred,
    ) {
        let at = state.times.next(self.shared.clock.stamp(now));
        state.times.quiesced = Some(at);
        state.leave_call();
        if state.is_in_doubt() {
            // Who hears that the rest has ended says so. Until then it is as one of which nothing
            // executed here any more at its end.
            self.clear(flags::ENDED_NON_QUIESCENT);
        } else {
            self.count_quiescence(state, at);
            self.journal(|node| Entry::Quiesced(node, at));
            self.write(state, now, EventKind::Quiesced, &mut deferred.wakers);
        }
        let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
        deferred.propagations.extend(parent.map(Propagation::ChildQuiesced));
    }

    fn record_stop(
        self: &Arc<Self>,
        state: &mut State,
        trigger: Trigger,
        origin: StopOrigin<'_>,
        now: Instant,
        deferred: &mut Deferred,
    ) {
        let at = self.shared.clock.stamp(now);
        let own = |kind, words: &str| {
            let mut cause = Cause::new(kind, self.shared.clock.wall_at(at), self.id);
            cause.message = Some(words.into());
            Arc::new(cause)
        };
        let cause = match trigger {
            Trigger::Request => Arc::new(self.cause_of(origin, at)),
            Trigger::Parent => {
                origin.cause.map_or_else(|| Arc::new(self.cause_of(origin, at)), Arc::clone)
            }
            Trigger::Scheduled => state
                .extra()
                .scheduled
                .as_ref()
                .map_or_else(|| Arc::new(self.cause_of(origin, at)), Arc::clone),
            Trigger::Timeout => own(CauseKind::Deadline, "timeout over"),
            Trigger::StartWithin => own(CauseKind::Deadline, "not started in time"),
            Trigger::Idle => own(CauseKind::IdleTimeout, "idle for too long"),
            Trigger::PauseExpired => own(CauseKind::Deadline, "not resumed in time"),
        };
        state.cause = Some(Arc::clone(&cause));
        deferred.cause = Some(Arc::clone(&cause));
        // What comes from above is stored there.
        if !matches!(trigger, Trigger::Parent) {
            let mode = origin.request.map_or(StopMode::Cooperative, CancelRequest::mode);
            self.journal_stop(state, mode.max(StopMode::Cooperative), &cause);
        }
        self.write(state, now, EventKind::Stopping(cause), &mut deferred.wakers);
        state.times.stopped = Some(state.times.next(at));
        deferred.tell(state);
    }
}
