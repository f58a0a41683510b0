//! [`frames`]: the stream of a run, whose log is rendered as it grows.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::future::Either;
use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunRef};
use quell_http::{LookupError, RunEvents, RunView, SseEvent, TreeSaid, View};

use crate::begin::{Begin, Known};
use crate::ends;
use crate::lines::{Lines, place, renderer};
use crate::sessions::is_heard_of;
use crate::snapshot;
use crate::wire::event::{COUNTS_ONLY, Renderer, Style};
use crate::wire::position::Position;

/// Streams the tree of a root from the event after this one that is still held to its end or to the
/// pause that ends its attempt. Pauses of earlier attempts are passed by. A numbered stream is read
/// from the first event on, which may be in the store, and what is not shown is counted.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn frames(
    view: &View,
    run: &RunRef,
    begin: Begin,
    style: Style,
    lines: &Lines,
) -> Result<Option<impl Stream<Item = SseEvent> + Send + use<>>, LookupError> {
    let Some(renderer) = renderer(view, &run.into(), style) else { return Ok(None) };
    let attempt = match run.attempt() {
        _ if run.status().is_terminal() => ALL_PASSED_BY,
        attempt if begin.is_behind_a_pause() => attempt,
        _ => view.answered_by_now(run).await,
    };
    let is_behind_a_pause = begin.after > 0 && !style.has_index;
    let events: Events = if style.has_index {
        Either::Right(Box::pin(view.events(&run.into(), 0).await?))
    } else {
        Either::Left(view.service().events(run, begin.after))
    };
    let renderer = if is_behind_a_pause { renderer.behind_a_pause() } else { renderer };
    let seen = if is_behind_a_pause { attempt } else { 1 };
    let (root, lines) = (Some(run.clone()), style.has_index.then(|| lines.clone()));
    let source = Source::new(view, events, renderer, begin, attempt);
    let source = Source { root, lines, seen, ..source };
    Ok(Some(source.stream()))
}

/// As [`frames`], of a root that is only in the store: perhaps another node has it. The log is read
/// from its begin, unless that is known, and what is not after this event is not shown.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn far_frames(
    view: &View,
    run: &RunView,
    mut begin: Begin,
    style: Style,
) -> Result<Option<impl Stream<Item = SseEvent> + Send + use<>>, LookupError> {
    let is_behind_a_pause = begin.is_behind_a_pause();
    let known = begin.known.take();
    let attempt = match (run, &known) {
        (run, _) if run.status().is_terminal() => ALL_PASSED_BY,
        (run, _) if is_behind_a_pause => run.attempt(),
        (RunView::Stored(run), Some(known)) => run.answered().unwrap_or(known.answered),
        (run, _) => view.answered_by_now(run).await,
    };
    let from = if known.is_some() { begin.after } else { 0 };
    let unread = || renderer(view, run, style).map(|renderer| Known::new(view, renderer).into());
    let Some(known) = known.or_else(unread) else { return Ok(None) };
    let is_over = known.is_over(attempt);
    let Known { renderer, said, seen, .. } = *known;
    let events = Either::Right(Box::pin(view.events(run, from).await?) as Pin<Box<_>>);
    let source = Source::new(view, events, renderer, begin, attempt);
    Ok(Some(Source { far: Some(said), seen, is_over, ..source }.stream()))
}

/// The attempt of a run that has ended: each pause is passed by.
const ALL_PASSED_BY: u32 = u32::MAX;

/// The events of a log of this process, or those that may be in the store.
type Events = Either<RunEvents, Pin<Box<dyn Stream<Item = RunEvent> + Send>>>;

struct Source {
    /// The number of the last event that is not shown.
    after: u64,
    /// The index of the first line that is.
    index: u64,
    events: Events,
    /// What the tree has said of a run that is only in the store.
    far: Option<TreeSaid>,
    /// The root, if it is in memory: it may be forgotten before its end is told.
    root: Option<RunRef>,
    /// How many lines there were before a gap, of a numbered stream.
    lines: Option<Lines>,
    /// None while it is at work on another thread, and for ever if it broke there.
    renderer: Option<Renderer>,
    view: View,
    ready: VecDeque<SseEvent>,
    /// What comes behind an event.
    then: Option<(u64, SseEvent)>,
    /// The attempt that the last answer had begun when the client came: pauses before that are
    /// passed by.
    attempt: u32,
    /// The attempt that the last answer among the events so far has begun.
    seen: u32,
    is_over: bool,
}

/// An event whose last frame holds the whole transcript.
struct End {
    event: RunEvent,
    position: Position,
    /// Its run, if that is in memory.
    run: Option<RunRef>,
}

