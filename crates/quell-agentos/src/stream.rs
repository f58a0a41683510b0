//! [`frames`]: the stream of a run, whose log is rendered as it grows.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::future::Either;
use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunRef};
use quell_http::{
    LookupError, Reading, RunEvents, RunView, SseEvent, TreeSaid, View, answered, events_by_now,
    external_id, offload_if_large,
};

use crate::snapshot;
use crate::wire::event::{Line, Renderer, Style};
use crate::wire::position::Position;

/// Streams the tree of a root from the event after this one that is still held, a pause or zero, to
/// its end or to the pause that ends its attempt. Pauses of earlier attempts are passed by.
pub(crate) fn frames(
    view: &View,
    run: &RunRef,
    after: u64,
    style: Style,
) -> Option<impl Stream<Item = SseEvent> + Send + use<>> {
    let position = Position::root(view.component_of(run)?, external_id(run));
    let session = snapshot::session_of(&run.into());
    let renderer = Renderer::new(run.id(), position, session, style);
    let renderer = if after > 0 { renderer.behind_a_pause() } else { renderer };
    let attempt = match run.attempt() {
        attempt if after > 0 || attempt <= 1 => attempt,
        _ => answered(events_by_now(run, 0)),
    };
    let source = Source {
        after,
        events: Either::Left(view.service().events(run, after)),
        far: None,
        root: Some(run.clone()),
        attempt,
        seen: if after > 0 { attempt } else { 1 },
        is_over: false,
        renderer: Some(renderer),
        view: view.clone(),
        ready: VecDeque::new(),
    };
    Some(unfold(source, |mut source| async move {
        let frame = source.next().await?;
        Some((frame, source))
    }))
}

/// As [`frames`], of a root that is only in the store: perhaps another node has it. The log is read
/// from its begin, and what is not after this event is not shown.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn far_frames(
    view: &View,
    run: &RunView,
    after: u64,
    style: Style,
) -> Result<Option<impl Stream<Item = SseEvent> + Send + use<>>, LookupError> {
    let Some(component) = view.component_of(run) else { return Ok(None) };
    let position = Position::root(component, run.external_id());
    let renderer = Renderer::new(run.id(), position, snapshot::session_of(run), style);
    let renderer = if after > 0 { renderer.behind_a_pause() } else { renderer };
    let attempt = match run {
        RunView::Stored(stored) if after == 0 => view.answered_by_now(stored).await,
        run => run.attempt(),
    };
    let source = Source {
        after,
        events: Either::Right(Box::pin(view.events(run, 0).await?)),
        far: Some(view.tree_said()),
        root: None,
        attempt,
        seen: 1,
        is_over: false,
        renderer: Some(renderer),
        view: view.clone(),
        ready: VecDeque::new(),
    };
    Ok(Some(unfold(source, |mut source| async move {
        let frame = source.next().await?;
        Some((frame, source))
    })))
}

struct Source {
    /// The number of the last event that is not shown.
    after: u64,
    events: Either<RunEvents, Pin<Box<dyn Stream<Item = RunEvent> + Send>>>,
    /// What the tree has said of a run that is only in the store.
    far: Option<TreeSaid>,
    /// The root, if it is in memory: it may be forgotten before its end is told.
    root: Option<RunRef>,
    /// None while it is at work on another thread, and for ever if it broke there.
    renderer: Option<Renderer>,
    view: View,
    ready: VecDeque<SseEvent>,
    /// The attempt that the last answer had begun when the client came: pauses before that are
    /// passed by.
    attempt: u32,
    /// The attempt that the last answer among the events so far has begun.
    seen: u32,
    is_over: bool,
}

