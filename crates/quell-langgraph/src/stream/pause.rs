//! [`Render::push_pause`]: what a stream shows of a pause (contract, section 8).

use quell::Payload;
use quell_http::SseEvent;

use crate::stream::late::Late;
use crate::stream::stream::{Render, end_frame};
use crate::wire::event_id::Slot;
use crate::wire::interrupt::Interrupt;

impl Render {
    /// Adds the frames with what a paused run asks: the last ones of the stream, unless it has had
    /// its answer.
    pub(super) fn push_pause(&self, frames: &mut Vec<Late>, request: &Payload) {
        let attempt = if self.is_over { self.asking.max(self.seen) } else { self.seen };
        let interrupt = Interrupt::new(self.run.id(), attempt, request.clone());
        if self.modes.has("updates") {
            frames.push(Late::made(Slot::Updates, SseEvent::json("updates", &interrupt.update())));
        }
        if self.modes.has("values") {
            let values = interrupt.within(self.fold.current().map(|values| &**values));
            frames.push(Late::made(Slot::Values, SseEvent::json("values", &values)));
        }
        if self.is_over && self.app.options().end_event {
            frames.push(Late::made(Slot::End, end_frame()));
        }
    }
}
