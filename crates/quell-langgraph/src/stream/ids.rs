//! The ids of the frames of a resumable stream.

use quell::RunEvent;

use crate::stream::late::Late;
use crate::stream::stream::Render;
use crate::wire::event_id::{event_id, ms_of};

impl Render {
    /// Gives ids to the frames of a resumable stream, and leaves out those that the client has.
    pub(super) fn numbered(&self, event: &RunEvent, frames: Vec<Late>) -> Vec<Late> {
        if !self.tracked.is_resumable {
            return frames;
        }
        let ms = ms_of(event);
        let slots: Vec<_> = frames.iter().map(|frame| frame.slot).collect();
        let frames = frames.into_iter().enumerate().filter_map(|(nth, frame)| {
            let Some(slot) = frame.slot else { return Some(frame) };
            let id = event_id(ms, event.seq, slot);
            if self.floor.as_ref().is_some_and(|floor| id <= *floor) {
                return None;
            }
            // Of several frames of a slot the last one has the id: who has that has them all.
            let has_more = slots.get(nth + 1) == Some(&Some(slot));
            Some(if has_more { frame } else { frame.id(id) })
        });
        frames.collect()
    }
}
