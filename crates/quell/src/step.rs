//! One input at one node: decide under the lock, write down, and leave the rest for afterwards.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{BodyAction, Effects, HookAction, Input, Trigger};
use quell_core::{
    Abandoned, CancelRequest, Cause, CauseKind, EventKind, HookOutcome, RunStatus, ToolOutcome,
    Work,
};

use crate::cascade;
use crate::faults;
use crate::foreign;
use crate::node::{After, Gone, Node, Reader, State, Todo};
use crate::waiters::Wakers;
use crate::word;

/// What comes with an input besides the input.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note<'a> {
    /// The request, for a stop of this run.
    pub(crate) request: Option<&'a CancelRequest>,
    /// The cause, for a stop that comes from elsewhere.
    pub(crate) cause: Option<&'a Arc<Cause>>,
}

impl Node {
    /// Applies one input and everything that follows from it, here and at other nodes; `edit` is
    /// called under the lock, between the decision and its record.
    pub(crate) fn apply(
        self: &Arc<Self>,
        input: Input,
        note: Note<'_>,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> Effects {
        let now = self.shared.clock.now();
        let mut after = self.step(input, note, now, edit);
        let fx = after.fx;
        let todo = std::mem::take(&mut after.todo);
        if fx.ended.is_some() {
            // The handle is ready before the parent counts the child out: the last poll of a
            // parent that does not listen must find it (D10).
            self.finish(&mut after, now);
            cascade::work_off(todo, now);
        } else {
            // Descendants are signalled before this run's own waiters wake.
            cascade::work_off(todo, now);
            self.finish(&mut after, now);
        }
        fx
    }

