//! What a body answered that said nothing of nodes or of a state: the graph is one node, named as
//! itself, and every mode shows what it returned.

use std::time::SystemTime;

use quell::RunRef;
use quell_http::Frame;
use serde_json::{Value, json};

use crate::values::{Fold, OUTPUT, Values};
use crate::wire::message::Origin;
use crate::wire::modes::Modes;
use crate::wire::rows::{About, time};

/// Yields the frames of an answer, but for `values` and for messages that were said already.
pub(crate) fn frames(
    run: &RunRef,
    fold: &Fold,
    about: &About,
    modes: Modes,
    answer: &Values,
) -> Vec<Frame> {
    let (node, id) = (run.name(), run.id().to_string());
    let task =
        || json!({ "id": id, "name": node, "error": null, "result": answer, "interrupts": [] });
    let now = || time(run.row().ended_at.unwrap_or_else(SystemTime::now));
    let of_mode = |mode: &str| -> Value {
        match mode {
            "updates" => json!({ node: answer }),
            "tasks" => task(),
            "debug" => json!({
                "step": 1, "timestamp": now(), "type": "task_result", "payload": task(),
            }),
            _ => json!({
                "event": "on_chain_end", "run_id": id, "name": node, "tags": [], "metadata": {},
                "data": { "output": answer }, "parent_ids": [],
            }),
        }
    };
    let asked = ["updates", "tasks", "debug", "events"].into_iter().filter(|mode| modes.has(mode));
    let mut frames: Vec<_> = asked.map(|mode| Frame::json(mode, &of_mode(mode))).collect();
    if modes.has("checkpoints") {
        let values = fold.current().map(|values| &**values);
        let config = json!({ "configurable": { "thread_id": about.thread.to_string() } });
        let checkpoint = json!({
            "config": config, "parent_config": null, "metadata": { "run_id": id },
            "values": values, "next": [], "tasks": [],
        });
        frames.push(Frame::json("checkpoints", &checkpoint));
    }
    frames
}

/// Yields the message of a run that answered text without saying it before.
pub(crate) fn message(origin: Origin<'_>, modes: Modes, answer: &Values) -> Vec<Frame> {
    let text = match answer.get(OUTPUT) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => Value::Object(answer.clone()).to_string(),
    };
    if modes.has("messages-tuple") {
        vec![Frame::json("messages", &origin.whole(&text))]
    } else if modes.has("messages") {
        let announced = Frame::json("messages/metadata", &origin.announced());
        vec![announced, Frame::json("messages/complete", &origin.complete(&text, false))]
    } else {
        Vec::new()
    }
}
