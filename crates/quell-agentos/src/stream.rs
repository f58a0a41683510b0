//! The stream of a run: its log, rendered as it grows.

use std::collections::VecDeque;

use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunRef};
use quell_http::{Frame, RunEvents, View, aside, shown_id};

use crate::gather;
use crate::wire::event::{Line, Renderer, Style};
use crate::wire::place::Place;

/// Streams the tree of a root from its first event that is still held.
pub(crate) fn frames(
    view: &View,
    run: &RunRef,
    style: Style,
) -> Option<impl Stream<Item = Frame> + Send + use<>> {
    let place = Place::root(view.component_of(run)?, shown_id(run));
    let session = gather::session_of(run);
    let source = Source {
        events: view.service().events(run, 0),
        renderer: Some(Renderer::new(run.id(), place, session, style)),
        view: view.clone(),
        ready: VecDeque::new(),
    };
    Some(unfold(source, |mut source| async move {
        let frame = source.next().await?;
        Some((frame, source))
    }))
}

struct Source {
    events: RunEvents,
    /// None while it is at work on another thread, and for ever if it broke there.
    renderer: Option<Renderer>,
    view: View,
    ready: VecDeque<Frame>,
}

impl Source {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let event = self.events.next().await?;
            self.render(event).await?;
        }
    }

    async fn render(&mut self, event: RunEvent) -> Option<()> {
        let mut renderer = self.renderer.take()?;
        if matches!(event.kind, EventKind::Lagged { .. }) {
            let engine = self.view.service().engine();
            renderer.retain(|run| engine.get(run).is_some());
        }
        let needs_place =
            !matches!(event.kind, EventKind::Queued { .. } | EventKind::Lagged { .. });
        let run = self.view.service().engine().get(event.run);
        if needs_place
            && renderer.place(event.run).is_none()
            && let Some(place) = run.as_ref().and_then(|run| gather::place_of(&self.view, run))
        {
            renderer.adopt(event.run, place);
        }
        let is_end = matches!(event.kind, EventKind::Ended(_));
        let place = renderer.place(event.run).filter(|_| is_end).cloned();
        let Some((place, run)) = place.zip(run) else {
            self.ready.extend(frames_of(&renderer.on(&event, None)));
            self.renderer = Some(renderer);
            return Some(());
        };
        // An end tells all that was said: what is large is put together on a thread of its own, in
        // room that is found before. If there is none, what is small of it is told. Only the end of
        // the stream waits for room: those before it must not hold up what follows them.
        let report = run.report();
        let about = self.view.weight(&report);
        let is_last = event.run == event.root;
        let room =
            if is_last { self.view.room_soon(about).await } else { self.view.room_now(about) };
        let (view, has_room) = (self.view.clone(), room.is_ok());
        let work = async move {
            let tree = if has_room {
                gather::read_at(&view, &run, &report, &place)
            } else {
                gather::small(&view, &run, place)
            };
            let lines = renderer.on(&event, Some(&tree));
            (frames_of(&lines).collect::<Vec<_>>(), renderer)
        };
        let (frames, renderer) = aside(about, work).await.ok()?;
        match room {
            Ok(mut room) => {
                self.ready.extend(frames.into_iter().map(|frame| frame.in_room(&mut room)));
            }
            Err(_) => self.ready.extend(frames),
        }
        self.renderer = Some(renderer);
        Some(())
    }
}

fn frames_of(lines: &[Line]) -> impl Iterator<Item = Frame> {
    lines.iter().map(|(name, data)| Frame::json(name.as_str(), data))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell::{Payload, RunId, ToolOutcome, limits};
    use quell_flow::Component;

    use super::*;

    #[test]
    fn open_tool_calls_are_bounded_and_an_end_of_a_call_without_a_start_is_not_told() {
        let agent = Arc::new(Component::agent("a", async |_ctx, input: Payload| Ok(input)));
        let (root, input) = (RunId::from_text("r"), Payload::from("in"));
        let place = Place::root(&agent, "r");
        let mut renderer = Renderer::new(root, place, "s".into(), Style::default());
        let mut tell = |kind| {
            let event = RunEvent::new(1, root, root, SystemTime::UNIX_EPOCH, kind);
            let lines = renderer.on(&event, None);
            lines.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let start = |call: usize| EventKind::ToolStarted {
            call: call.to_string().into(),
            name: "t".into(),
            input: input.clone(),
        };
        let end = |call: usize| EventKind::ToolEnded {
            call: call.to_string().into(),
            outcome: ToolOutcome::Result(None),
        };
        let calls = limits::EVENTS_PER_ROOT_MAX;
        for call in 0..calls {
            tell(start(call));
        }
        assert_eq!(tell(end(0)), ["ToolCallCompleted"], "so many are known");
        tell(start(calls));
        assert_eq!(tell(end(1)), ["ToolCallCompleted"], "one has ended, and made room");
        for call in [calls + 1, calls + 2] {
            assert_eq!(tell(start(call)), ["ToolCallStarted"]);
        }
        assert_eq!(tell(end(2)), [""; 0], "one too many: those of before are given up");
        assert_eq!(tell(end(calls + 2)), ["ToolCallCompleted"], "the last one is known");
        assert_eq!(tell(end(calls + 9)), [""; 0], "it never began");
    }
}
