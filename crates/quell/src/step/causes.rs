//! The causes of stops: that of a request, and what the children of a run are told.

use std::sync::Arc;
use std::time::Instant;

use quell_core::{Cause, CauseKind, limits};

use crate::node::{Node, State};
use crate::step::StopOrigin;
use crate::time::ticks::Ticks;

impl Node {
    /// Makes the cause of a stop that was asked for.
    pub(super) fn cause_of(&self, origin: StopOrigin<'_>, at: Ticks) -> Cause {
        let at = self.shared.clock.wall_at(at);
        origin.request.map_or_else(
            || Cause::new(CauseKind::UserRequest, at, self.id),
            |request| request.to_cause(at, self.id),
        )
    }

    /// Makes the cause with which the children are stopped: of a run that fails, or stops.
    pub(super) fn cause_for_children(
        &self,
        state: &mut State,
        failing: bool,
        now: Instant,
    ) -> Arc<Cause> {
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
}
