//! [`Tree`]: a run as JSON (contract, section 2).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell::{CauseKind, Payload, RunStatus, Usage};
use quell_http::RunState;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::exact::{Json, Object, is_object};
use crate::wire::kinds::names_of;
use crate::wire::position::{Position, Role};
use crate::wire::status::{stage, status};
use crate::wire::{pause, step};

/// Snapshots of a run and its descendants, parents before children, from which its JSON is made.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) session: String,
    /// The user that the caller named, if any.
    pub(crate) user: Option<String>,
    /// The ended run that it goes on from, if it does.
    pub(crate) forked_from: Option<String>,
    /// Never empty: the first one is the run itself.
    pub(crate) runs: Vec<RunSnapshot>,
}

/// One run, as it stands.
#[derive(Debug)]
pub(crate) struct RunSnapshot {
    pub(crate) position: Position,
    /// The children, by their places in [`Tree::runs`].
    pub(crate) kids: Vec<usize>,
    pub(crate) state: RunState,
    pub(crate) status: RunStatus,
    /// The kind of what its stop began with, also if that was above it.
    pub(crate) cause: Option<CauseKind>,
    /// What it asks, if it is paused.
    pub(crate) request: Option<Payload>,
    /// Whether it is paused, or was stopped while it was.
    pub(crate) was_paused: bool,
    /// What the body returned, or had set.
    pub(crate) output: Option<Payload>,
    /// Its error.
    pub(crate) error: Option<String>,
    /// The deadline that it was given.
    pub(crate) timeout: Option<Duration>,
    /// What it and its descendants used.
    pub(crate) usage: Usage,
    /// Its text so far.
    pub(crate) text: String,
    /// The model that it asked: id and provider.
    pub(crate) model: Option<(String, String)>,
    pub(crate) tools: Vec<Object>,
    pub(crate) input: Payload,
    pub(crate) queued_at: SystemTime,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) said_at: Option<SystemTime>,
    pub(crate) stopped_at: Option<SystemTime>,
    pub(crate) ended_at: Option<SystemTime>,
}

impl Tree {
    /// Yields the run itself.
    pub(crate) fn own(&self) -> &RunSnapshot {
        &self.runs[0]
    }

    /// Writes the run.
    pub(crate) fn to_json(&self) -> Object {
        self.run(0, 0)
    }

    /// Writes the run without its input, text and output. Its error stays.
    pub(crate) fn without_values(&self) -> Object {
        let is_empty = self.content(0).is_empty();
        let is_value = |key: &str| VALUES.contains(&key) || (is_empty && CONTENT.contains(&key));
        self.to_json().without(is_value)
    }

    /// Writes one of its runs. Runs that are nested deeper than the bound are left out.
    pub(crate) fn run(&self, at: usize, depth: usize) -> Object {
        let run = &self.runs[at];
        let names = names_of(run.position.kind());
        // In the order of the keys, as far as it goes: then each is added at the end.
        let mut out = Object::with_capacity(KEYS);
        out.set(names.id_key, run.position.name.clone());
        out.set(names.name_key, run.position.shown_name().to_owned());
        if let Some(stage) = stage(run.status, run.started_at.is_some(), run.was_paused, run.cause)
        {
            out.set("cancellation_stage", stage);
        }
        let content = self.content(at);
        if run.status.is_terminal() || !content.is_empty() {
            out.set("content", content);
            out.set("content_type", "str");
        }
        out.set("created_at", Value::from(seconds(run.queued_at)));
        if run.position.role == Role::Workflow {
            out.set("input", message(&run.input));
            out.set("metadata", json!({}));
            out.set("step_results", Value::from(self.step_results(at)));
        } else {
            out.set("input", Object::default().with("input_content", message(&run.input)));
            if run.status.is_terminal() {
                out.set("messages", run.messages());
            }
        }
        out.set("metrics", run.metrics());
        if run.position.role != Role::Workflow {
            if let Some((model, provider)) = run.model() {
                out.set("model", model.to_owned());
                out.set("model_provider", provider.to_owned());
            }
            if let Some(step) = run.position.step_id() {
                out.set("workflow_step_id", step.to_owned());
            }
        }
        if let Some(parent) = run.position.parent_run() {
            out.set("parent_run_id", parent.to_owned());
        }
        out.set("quell", &run.state);
        out.set("run_id", run.position.run.clone());
        out.set("session_id", self.session.clone());
        out.set("status", status(run.status));
        if run.position.parent_run().is_none() {
            let of_root = [("user_id", &self.user), ("forked_from_run_id", &self.forked_from)];
            for (key, value) in of_root {
                if let Some(value) = value {
                    out.set(key, value.clone());
                }
            }
        }
        if !run.status.is_terminal() {
            out.set("events", json!([]));
        }
        self.with_spelt(at, depth, out)
    }

