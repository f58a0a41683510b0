//! [`Renderer`]: turns the engine's events into the contract's (contract, section 4).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{EventKind, Payload, RunEvent, RunId, RunKind};
use quell_flow::Emit;
use quell_http::whole_millis;
use serde_json::{Map, Value, json};

use crate::wire::ending::{self, End};
use crate::wire::exact::Object;
use crate::wire::kinds::names_of;
use crate::wire::pause;
use crate::wire::position::{Position, Role};
use crate::wire::run::{Tree, seconds};
use crate::wire::tool::{Outcome, tool};

/// Turns the events of one tree into the contract's, in order.
#[derive(Debug)]
pub(crate) struct Renderer {
    style: Style,
    session: String,
    root: RunId,
    /// The runs that are not over. Boxed: a map has room for more, and of most trees there is one.
    live: HashMap<RunId, Box<Live>>,
    /// The index of the next line.
    next_index: u64,
    /// Lines before this one are counted, and not written.
    written_from: u64,
}

/// No line is written.
pub(crate) const COUNTS_ONLY: u64 = u64::MAX;

/// The choices that the contract leaves open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Whether `*Completed` follows `*Cancelled`.
    pub(crate) has_sentinel: bool,
    /// Whether what a stop cut is closed by an error event.
    pub(crate) has_brackets: bool,
    /// Whether events are numbered.
    pub(crate) has_index: bool,
}

/// A run of which a renderer has not seen the first events.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) position: Position,
    /// Whether a run below does its work, if it is a step.
    pub(crate) has_executor: bool,
    /// Whether its start is among the events that were dropped.
    pub(crate) is_started: bool,
}

/// An event of the contract: its name and its data.
pub(crate) type Line = (String, Object);

#[derive(Debug)]
struct Live {
    position: Position,
    /// The run above it, if its start was seen.
    parent: Option<RunId>,
    kids: usize,
    /// Whether a run below does its work, if it is a step.
    has_executor: bool,
    is_started: bool,
    calls: HashMap<Arc<str>, Call>,
    asked_at: Option<SystemTime>,
    said_at: Option<SystemTime>,
}

#[derive(Debug)]
struct Call {
    name: Arc<str>,
    input: Payload,
    at: SystemTime,
}

impl Renderer {
    /// Makes one for the tree of a root.
    pub(crate) fn new(root: RunId, position: Position, session: String, style: Style) -> Self {
        let live = HashMap::from([(root, Box::new(Live::new(position)))]);
        Self { style, session, root, live, next_index: 0, written_from: 0 }
    }

    /// Writes no line before the one with this index.
    pub(crate) const fn write_from(&mut self, index: u64) {
        self.written_from = index;
    }

    /// Yields how many lines there were so far.
    pub(crate) const fn lines(&self) -> u64 {
        self.next_index
    }

    /// Goes on behind so many lines, whatever it has made of the events before.
    pub(crate) const fn go_on_behind(&mut self, lines: u64) {
        self.next_index = lines;
    }

    /// Begins behind a pause: the start of the root was told before.
    pub(crate) fn behind_a_pause(mut self) -> Self {
        for live in self.live.values_mut() {
            live.is_started = true;
        }
        self
    }

    /// Yields the position of a run that is not over.
    pub(crate) fn position(&self, run: RunId) -> Option<&Position> {
        self.live.get(&run).map(|live| &live.position)
    }

    /// Forgets the runs whose ends are among the dropped events.
    pub(crate) fn retain(&mut self, is_known: impl Fn(RunId) -> bool) {
        let root = self.root;
        self.live.retain(|run, _| *run == root || is_known(*run));
    }

    /// Adds a run whose first events were dropped, with what they would have told of it by now.
    pub(crate) fn adopt(&mut self, run: RunId, found: Adopted) {
        let Adopted { position, has_executor, is_started } = found;
        let live = || Box::new(Live { has_executor, is_started, ..Live::new(position) });
        self.live.entry(run).or_insert_with(live);
    }

