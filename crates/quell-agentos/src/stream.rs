//! [`frames`]: the stream of a run, whose log is rendered as it grows.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunRef};
use quell_http::{LookupError, RunView, SseEvent, StoredRun, TreeSaid, View};

use crate::begin::{Begin, Known};
use crate::ends;
use crate::lines::{Lines, place, renderer};
use crate::sessions::is_heard_of;
use crate::snapshot;
use crate::wire::event::{COUNTS_ONLY, Renderer, Style};
use crate::wire::position::Position;
use crate::wire::socket::not_stored_yet;

/// Streams the tree of a root from the event after this one to its end or to the pause that ends
/// its attempt. Pauses of earlier attempts are passed by. A numbered stream is read from the first
/// event on, and what is not shown is counted.
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
    let attempt = begin.attempt(view, &run.into()).await;
    let after = if style.has_index { 0 } else { begin.after };
    let events = Box::pin(view.events(&run.into(), after).await?);
    let renderer = if after > 0 { renderer.behind_a_pause() } else { renderer };
    let (root, lines) = (Some(run.clone()), style.has_index.then(|| lines.clone()));
    let source = Source { root, lines, ..Source::new(view, events, renderer, begin, attempt) };
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
    let known = begin.known.take();
    let attempt = match (run, &known) {
        (RunView::Stored(stored), Some(known)) if !run.status().is_terminal() => {
            stored.answered().unwrap_or(known.answered)
        }
        _ => begin.attempt(view, run).await,
    };
    let from = if known.is_some() { begin.after } else { 0 };
    let unread = || renderer(view, run, style).map(|renderer| Known::new(view, renderer).into());
    let Some(known) = known.or_else(unread) else { return Ok(None) };
    let is_over = known.is_over(attempt);
    let Known { renderer, said, seen, .. } = *known;
    let events = Box::pin(view.events(run, from).await?);
    let source = Source::new(view, events, renderer, begin, attempt);
    Ok(Some(Source { far: Some(said), seen, is_over, ..source }.stream()))
}

/// The events of a log, which may be in the store.
type Events = Pin<Box<dyn Stream<Item = RunEvent> + Send>>;

