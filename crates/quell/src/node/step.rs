//! One input at one node: decide under the lock, write down, and leave the rest for afterwards.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{BodyAction, Effects, Input, Trigger};
use quell_core::{
    Abandoned, CancelRequest, Cause, CauseKind, EventKind, RunStatus, ToolOutcome, Work, limits,
};

use crate::faults;
use crate::foreign;
use crate::node::cascade;
use crate::node::deferred::{ChildEnd, Deferred, Propagation};
use crate::node::flags;
use crate::node::{Node, Reader, State};

/// What comes with an input besides the input.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StopOrigin<'a> {
    /// The request, for a stop of this run.
    pub(crate) request: Option<&'a CancelRequest>,
    /// The cause, for a stop that comes from elsewhere.
    pub(crate) cause: Option<&'a Arc<Cause>>,
    /// Whoever brings it has counted the news of the step at the parent already, and takes that
    /// back when they are told.
    pub(crate) is_counted: bool,
}

impl Node {
    /// Applies one input and everything that follows from it, here and at other nodes; `edit` is
    /// called under the lock, between the decision and its record.
    pub(crate) fn apply(
        self: &Arc<Self>,
        input: Input,
        note: StopOrigin<'_>,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Effects {
        let now = self.shared.clock.now();
        let mut after = self.step(input, note, now, edit);
        let fx = after.fx;
        if fx.ended.is_some() {
            // The handle is ready before the parent counts the child out: the last poll of a
            // parent that does not listen must find it (D10).
            let mut todo = std::mem::take(&mut after.todo);
            self.finish(&mut after, now);
            cascade::work_off(&mut todo, now);
        } else {
            // Descendants are signalled before this run's own waiters wake.
            cascade::work_off(&mut after.todo, now);
            self.finish(&mut after, now);
        }
        fx
    }

