//! [`frames`]: the stream of a run, whose log is rendered as it grows.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::SystemTime;

use futures::stream::{Stream, StreamExt, unfold};
use quell::{EventKind, RunEvent, RunId, RunRef, RunStatus};
use quell_http::{LookupError, RunView, SseEvent, StoredRun, TreeSaid, View};

use crate::begin::{Begin, Known};
use crate::ends;
use crate::heard::is_heard_of;
use crate::lines::{Lines, place, renderer};
use crate::snapshot;
use crate::wire::event::{COUNTS_ONLY, Renderer, Style};
use crate::wire::position::Position;
use crate::wire::socket::{ends_early, not_stored_yet};

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
    let events: Events = if style.has_index {
        // The client comes back with an index, perhaps to another process.
        Box::pin(view.kept_events(&run.into(), after).await?)
    } else {
        Box::pin(view.events(&run.into(), after).await?)
    };
    let renderer = if after > 0 { renderer.behind_a_pause() } else { renderer };
    let (root, lines) = (Some(run.clone()), style.has_index.then(|| lines.clone()));
    let new = Source::new(view, run.id(), (events, renderer), begin, attempt);
    let source = Source { root, lines, ..new };
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
    let source = Source::new(view, run.id(), (events, renderer), begin, attempt);
    let stored = match run {
        RunView::Stored(stored) => Some(stored.clone()),
        RunView::Live(_) => None,
    };
    Ok(Some(Source { far: Some(said), stored, seen, is_over, ..source }.stream()))
}

/// The events of a log, which may be in the store.
type Events = Pin<Box<dyn Stream<Item = RunEvent> + Send>>;

struct Source {
    /// The id of the root.
    id: RunId,
    /// The number of the last event that is not shown.
    after: u64,
    /// The index of the first line that is.
    index: u64,
    /// The last one is a pause that was answered.
    is_behind_a_pause: bool,
    events: Events,
    /// What the tree has said of a run that is only in the store.
    far: Option<TreeSaid>,
    /// The root as it was when the client came, if it was only in the store.
    stored: Option<StoredRun>,
    /// The root, of which somebody has deleted what the store had: that it was cancelled.
    deleted: Option<StoredRun>,
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
    /// The root has ended.
    has_ended: bool,
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
        id: RunId,
        (events, mut renderer): (Events, Renderer),
        begin: Begin,
        attempt: u32,
    ) -> Self {
        renderer.write_from(begin.index);
        Self {
            id,
            after: begin.after,
            index: begin.index,
            is_behind_a_pause: begin.is_behind_a_pause,
            events,
            far: None,
            stored: None,
            deleted: None,
            kin: None,
            root: None,
            lines: None,
            renderer: Some(renderer),
            view: view.clone(),
            ready: begin.first.into_iter().collect(),
            then: begin.then,
            attempt,
            seen: 1,
            has_ended: false,
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
            let is_numbered = self.lines.is_some();
            let Some(event) = self.events.next().await else {
                self.is_over = true;
                if let Some(end) = Box::pin(self.end_of_deleted()).await {
                    self.take(end).await?;
                    continue;
                }
                let said = match self.far {
                    // This process ends.
                    Some(_) => ends_early(),
                    // The store has not what comes next.
                    None => not_stored_yet(),
                };
                let is_cut = (is_numbered || self.far.is_some()) && !self.has_ended;
                return is_cut.then(|| SseEvent::json("error", &said));
            };
            let status = match event.kind {
                EventKind::Ended(status) => Some(status),
                EventKind::Paused { .. } => Some(RunStatus::Paused),
                _ => None,
            };
            // What is numbered is in the store when it comes.
            if let Some((root, status)) = self.root.as_ref().zip(status).filter(|_| !is_numbered) {
                // On the heap, as all that comes once: a stream mostly waits for an event.
                if Box::pin(is_heard_of(&self.view, root, status)).await.is_err() {
                    // Another node says how it ends.
                    self.is_over = true;
                    return Some(SseEvent::json("error", &not_stored_yet()));
                }
            }
            self.has_ended |= event.run == self.id && status.is_some_and(RunStatus::is_terminal);
            let view = &self.view;
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

    /// Yields an end for a root that was deleted before a client of another node was told of its
    /// own: it was stopped for that.
    async fn end_of_deleted(&mut self) -> Option<RunEvent> {
        let stored = self.stored.take().filter(|_| !self.has_ended)?;
        let is_gone = match self.view.find_by_id(self.id).await {
            Ok(None) => true,
            // Its id may be that of another run by now.
            Ok(Some(found)) => !found.meant().is(stored.accepted().at),
            Err(_) => false,
        };
        self.deleted = if is_gone { stored.deleted() } else { None };
        let (end, at) = (EventKind::Ended(RunStatus::Cancelled), SystemTime::now());
        self.deleted.as_ref().map(|_| RunEvent::new(u64::MAX, self.id, self.id, at, end))
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
            (None, Some(said), _) if self.deleted.is_some() => {
                let deleted = self.deleted.take()?;
                Some(self.view.read_tree_of(&deleted, said).await)
            }
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
mod tests;
