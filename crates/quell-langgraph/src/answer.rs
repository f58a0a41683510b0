//! What a body answered that said nothing of nodes or of a state: the graph is one node, named as
//! itself, and every mode shows what it returned.

use std::time::SystemTime;

use quell::RunRef;
use quell_http::Frame;
use serde_json::json;

use crate::values::{Fold, OUTPUT, Values};
use crate::wire::exact::{with, written};
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
    let task = || {
        let about = json!({ "id": id, "name": node, "error": null, "interrupts": [] });
        with(about, "result", answer)
    };
    let now = || time(run.row().ended_at.unwrap_or_else(SystemTime::now));
    let of_mode = |mode: &str| match mode {
        "updates" => with(json!({}), node, answer),
        "tasks" => task(),
        "debug" => {
            let about = json!({ "step": 1, "timestamp": now(), "type": "task_result" });
            with(about, "payload", &task())
        }
        _ => {
            let about = json!({
                "event": "on_chain_end", "run_id": id, "name": node, "tags": [], "metadata": {},
                "parent_ids": [],
            });
            with(about, "data", &with(json!({}), "output", answer))
        }
    };
    let asked = ["updates", "tasks", "debug", "events"].into_iter().filter(|mode| modes.has(mode));
    let mut frames: Vec<_> = asked.map(|mode| Frame::json(mode, &of_mode(mode))).collect();
    if modes.has("checkpoints") {
        let values = fold.current().map(|values| &**values);
        let config = json!({ "configurable": { "thread_id": about.thread.to_string() } });
        let checkpoint = json!({
            "config": config, "parent_config": null, "metadata": { "run_id": id },
            "next": [], "tasks": [],
        });
        frames.push(Frame::json("checkpoints", &with(checkpoint, "values", &values)));
    }
    frames
}

/// Yields the message of a run that answered text without saying it before.
pub(crate) fn message(origin: Origin<'_>, modes: Modes, answer: &Values) -> Vec<Frame> {
    let text = match answer.get(OUTPUT) {
        Some(output) => output.parse().unwrap_or_else(|_| output.to_string()),
        None => written(answer).to_string(),
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
