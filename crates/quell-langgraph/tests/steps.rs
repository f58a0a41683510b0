//! The steps of graphs that have nodes: each is a state, and a run goes on from any of them.

use std::cmp::Reverse;
use std::sync::Arc;

use quell::Shutdown;
use quell::store::MemoryStore;
use serde_json::{Value, json};

use crate::nodes::{stored, two};
use crate::restart::nth;
use crate::talk::{Says as _, Server};
use crate::threads::{delete, echo, row};

pub(crate) async fn state(server: &Server, thread: &str) -> Value {
    let answer = server.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) async fn history(server: &Server, thread: &str) -> Vec<Value> {
    let body = json!({ "limit": 100 });
    let answer = server.post(&format!("/threads/{thread}/history"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().clone()
}

/// Runs `steps` to its end, with more keys in the request, and yields the values.
pub(crate) async fn steps(server: &Server, thread: &str, more: Value) -> Value {
    let mut body = json!({ "assistant_id": "steps" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = server.post(&format!("/threads/{thread}/runs/wait"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Cancels a run while its second node ticks.
async fn cut(server: &Server, thread: &str, action: &str) -> String {
    let tag = format!("{thread} {action}");
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": tag });
    let run = server.start(thread, "steps", input).await;
    server.until_ticking(&tag).await;
    let cancel = format!("{run}/cancel?wait=quiescent&action={action}");
    assert_eq!(server.post(&cancel, &json!({})).await.status, 200);
    run
}

pub(crate) fn of(states: &[Value], key: &str) -> Vec<Value> {
    states.iter().map(|state| state[key].clone()).collect()
}

pub(crate) fn logs(states: &[Value]) -> Vec<Value> {
    states.iter().map(|state| state["values"]["log"].clone()).collect()
}

pub(crate) fn all_done() -> [Value; 5] {
    [
        json!(["before", "slow:done", "after"]),
        json!(["before", "slow:done"]),
        json!(["before"]),
        json!([]),
        json!([]),
    ]
}

#[tokio::test]
async fn each_step_is_a_state_with_a_parent_on_every_store() {
    let plain = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (kept, _) = nth(1, &store).await;
    let (a, b) = two();
    for (writer, reader) in [(&plain, &plain), (&kept, &kept), (&a, &b)] {
        let thread = writer.thread().await;
        echo(writer, &thread, "first").await;
        let before = state(writer, &thread).await;
        let values = steps(writer, &thread, json!({ "input": { "ms": 5, "log": "in" } })).await;
        assert_eq!(values["log"], json!(["echo:first", "in", "before", "slow:done", "after"]));
        let states = history(reader, &thread).await;
        assert_eq!(history(writer, &thread).await, states);
        assert_eq!(states.len(), 7);
        // Clients sort them so.
        assert!(states.is_sorted_by_key(|one| Reverse(one["checkpoint_id"].as_str().unwrap())));
        let next = [json!([]), json!(["after"]), json!(["slow"]), json!(["before"])];
        assert_eq!(of(&states[..4], "next"), next);
        assert_eq!(states[4]["next"], json!(["__start__"]));
        assert_eq!(states[4]["values"], before["values"], "before the input");
        for (nth, one) in states.iter().enumerate() {
            let parent = states.get(nth + 1).map_or(&Value::Null, |parent| &parent["checkpoint"]);
            assert_eq!(&one["parent_checkpoint"], parent, "{nth}");
            let id = one["checkpoint_id"].as_str().unwrap();
            let told = reader.get(&format!("/threads/{thread}/state/{id}")).await;
            assert_eq!(&told.json(), one);
            let path = format!("/threads/{thread}/history?limit=2&before={id}");
            let older = reader.get(&path).await.json();
            let expected = states.iter().skip(nth + 1).take(2).cloned().collect::<Vec<_>>();
            assert_eq!(older, json!(expected), "{nth}");
        }
        let numbers: Vec<_> = states.iter().map(|one| one["metadata"]["step"].clone()).collect();
        assert_eq!(numbers, [3, 2, 1, 0, -1, 0, -1].map(Value::from));
        assert_eq!(states[4]["metadata"]["source"], "input");
        assert_eq!(state(reader, &thread).await, states[0]);
        assert_eq!(row(reader, &thread).await["status"], "idle");
    }
    let thread = kept.thread().await;
    steps(&kept, &thread, json!({ "input": { "ms": 5 } })).await;
    let states = history(&kept, &thread).await;
    assert_eq!(logs(&states), all_done());
    kept.service.engine().shutdown(Shutdown::default()).await;
    let (kept, _) = nth(2, &store).await;
    assert_eq!(history(&kept, &thread).await, states);
    // With the thread everything goes.
    let last = states[0]["checkpoint_id"].as_str().unwrap();
    assert_eq!(delete(&kept, &format!("/threads/{thread}")).await.status, 204);
    let gone = kept.get(&format!("/threads/{thread}/state/{last}")).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn a_cut_keeps_the_finished_steps_and_null_input_goes_on_in_the_cut_node() {
    let plain = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (kept, _) = nth(1, &store).await;
    let (a, b) = two();
    for (first, then) in [(&plain, &plain), (&kept, &kept), (&a, &b)] {
        let thread = first.thread().await;
        cut(first, &thread, "interrupt").await;
        for server in [first, then] {
            let now = state(server, &thread).await;
            assert_eq!(now["values"]["log"], json!(["before"]));
            assert_eq!(
                (&now["next"], &now["tasks"][0]["name"]),
                (&json!(["slow"]), &json!("slow"))
            );
            assert_eq!(row(server, &thread).await["status"], "interrupted");
            assert_eq!(row(server, &thread).await["values"]["log"], json!(["before"]));
        }
        let quick = json!({ "values": { "ms": 5 } });
        assert_eq!(then.post(&format!("/threads/{thread}/state"), &quick).await.status, 200);
        assert_eq!(state(first, &thread).await["next"], json!(["slow"]), "a change leaves it");
        let values = steps(then, &thread, json!({ "input": null })).await;
        assert_eq!(values["log"], json!(["before", "slow:done", "after"]));
        let over = state(first, &thread).await;
        assert_eq!((&over["values"], &over["next"]), (&values, &json!([])));
        assert_eq!(row(first, &thread).await["status"], "idle");
        // Nothing comes next.
        assert_eq!(steps(then, &thread, json!({})).await, values);
    }
    let empty = plain.thread().await;
    let told = steps(&plain, &empty, json!({})).await;
    assert_eq!(told["__error__"]["error"], "EmptyInputError");
}

#[tokio::test]
async fn after_a_crash_in_a_node_null_input_goes_on_there() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "crash" });
    let run = server.start(&thread, "steps", input).await;
    server.until_ticking("crash").await;
    stored(&server, &run).await;
    let (after, _) = nth(2, &store).await;
    let now = state(&after, &thread).await;
    assert_eq!((&now["values"]["log"], &now["next"]), (&json!(["before"]), &json!(["slow"])));
    let quick = json!({ "values": { "ms": 5 } });
    assert_eq!(after.post(&format!("/threads/{thread}/state"), &quick).await.status, 200);
    let values = steps(&after, &thread, json!({})).await;
    assert_eq!(values["log"], json!(["before", "slow:done", "after"]));
}

#[tokio::test]
async fn before_the_one_state_of_a_run_that_had_nothing_to_go_on_from_there_is_none() {
    let server = Server::new();
    let thread = server.thread().await;
    let wait = format!("/threads/{thread}/runs/wait");
    server.post(&wait, &json!({ "assistant_id": "steps", "input": null })).await;
    let [state] = &history(&server, &thread).await[..] else { panic!("one state") };
    assert_eq!(state["parent_checkpoint"], Value::Null);
    let id = state["checkpoint"]["checkpoint_id"].as_str().unwrap();
    for limit in [1, 10] {
        let before = format!("/threads/{thread}/history?limit={limit}&before={id}");
        assert_eq!(server.get(&before).await.json(), json!([]));
        let page = format!("/threads/{thread}/history?limit={limit}");
        assert_eq!(server.get(&page).await.json()[0]["parent_checkpoint"], Value::Null);
    }
}

#[tokio::test]
async fn null_input_behind_a_run_that_is_cut_goes_on_where_that_was() {
    let plain = Server::new();
    let (a, b) = two();
    for (first, then) in [(&plain, &plain), (&a, &b)] {
        let thread = first.thread().await;
        let input = json!({ "ms": 300, "chunk_ms": 5, "tag": thread });
        let run = first.start(&thread, "steps", input).await;
        first.until_ticking(&thread).await;
        let next = json!({ "multitask_strategy": "interrupt" });
        let values = steps(then, &thread, next).await;
        assert_eq!(values["log"], json!(["before", "slow:done", "after"]));
        assert_eq!(first.status(&run).await, "interrupted");
    }
}

#[tokio::test]
async fn a_rollback_takes_the_steps_back() {
    let plain = Server::new();
    let (a, b) = two();
    for (writer, reader) in [(&plain, &plain), (&a, &b)] {
        let thread = writer.thread().await;
        steps(writer, &thread, json!({ "input": { "ms": 5 }, "interrupt_before": ["slow"] })).await;
        let before = history(reader, &thread).await;
        let seen = row(reader, &thread).await;
        cut(writer, &thread, "rollback").await;
        assert_eq!(history(reader, &thread).await, before);
        assert_eq!(state(reader, &thread).await["next"], json!(["slow"]));
        let now = row(reader, &thread).await;
        assert_eq!((&now["status"], &now["values"]), (&seen["status"], &seen["values"]));
        // So does the deletion of a run.
        let run = cut(writer, &thread, "interrupt").await;
        assert!(history(reader, &thread).await.len() > before.len());
        assert_eq!(delete(writer, &run).await.status, 204);
        assert_eq!(history(reader, &thread).await, before);
    }
}

#[tokio::test]
async fn a_run_ends_before_or_after_the_nodes_that_it_is_asked_to() {
    let server = Server::new();
    let thread = server.thread().await;
    let quick = json!({ "ms": 5 });
    let held = json!({ "input": quick, "interrupt_before": ["slow"] });
    assert_eq!(steps(&server, &thread, held).await["log"], json!(["before"]));
    let runs = server.get(&format!("/threads/{thread}/runs")).await.json();
    assert_eq!(runs[0]["status"], "success");
    assert_eq!(row(&server, &thread).await["status"], "interrupted");
    assert_eq!(state(&server, &thread).await["next"], json!(["slow"]));
    let over = steps(&server, &thread, json!({})).await;
    assert_eq!(over["log"], json!(["before", "slow:done", "after"]));
    let thread = server.thread().await;
    for (more, next, log) in [
        (json!({ "input": quick, "interrupt_before": "*" }), json!(["before"]), json!([])),
        (json!({ "interrupt_before": "*" }), json!(["slow"]), json!(["before"])),
        (json!({ "interrupt_after": ["slow"] }), json!(["after"]), json!(["before", "slow:done"])),
        (json!({ "interrupt_after": "*" }), json!([]), all_done()[0].clone()),
    ] {
        assert_eq!(steps(&server, &thread, more.clone()).await["log"], log, "{more}");
        assert_eq!(state(&server, &thread).await["next"], next, "{more}");
    }
    let thread = server.thread().await;
    let mut body = json!({ "assistant_id": "parallel", "input": { "ms": 5, "n": 2 } });
    body["interrupt_before"] = json!(["join"]);
    let path = format!("/threads/{thread}/runs/wait");
    server.post(&path, &body).await;
    let states = history(&server, &thread).await;
    assert_eq!(states[0]["next"], json!(["join"]));
    assert_eq!(states[1]["next"], json!(["worker", "worker"]));
    let ids: Vec<_> = states[1]["tasks"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_ne!(ids[0], ids[1]);
    let values = server.post(&path, &json!({ "assistant_id": "parallel" })).await.json();
    assert_eq!(values["log"], json!(["worker0:done", "worker1:done", "join"]));
}

/// Upstream goes on from it, too. A state that a run has gone on from has had what it waited for.
#[tokio::test]
async fn an_answer_for_a_state_at_which_a_run_was_held_goes_on_from_that_one() {
    let plain = Server::new();
    let (a, b) = two();
    for (writer, reader) in [(&plain, &plain), (&a, &b)] {
        let thread = writer.thread().await;
        let held = json!({ "input": { "ms": 5 }, "interrupt_before": ["slow"] });
        steps(writer, &thread, held).await;
        let held = state(writer, &thread).await["checkpoint"].clone();
        steps(writer, &thread, json!({ "interrupt_before": ["after"] })).await;
        let answer = |of: &Value| {
            let command = json!({ "resume": "yes" });
            json!({ "command": command, "checkpoint": of, "interrupt_before": ["after"] })
        };
        let values = steps(reader, &thread, answer(&held)).await;
        assert_eq!(values["log"], json!(["before", "slow:done"]));
        assert_eq!(state(reader, &thread).await["next"], json!(["after"]));
        // The first one that the run had, which went on.
        let passed = history(writer, &thread).await;
        let passed = passed.iter().rfind(|state| state["next"] == json!(["before"])).unwrap();
        let path = format!("/threads/{thread}/runs/wait");
        let mut body = answer(&passed["checkpoint"]);
        body["assistant_id"] = "steps".into();
        let refused = reader.post(&path, &body).await;
        assert_eq!(refused.status, 409, "{refused:?}");
        assert_eq!(state(reader, &thread).await["next"], json!(["after"]));
        // At one where all had been done nothing waits: what came behind it stays.
        steps(writer, &thread, json!({})).await;
        let ended = state(writer, &thread).await;
        assert_eq!(ended["next"], json!([]));
        let last = steps(writer, &thread, json!({ "input": { "ms": 6 } })).await;
        let values = steps(reader, &thread, answer(&ended["checkpoint"])).await;
        assert_eq!((values["log"].clone(), values["ms"].clone()), (last["log"].clone(), json!(6)));
        assert_ne!(last["log"], ended["values"]["log"]);
    }
}

#[tokio::test]
async fn a_run_forks_from_any_state_and_a_change_too() {
    let plain = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (kept, _) = nth(1, &store).await;
    let (a, b) = two();
    for (writer, reader) in [(&plain, &plain), (&kept, &kept), (&a, &b)] {
        let thread = writer.thread().await;
        steps(writer, &thread, json!({ "input": { "ms": 5, "text": "old" } })).await;
        let old = history(writer, &thread).await;
        let at = |next: &str| {
            old.iter().find(|state| state["next"] == json!([next])).unwrap()["checkpoint"].clone()
        };
        let forked = steps(reader, &thread, json!({ "checkpoint": at("slow") })).await;
        assert_eq!(forked["log"], json!(["before", "slow:done", "after"]));
        let now = history(writer, &thread).await;
        assert_eq!(now[3..], old, "what there was stays");
        assert_eq!(logs(&now[..3]), all_done()[..3]);
        assert_eq!(
            (&now[2]["metadata"]["source"], &now[2]["next"]),
            (&json!("fork"), &json!(["slow"]))
        );
        assert_eq!(now[2]["parent_checkpoint"], at("slow"));
        let id = at("after")["checkpoint_id"].clone();
        let input = json!({ "checkpoint_id": id, "input": { "text": "new" } });
        let values = steps(reader, &thread, input).await;
        assert_eq!(values["log"], json!(["before", "slow:done", "before", "slow:done", "after"]));
        let from_start = steps(writer, &thread, json!({ "checkpoint": at("__start__") })).await;
        assert_eq!(from_start["log"], all_done()[0]);
        assert_eq!(from_start["text"], "old");
        // A change of an old state, as a node has made it.
        let change = json!({ "values": { "log": ["mine"], "text": "x" }, "as_node": "slow",
            "checkpoint": at("slow") });
        let path = format!("/threads/{thread}/state");
        let told = writer.post(&path, &change).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let changed = state(reader, &thread).await;
        assert_eq!(changed["checkpoint"], told.json()["checkpoint"]);
        assert_eq!(changed["parent_checkpoint"], at("slow"));
        assert_eq!(
            (&changed["next"], &changed["values"]["text"]),
            (&json!(["after"]), &json!("x"))
        );
        assert_eq!(row(reader, &thread).await["status"], "interrupted");
        let values = steps(reader, &thread, json!({})).await;
        assert_eq!(values["log"], json!(["before", "mine", "after"]));
        for (node, next) in [("__start__", json!(["before"])), ("after", json!([]))] {
            let change = json!({ "values": null, "as_node": node });
            assert_eq!(reader.post(&path, &change).await.status, 200);
            assert_eq!(state(writer, &thread).await["next"], next, "{node}");
        }
        let bad = json!({ "values": {}, "as_node": "nope" });
        let told = writer.post(&path, &bad).await.detail();
        assert_eq!(told, (400, "Node nope does not exist".to_owned()));
    }
}

#[tokio::test]
async fn a_command_changes_the_values_and_names_nodes() {
    let server = Server::new();
    let thread = server.thread().await;
    let held = json!({ "input": { "ms": 5 }, "interrupt_before": ["slow"] });
    steps(&server, &thread, held).await;
    let values = steps(&server, &thread, json!({ "command": { "update": { "text": "u" } } })).await;
    assert_eq!((&values["text"], &values["log"]), (&json!("u"), &all_done()[0]));
    let goto = json!({ "command": { "goto": "after", "update": [["text", "v"]] } });
    let values = steps(&server, &thread, goto).await;
    assert_eq!(values["log"], json!(["before", "slow:done", "after", "after"]));
    assert_eq!(values["text"], "v");
    let values = steps(&server, &thread, json!({ "command": { "update": { "text": "w" } } })).await;
    assert_eq!(values["text"], "w");
    assert_eq!(state(&server, &thread).await["next"], json!([]));
    let empty = server.thread().await;
    let values = steps(&server, &empty, json!({ "command": { "goto": "after" } })).await;
    assert_eq!(values["log"], json!(["after"]), "also where nothing was before");
    let path = format!("/threads/{thread}/runs");
    for (more, text) in [
        (json!({ "command": { "goto": "nope" } }), "command.goto: 'nope' is none of before"),
        (json!({ "command": { "goto": { "node": "after" } } }), "command.goto: must be"),
        (json!({ "interrupt_before": "slow" }), "interrupt_before: must be"),
        (json!({ "checkpoint_id": "x" }), "Invalid checkpoint ID: must be a UUID"),
    ] {
        let mut body = json!({ "assistant_id": "steps" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, detail) = server.post(&path, &body).await.detail();
        assert!(status == 422 && detail.starts_with(text), "{more}: {detail}");
    }
}
