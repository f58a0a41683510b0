//! [`Render`]: the events of a run as server-sent events (contract, section 8).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use quell::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_flow::Emit;
use quell_http::{RunView, SseEvent, events_by_now};
use serde_json::json;

use crate::app::{App, finish};
use crate::stream::answer;
use crate::stream::far::Far;
use crate::stream::late::Late;
use crate::stream::places::Below;
use crate::stream::speech::Speaker;
use crate::threads::{Thread, Tracked};
use crate::values::{Fold, change_said, keyed};
use crate::wire::event_id::{SEQS, Slot, event_id, ms_of, seq_of};
use crate::wire::exact::{finite, with};
use crate::wire::failure::not_known_object;
use crate::wire::modes::Modes;

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// From the first event that is held.
    Start,
    /// After the one with this id.
    After(String),
    /// After the event of the log with this number, which is a pause.
    Behind(u64),
    /// From now on.
    Now,
}

/// Yields what a run is shown as, event by event.
pub(super) fn told<S>(events: S, render: Render) -> impl Stream<Item = Vec<Late>> + Send
where
    S: Stream<Item = RunEvent> + Send + Unpin,
{
    stream::unfold((events, render), async |(mut events, mut render)| {
        // A pause is the last event for now: there is no other one to end with.
        let event = if render.is_over { None } else { events.next().await };
        let Some(event) = event else {
            let gone = Box::pin(render.gone()).await?;
            return Some((vec![gone], (events, render)));
        };
        if render.far.is_some() {
            // On the heap: for a run that is here nobody pays for its size.
            Box::pin(render.take_far(&event)).await;
        } else if render.tracked.awaits_start()
            && let (RunView::Live(run), Some(thread)) = (&render.run, &render.thread)
        {
            render.app.know_start(thread, &render.tracked, run).await;
        }
        let is_last = match &event.kind {
            EventKind::Ended(_) => event.run == render.run.id(),
            // The answer may go through another node, which has to know of it.
            EventKind::Paused { .. } => true,
            _ => false,
        };
        if let RunView::Live(run) = &render.run
            && is_last
            && !render.app.service().holds(run).await
        {
            render.is_over = true;
            let not_known = SseEvent::json("error", &not_known_object());
            return Some((vec![not_known.into()], (events, render)));
        }
        let frames = render.frames(&event);
        Some((frames, (events, render)))
    })
}

/// Says which events are no longer held.
fn lagged(from: u64, to: u64) -> SseEvent {
    SseEvent::json("lagged", &json!({ "from": from, "to": to }))
}

pub(crate) fn end_frame() -> SseEvent {
    SseEvent::new("end", "null")
}

pub(super) struct Render {
    pub(super) app: App,
    pub(super) run: RunView,
    /// What is known of a run that another node has.
    pub(super) far: Option<Far>,
    pub(super) tracked: Arc<Tracked>,
    pub(super) thread: Option<Arc<Thread>>,
    pub(super) modes: Modes,
    pub(super) fold: Fold,
    pub(super) floor: Option<String>,
    /// The client came when the log of this process held the events behind this one: what comes
    /// before is read from the store. Of a run that another node has all is.
    pub(super) before: u64,
    /// The runs below that are not over, as far as the log tells of them from the store.
    pub(super) below: HashMap<RunId, Below>,
    /// The namespaces of live runs of the tree: none at the top.
    pub(super) spaces: HashMap<RunId, Option<Arc<str>>>,
    /// The runs that said text.
    pub(super) speakers: HashMap<RunId, Speaker>,
    /// The names of the tool calls that are under way, [`CALLS_MAX`] at most.
    pub(super) calls: HashMap<(RunId, Arc<str>), Arc<str>>,
    /// Those of them whose messages this client was told of.
    pub(super) announced: HashSet<RunId>,
    /// The log no longer holds what some of them may have said first.
    pub(super) misses_begins: bool,
    pub(super) is_first: bool,
    pub(super) is_over: bool,
    /// The client has the events up to this one.
    pub(super) behind: u64,
    /// The attempt that the last answer had begun when the client came: the stream goes on behind
    /// pauses before that, and the first one behind it ends it.
    pub(super) attempt: u32,
    /// The attempt that the last answer among the events so far has begun.
    pub(super) seen: u32,
    /// Which of the nodes that came next at the last step have ended since.
    pub(super) ended: Vec<usize>,
    /// The attempt whose pause ends the stream: also one that goes on after a loss has a number.
    pub(super) asking: u32,
}

