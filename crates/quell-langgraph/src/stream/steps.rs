//! The events of the steps of a graph that has nodes: what each has left as a checkpoint, which
//! tasks begin behind it, and what these have done (contract, section 8).

use std::sync::Arc;
use std::time::SystemTime;

use quell::{Payload, RunEvent};
use quell_http::{SseEvent, whole_millis};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stream::late::Late;
use crate::stream::stream::Render;
use crate::threads::Tracked;
use crate::values::{START, Step};
use crate::wire::event_id::Slot;
use crate::wire::exact::{Keys, with, with_all, written};
use crate::wire::rows::time;
use crate::wire::state::{checkpoint, task_id};

impl Render {
    /// Shows the step that an event of the run says, if it does.
    pub(super) fn push_step(
        &mut self,
        frames: &mut Vec<Late>,
        event: &RunEvent,
        before: Option<&Step>,
    ) {
        let is_new = |step: &&Arc<Step>| step.seq == event.seq && event.run == self.run.id();
        let Some(step) = self.fold.step().filter(is_new).map(Arc::clone) else { return };
        self.ended.clear();
        let about = &self.tracked.about;
        let is_begin = step.number == 0 && about.goes_on;
        let ended = before.map(|before| &*before.next).unwrap_or_default();
        let is_held = !is_begin && about.nodes.holds(ended, &step.next);
        let parent = before.map(|before| before.id(self.run.id()));
        let (shown, tracked) = (Arc::new((step, parent)), Arc::clone(&self.tracked));
        let late = |slot, make: fn(&Tracked, &Step, Option<Uuid>) -> SseEvent| {
            let (shown, tracked) = (Arc::clone(&shown), Arc::clone(&tracked));
            Late::new(slot, move || make(&tracked, &shown.0, shown.1))
        };
        if self.modes.has("checkpoints") {
            frames.push(late(Slot::StepCheckpoint, |tracked, step, parent| {
                SseEvent::json("checkpoints", &left(tracked, step, parent))
            }));
        }
        if self.modes.has("debug") {
            frames.push(late(Slot::StepDebug, |tracked, step, parent| {
                let left = left(tracked, step, parent);
                SseEvent::json("debug", &debug(step.number, step.at, "checkpoint", &left))
            }));
        }
        for (mode, slot) in [("debug", Slot::StepDebug), ("tasks", Slot::StepTasks)] {
            if is_held || !self.modes.has(mode) {
                continue;
            }
            for nth in 0..shown.0.next.len() {
                let (shown, tracked) = (Arc::clone(&shown), Arc::clone(&tracked));
                frames.push(Late::new(slot, move || begun(mode, &tracked, &shown.0, nth)));
            }
        }
        if is_held && !shown.0.next.is_empty() && self.modes.has("updates") {
            let update = json!({ "__interrupt__": [] });
            frames.push(Late::made(Slot::StepHeld, SseEvent::json("updates", &update)));
        }
    }

    /// Shows what a node has done, as the result of its task.
    pub(super) fn push_result(
        &mut self,
        frames: &mut Vec<Late>,
        event: &RunEvent,
        node: &str,
        values: &Payload,
    ) {
        let Some(step) = self.fold.step().map(Arc::clone) else { return };
        let mut open = step.next.iter().enumerate().filter(|(nth, _)| !self.ended.contains(nth));
        let Some((nth, _)) = open.find(|(_, name)| *name == node) else { return };
        self.ended.push(nth);
        let id = task_id(step.id(self.run.id()), nth);
        let task = json!({ "id": id.to_string(), "name": node, "error": null, "interrupts": [] });
        let task = with(task, "result", values);
        if self.modes.has("tasks") {
            frames.push(Late::made(Slot::Tasks, SseEvent::json("tasks", &task)));
        }
        if self.modes.has("debug") {
            let told = debug(step.number + 1, event.at, "task_result", &task);
            frames.push(Late::made(Slot::Debug, SseEvent::json("debug", &told)));
        }
    }
}

/// Writes the checkpoint that a step has left.
fn left(tracked: &Tracked, step: &Step, parent: Option<Uuid>) -> Payload {
    let (about, id) = (&tracked.about, step.id(tracked.id));
    let mut named = checkpoint(about.thread, id);
    named["run_id"] = json!(tracked.id.to_string());
    named["graph_id"] = json!(about.graph);
    named["assistant_id"] = json!(about.assistant.to_string());
    let parent = parent.map(|id| json!({ "configurable": checkpoint(about.thread, id) }));
    let source = if step.next == [START] { "input" } else { "loop" };
    let mut metadata: Keys = about.metadata.parse().unwrap_or_default();
    let own = [("source", json!(source)), ("step", json!(step.number)), ("parents", json!({}))];
    metadata.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
    metadata.insert("run_id".to_owned(), tracked.id.to_string().into());
    let task = |(nth, name): (usize, &String)| {
        let id = task_id(id, nth).to_string();
        json!({ "id": id, "name": name, "interrupts": [], "state": null })
    };
    let told = json!({
        "config": { "configurable": named },
        "parent_config": parent,
        "next": step.next,
        "tasks": step.next.iter().enumerate().map(task).collect::<Vec<_>>(),
    });
    let spelt = [("values", written(&step.values.as_deref())), ("metadata", written(&metadata))];
    with_all(told, spelt.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Shows the begin of a task behind a step.
fn begun(mode: &str, tracked: &Tracked, step: &Step, nth: usize) -> SseEvent {
    let name = step.next.get(nth).map(String::as_str).unwrap_or_default();
    let task = json!({
        "id": task_id(step.id(tracked.id), nth).to_string(),
        "name": name,
        "triggers": [format!("branch:to:{name}")],
        "interrupts": [],
    });
    let task = with(task, "input", &step.values.as_deref());
    match mode {
        "debug" => SseEvent::json(mode, &debug(step.number + 1, step.at, "task", &task)),
        _ => SseEvent::json(mode, &task),
    }
}

fn debug(step: i64, at: SystemTime, kind: &str, payload: &Payload) -> Payload {
    let about: Value = json!({ "step": step, "timestamp": time(whole_millis(at)), "type": kind });
    with(about, "payload", payload)
}
