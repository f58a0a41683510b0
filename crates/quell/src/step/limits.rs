//! [`Node::set_limits`] gives a run other limits while it runs.
//!
//! The change is an input of the lifecycle, applied under the lock of the node as every other one:
//! of a change and a stop, be it that of the old limit, one comes first. A timer that was popped
//! for the old limit ticks a lifecycle that knows the new one only.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::Input;
use quell_core::{LimitsOutcome, NewLimits};

use crate::node::{Node, State};
use crate::step::StopOrigin;
use crate::step::cascade::CHUNK;
use crate::time::idle::IdleWatch;

impl Node {
    /// Gives the run these limits, unless a stop was accepted, and tells what came of it.
    pub(crate) fn set_limits(self: &Arc<Self>, limits: NewLimits) -> LimitsOutcome {
        if limits.sets_idle() {
            self.watch_idle();
        }
        let now = self.shared.clock.now();
        let (mut deferred, outcome) = {
            let mut state = self.lock();
            let input = Input::LimitsChanged {
                limits,
                queued_at: self.shared.clock.at_ticks(state.times.queued),
                active_at: self.active_at(&state),
            };
            let deferred =
                self.step_locked(&mut state, input, StopOrigin::default(), now, |_, _| {});
            let status = state.life.status();
            let outcome = match state.life.hard_deadline().filter(|_| state.life.is_stopping()) {
                _ if deferred.fx.refused && status.is_terminal() => {
                    Some(LimitsOutcome::AlreadyTerminal { status })
                }
                Some(hard_deadline) if deferred.fx.refused => {
                    let cause = self.refusal(&state).cause;
                    Some(LimitsOutcome::AlreadyStopping { cause, hard_deadline })
                }
                Some(hard_deadline) => Some(LimitsOutcome::Exceeded { hard_deadline }),
                None => None,
            };
            (deferred, outcome)
        };
        self.carry_out(&mut deferred, now);
        // Asked without the lock: ancestors are locked before their descendants.
        outcome.unwrap_or_else(|| LimitsOutcome::Changed { deadline: self.deadline() })
    }

    /// Yields when the subtree last showed a sign of life, as far as it is watched.
    pub(crate) fn active_at(&self, state: &State) -> Instant {
        let ticks = state.idle.as_ref().map_or(state.times.queued, |idle| idle.ticks());
        self.shared.clock.at_ticks(ticks)
    }

    /// Makes sure that signs of life in the subtree are watched for an idle limit of this very run.
    /// A new watch counts from now on: nobody knows what was before.
    fn watch_idle(self: &Arc<Self>) {
        let is_needless = |state: &State| {
            let is_watched = state.idle.as_ref().is_some_and(|idle| idle.is_of(self.id));
            is_watched || state.life.is_stopping() || state.is_ended()
        };
        if is_needless(&self.lock()) {
            return;
        }
        loop {
            let log = self.log();
            // Nobody leaves the tree, or puts a watch of its own between, while this one spreads.
            let _moving = log.moving.lock();
            if Arc::ptr_eq(&log, &self.log()) {
                let mut state = self.lock();
                if !is_needless(&state) {
                    let now = self.shared.clock.ticks(self.shared.clock.now());
                    let before = state.idle.take();
                    let watch = Arc::new(IdleWatch::new(self.id, now, before.as_ref()));
                    state.idle = Some(Arc::clone(&watch));
                    drop(state);
                    self.spread_watch(&watch, before.as_ref());
                }
                return;
            }
        }
    }

    /// Has the runs below show their signs of life to a new watch of this run. Parents come first:
    /// a run that is spawned meanwhile takes the watch of a parent that has it, or is found in the
    /// list of one that has it not. So the children of one run are copied in pieces.
    fn spread_watch(self: &Arc<Self>, watch: &Arc<IdleWatch>, before: Option<&Arc<IdleWatch>>) {
        let (mut stack, mut chunk) = (vec![(Arc::clone(self), 0)], Vec::new());
        while let Some((node, from)) = stack.pop() {
            let more = node.lock().children.copy(from, CHUNK, &mut chunk);
            stack.extend(more.map(|from| (node, from)));
            for child in chunk.drain(..) {
                let mut state = child.lock();
                match &state.idle {
                    // It was spawned since then, and so was what is below.
                    Some(idle) if Arc::ptr_eq(idle, watch) => {}
                    Some(idle) if before.is_none_or(|before| !Arc::ptr_eq(idle, before)) => {
                        idle.put_under(watch, before);
                    }
                    _ => {
                        state.idle = Some(Arc::clone(watch));
                        drop(state);
                        stack.push((child, 0));
                    }
                }
            }
        }
        // What was shown meanwhile by those that did not have it yet.
        watch.start_from(self.shared.clock.ticks(self.shared.clock.now()));
    }
}
