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
        // An end tells all that was said: what is large is put together on a thread of its own.
        let (view, report) = (self.view.clone(), run.report());
        let about = view.weight(&report);
        let work = async move {
            let tree = gather::read_at(&view, &run, &report, &place);
            let lines = renderer.on(&event, Some(&tree));
            (frames_of(&lines).collect::<Vec<_>>(), renderer)
        };
        let (frames, renderer) = aside(about, work).await.ok()?;
        self.ready.extend(frames);
        self.renderer = Some(renderer);
        Some(())
    }
}

fn frames_of(lines: &[Line]) -> impl Iterator<Item = Frame> {
    lines.iter().map(|(name, data)| Frame::json(name.as_str(), data))
}