    /// Decides and records under the lock.
    pub(crate) fn step(
        self: &Arc<Self>,
        input: Input,
        note: Note<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> After {
        let mut state = self.lock();
        self.step_locked(&mut state, input, note, now, edit)
    }

    /// As [`Node::step`], for a caller that holds the lock already.
    pub(crate) fn step_locked(
        self: &Arc<Self>,
        state: &mut State,
        input: Input,
        note: Note<'_>,
        now: Instant,
        edit: impl FnOnce(&mut State, &Effects),
    ) -> After {
        let mut fx = state.life.on(input, now);
        let is_told = matches!(input, Input::ParentStopped { .. }) && state.times.ended.is_none();
        if is_told && self.word() & word::TELLING != 0 {
            // Who tells those below may be slower than the one above, who answers for them too.
            fx.cascade = state.life.cascade();
        }
        let mut after = After { fx, ..After::default() };
        edit(state, &fx);
        if matches!(input, Input::Started) && !fx.refused {
            self.write(state, now, EventKind::Started, &mut after.wakers);
            state.times.started = Some(self.shared.clock.ticks(now));
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
    pub(crate) fn finish(self: &Arc<Self>, after: &mut After, now: Instant) {
        let After { wakers, todo, cause, fx, retire, rare } = after;
        debug_assert!(todo.is_empty(), "what is to be done elsewhere was done");
        if let Some(rare) = rare.take() {
            self.finish_rare(*rare, *fx, cause.as_ref());
        }
        foreign::wake(std::mem::take(wakers));
        drop(foreign::call(|| self.trace(fx, cause.as_deref())));
        let shared = &self.shared;
        let gated = shared.admission.concerns(self.gate());
        if gated && fx.ended.is_some() {
            shared.admission.ended(self, now).start();
        }
        if *retire {
            if gated {
                shared.admission.quiesced(self.id, now).start();
            }
            shared.retire(self, now);
        }
    }

    fn record(
        self: &Arc<Self>,
        state: &mut State,
        note: Note<'_>,
        now: Instant,
        after: &mut After,
    ) {
        let fx = after.fx;
        let mut set = 0;
        if fx.scheduled {
            let cause = Arc::new(self.cause_of(note, now));
            state.extra().scheduled = Some(Arc::clone(&cause));
            set |= word::SCHEDULED;
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
            BodyAction::PollThenDrop => set |= word::POLL_DROP,
            BodyAction::Drop => set |= word::DROP,
        }
        if fx.body != BodyAction::Leave {
            after.wakers.extend(state.body.clone());
        }
        if state.life.is_aborting() && self.word() & word::ABORTING == 0 {
            set |= word::ABORTING;
            state.waiters.drain_into(&mut after.wakers);
        }
        if let Some(cascade) = fx.cascade
            && (cascade.failing || state.life.live_children() > 0)
        {
            if cascade.failing {
                set |= word::FAILING;
            }
            set |= word::TELLING;
            let cause = self.cause_for_children(state, cascade.failing, now);
            after.todo.push(Todo::Cascade(Arc::clone(self), cascade, cause));
        }
        if let Some(stage) = fx.ladder {
            after.todo.push(Todo::Ladder(Arc::clone(self), stage));
        }
        if let Some(status) = fx.ended {
            set |= self.record_end(state, status, now, after);
        }
        if fx.quiesced {
            state.times.quiesced = Some(self.shared.clock.ticks(now));
            self.write(state, now, EventKind::Quiesced, &mut after.wakers);
            let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
            after.todo.extend(parent.map(Todo::ChildQuiesced));
        }
        self.mirror(state, set);
        if fx.ended.is_some() || fx.quiesced {
            // Only now the word says so; readers that are through must look again.
            state.waiters.drain_into(&mut after.wakers);
            if let Some(log) = &state.log {
                log.drain_waiters(&mut after.wakers);
            }
            after.retire = state.life.is_quiescent() && state.parent_id.is_none();
        }
    }

    fn record_stop(
        self: &Arc<Self>,
        state: &mut State,
        trigger: Trigger,
        note: Note<'_>,
        now: Instant,
        after: &mut After,
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
        if let Some(token) = state.extra.as_ref().and_then(|extra| extra.token.as_ref()) {
            after.rare().token = Some(token.clone());
        }
        self.write(state, now, EventKind::Stopping(cause), &mut after.wakers);
        state.times.stopped = Some(self.shared.clock.ticks(now));
        state.waiters.drain_into(&mut after.wakers);
    }

    fn cause_of(&self, note: Note<'_>, now: Instant) -> Cause {
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
        cause.message = state.failure.as_ref().map(|failure| failure.to_string().into());
        let cause = Arc::new(cause);
        state.extra().failing = Some(Arc::clone(&cause));
        cause
    }

    fn record_hooks(&self, state: &mut State, now: Instant, after: &mut After) {
        let action = after.fx.hooks;
        if action == HookAction::Leave {
            return;
        }
        let Some(extra) = &mut state.extra else { return };
        let waiting = std::mem::take(&mut extra.hooks);
        if action == HookAction::Run {
            after.cause.clone_from(&state.cause);
            let place = state.extra().note_work(Work::Hook, self.hook_name());
            let rare = after.rare();
            (rare.hooks, rare.place) = (waiting, Some(place));
            if faults::on("forget-hook") && rare.hooks.len() > 1 {
                rare.hooks.pop();
            }
            return;
        }
        if action == HookAction::RunNew {
            after.cause.clone_from(&state.cause);
            extra.hooks = waiting;
            let (newest, name) = (extra.hooks.pop(), self.hook_name());
            let place = state.extra().note_work(Work::Hook, name);
            let rare = after.rare();
            rare.hooks.extend(newest);
            rare.place = Some(place);
            return;
        }
        if action == HookAction::Abort {
            after.rare().runners = std::mem::take(&mut extra.runners);
        }
        if after.fx.refused {
            for hook in &waiting {
                self.skip_hook(state, hook.number, now, &mut after.wakers);
            }
        } else if !waiting.is_empty() {
            after.rare().place = Some(state.extra().note_work(Work::Hook, self.hook_name()));
        }
        after.rare().dropped = waiting;
    }

    fn hook_name(&self) -> Arc<str> {
        format!("{} hook", self.name).into()
    }

    /// Says that a hook was not started.
    pub(crate) fn skip_hook(
        &self,
        state: &mut State,
        hook: u32,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        state.extra().hooks_skipped += 1;
        if state.times.ended.is_none() {
            let outcome = HookOutcome::Skipped;
            self.write(state, now, EventKind::HookEnded { hook, outcome }, wakers);
        }
    }

    fn record_end(
        self: &Arc<Self>,
        state: &mut State,
        status: RunStatus,
        now: Instant,
        after: &mut After,
    ) -> u32 {
        let ticks = self.shared.clock.ticks(now);
        let mut abandoned = Vec::new();
        if after.fx.body_abandoned {
            abandoned.push(Abandoned::new(self.id, Arc::clone(&self.name), Work::Body));
        }
        if let Some(extra) = &mut state.extra {
            let works = extra.works.iter().flatten();
            abandoned
                .extend(works.map(|(what, name)| Abandoned::new(self.id, Arc::clone(name), *what)));
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
        let restless = !state.life.is_quiescent();
        if restless {
            // The stream must know what may follow before it meets the event.
            self.mirror(state, word::RESTLESS);
        } else {
            state.times.quiesced = Some(ticks);
        }
        if faults::on("second-terminal-event") {
            self.log_of(state);
            self.write(state, now, EventKind::Ended(status), &mut after.wakers);
        }
        self.write(state, now, EventKind::Ended(status), &mut after.wakers);
        state.times.ended = Some(ticks);
        self.shared.registry.count_end(state.parent_id.is_none(), &mut after.wakers);
        let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
        let gone = Gone {
            status,
            slot: state.slot,
            unseen_failure: status == RunStatus::Failed && state.reader == Reader::GoneUnread,
            restless,
            has_rows: !state.kids.is_empty(),
            omitted: state.kids.omitted().copied().map(Box::new),
        };
        if let Some(parent) = parent {
            after.todo.push(Todo::ChildEnded { parent, child: Arc::clone(self), gone });
        }
        if restless { word::RESTLESS } else { 0 }
    }

    fn trace(&self, fx: &Effects, cause: Option<&Cause>) {
        let (id, name) = (&self.id, &self.name);
        if fx.accepted.is_some() {
            let why = cause.map_or("", |cause| cause.kind.as_str());
            tracing::debug!(run.id = %id, run.name = %name, cause = why, "run is stopping");
        }
        if fx.aborted {
            tracing::warn!(run.id = %id, run.name = %name, "body was aborted");
        }
        if let Some(status) = fx.ended {
            if self.ended_restless() {
                tracing::warn!(run.id = %id, run.name = %name, %status, "run ended restless");
            } else {
                tracing::info!(run.id = %id, run.name = %name, %status, "run ended");
            }
        }
    }
}