impl Source {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.is_over {
                return None;
            }
            let event = self.events.next().await?;
            let is_pause = matches!(event.kind, EventKind::Paused { .. });
            match event.kind {
                EventKind::Resumed { attempt } => self.seen = attempt,
                _ if is_pause => self.is_over = self.seen >= self.attempt,
                _ => {}
            }
            match &mut self.far {
                None => self.render(event).await?,
                Some(said) => {
                    said.take(&event);
                    // The pause that was answered may be stored before the event that tells of it.
                    let is_answered = self.after > 0 && is_pause && self.seen < self.attempt;
                    if event.last_seq() <= self.after || is_answered {
                        continue;
                    }
                    // On the heap: for a run that is here nobody pays for its size.
                    Box::pin(self.render_far(event)).await?;
                }
            }
        }
    }

    /// As [`Source::render`], of a run that is only in the store.
    async fn render_far(&mut self, event: RunEvent) -> Option<()> {
        let mut renderer = self.renderer.take()?;
        let is_end = matches!(event.kind, EventKind::Ended(_) | EventKind::Paused { .. });
        let position = renderer.position(event.run).filter(|_| is_end).cloned();
        let tree = match position {
            Some(position) => {
                let reading = read_far(&self.view, &event, self.far.as_ref()?).await;
                reading.map(|reading| (reading, position))
            }
            None => None,
        };
        let about = tree.as_ref().map_or(0, |(reading, _)| reading.weight());
        let is_last = event.run == event.root;
        let room =
            if is_last { self.view.room_soon(about).await } else { self.view.room_now(about) };
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
        let (frames, renderer) = offload_if_large(about, work).await.ok()?;
        self.ready.extend(frames);
        self.renderer = Some(renderer);
        Some(())
    }

    async fn render(&mut self, event: RunEvent) -> Option<()> {
        let mut renderer = self.renderer.take()?;
        if matches!(event.kind, EventKind::Lagged { .. }) {
            let engine = self.view.service().engine();
            renderer.retain(|run| engine.get(run).is_some());
        }
        let needs_place =
            !matches!(event.kind, EventKind::Queued { .. } | EventKind::Lagged { .. });
        let own = self.root.as_ref().filter(|own| own.id() == event.run).cloned();
        let run = own.or_else(|| self.view.service().engine().get(event.run));
        if needs_place
            && renderer.position(event.run).is_none()
            && let Some(position) =
                run.as_ref().and_then(|run| snapshot::position_of(&self.view, &run.into()))
        {
            renderer.adopt(event.run, position);
        }
        let is_end = matches!(event.kind, EventKind::Ended(_) | EventKind::Paused { .. });
        let position = renderer.position(event.run).filter(|_| is_end).cloned();
        let Some((position, run)) = position.zip(run) else {
            self.ready.extend(frames_of(&renderer.on(&event, None)));
            self.renderer = Some(renderer);
            return Some(());
        };
        // The event of an end holds the whole transcript. It is made on another thread, after room
        // was found for it; without room it is made from the small snapshot. Only the last event of
        // the stream waits for room: an earlier one must not delay those that follow it.
        let report = run.report();
        let about = self.view.weight(&report);
        let is_last = event.run == event.root;
        let room =
            if is_last { self.view.room_soon(about).await } else { self.view.room_now(about) };
        let view = self.view.clone();
        // The work has the room: it goes on if the client leaves.
        let work = async move {
            let tree = if room.is_ok() {
                snapshot::read_at(&view.read_live(&run, report), &position)
            } else {
                snapshot::small(&view, &run, position)
            };
            let lines = renderer.on(&event, Some(&tree));
            let frames: Vec<_> = match room {
                Ok(mut room) => frames_of(&lines).map(|frame| frame.in_room(&mut room)).collect(),
                Err(_) => frames_of(&lines).collect(),
            };
            (frames, renderer)
        };
        let (frames, renderer) = offload_if_large(about, work).await.ok()?;
        self.ready.extend(frames);
        self.renderer = Some(renderer);
        Some(())
    }
}

/// Reads the run of an event, with which it has ended or is paused. The record of an end may come
/// behind its event. That of a pause comes before it, and may tell of what has come since.
async fn read_far(view: &View, event: &RunEvent, said: &TreeSaid) -> Option<Reading> {
    let found = view.find_patiently(event.run).await.ok()??;
    let over = match &found {
        RunView::Stored(stored) if matches!(event.kind, EventKind::Ended(_)) => {
            view.ended_or_paused(stored).await.ok()?
        }
        RunView::Live(_) | RunView::Stored(_) => Some(found),
    };
    match over? {
        RunView::Stored(stored) => Some(view.read_tree_of(&stored, said).await),
        run @ RunView::Live(_) => view.read(run).await.ok(),
    }
}

fn frames_of(lines: &[Line]) -> impl Iterator<Item = SseEvent> {
    lines.iter().map(|(name, data)| SseEvent::json(name.as_str(), data))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use quell::{Engine, Payload, RunContext, RunId, ToolOutcome, limits};
    use quell_flow::{Catalog, Component};
    use quell_http::{Principal, Service, ServiceLimits, Start};
    use serde::{Serialize, Serializer};
    use tokio::task::yield_now;

    use super::*;

    /// Says when it is being written, and is when it may.
    struct Slow(Mutex<(Sender<()>, Receiver<()>)>);

    impl Serialize for Slow {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let (begins, goes_on) = &*self.0.lock().unwrap();
            begins.send(()).unwrap();
            goes_on.recv().unwrap();
            to.serialize_unit()
        }
    }

    #[tokio::test]
    async fn events_of_an_end_that_are_made_for_a_client_who_has_left_count_until_they_are_made() {
        let ((begins, begun), (goes_on, waits)) = (channel(), channel());
        let slow = Slow(Mutex::new((begins, waits)));
        let output = Payload::json_later(slow, 800_000);
        let agent = Component::agent("a", move |_ctx: RunContext, _input: Payload| {
            let output = output.clone();
            async move { Ok(output) }
        });
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = 1_000_000;
        let service = Service::new(Engine::new(), Catalog::new().with(agent)).limits(limits);
        let view = service.view(crate::options::CONTRACT, Principal::anonymous());
        let start = Start::new(view.find_component("a").unwrap(), Payload::from("hi"));
        let run = view.start(start).await.unwrap().run;
        run.quiescent().await;
        let mut stream = Box::pin(frames(&view, &run, 0, Style::default()).unwrap());
        while begun.try_recv().is_err() {
            drop(futures::poll!(stream.next()));
            yield_now().await;
        }
        drop(stream);
        assert!(view.room_now(300_000).is_err(), "they are being made");
        goes_on.send(()).unwrap();
        drop(view.room_soon(1_000_000).await.unwrap());
    }

    #[test]
    fn open_tool_calls_are_bounded_and_an_end_of_a_call_without_a_start_is_not_told() {
        let agent = Arc::new(Component::agent("a", async |_ctx, input: Payload| Ok(input)));
        let (root, input) = (RunId::from_text("r"), Payload::from("in"));
        let position = Position::root(&agent, "r");
        let mut renderer = Renderer::new(root, position, "s".into(), Style::default());
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