    /// Adds the parts that keep the spelling of callers and bodies, and the runs below.
    fn with_spelt(&self, at: usize, depth: usize, mut out: Object) -> Object {
        let run = &self.runs[at];
        if run.position.role == Role::Workflow {
            out.set("step_executor_runs", self.executor_runs(at, depth));
        } else {
            out.set("session_state", run.session_state());
            out.set("tools", run.tools.clone());
        }
        if let Some(request) = &run.request {
            pause::add(&mut out, run.position.role, request);
        }
        if run.position.role == Role::Team {
            out.set("member_responses", self.members(at, depth));
        }
        out
    }

    /// Yields the answer of a run, as far as there is one.
    pub(crate) fn content(&self, at: usize) -> String {
        let run = &self.runs[at];
        match (run.position.role, run.status) {
            (Role::Workflow, RunStatus::Cancelled) => run.reason(),
            (_, RunStatus::Failed | RunStatus::TimedOut) => run.failure(),
            (_, RunStatus::Completed) => match run.answer() {
                None if run.text.is_empty() => self.aggregate(at),
                None => run.text.clone(),
                Some(output) => text(output),
            },
            (Role::Team, _) if run.text.is_empty() => self.joined(at),
            _ => run.text.clone(),
        }
    }

    /// Yields the joined texts of the runs below.
    pub(crate) fn joined(&self, at: usize) -> String {
        self.below(at).map(|kid| self.content_of_part(kid)).collect()
    }

    fn content_of_part(&self, at: usize) -> String {
        let run = &self.runs[at];
        if run.text.is_empty() {
            self.below(at).map(|kid| self.runs[kid].text.as_str()).collect()
        } else {
            run.text.clone()
        }
    }

    fn aggregate(&self, at: usize) -> String {
        let steps = self.below(at).filter(|kid| self.is_step(*kid));
        let results: Vec<_> = steps.map(|kid| step::output(self, kid, 0)).collect();
        let contents = results.iter().filter_map(|result| result["content"].as_str());
        contents.collect::<Vec<_>>().join("\n\n")
    }

    /// Yields the nearest runs below that the contract tells.
    pub(crate) fn below(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let mut found = Vec::new();
        let mut stack: Vec<_> = self.runs[at].kids.iter().rev().copied().collect();
        while let Some(kid) = stack.pop() {
            if self.runs[kid].position.role == Role::Hidden {
                stack.extend(self.runs[kid].kids.iter().rev());
            } else {
                found.push(kid);
            }
        }
        found.into_iter()
    }

    /// Yields the nearest runs of agents, teams and workflows below.
    fn runs_below(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut stack: Vec<_> = self.runs[at].kids.iter().rev().copied().collect();
        while let Some(kid) = stack.pop() {
            match self.runs[kid].position.role {
                Role::Agent | Role::Team | Role::Workflow => found.push(kid),
                Role::Step | Role::Parallel | Role::Hidden => {
                    stack.extend(self.runs[kid].kids.iter().rev());
                }
            }
        }
        found
    }

    /// Yields the run that does the work of a step, if one does.
    pub(crate) fn executor(&self, at: usize) -> Option<usize> {
        self.below(at).find(|kid| !self.is_step(*kid))
    }

    /// Tells whether a run is a step or a Parallel.
    pub(crate) fn is_step(&self, at: usize) -> bool {
        matches!(self.runs[at].position.role, Role::Step | Role::Parallel)
    }

    /// Writes the members of a team.
    pub(crate) fn members(&self, at: usize, depth: usize) -> Vec<Object> {
        let members = if depth < NESTED_MAX { self.runs_below(at) } else { Vec::new() };
        members.into_iter().map(|kid| self.run(kid, depth + 1)).collect()
    }

    /// Writes the runs that do the steps of a workflow.
    pub(crate) fn executor_runs(&self, at: usize, depth: usize) -> Vec<Object> {
        self.members(at, depth)
    }

    /// Writes what came of the steps of a workflow that are over.
    pub(crate) fn step_results(&self, at: usize) -> Vec<Value> {
        let is_over = |kid: &usize| self.is_step(*kid) && self.runs[*kid].status.is_terminal();
        self.below(at).filter(is_over).map(|kid| step::output(self, kid, 0)).collect()
    }
}

impl RunSnapshot {
    /// Yields what the body returned, or had set; none for null.
    pub(super) fn answer(&self) -> Option<&Payload> {
        self.output.as_ref().filter(|output| !output.is_null())
    }

    /// Adds the text of a cancelled run.
    pub(crate) fn reason(&self) -> String {
        format!("Run {} was cancelled", self.position.run)
    }

