//! What follows from an input in the oracle: effects at the run itself, and news for others.

use quell::{CauseKind, HookOutcome, RunStatus, StopMode};
use quell_core::lifecycle::{Answer, BodyAction, Effects, HookAction, Input, Stage, Trigger};
use std::time::Duration;

use super::oracle::{Oracle, Ready, Runner, Said};

/// Why, and where it began.
type Cause = (CauseKind, usize);

impl Oracle<'_> {
    /// Gives an input to a run and carries out what follows, there and elsewhere.
    pub(crate) fn feed(&mut self, run: usize, input: Input, cause: Option<Cause>) -> Effects {
        let now = self.at(self.now);
        let node = self.node_mut(run);
        let mut fx = node.life.on(input, now);
        if fx.accepted.is_some() && (node.listens || node.parked) {
            let judged = node.life.on(Input::Judged { listens: node.listens }, now);
            fx.body = fx.body.max(judged.body);
        }
        if fx.scheduled {
            self.node_mut(run).scheduled = Some((CauseKind::UserRequest, run));
            self.touch(run);
        }
        if let Some(cascade) = fx.cascade {
            let hard = self.millis(cascade.hard);
            if cascade.failing {
                self.look_at_waiting_hooks(run, hard);
            } else {
                self.look_at_cleanup(run, hard);
            }
        }
        if let Some(trigger) = fx.accepted {
            self.note_stop(run, trigger, cause);
        }
        if fx.aborted {
            self.touch(run);
        }
        if fx.hooks == HookAction::Run && !self.node(run).life.is_stopping() {
            let hard = self.node(run).life.hard_deadline().map_or(self.now, |at| self.millis(at));
            self.look_at_cleanup(run, hard);
        }
        self.carry_out_hooks(run, &fx);
        self.carry_out_body(run, &fx);
        if let Some(stage) = fx.ladder {
            self.reach(run, stage);
        }
        if let Some(cascade) = fx.cascade {
            let cause = self.cause_for_children(run, cascade.failing);
            if cascade.failing {
                // Not always the body's own end: see `Oracle::end_body`.
                self.look_at_descendants(run);
            }
            for kid in self.node(run).kids.clone() {
                if self.node(kid).is_cleanup {
                    continue;
                }
                let spec = &self.plan.runs[kid];
                let input = Input::ParentStopped {
                    hard: cascade.hard,
                    wait: cascade.wait,
                    mode: cascade.mode,
                    own_grace: spec.grace.map(Duration::from_millis),
                };
                self.feed(kid, input, Some(cause));
            }
        }
        if let Some(status) = fx.ended {
            self.note_end(run, status, &fx);
        }
        if fx.quiesced {
            self.node_mut(run).told.quiesced = Some(self.now);
            self.touch(run);
            if let Some(parent) = self.node(run).parent {
                self.feed(parent, Input::ChildQuiesced, None);
            }
        }
        fx
    }

    fn note_stop(&mut self, run: usize, trigger: Trigger, cause: Option<Cause>) {
        let scheduled = self.node(run).scheduled;
        let cause = match trigger {
            Trigger::Request => (CauseKind::UserRequest, run),
            Trigger::Scheduled => scheduled.unwrap_or((CauseKind::UserRequest, run)),
            Trigger::Timeout | Trigger::StartWithin | Trigger::PauseExpired => {
                (CauseKind::Deadline, run)
            }
            Trigger::Idle => (CauseKind::IdleTimeout, run),
            Trigger::Parent => cause.unwrap_or((CauseKind::UserRequest, run)),
        };
        let now = self.now;
        let told = &mut self.node_mut(run).told;
        told.stopped = Some(now);
        told.cause = Some(cause);
        self.touch(run);
        if self.node(run).body.runs {
            self.ready.push_back(Ready::Poll(run));
        }
    }

    fn cause_for_children(&mut self, run: usize, failing: bool) -> Cause {
        let node = self.node_mut(run);
        match node.told.cause {
            Some((_, origin)) if !failing => (CauseKind::ParentStopped, origin),
            _ => {
                let cause = (CauseKind::ParentFailed, run);
                node.failing = Some(cause);
                cause
            }
        }
    }

    fn carry_out_hooks(&mut self, run: usize, fx: &Effects) {
        let node = self.node_mut(run);
        if fx.accepted.is_some() {
            let unneeded = std::mem::take(&mut node.unneeded);
            self.give_up(run, unneeded.into_iter().rev().collect());
        }
        let aborts = matches!(fx.hooks, HookAction::Abort | HookAction::AbortRunning);
        if aborts || fx.hooks == HookAction::Skip || fx.ended.is_some() {
            self.end_batches(run, aborts);
        }
        let node = self.node_mut(run);
        match fx.hooks {
            // The one just registered starts its runner itself: see `Oracle::add_hook`.
            HookAction::Leave
            | HookAction::RunNew
            | HookAction::SkipNew
            | HookAction::AbortRunning => {}
            HookAction::Run => {
                let waiting = std::mem::take(&mut node.hooks);
                self.start_runner(run, waiting);
            }
            HookAction::Abort | HookAction::Skip => self.discard_hooks(run),
        }
    }

    /// No runner starts another hook.
    fn end_batches(&mut self, run: usize, aborts: bool) {
        for runner in 0..self.node(run).runners.len() {
            let waiting = std::mem::take(&mut self.node_mut(run).runners[runner].waiting);
            self.give_up(run, waiting);
            if aborts {
                self.ready.push_back(Ready::AbortHooks(run, runner));
            }
        }
    }

    /// Hooks that never run are dropped, and that is a piece of work, too.
    fn discard_hooks(&mut self, run: usize) {
        let node = self.node_mut(run);
        let waiting = std::mem::take(&mut node.hooks);
        if !waiting.is_empty() {
            node.runners.push(Runner { waiting: Vec::new(), running: None, over: false });
            let runner = node.runners.len() - 1;
            self.ready.push_back(Ready::AbortHooks(run, runner));
            self.give_up(run, waiting);
        }
    }

    /// Hooks are not going to run. Without a stop those of a stop need not.
    fn give_up(&mut self, run: usize, waiting: Vec<(u32, usize)>) {
        for (number, step) in waiting.into_iter().rev() {
            if self.node(run).life.is_stopping() || self.is_of_every_end(run, step) {
                self.note_hook(run, number, HookOutcome::Skipped);
            } else {
                self.node_mut(run).unneeded.push((number, step));
            }
        }
    }

    /// Enters how a hook ended, if the run can still say so.
    pub(crate) fn note_hook(&mut self, run: usize, number: u32, outcome: HookOutcome) {
        let told = &mut self.node_mut(run).told;
        told.hooks_skipped += u32::from(outcome == HookOutcome::Skipped);
        if told.ended.is_none() {
            told.hooks.push((number, outcome));
            self.touch(run);
        }
    }

    pub(crate) fn start_runner(&mut self, run: usize, waiting: Vec<(u32, usize)>) {
        let node = self.node_mut(run);
        node.runners.push(Runner { waiting, running: None, over: false });
        let runner = node.runners.len() - 1;
        self.ready.push_back(Ready::Hook(run, runner));
    }

    fn carry_out_body(&mut self, run: usize, fx: &Effects) {
        let node = self.node_mut(run);
        if fx.body > node.body.wanted {
            node.body.wanted = fx.body;
        }
        let woken = fx.body != BodyAction::Leave || node.life.is_aborting();
        if woken && node.body.runs {
            self.ready.push_back(Ready::Poll(run));
        }
    }

    /// Takes a run and its live descendants to a stage, leaves first. What cleanup has spawned is
    /// stopped then: its time is over.
    fn reach(&mut self, run: usize, stage: Stage) {
        let mut subtree = vec![run];
        let mut next = 0;
        while next < subtree.len() {
            let kids = self.node(subtree[next]).kids.clone();
            subtree.extend(kids);
            next += 1;
        }
        let now = self.at(self.now);
        let above = self.node(run);
        let hard = above.life.hard_deadline().unwrap_or(now);
        let cause = above.told.cause.or(above.failing);
        for member in subtree.iter().copied() {
            if member != run && !self.node(member).life.is_stopping() {
                let input = Input::ParentStopped {
                    hard,
                    wait: Duration::from_millis(self.plan.wait),
                    mode: StopMode::Abort,
                    own_grace: None,
                };
                let cause = cause.map(|(_, origin)| (CauseKind::ParentStopped, origin));
                self.feed(member, input, cause);
            }
        }
        for member in subtree.into_iter().rev() {
            self.feed(member, Input::Ladder(stage), None);
        }
    }

    fn note_end(&mut self, run: usize, status: RunStatus, fx: &Effects) {
        let now = self.now;
        let node = self.node_mut(run);
        let non_quiescent = !node.life.is_quiescent();
        let runners = node.runners.iter().filter(|runner| !runner.over).count();
        node.told.status = Some(status);
        node.told.ended = Some(now);
        node.told.quiesced = (!non_quiescent).then_some(now);
        node.told.abandoned = usize::from(fx.body_abandoned) + node.holds + runners;
        let unseen_failure = status == RunStatus::Failed && node.unseen;
        let parent = node.parent;
        self.touch(run);
        if let Some(parent) = parent {
            self.node_mut(parent).kids.retain(|kid| *kid != run);
            self.feed(parent, Input::ChildEnded { unseen_failure, non_quiescent }, None);
        }
        // Its handle may be waited for, also where it is attached no more.
        if let Some(holder) = self.plan.parent(run) {
            self.ready.push_back(Ready::Poll(holder));
        }
    }

    pub(crate) fn said_of(&self, answer: Option<Answer>, cause: Option<CauseKind>) -> Said {
        let millis = |at| self.millis(at);
        match answer {
            Some(Answer::Accepted { hard }) => Said::Accepted(millis(hard)),
            Some(Answer::Scheduled { escalate_at }) => Said::Scheduled(millis(escalate_at)),
            Some(Answer::AlreadyStopping { hard }) => {
                Said::AlreadyStopping(millis(hard), cause.unwrap_or(CauseKind::UserRequest))
            }
            Some(Answer::Escalated { .. }) => Said::Escalated,
            Some(Answer::AlreadyTerminal(status)) => Said::Terminal(status),
            None => Said::Nothing,
        }
    }
}
