//! The stream of a run: its log, rendered as it grows.

use std::collections::VecDeque;

use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunRef};
use quell_http::{Frame, RunEvents, View, shown_id};

use crate::gather;
use crate::wire::event::{Renderer, Style};
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
        renderer: Renderer::new(run.id(), place, session, style),
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
    renderer: Renderer,
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
            self.render(&event);
        }
    }

    fn render(&mut self, event: &RunEvent) {
        if matches!(event.kind, EventKind::Lagged { .. }) {
            let engine = self.view.service().engine();
            self.renderer.retain(|run| engine.get(run).is_some());
        }
        let needs_place =
            !matches!(event.kind, EventKind::Queued { .. } | EventKind::Lagged { .. });
        let run = || self.view.service().engine().get(event.run);
        if needs_place
            && self.renderer.place(event.run).is_none()
            && let Some(place) = run().and_then(|run| gather::place_of(&self.view, &run))
        {
            self.renderer.adopt(event.run, place);
        }
        let tree = match event.kind {
            EventKind::Ended(_) => self
                .renderer
                .place(event.run)
                .zip(run())
                .map(|(place, run)| gather::read_at(&self.view, &run, place)),
            _ => None,
        };
        let lines = self.renderer.on(event, tree.as_ref());
        self.ready.extend(lines.iter().map(|(name, data)| Frame::json(name.as_str(), data)));
    }
}
