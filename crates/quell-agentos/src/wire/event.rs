//! [`Renderer`]: turns the engine's events into the contract's (contract, section 4).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_flow::Emit;
use serde_json::{Map, Value, json};

use crate::wire::exact::Object;
use crate::wire::kinds::names_of;
use crate::wire::position::{Position, Role};
use crate::wire::run::{Tree, seconds};
use crate::wire::tool::{Outcome, tool};
use crate::wire::{pause, step};

/// Turns the events of one tree into the contract's, in order.
#[derive(Debug)]
pub(crate) struct Renderer {
    style: Style,
    session: String,
    root: RunId,
    /// The runs that are not over.
    live: HashMap<RunId, Live>,
    next_index: u64,
}

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

/// An event of the contract: its name and its data.
pub(crate) type Line = (String, Object);

#[derive(Debug)]
struct Live {
    position: Position,
    kids: usize,
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
        let live = HashMap::from([(root, Live::new(position))]);
        Self { style, session, root, live, next_index: 0 }
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

    /// Adds a run whose first events were dropped.
    pub(crate) fn adopt(&mut self, run: RunId, position: Position) {
        self.live.entry(run).or_insert(Live { is_started: true, ..Live::new(position) });
    }

    /// Turns an event into the contract's; `tree` is that of the run, if the event is its end or
    /// its pause.
    pub(crate) fn on(&mut self, event: &RunEvent, tree: Option<&Tree>) -> Vec<Line> {
        let mut out = Vec::new();
        // Clients learn the ids from the first frame: it is sent at once.
        self.start(self.root, event.at, &mut out);
        match &event.kind {
            EventKind::Queued { parent: Some(parent), kind, name, .. } => {
                if let Some(above) = self.live.get_mut(parent) {
                    let position =
                        above.position.child(*kind, name, event.run.to_string(), above.kids);
                    above.kids += 1;
                    self.live.insert(event.run, Live::new(position));
                }
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
            EventKind::Ended(_) => {
                self.start(event.run, event.at, &mut out);
                if let Some(tree) = tree {
                    self.ended(event, tree, &mut out);
                }
                if event.run != self.root {
                    self.live.remove(&event.run);
                }
            }
            _ => {}
        }
        out
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
    fn lagged(&mut self, at: SystemTime, missed: u64, out: &mut Vec<Line>) {
        let Some(position) = self.position(self.root).cloned() else { return };
        self.push(&position, "lagged".into(), at, json!({ "missed_events": missed }).into(), out);
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
        let tool = tool(call, name, input, event.at, None, None);
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
        let Some(live) = self.live.get_mut(&event.run) else { return };
        let Some(known) = live.calls.remove(call) else { return };
        if *outcome == Outcome::Cancelled && !self.style.has_brackets {
            return;
        }
        let took = between(Some(known.at), Some(event.at));
        let data = tool(call, &known.name, &known.input, known.at, Some(outcome), took);
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

    fn ended(&mut self, event: &RunEvent, tree: &Tree, out: &mut Vec<Line>) {
        let run = tree.own();
        let position = &run.position;
        let lines = match position.role {
            Role::Agent | Role::Team => self.answered(tree),
            Role::Workflow => self.flowed(tree),
            Role::Step => self.stepped(tree),
            Role::Parallel if run.status == RunStatus::Completed => {
                let results = step::steps(tree, 0, 0);
                let own = json!({ "parallel_step_count": results.len(), "step_results": results });
                vec![("ParallelExecutionCompleted".into(), own.into())]
            }
            // A Parallel has no event for an end that is none.
            Role::Parallel | Role::Hidden => Vec::new(),
        };
        for (name, mut own) in lines {
            if !name.ends_with("ContentCompleted") && name != "StepOutput" {
                own.set("quell", serde_json::to_value(&run.state).unwrap_or_default());
            }
            self.push(position, name, event.at, own, out);
        }
    }

    /// The end of an agent or a team.
    fn answered(&self, tree: &Tree) -> Vec<Line> {
        let run = tree.own();
        let names = names_of(run.position.kind());
        let content = tree.content(0);
        let completed = || {
            let own = json!({
                "content": content, "content_type": "str", "metrics": run.metrics(),
            });
            let mut own = Object::from(own).with("session_state", run.session_state());
            if run.position.role == Role::Team {
                own.set("member_responses", tree.members(0, 0));
            }
            (format!("{}Completed", names.prefix), own)
        };
        match run.status {
            RunStatus::Completed => {
                vec![(format!("{}ContentCompleted", names.prefix), Object::default()), completed()]
            }
            RunStatus::Cancelled => {
                let own = json!({ "content": content, "reason": run.reason() });
                self.cancelled((format!("{}Cancelled", names.prefix), own.into()), completed)
            }
            _ => {
                let own = json!({ "content": content, "error_type": run.error_type() });
                vec![(names.error_event.into(), own.into())]
            }
        }
    }

    /// The end of a workflow.
    fn flowed(&self, tree: &Tree) -> Vec<Line> {
        let run = tree.own();
        let content = tree.content(0);
        let completed = || {
            let own = json!({
                "content": content, "content_type": "str", "metadata": {},
                "step_results": tree.step_results(0), "metrics": run.metrics(),
            });
            let runs = tree.executor_runs(0, 0);
            ("WorkflowCompleted".into(), Object::from(own).with("step_executor_runs", runs))
        };
        match run.status {
            RunStatus::Completed => vec![completed()],
            RunStatus::Cancelled => {
                let own = json!({ "reason": run.reason(), "content": content });
                self.cancelled(("WorkflowCancelled".into(), own.into()), completed)
            }
            _ => {
                let own = json!({ "error": content, "error_type": run.error_type() });
                vec![("WorkflowError".into(), own.into())]
            }
        }
    }

    /// The end of a step.
    fn stepped(&self, tree: &Tree) -> Vec<Line> {
        let run = tree.own();
        match run.status {
            RunStatus::Completed => step::completed(tree),
            RunStatus::Cancelled if !self.style.has_brackets => Vec::new(),
            RunStatus::Cancelled => {
                vec![("StepError".into(), json!({ "error": "cancelled" }).into())]
            }
            _ => vec![("StepError".into(), json!({ "error": run.failure() }).into())],
        }
    }

    /// The one terminal event of a cancelled run, or upstream's two.
    fn cancelled(&self, line: Line, completed: impl FnOnce() -> Line) -> Vec<Line> {
        if self.style.has_sentinel { vec![line, completed()] } else { vec![line] }
    }

    fn push(
        &mut self,
        position: &Position,
        name: String,
        at: SystemTime,
        own: Object,
        out: &mut Vec<Line>,
    ) {
        let mut data = Object::from(position.common(&self.session));
        data.set("created_at", json!(seconds(at)));
        data.set("event", json!(name));
        data.extend(own);
        if self.style.has_index {
            data.set("event_index", json!(self.next_index));
        }
        self.next_index += 1;
        out.push((name, data));
    }
}

impl Live {
    fn new(position: Position) -> Self {
        Self {
            position,
            kids: 0,
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
/// dropped, and their ends are not written.
const CALLS_MAX: usize = quell::limits::EVENTS_PER_ROOT_MAX;

/// Makes the event of a piece of the answer, or of the thoughts before it.
fn said(content: &str, reasoning: &str) -> Value {
    json!({ "content": content, "content_type": "str", "reasoning_content": reasoning })
}

fn between(from: Option<SystemTime>, to: Option<SystemTime>) -> Option<Duration> {
    to?.duration_since(from?).ok()
}