impl Render {
    /// Yields the frames of an event.
    fn frames(&mut self, event: &RunEvent) -> Vec<Late> {
        if let EventKind::Lagged { from, to } = event.kind {
            return self.gap(event, (from, to));
        }
        self.is_first = false;
        let mut frames = Vec::new();
        let before = self.fold.step().map(Arc::clone);
        self.note_place(event);
        let is_new = self.take(event);
        match &event.kind {
            EventKind::Started if event.run == self.run.id() => {
                frames.push(Late::made(Slot::Metadata, self.metadata()));
                self.push_values(&mut frames);
            }
            EventKind::Emitted(payload) => {
                self.push_emit(&mut frames, event, payload, is_new);
                self.push_step(&mut frames, event, before.as_deref());
            }
            EventKind::Resumed { attempt } => self.seen = *attempt,
            EventKind::Paused { request } => {
                self.is_over = self.seen >= self.attempt;
                self.push_rest(&mut frames, event.run);
                self.push_pause(&mut frames, request);
            }
            EventKind::Ended(status) if event.run == self.run.id() => {
                self.is_over = true;
                self.push_end(&mut frames, *status);
            }
            EventKind::Ended(status) => {
                let name = self.name_of(event.run, "updates");
                self.push_message(
                    &mut frames,
                    event.run,
                    name.filter(|_| *status == RunStatus::Completed),
                );
                self.spaces.remove(&event.run);
                self.below.remove(&event.run);
            }
            EventKind::ToolStarted { call, name, input } => {
                self.note_call(event.run, call, name);
                self.push_piece(&mut frames, event.run, |origin| {
                    origin.tool_piece(call, name, input)
                });
            }
            EventKind::ToolEnded { call, outcome } => {
                let name = self.end_call(event.run, call);
                self.push_piece(&mut frames, event.run, |origin| {
                    origin.tool_end(call, name.as_deref(), outcome)
                });
            }
            EventKind::Used(used) if used.tokens() > 0 => {
                self.push_piece(&mut frames, event.run, |origin| origin.usage_piece(*used));
            }
            _ => {}
        }
        if event.seq <= self.behind {
            frames.clear();
            if self.far.is_some() {
                // A client that comes now was not told of them.
                self.announced.clear();
            }
        }
        self.numbered(event, frames)
    }

    /// Yields the frames of events that are missing.
    fn gap(&mut self, event: &RunEvent, (from, to): (u64, u64)) -> Vec<Late> {
        self.take(event);
        self.misses_begins = true;
        let is_first = std::mem::take(&mut self.is_first);
        if self.far.is_none() && is_first {
            // The log may no longer hold the start of a replay.
            return self.missing(from, to).into_iter().map(Late::from).collect();
        }
        if to <= self.before {
            // It is missing in the store, and would be again.
            let is_new = to > self.behind;
            return is_new.then(|| lagged(from, to).into()).into_iter().collect();
        }
        // A reader that is too slow gets the reason, and is disconnected: the run never waits.
        self.is_over = true;
        vec![lagged(from, to).into()]
    }

    fn take(&mut self, event: &RunEvent) -> bool {
        let (app, thread, tracked, run) = (&self.app, &self.thread, &self.tracked, &self.run);
        let base = || {
            if let Some(far) = &self.far {
                return far.base.clone();
            }
            let look = thread.as_ref()?.look(app.engine(), tracked, run.live()?);
            look.base().map(Arc::clone)
        };
        self.fold.take(run, event, &tracked.about, base)
    }

    fn metadata(&self) -> SseEvent {
        let data = json!({ "run_id": self.run.id().to_string(), "attempt": 1 });
        SseEvent::json("metadata", &data)
    }

    /// Says that the log no longer holds events that the client asked for; these frames have no id.
    fn missing(&self, from: u64, to: u64) -> Vec<SseEvent> {
        let lagged = lagged(from, to);
        match &self.floor {
            _ if to <= self.behind => Vec::new(),
            // The client has the last one that is no longer held: it misses nothing.
            Some(floor) if seq_of(floor) == Some(to % SEQS) => Vec::new(),
            Some(floor) if self.holds(floor, to) => Vec::new(),
            Some(_) => vec![lagged],
            None => vec![self.metadata(), lagged],
        }
    }

    /// Tells whether the event that a client had last is held, or came after one that is.
    fn holds(&self, floor: &str, missing: u64) -> bool {
        let first = self.run.live().and_then(|run| events_by_now(run, missing).next());
        let first = first.filter(|first| !matches!(first.kind, EventKind::Lagged { .. }));
        first.is_some_and(|first| *floor >= *event_id(ms_of(&first), first.seq, Slot::Metadata))
    }