impl Source {
    fn new(
        view: &View,
        events: Events,
        mut renderer: Renderer,
        begin: Begin,
        attempt: u32,
    ) -> Self {
        renderer.write_from(begin.index);
        Self {
            after: begin.after,
            index: begin.index,
            events,
            far: None,
            root: None,
            lines: None,
            renderer: Some(renderer),
            view: view.clone(),
            ready: begin.first.into_iter().collect(),
            then: begin.then,
            attempt,
            seen: 1,
            is_over: false,
        }
    }

    fn stream(self) -> impl Stream<Item = SseEvent> + Send + use<> {
        unfold(self, |mut source| async move {
            let frame = source.next().await?;
            Some((frame, source))
        })
    }

    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    // It may wait for long, and thousands do.
                    self.ready = VecDeque::new();
                }
                return Some(frame);
            }
            if self.is_over {
                return None;
            }
            let event = self.events.next().await?;
            if let Some(root) = &self.root
                && event.run == root.id()
                && matches!(event.kind, EventKind::Ended(_))
            {
                // On the heap, as all that comes once: a stream mostly waits for an event.
                Box::pin(is_heard_of(&self.view, root)).await;
            }
            let seq = event.last_seq();
            self.take(event).await?;
            if let Some((_, said)) = self.then.take_if(|(last, _)| *last <= seq) {
                self.ready.push_back(said);
            }
        }
    }

    /// Makes the frames of an event. Yields nothing if no more can be made.
    async fn take(&mut self, event: RunEvent) -> Option<()> {
        let is_pause = matches!(event.kind, EventKind::Paused { .. });
        match event.kind {
            EventKind::Resumed { attempt } => self.seen = attempt,
            _ if is_pause => self.is_over = self.seen >= self.attempt,
            _ => {}
        }
        if let Some(said) = &mut self.far {
            said.take(&event);
        }
        // The pause that was answered may be stored before the event that tells of it.
        let is_answered = self.after > 0 && self.index == 0 && is_pause && self.seen < self.attempt;
        let gap =
            if let EventKind::Lagged { from, to } = event.kind { Some((from, to)) } else { None };
        let before = self.renderer.as_ref()?.lines();
        if event.last_seq() <= self.after || (is_answered && self.far.is_some()) {
            self.count(&event)?;
        } else if let Err(end) = self.render(event)? {
            Box::pin(self.render_end(end)).await?;
        }
        // Behind a gap every reader of the log goes on with one number: as many lines as were
        // counted, or as there are events in it.
        let Some((from, to)) = gap else { return Some(()) };
        let counted = self.lines.as_ref().zip(self.root.as_ref());
        let lines = counted.and_then(|(lines, root)| lines.up_to(root, to));
        self.renderer.as_mut()?.pass(lines.unwrap_or(before + (to + 1 - from)));
        Some(())
    }

    /// Takes an event in that is not shown.
    fn count(&mut self, event: &RunEvent) -> Option<()> {
        let renderer = self.renderer.as_mut()?;
        if self.far.is_none() {
            place(&self.view, renderer, event);
        }
        renderer.write_from(COUNTS_ONLY);
        drop(renderer.on(event, None));
        renderer.write_from(self.index);
        Some(())
    }

    /// Makes the frames of an event that is no end, and yields one that is.
    fn render(&mut self, event: RunEvent) -> Option<Result<(), Box<End>>> {
        let renderer = self.renderer.as_mut()?;
        let mut run = None;
        if self.far.is_none() {
            let known = place(&self.view, renderer, &event);
            let own = self.root.as_ref().filter(|own| own.id() == event.run).cloned();
            run = own.or(known);
        }
        let is_end = matches!(event.kind, EventKind::Ended(_) | EventKind::Paused { .. });
        if let Some(position) = renderer.position(event.run).filter(|_| is_end).cloned() {
            return Some(Err(Box::new(End { event, position, run })));
        }
        self.ready.extend(ends::frames_of(&renderer.on(&event, None)));
        Some(Ok(()))
    }

    async fn render_end(&mut self, end: Box<End>) -> Option<()> {
        let End { event, position, run } = *end;
        let renderer = self.renderer.take()?;
        let reading = match (run, &self.far, &self.root) {
            (Some(run), ..) => self.view.read(run.into()).await.ok(),
            (None, Some(said), _) => snapshot::read_far(&self.view, &event, said).await,
            // It ended in an earlier process, or at another node.
            (None, None, Some(root)) => {
                let said = self.view.tree_said_of(root).await;
                snapshot::read_far(&self.view, &event, &said).await
            }
            (None, None, None) => None,
        };
        let tree = reading.map(|reading| (reading, position));
        let (frames, renderer) = ends::frames(&self.view, renderer, event, tree).await?;
        self.ready.extend(frames);
        self.renderer = Some(renderer);
        Some(())
    }
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
        let (from, lines) = (Begin::default(), Lines::new(100));
        let stream = frames(&view, &run, from, Style::default(), &lines).await.unwrap();
        let mut stream = Box::pin(stream.unwrap());
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