    /// Turns an event into the contract's; `tree` is that of the run, if the event is its end or
    /// its pause.
    ///
    /// How many lines it counts follows from the event, and from the role of its run, not from what
    /// is known besides: every reader numbers those behind them alike. So without `tree` the lines
    /// are counted all the same.
    pub(crate) fn on(&mut self, event: &RunEvent, tree: Option<&Tree>) -> Vec<Line> {
        let mut out = Vec::new();
        // Clients learn the ids from the first frame: it is sent at once.
        self.start(self.root, event.at, &mut out);
        match &event.kind {
            EventKind::Queued { parent: Some(parent), kind, name, .. } => {
                self.queued(*parent, event.run, *kind, name);
            }
            EventKind::Lagged { from, to } => self.lagged(event.at, to - from + 1, &mut out),
            EventKind::Started => self.start(event.run, event.at, &mut out),
            EventKind::Emitted(payload) => self.emitted(event, payload, &mut out),
            EventKind::ToolStarted { call, name, input } => {
                self.tool_started(event, call, name, input, &mut out);
            }
            EventKind::ToolEnded { call, outcome } => {
                self.tool_ended(event, call, &Outcome::of(outcome), &mut out);
            }
            EventKind::Paused { request } => {
                if let Some(tree) = tree {
                    let (name, own) = pause::paused(tree, request);
                    self.push(&tree.own().position, name, event.at, own, &mut out);
                } else if self.live.contains_key(&event.run) {
                    self.next_index += 1;
                }
            }
            EventKind::Resumed { .. } => {
                let position = self.position(event.run).cloned();
                if let Some(position) = position
                    && let Some(name) = pause::continued(&position)
                {
                    self.push(&position, name, event.at, Object::default(), &mut out);
                }
            }
            EventKind::Ended(status) => {
                self.start(event.run, event.at, &mut out);
                if let Some(live) = self.live.get(&event.run) {
                    let end = End { status: *status, has_executor: live.has_executor };
                    let count = ending::count(&live.position, end, self.style);
                    let before = self.next_index;
                    if let Some(tree) = tree {
                        self.ended(event, tree, end, &mut out);
                    }
                    self.next_index = before + count;
                }
                if event.run != self.root {
                    self.live.remove(&event.run);
                }
            }
            _ => {}
        }
        out
    }

    fn queued(&mut self, parent: RunId, run: RunId, kind: RunKind, name: &str) {
        let Some(above) = self.live.get_mut(&parent) else { return };
        let position = above.position.child(kind, name, run.to_string(), above.kids);
        above.kids += 1;
        let is_executor = matches!(position.role, Role::Agent | Role::Team | Role::Workflow);
        self.live.insert(run, Box::new(Live { parent: Some(parent), ..Live::new(position) }));
        let mut above = Some(parent).filter(|_| is_executor);
        // A run that is not shown stands for those below it.
        while let Some(live) = above.and_then(|run| self.live.get_mut(&run)) {
            live.has_executor = true;
            above = live.parent.filter(|_| live.position.role == Role::Hidden);
        }
    }

    fn start(&mut self, run: RunId, at: SystemTime, out: &mut Vec<Line>) {
        let Some(live) = self.live.get_mut(&run).filter(|live| !live.is_started) else { return };
        live.is_started = true;
        let position = live.position.clone();
        let name = match position.role {
            Role::Agent | Role::Team | Role::Workflow => {
                format!("{}Started", names_of(position.kind()).prefix)
            }
            Role::Step => "StepStarted".into(),
            Role::Parallel => "ParallelExecutionStarted".into(),
            Role::Hidden => return,
        };
        let mut own = Map::new();
        if let Some((model, provider)) = position.model() {
            own.insert("model".into(), model.into());
            own.insert("model_provider".into(), provider.into());
        }
        if position.role == Role::Parallel {
            own.insert("parallel_step_count".into(), position.parts().len().into());
        }
        self.push(&position, name, at, own.into(), out);
    }

    /// Writes that events are missing here. The contract has no event for that, and its clients
    /// skip events that they do not know.
    fn lagged(&self, at: SystemTime, missed: u64, out: &mut Vec<Line>) {
        let Some(position) = self.position(self.root) else { return };
        let own = json!({ "missed_events": missed }).into();
        out.push(self.line(position, "lagged".into(), at, own));
    }

    fn emitted(&mut self, event: &RunEvent, payload: &Payload, out: &mut Vec<Line>) {
        let Some(live) = self.live.get_mut(&event.run).filter(|live| live.speaks()) else { return };
        let names = names_of(live.position.kind());
        let (name, own) = match Emit::read(payload) {
            Some(Emit::Content { text }) => {
                live.said_at.get_or_insert(event.at);
                (format!("{}Content", names.prefix), said(&text, ""))
            }
            Some(Emit::Reasoning { text }) => (format!("{}Content", names.prefix), said("", &text)),
            Some(Emit::ModelStarted { model, provider }) => {
                (live.asked_at, live.said_at) = (Some(event.at), None);
                let own = json!({ "model": model, "model_provider": provider });
                (format!("{}ModelRequestStarted", names.inner_prefix), own)
            }
            Some(Emit::ModelEnded { model, provider, input_tokens, output_tokens }) => {
                let mut own = json!({
                    "model": model, "model_provider": provider, "input_tokens": input_tokens,
                    "output_tokens": output_tokens,
                    "total_tokens": input_tokens.saturating_add(output_tokens),
                });
                if let Some(time) = between(live.asked_at.take(), live.said_at) {
                    own["time_to_first_token"] = time.as_secs_f64().into();
                }
                (format!("{}ModelRequestCompleted", names.inner_prefix), own)
            }
            _ => return,
        };
        let position = live.position.clone();
        self.push(&position, name, event.at, own.into(), out);
    }