    fn push_values(&self, frames: &mut Vec<Late>) {
        if let Some(values) = self.fold.current().filter(|_| self.modes.has("values")) {
            let values = Arc::clone(values);
            frames.push(Late::new(Slot::Values, move || SseEvent::json("values", &*values)));
        }
    }

    fn push_emit(
        &mut self,
        frames: &mut Vec<Late>,
        event: &RunEvent,
        payload: &Payload,
        is_new: bool,
    ) {
        let space = self.space(event.run);
        if space.is_some() && !self.tracked.has_subgraphs {
            return;
        }
        let name = |mode: &str| match &space {
            Some(space) => format!("{mode}|{space}"),
            None => mode.to_owned(),
        };
        let payload = &finite(payload);
        let emit = Emit::read(payload);
        if self.modes.has("custom")
            && let Some(data) = custom_data(emit.as_ref(), payload)
        {
            frames.push(Late::made(Slot::Custom, SseEvent::json(name("custom"), data)));
        }
        let Some(emit) = emit else { return };
        match emit {
            Emit::Content { text } => self.push_text(frames, event, &text, name),
            Emit::Values { .. } | Emit::Step { values: Some(_), .. } if is_new => {
                self.push_values(frames);
            }
            Emit::Values { values } | Emit::Step { values: Some(values), .. }
                if space.is_some() && self.modes.has("values") =>
            {
                frames.push(Late::made(Slot::Values, SseEvent::json(name("values"), &values)));
            }
            Emit::Updates { node, values } => {
                let values = if event.run == self.run.id() {
                    change_said(&self.tracked.about, event.run, values)
                } else {
                    values
                };
                if self.modes.has("updates") {
                    let update = with(json!({}), &node, &values);
                    let frame = SseEvent::json(name("updates"), &update);
                    frames.push(Late::made(Slot::Updates, frame));
                }
                if space.is_none() {
                    self.push_result(frames, event, &node, &values);
                }
            }
            Emit::Custom { data } if self.modes.has("custom") => {
                frames.push(Late::made(Slot::Custom, SseEvent::json(name("custom"), &data)));
            }
            _ => {}
        }
    }

    fn push_end(&mut self, frames: &mut Vec<Late>, status: RunStatus) {
        let report = self.run.report();
        let has_said = self.speakers.contains_key(&self.run.id());
        let so_far = self.fold.current().map(Arc::clone);
        match (&self.thread, &self.run, self.far.as_ref().and_then(|far| far.over.as_ref())) {
            (Some(thread), RunView::Live(run), _) => {
                self.fold = thread.look(self.app.engine(), &self.tracked, run);
            }
            (_, _, Some(over)) => finish(&mut self.fold, over, &self.tracked),
            (_, RunView::Live(run), None) => {
                let (service, output) = (self.app.service(), report.output.as_ref());
                self.tracked.finish(Some(service), &mut self.fold, run, output);
            }
            // It was forgotten, or cannot be read any more.
            (_, RunView::Stored(_), None) => {}
        }
        self.push_message(frames, self.run.id(), None);
        if status == RunStatus::Completed {
            let (run, tracked, modes) = (&self.run, &self.tracked, self.modes);
            if let Some(update) = self.fold.update() {
                frames.extend(answer::frames(run, &self.fold, tracked, modes, &update));
            }
            if let Some(answer) = self.fold.answer().filter(|_| !has_said) {
                frames.extend(answer::message(run, &self.fold, tracked, modes, answer));
            }
            if self.fold.current().map(|values| &**values) != so_far.as_deref() {
                self.push_values(frames);
            }
        }
        if let Some(error) = self.app.error_of(&report, &self.tracked) {
            frames.push(Late::made(Slot::Error, SseEvent::json("error", &error)));
        }
        if self.app.options().end_event {
            frames.push(Late::made(Slot::End, end_frame()));
        }
        // A read right after the end of the stream must not find a run that is to be deleted.
        if let Some(thread) = &self.thread {
            self.app.delete_if_quiescent(thread, &self.tracked);
        }
    }
}

/// Yields what a body emitted in a form of its own, such as a line of a program.
fn custom_data<'a>(emit: Option<&Emit>, payload: &'a Payload) -> Option<&'a Payload> {
    let is_own = match emit {
        // The contract has no event for thoughts.
        None | Some(Emit::Reasoning { .. }) => true,
        Some(Emit::Content { .. }) => !keyed(payload).contains_key("event"),
        Some(_) => false,
    };
    is_own.then_some(payload)
}