struct Source {
    /// The number of the last event that is not shown.
    after: u64,
    /// The index of the first line that is.
    index: u64,
    /// The last one is a pause that was answered.
    is_behind_a_pause: bool,
    events: Events,
    /// What the tree has said of a run that is only in the store.
    far: Option<TreeSaid>,
    /// A run of the tree that was read when its root had ended: those that come next are read
    /// without the root.
    kin: Option<StoredRun>,
    /// The root, if it is in memory: it may be forgotten before its end is told.
    root: Option<RunRef>,
    /// How many lines there were before an event, of a numbered stream.
    lines: Option<Lines>,
    /// None while it is at work on another thread, and for ever if it broke there.
    renderer: Option<Renderer>,
    view: View,
    ready: VecDeque<SseEvent>,
    /// What comes behind an event.
    then: Option<(u64, SseEvent)>,
    /// The attempt that the last answer had begun when the client came, or, behind a pause, that
    /// the answer to it has begun: pauses before that are passed by.
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
            is_behind_a_pause: begin.is_behind_a_pause,
            events,
            far: None,
            kin: None,
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
                && matches!(event.kind, EventKind::Ended(_) | EventKind::Paused { .. })
            {
                // On the heap, as all that comes once: a stream mostly waits for an event.
                Box::pin(is_heard_of(&self.view, root)).await;
            }
            let (is_numbered, view) = (self.lines.is_some(), &self.view);
            let is_gap = matches!(event.kind, EventKind::Lagged { .. });
            if is_numbered && is_gap && !Box::pin(view.is_gone_for_good(&event)).await {
                // A later reader is told what is missing here: the numbers behind it would differ.
                self.is_over = true;
                return Some(SseEvent::json("error", &not_stored_yet()));
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
            EventKind::Resumed { attempt } => {
                self.seen = attempt;
                if self.is_behind_a_pause && event.seq > self.after {
                    self.attempt = self.attempt.min(attempt);
                }
            }
            _ if is_pause => self.is_over = self.seen >= self.attempt,
            _ => {}
        }
        if let Some(said) = &mut self.far {
            said.take(&event);
        }
        // The pause that was answered may be stored before the event that tells of it.
        let is_answered = self.is_behind_a_pause && is_pause && self.seen < self.attempt;
        let last = event.last_seq();
        let before = self.renderer.as_ref()?.lines();
        let gap = match event.kind {
            EventKind::Lagged { from, to } => Some(before + (to + 1 - from)),
            _ => None,
        };
        if event.last_seq() <= self.after || is_answered {
            self.count(&event)?;
        } else if let Err(end) = self.render(event)? {
            Box::pin(self.render_end(end)).await?;
        }
        // Every reader of the log goes on with one number: as many lines as were counted. Without a
        // count it is behind a gap as many more as there are events in it.
        let counted = self.lines.as_ref().zip(self.root.as_ref());
        let counted = counted.and_then(|(lines, root)| lines.up_to(root, last));
        if let Some(lines) = counted.or(gap) {
            self.renderer.as_mut()?.go_on_behind(lines);
        }
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
            (None, Some(said), _) => {
                snapshot::read_far(&self.view, &event, said, &mut self.kin).await
            }
            // It ended in an earlier process, or at another node.
            (None, None, Some(root)) => {
                let said = self.view.tree_said_of(root).await;
                snapshot::read_far(&self.view, &event, &said, &mut self.kin).await
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

    use quell::{Engine, Payload, RunContext, RunId, RunKind, RunStatus, ToolOutcome, limits};
    use quell_flow::{Catalog, Component};
    use quell_http::{Principal, Service, ServiceLimits, Start};
    use serde::{Serialize, Serializer};
    use serde_json::Value;
    use tokio::task::yield_now;

    use super::*;
    use crate::wire::event::Adopted;

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

    /// Yields the renderer of a root that is an agent, and its position.
    fn of_agent(root: RunId) -> (Renderer, Position) {
        let agent = Arc::new(Component::agent("a", async |_ctx, input: Payload| Ok(input)));
        let position = Position::root(&agent, "r");
        (Renderer::new(root, position.clone(), "s".into(), Style::default()), position)
    }

    #[test]
    fn open_tool_calls_are_bounded_and_each_end_is_told_with_what_is_known() {
        let root = RunId::from_text("r");
        let (mut renderer, _) = of_agent(root);
        let of = |kind| RunEvent::new(1, root, root, SystemTime::UNIX_EPOCH, kind);
        let start = |call: usize| EventKind::ToolStarted {
            call: call.to_string().into(),
            name: "t".into(),
            input: Payload::from("in"),
        };
        let end = |call: usize| EventKind::ToolEnded {
            call: call.to_string().into(),
            outcome: ToolOutcome::Result(None),
        };
        let mut ended = |kind| {
            let (name, data) = renderer.on(&of(kind), None).pop().unwrap();
            let data = serde_json::to_value(&data).unwrap();
            (name, data["tool"]["tool_name"].clone())
        };
        let (known, unknown) =
            (("ToolCallCompleted".into(), "t".into()), ("ToolCallCompleted".into(), Value::Null));
        let calls = limits::EVENTS_PER_ROOT_MAX;
        for call in 0..calls {
            ended(start(call));
        }
        assert_eq!(ended(end(0)), known, "so many are known");
        ended(start(calls));
        assert_eq!(ended(end(1)), known, "one has ended, and made room");
        for call in [calls + 1, calls + 2] {
            assert_eq!(ended(start(call)).0, "ToolCallStarted");
        }
        assert_eq!(ended(end(2)), unknown, "one too many: those of before are given up");
        assert_eq!(ended(end(calls + 2)), known, "the last one is known");
        assert_eq!(ended(end(calls + 9)), unknown, "its start is not there");
    }

    #[test]
    fn a_run_of_which_the_first_events_are_gone_has_a_start_if_that_is_not_among_them() {
        let (root, run) = (RunId::from_text("r"), RunId::from_text("m"));
        let of = |kind| RunEvent::new(1, root, run, SystemTime::UNIX_EPOCH, kind);
        let ended = || EventKind::Ended(RunStatus::Cancelled);
        let table = [
            (EventKind::Started, false, vec!["RunStarted"]),
            (ended(), true, vec![""; 0]),
            (ended(), false, vec!["RunStarted"]),
        ];
        for (kind, is_started, expected) in table {
            let (mut renderer, above) = of_agent(root);
            let begins = RunEvent::new(1, root, root, SystemTime::UNIX_EPOCH, EventKind::Started);
            renderer.on(&begins, None);
            let position = above.child(RunKind::Agent, "m", "m".into(), 0);
            renderer.adopt(run, Adopted { position, has_executor: false, is_started });
            let told = renderer.on(&of(kind.clone()), None);
            let told: Vec<_> = told.iter().map(|(name, _)| name).collect();
            assert_eq!(told, expected, "{kind:?} {is_started}");
        }
    }
}