    /// Decides and records under the lock.
    pub(crate) fn step(
        self: &Arc<Self>,
        input: Input,
        note: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Deferred {
        let mut state = self.lock();
        self.step_locked(&mut state, input, note, now, edit)
    }

    /// As [`Node::step`], for a caller that holds the lock already.
    pub(crate) fn step_locked(
        self: &Arc<Self>,
        state: &mut State,
        input: Input,
        note: StopOrigin<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Deferred {
        let mut fx = state.life.on(input, now);
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
        let mut after = Deferred { fx, ..Deferred::default() };
        edit(state, &fx);
        if matches!(input, Input::Started) && !fx.refused {
            self.write(state, now, EventKind::Started, &mut after.wakers);
            state.times.started = Some(state.times.next(self.shared.clock.stamp(now)));
            let own = state.life.timeout_at().map(|at| self.shared.clock.ticks(at));
            state.deadline = state.deadline.into_iter().chain(own).min();
            self.mirror(state, 0);
        } else {
            self.record(state, note, now, &mut after);
        }
        let wanted = state.life.next_wakeup().map(|at| self.shared.clock.ticks(at));
        if wanted != state.armed.map(|key| key.at) {
            state.armed = self.shared.control.rearm(self, state.armed, wanted);
        }
        after
    }

    /// Carries out what needs no lock.
    pub(crate) fn finish(self: &Arc<Self>, after: &mut Deferred, now: Instant) {
        let Deferred { task, wakers, todo, cause, fx, retire, rare, above } = after;
        debug_assert!(todo.is_empty(), "what is to be done elsewhere was done");
        let shared = &self.shared;
        if let Some(rare) = rare.take() {
            self.finish_rare(*rare, *fx, cause.as_ref());
        }
        if let Some(task) = task.take() {
            task.wake();
        }
        if !wakers.is_empty() || above.is_some() {
            foreign::tell(shared, std::mem::take(wakers), above.take());
        }
        self.trace(fx, cause.as_ref());
        let gated = self.flags() & flags::GATED != 0;
        if gated && fx.ended.is_some() {
            shared.admission.ended(self, now).start();
        }
        if *retire {
            if gated {
                shared.admission.quiesced(self, now).start();
            }
            shared.retire(self, now);
        }
        if fx.ended.is_some() && self.is_root() && !faults::on("leave-the-stream-open") {
            shared.finish_closing();
        }
    }

    fn record(
        self: &Arc<Self>,
        state: &mut State,
        note: StopOrigin<'_>,
        now: Instant,
        after: &mut Deferred,
    ) {
        let fx = after.fx;
        let mut set = 0;
        if fx.scheduled {
            let cause = Arc::new(self.cause_of(note, now));
            state.extra().scheduled = Some(Arc::clone(&cause));
            set |= flags::SCHEDULED;
            self.write(state, now, EventKind::StopRequested(cause), &mut after.wakers);
        }
        if let Some(trigger) = fx.accepted {
            self.record_stop(state, trigger, note, now, after);
        }
        if fx.aborted {
            state.aborted = true;
            self.write(state, now, EventKind::Aborted, &mut after.wakers);
        }
        self.record_hooks(state, now, after);
        match fx.body {
            BodyAction::Leave => {}
            BodyAction::PollThenDrop => set |= flags::POLL_DROP,
            BodyAction::Drop => set |= flags::DROP,
        }
        if fx.body != BodyAction::Leave {
            after.task.clone_from(&state.body);
        }
        if state.life.is_aborting() && self.flags() & flags::ABORTING == 0 {
            set |= flags::ABORTING;
            state.waiters.drain_into(&mut after.wakers);
        }
        if let Some(cascade) = fx.cascade
            && (cascade.failing || state.life.live_children() > 0)
        {
            set |=
                if cascade.failing { flags::CASCADING | flags::FAILING } else { flags::CASCADING };
            let cause = self.cause_for_children(state, cascade.failing, now);
            if cascade.failing && !faults::on("fail-in-silence") {
                // What is left of the run is to give way: it may wait for the token, or here.
                after.tell(state);
            }
            after.todo.push(Propagation::Cascade(Arc::clone(self), cascade, cause));
        }
        if let Some(stage) = fx.ladder {
            after.todo.push(Propagation::Ladder(Arc::clone(self), stage));
        }
        if let Some(status) = fx.ended {
            set |= self.record_end(state, status, now, after);
        }
        if fx.quiesced {
            self.record_quiescence(state, now, after);
        }
        self.mirror(state, set);
        if fx.ended.is_some() || fx.quiesced {
            // The status flags were published just now. Wake readers that checked them before.
            state.waiters.drain_into(&mut after.wakers);
            if let Some(log) = &state.log {
                log.drain_waiters(&mut after.wakers);
            }
            after.retire = state.life.is_quiescent() && state.parent_id.is_none();
        }
        // The news of an end that go by no courier are told before the parent counts the child out.
        if !after.wakers.is_empty() && (fx.ended.is_none() || foreign::is_barred()) {
            after.count_news(state, note.is_counted);
        }
    }

    fn record_quiescence(&self, state: &mut State, now: Instant, after: &mut Deferred) {
        state.times.quiesced = Some(state.times.next(self.shared.clock.stamp(now)));
        state.leave_call();
        self.write(state, now, EventKind::Quiesced, &mut after.wakers);
        let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
        after.todo.extend(parent.map(Propagation::ChildQuiesced));
    }

    fn record_stop(
        self: &Arc<Self>,
        state: &mut State,
        trigger: Trigger,
        note: StopOrigin<'_>,
        now: Instant,
        after: &mut Deferred,
    ) {
        let own = |kind, words: &str| {
            let mut cause = Cause::new(kind, self.shared.clock.wall(now), self.id);
            cause.message = Some(words.into());
            Arc::new(cause)
        };
        let cause = match trigger {
            Trigger::Request => Arc::new(self.cause_of(note, now)),
            Trigger::Parent => {
                note.cause.map_or_else(|| Arc::new(self.cause_of(note, now)), Arc::clone)
            }
            Trigger::Scheduled => state
                .extra()
                .scheduled
                .as_ref()
                .map_or_else(|| Arc::new(self.cause_of(note, now)), Arc::clone),
            Trigger::Timeout => own(CauseKind::Deadline, "timeout over"),
            Trigger::StartWithin => own(CauseKind::Deadline, "not started in time"),
            Trigger::Idle => own(CauseKind::IdleTimeout, "idle for too long"),
        };
        state.cause = Some(Arc::clone(&cause));
        after.cause = Some(Arc::clone(&cause));
        self.write(state, now, EventKind::Stopping(cause), &mut after.wakers);
        state.times.stopped = Some(state.times.next(self.shared.clock.stamp(now)));
        after.tell(state);
    }

    fn cause_of(&self, note: StopOrigin<'_>, now: Instant) -> Cause {
        let at = self.shared.clock.wall(now);
        note.request.map_or_else(
            || Cause::new(CauseKind::UserRequest, at, self.id),
            |request| request.to_cause(at, self.id),
        )
    }

    fn cause_for_children(&self, state: &mut State, failing: bool, now: Instant) -> Arc<Cause> {
        if let (false, Some(cause)) = (failing, &state.cause) {
            return match cause.kind {
                CauseKind::ParentStopped => Arc::clone(cause),
                _ => Arc::new(cause.inherited(CauseKind::ParentStopped)),
            };
        }
        let at = self.shared.clock.wall(now);
        let mut cause = Cause::new(CauseKind::ParentFailed, at, self.id);
        let cut = |words: String| limits::cut(&words, limits::REASON_BYTES_MAX).into();
        cause.message = state.failure.as_ref().map(|failure| cut(failure.to_string()));
        let cause = Arc::new(cause);
        state.extra().failing = Some(Arc::clone(&cause));
        cause
    }

    fn record_end(
        self: &Arc<Self>,
        state: &mut State,
        status: RunStatus,
        now: Instant,
        after: &mut Deferred,
    ) -> u32 {
        let ticks = state.times.next(self.shared.clock.stamp(now));
        let mut abandoned = Vec::new();
        if after.fx.body_abandoned {
            abandoned.push(Abandoned::new(self.id, Arc::clone(&self.name), Work::Body));
        }
        if let Some(extra) = &mut state.extra {
            let works = extra.works.iter();
            abandoned.extend(
                works.map(|(_, (what, name))| Abandoned::new(self.id, Arc::clone(name), *what)),
            );
            extra.abandoned.clone_from(&abandoned);
            if let Some(link) = extra.link.take() {
                after.rare().link = Some(link);
            }
        } else if !abandoned.is_empty() {
            state.extra().abandoned.clone_from(&abandoned);
        }
        for Abandoned { name, what, .. } in abandoned {
            self.write(state, now, EventKind::Abandoned { what, name }, &mut after.wakers);
        }
        self.close_calls(state, &ToolOutcome::Unknown, now, &mut after.wakers);
        let non_quiescent = !state.life.is_quiescent();
        if non_quiescent {
            // The stream must know what may follow before it meets the event.
            self.mirror(state, flags::ENDED_NON_QUIESCENT);
        } else {
            state.times.quiesced = Some(ticks);
            state.leave_call();
        }
        if faults::on("second-terminal-event") {
            self.log_of(state);
            self.write(state, now, EventKind::Ended(status), &mut after.wakers);
        }
        let stays = self.write_end(state, status, non_quiescent, now, &mut after.wakers);
        state.times.ended = Some(ticks);
        self.shared.ledger.count_out(self.account(state));
        self.shared.registry.count_end(state.parent_id.is_none(), &mut after.wakers);
        let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
        let unseen_failure = status == RunStatus::Failed && state.reader == Reader::GoneUnread;
        if state.failure.is_some()
            && state.reader != Reader::Held
            && !(unseen_failure && parent.is_some())
            && !faults::on("keep-the-error")
        {
            after.rare().failure = state.take_failure();
        }
        let gone = ChildEnd {
            status,
            slot: state.slot,
            unseen_failure,
            non_quiescent,
            stays,
            charged: self.charged(state),
            omitted: state.children.omitted().copied().map(Box::new),
        };
        if let Some(parent) = parent {
            after.todo.push(Propagation::ChildEnded { parent, child: Arc::clone(self), gone });
        }
        if non_quiescent { flags::ENDED_NON_QUIESCENT } else { 0 }
    }
}
