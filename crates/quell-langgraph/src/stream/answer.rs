//! [`frames`]: the events of a graph whose body returned something and said nothing of a state, or
//! answered in words. The graph counts as one node of its own name, and every mode shows what it
//! returned, and its message.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{Payload, RunId};
use quell_http::{RunView, SseEvent, whole_millis};
use serde_json::json;

use crate::messages::{MESSAGES, asked, is_of_graph, text_of, to_list};
use crate::stream::late::Late;
use crate::threads::Tracked;
use crate::values::{Fold, Values};
use crate::wire::event_id::Slot;
use crate::wire::exact::{null, with};
use crate::wire::message::Origin;
use crate::wire::modes::Modes;
use crate::wire::rows::time;

/// Yields the frames of what a run changed as a node, but for `values` and for messages.
pub(crate) fn frames(
    run: &RunView,
    fold: &Fold,
    tracked: &Tracked,
    modes: Modes,
    update: &Arc<Values>,
) -> Vec<Late> {
    let (node, id): (Arc<str>, Arc<str>) = (run.name().into(), run.id().to_string().into());
    let ended_at = run.row().ended_at.unwrap_or_else(SystemTime::now);
    let at: Arc<str> = time(whole_millis(ended_at)).into();
    let all = [
        ("updates", Slot::Updates),
        ("tasks", Slot::Tasks),
        ("debug", Slot::Debug),
        ("events", Slot::Events),
    ];
    let asked = all.into_iter().filter(|(mode, _)| modes.has(mode));
    let late = |(mode, slot)| {
        let (node, id, at) = (Arc::clone(&node), Arc::clone(&id), Arc::clone(&at));
        let update = Arc::clone(update);
        Late::new(slot, move || SseEvent::json(mode, &of_mode(mode, &node, &id, &at, &update)))
    };
    let mut frames: Vec<_> = asked.map(late).collect();
    if modes.has("checkpoints") {
        let (values, thread) = (fold.current().map(Arc::clone), tracked.about.thread);
        frames.push(Late::new(Slot::Checkpoints, move || {
            let config = json!({ "configurable": { "thread_id": thread.to_string() } });
            let checkpoint = json!({
                "config": config, "parent_config": null, "metadata": { "run_id": &*id },
                "next": [], "tasks": [],
            });
            SseEvent::json("checkpoints", &with(checkpoint, "values", &values.as_deref()))
        }));
    }
    frames
}

fn of_mode(mode: &str, node: &str, id: &str, at: &str, answer: &Values) -> Payload {
    let task = || {
        let about = json!({ "id": id, "name": node, "error": null, "interrupts": [] });
        with(about, "result", answer)
    };
    match mode {
        "updates" => with(json!({}), node, answer),
        "tasks" => task(),
        "debug" => {
            let about = json!({ "step": 1, "timestamp": at, "type": "task_result" });
            with(about, "payload", &task())
        }
        _ => {
            let about = json!({
                "event": "on_chain_end", "run_id": id, "name": node, "tags": [], "metadata": {},
                "parent_ids": [],
            });
            with(about, "data", &with(json!({}), "output", answer))
        }
    }
}

/// Yields the message of a run that returned its answer without emitting it before. Of an object it
/// is the last one of a model among its `messages`, unless the run has started on it; an object
/// without any, and a list, is a state and no message.
pub(crate) fn message(
    run: &RunView,
    fold: &Fold,
    tracked: &Arc<Tracked>,
    modes: Modes,
    answer: &Arc<Values>,
) -> Vec<Late> {
    let (node, id): (Arc<str>, Arc<str>) = (run.name().into(), run.id().to_string().into());
    let (run_id, own) = (run.id(), fold.own_messages().last().cloned());
    let is_as_said = is_of_graph(&tracked.about.reducers);
    let found = message_in((run_id, is_as_said), own.as_ref(), answer);
    let before = fold.messages_before().map(to_list).unwrap_or_default();
    let id_of = |message: &Payload| text_in(message, "id");
    if found.is_none_or(|found| before.iter().any(|one| id_of(one) == id_of(&found))) {
        return Vec::new();
    }
    let late = |slot, make: fn(Origin<'_>, Payload) -> SseEvent| {
        let (node, id, tracked) = (Arc::clone(&node), Arc::clone(&id), Arc::clone(tracked));
        let (answer, own) = (Arc::clone(answer), own.clone());
        Late::new(slot, move || {
            let about = &tracked.about;
            let origin = Origin { about, run: &id, speaker: &id, node: &node };
            let found = message_in((run_id, is_as_said), own.as_ref(), &answer);
            make(origin, found.unwrap_or_else(null))
        })
    };
    if modes.has("messages-tuple") {
        let piece =
            |origin: Origin<'_>, message| SseEvent::json("messages", &origin.whole(&message));
        vec![late(Slot::AnswerPiece, piece)]
    } else if modes.has("messages") {
        vec![
            late(Slot::AnswerAnnounced, |origin, message| {
                let id = text_in(&message, "id").unwrap_or_default();
                SseEvent::json("messages/metadata", &origin.announced(&id))
            }),
            late(Slot::AnswerMessage, |_, message| SseEvent::json("messages/complete", &[message])),
        ]
    } else {
        Vec::new()
    }
}

/// `is_as_said` tells whether its messages stand in the values as the body has said them: then one
/// that has no id there is not shown under one.
fn message_in(
    (run, is_as_said): (RunId, bool),
    own: Option<&Payload>,
    answer: &Values,
) -> Option<Payload> {
    let Some(said) = answer.get(MESSAGES) else { return own.cloned() };
    let is_of_model = |message: &Payload| {
        text_in(message, "type").as_deref() == Some("ai") && text_in(message, "id").is_some()
    };
    let all = if is_as_said { to_list(said) } else { asked(MESSAGES, said, run)? };
    all.into_iter().rfind(is_of_model)
}

fn text_in(message: &Payload, key: &str) -> Option<String> {
    text_of(&message.parse().ok()?, key)
}

#[cfg(test)]
mod tests {
    use quell::{Engine, RunSpec};
    use uuid::Uuid;

    use super::*;
    use crate::threads::within;
    use crate::wire::exact::written;

    #[tokio::test]
    async fn the_frames_of_an_answer_are_made_one_at_a_time() {
        let handle = Engine::new().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
        let run = handle.run().clone();
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(Uuid::nil())));
        let long = json!([{ "type": "ai", "content": "x".repeat(1_000) }]);
        let answer = Arc::new(Values::from([(MESSAGES.to_owned(), long.into())]));
        let (mut fold, modes) = (Fold::default(), Modes::ALL);
        tracked.finish(None, &mut fold, &run, Some(&written(&*answer)));
        let run = RunView::Live(run);
        let mut all = frames(&run, &fold, &tracked, modes, &answer);
        all.extend(message(&run, &fold, &tracked, modes, &answer));
        let held = || {
            let values = fold.current().map_or(0, Arc::strong_count);
            Arc::strong_count(&answer) + values - 2
        };
        let mut left = all.len();
        assert!(left >= 6 && held() == left, "each holds what all share: {} of {left}", held());
        for late in all {
            assert!(late.frame().to_bytes().len() > 1_000);
            left -= 1;
            assert_eq!(held(), left);
        }
    }
}
