//! What is counted of a step of a run, under its lock, where it is decided. What the store has
//! refused, and what is left to the next process, did not happen here.

use quell_core::{CauseKind, RunStatus};

use crate::node::{Node, State};
use crate::time::ticks::Ticks;

impl Node {
    /// Counts how long a root has waited for its first start. How long a child waits for a worker
    /// says nothing about a queue.
    pub(crate) fn count_start(&self, state: &State, at: Ticks) {
        if state.parent_id.is_some() || state.times.started.is_some() {
            return;
        }
        let due = self.gate().and_then(|gate| gate.not_before);
        let since = due
            .map_or(state.times.queued, |due| self.shared.clock.ticks(due).max(state.times.queued));
        self.shared.counters.queue_wait.record(at.since(since));
    }

    /// Counts an end. `is_over` says that nothing of the run executes any more.
    pub(super) fn count_end(&self, state: &State, status: RunStatus, at: Ticks, is_over: bool) {
        if self.is_unkept() {
            return;
        }
        let counters = &self.shared.counters;
        counters.run_ended(status, state.cause.as_ref().map(|cause| cause.kind));
        if let Some(stopped) = own_stop(state) {
            counters.cancel_to_terminal.record(at.since(stopped));
            if is_over {
                counters.cancel_to_quiescent.record(at.since(stopped));
            }
        }
    }

    /// Counts that nothing executes any more of a run that has ended before.
    pub(super) fn count_quiescence(&self, state: &State, at: Ticks) {
        if self.is_unkept() {
            return;
        }
        let counters = &self.shared.counters;
        if let Some(ended) = state.times.ended {
            counters.honesty_gap.record(at.since(ended));
        }
        if let Some(stopped) = own_stop(state) {
            counters.cancel_to_quiescent.record(at.since(stopped));
        }
    }
}

/// Yields when the stop of a run was accepted that it was asked for itself. A stop that comes from
/// above is counted there: one press of a button is one stop, however many runs it reaches.
fn own_stop(state: &State) -> Option<Ticks> {
    let kind = state.cause.as_ref()?.kind;
    let is_from_above = matches!(kind, CauseKind::ParentStopped | CauseKind::ParentFailed);
    state.times.stopped.filter(|_| !is_from_above)
}
