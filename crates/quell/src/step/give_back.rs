//! [`Node::hold_admission`] and [`Node::publish`]: what a step gives back to admission, and when
//! others see it.

use std::sync::Arc;
use std::time::Instant;

use crate::node::{Node, State, flags};
use crate::step::deferred::Deferred;
use crate::tables::admission::Leaving;

impl Node {
    /// Locks admission if the run gives something back to it by this step: before the event that
    /// says so is written, until the flags are published. A caller that reads the one or the other
    /// finds the lane and the slots free, and nobody has them before.
    pub(super) fn hold_admission(&self) -> Option<Leaving<'_, Self>> {
        (self.flags() & flags::GATED != 0).then(|| self.shared.admission.hold())
    }

    /// Publishes the flags, under the lock of admission if the run gives something back.
    pub(super) fn publish(
        self: &Arc<Self>,
        state: &State,
        set: u32,
        leaving: Option<Leaving<'_, Self>>,
        now: Instant,
        deferred: &mut Deferred,
    ) {
        let Some(leaving) = leaving else { return self.mirror(state, set) };
        // A slot is free only when the run is quiescent (I27).
        let slots = state.life.is_quiescent();
        let publish = || self.mirror(state, set);
        let fx = &deferred.fx;
        let goes_on = fx.ended.is_none() && !fx.quiesced && state.times.started.is_some();
        let free = if fx.paused {
            leaving.rest(self, now, publish)
        } else if goes_on {
            leaving.stand_down(self, now, publish)
        } else {
            leaving.leave(self, slots, now, publish)
        };
        if !free.is_empty() {
            deferred.rare().free.add(free);
        }
    }
}
