//! [`frames`]: the last events of a run, or of its attempt, which hold all that it has said.

use quell::{EventKind, RunEvent};
use quell_http::{Reading, SseEvent, View, offload_if_large};

use crate::snapshot;
use crate::wire::event::{Line, Renderer};
use crate::wire::position::Position;

/// Makes the frames of an event with which a run has ended or is paused, of what was read of it;
/// nothing was if it is gone, and then its lines only count. Yields the renderer with them; none if
/// the work broke. It goes on if the client leaves.
///
/// The whole transcript is made on another thread, after room was found for it; without room it is
/// made from the small snapshot. Only the last event of a stream waits for room: an earlier one
/// must not delay those that follow it.
pub(crate) async fn frames(
    view: &View,
    mut renderer: Renderer,
    event: RunEvent,
    tree: Option<(Reading, Position)>,
) -> Option<(Vec<SseEvent>, Renderer)> {
    let tree = tree.map(|(reading, position)| match event.kind {
        EventKind::Paused { .. } => (reading.as_paused_by(&event), position),
        _ => (reading, position),
    });
    let about = tree.as_ref().map_or(0, |(reading, _)| reading.weight());
    let is_last = event.run == event.root;
    let room = if is_last { view.room_soon(about).await } else { view.room_now(about) };
    let work = async move {
        let tree = tree.map(|(reading, position)| match &room {
            Ok(_) => snapshot::read_at(&reading, &position),
            Err(_) => snapshot::small_of(&reading, position),
        });
        let lines = renderer.on(&event, tree.as_ref());
        let frames: Vec<_> = match room {
            Ok(mut room) => frames_of(&lines).map(|frame| frame.in_room(&mut room)).collect(),
            Err(_) => frames_of(&lines).collect(),
        };
        (frames, renderer)
    };
    offload_if_large(about, work).await.ok()
}

/// Writes lines as they are sent.
pub(crate) fn frames_of(lines: &[Line]) -> impl Iterator<Item = SseEvent> {
    lines.iter().map(|(name, data)| SseEvent::json(name.as_str(), data))
}