    /// Adds the text of a failed run.
    pub(crate) fn failure(&self) -> String {
        if self.status == RunStatus::TimedOut {
            let ran = || self.stopped_at?.duration_since(self.started_at?).ok();
            let time = self.timeout.or_else(ran).unwrap_or_default();
            return format!("Run {} timed out after {} ms", self.position.run, time.as_millis());
        }
        self.error.clone().unwrap_or_else(|| "Run failed".into())
    }

    /// Yields the class of its failure.
    pub(crate) fn error_type(&self) -> &'static str {
        if self.status == RunStatus::TimedOut { "timeout" } else { "run_error" }
    }

    /// Yields the model that it asked, or is listed with: id and provider.
    pub(crate) fn model(&self) -> Option<(&str, &str)> {
        let asked = self.model.as_ref().map(|(model, provider)| (&**model, &**provider));
        asked.or_else(|| self.position.model())
    }

    /// Yields the session state that the caller gave, as it is spelt.
    pub(crate) fn session_state(&self) -> Json {
        let given = field(&self.input, "session_state").filter(is_object);
        given.map_or_else(|| Object::default().into(), |state| (&state).into())
    }

    /// Writes the tokens that it used, if any, and the times that its work took, in seconds; no
    /// times of a run that is live.
    pub(crate) fn metrics(&self) -> Object {
        let mut out = Object::default();
        let since = |from: Option<SystemTime>, to: Option<SystemTime>| {
            Some(to?.duration_since(from?).ok()?.as_secs_f64())
        };
        if let Some(time) = since(self.started_at, self.ended_at) {
            out.set("duration", Value::from(time));
            if self.position.role == Role::Workflow {
                out.set("steps", json!({}));
            } else if let Some(first) = since(self.started_at, self.said_at) {
                out.set("time_to_first_token", Value::from(first));
            }
        }
        let Usage { input_tokens, output_tokens, .. } = self.usage;
        if self.usage.tokens() > 0 {
            out.set("input_tokens", Value::from(input_tokens));
            out.set("output_tokens", Value::from(output_tokens));
            out.set("total_tokens", Value::from(self.usage.tokens()));
        }
        out
    }

    /// Writes what was asked, and what was answered.
    pub(super) fn messages(&self) -> Vec<Object> {
        let line = |nth: &str, role: &'static str, content: String, at: SystemTime| {
            let id = Uuid::new_v5(&MESSAGES, [&*self.position.run, nth].concat().as_bytes());
            let line = Object::with_capacity(7).with("content", content);
            let line = line.with("created_at", Value::from(seconds(at)));
            let line = line.with("from_history", Value::Bool(false)).with("id", id.to_string());
            line.with("role", role).with("stop_after_tool_call", Value::Bool(false))
        };
        let mut all = Vec::with_capacity(2);
        all.push(line("/0", "user", message(&self.input), self.queued_at));
        let answer = match self.answer() {
            Some(output) if self.status == RunStatus::Completed => text(output),
            _ => self.text.clone(),
        };
        if !answer.is_empty() {
            let at = self.said_at.or(self.ended_at).unwrap_or(self.queued_at);
            all.push(line("/1", "assistant", answer, at).with("metrics", Object::default()));
        }
        all
    }
}

/// Yields a value as text: a text itself, nothing for null, anything else as JSON, as it is spelt.
pub(crate) fn text(value: &Payload) -> String {
    match value.as_text() {
        Some(text) => text.into_owned(),
        None if value.is_null() => String::new(),
        None => value.to_string(),
    }
}

/// Yields the message of an input.
pub(crate) fn message(input: &Payload) -> String {
    let message = field(input, "message").and_then(|it| Some(it.as_text()?.into_owned()));
    message.unwrap_or_else(|| text(input))
}

/// Yields a field of a value that is an object.
fn field(value: &Payload, key: &str) -> Option<Payload> {
    // Most inputs are texts: to make an error of each takes longer.
    let object = Some(value).filter(|value| is_object(value))?;
    object.parse::<BTreeMap<String, Payload>>().ok()?.remove(key)
}

/// Yields whole seconds since 1970.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The keys of a run with its input, its text, or the runs below.
const VALUES: [&str; 13] = [
    "input",
    "request",
    "requirements",
    "step_requirements",
    "messages",
    "metadata",
    "model",
    "model_provider",
    "session_state",
    "tools",
    "member_responses",
    "step_results",
    "step_executor_runs",
];

/// The keys with the answer of a run, or with the reason that there is none.
const CONTENT: [&str; 2] = ["content", "content_type"];

/// The keys that the JSON of a run has room for: most have no more.
const KEYS: usize = 20;

/// How deep runs are nested in the JSON of a run. The contract knows two levels.
const NESTED_MAX: usize = 8;

/// The namespace of the ids of messages.
const MESSAGES: Uuid = Uuid::from_u128(0x9b3c_57d2_41e8_4f0a_8d26_c1b7_0a94_e55f);