    fn tool_started(
        &mut self,
        event: &RunEvent,
        call: &Arc<str>,
        name: &Arc<str>,
        input: &Payload,
        out: &mut Vec<Line>,
    ) {
        let Some(live) = self.live.get_mut(&event.run).filter(|live| live.speaks()) else { return };
        let tool = tool(call, Some((name, input)), event.at, None, None);
        let known = Call { name: Arc::clone(name), input: input.clone(), at: event.at };
        if live.calls.len() >= CALLS_MAX {
            // Most of their ends are among dropped events.
            live.calls.clear();
        }
        live.calls.insert(Arc::clone(call), known);
        let position = live.position.clone();
        let name = format!("{}ToolCallStarted", names_of(position.kind()).inner_prefix);
        self.push(&position, name, event.at, Object::default().with("tool", tool), out);
    }

    fn tool_ended(
        &mut self,
        event: &RunEvent,
        call: &Arc<str>,
        outcome: &Outcome,
        out: &mut Vec<Line>,
    ) {
        let Some(live) = self.live.get_mut(&event.run).filter(|live| live.speaks()) else { return };
        // The start may be among dropped events.
        let known = live.calls.remove(call);
        if *outcome == Outcome::Cancelled && !self.style.has_brackets {
            return;
        }
        let took = between(known.as_ref().map(|known| known.at), Some(event.at));
        let asked = known.as_ref().map(|known| (&*known.name, &known.input));
        let at = known.as_ref().map_or(event.at, |known| known.at);
        let data = tool(call, asked, at, Some(outcome), took);
        let own = Object::default().with("tool", data);
        let (what, own) = match outcome {
            Outcome::Result(_) => ("Completed", own),
            Outcome::Error(error) => ("Error", own.with("error", json!(error))),
            Outcome::Cancelled => ("Error", own.with("error", json!("cancelled"))),
        };
        let position = live.position.clone();
        let name = format!("{}ToolCall{what}", names_of(position.kind()).inner_prefix);
        self.push(&position, name, event.at, own, out);
    }

    fn ended(&mut self, event: &RunEvent, tree: &Tree, end: End, out: &mut Vec<Line>) {
        let run = tree.own();
        for (name, mut own) in ending::lines(tree, end, self.style) {
            if !name.ends_with("ContentCompleted") && name != "StepOutput" {
                own.set("quell", &run.state);
            }
            self.push(&run.position, name, event.at, own, out);
        }
    }

    fn push(
        &mut self,
        position: &Position,
        name: String,
        at: SystemTime,
        own: Object,
        out: &mut Vec<Line>,
    ) {
        if self.next_index >= self.written_from {
            let mut line = self.line(position, name, at, own);
            if self.style.has_index {
                line.1.set("event_index", json!(self.next_index));
            }
            out.push(line);
        }
        self.next_index += 1;
    }

    fn line(&self, position: &Position, name: String, at: SystemTime, own: Object) -> Line {
        let mut data = Object::from(position.common(&self.session));
        data.set("created_at", json!(seconds(at)));
        data.set("event", json!(name));
        data.extend(own);
        (name, data)
    }
}

impl Live {
    fn new(position: Position) -> Self {
        Self {
            position,
            parent: None,
            kids: 0,
            has_executor: false,
            is_started: false,
            calls: HashMap::new(),
            asked_at: None,
            said_at: None,
        }
    }

    /// Tells whether what the run emits is shown: a function step has no events before its end.
    const fn speaks(&self) -> bool {
        matches!(self.position.role, Role::Agent | Role::Team)
    }
}

/// The open tool calls of a run that are kept: as many as a log may hold. At one more they are all
/// dropped, and their ends are written without what they were asked.
const CALLS_MAX: usize = quell::limits::EVENTS_PER_ROOT_MAX;

/// Makes the event of a piece of the answer, or of the thoughts before it.
fn said(content: &str, reasoning: &str) -> Value {
    json!({ "content": content, "content_type": "str", "reasoning_content": reasoning })
}

fn between(from: Option<SystemTime>, to: Option<SystemTime>) -> Option<Duration> {
    whole_millis(to?).duration_since(whole_millis(from?)).ok()
}
