//! The states of threads: read, listed and changed.

use std::cmp::Reverse;
use std::sync::Arc;

use quell::store::MemoryStore;
use quell::{EngineConfig, Failure, Payload, RunContext, Shutdown};
use quell_flow::{Component, Nodes};
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::within;
use serde_json::{Value, json};

use crate::nodes::two;
use crate::restart::nth;
use crate::steps::state;
use crate::talk::{Says as _, Server, id_of};
use crate::threads::{delete, echo, made, row};

async fn history(server: &Server, thread: &str, body: Value) -> Vec<Value> {
    let answer = server.post(&format!("/threads/{thread}/history"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().clone()
}

async fn update(server: &Server, thread: &str, values: Value) -> Value {
    let path = format!("/threads/{thread}/state");
    let answer = server.post(&path, &json!({ "values": values })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn logs(states: &[Value]) -> Vec<Value> {
    states.iter().map(|state| state["values"]["log"].clone()).collect()
}

#[tokio::test]
async fn a_thread_without_a_run_has_the_empty_state() {
    let server = Server::new();
    let thread = server.thread().await;
    let empty = json!({ "values": {}, "next": [], "tasks": [], "metadata": null,
        "created_at": null, "checkpoint": null, "parent_checkpoint": null, "interrupts": [],
        "checkpoint_id": null, "parent_checkpoint_id": null });
    assert_eq!(state(&server, &thread).await, empty);
    assert_eq!(history(&server, &thread, json!({})).await, [Value::Null; 0]);
    assert_eq!(server.get(&format!("/threads/{thread}/history")).await.json(), json!([]));
    let unknown = "0b9f8c39-5c5c-4b0f-9d4c-222222222222";
    for path in ["state", "history", &format!("state/{unknown}")] {
        let told = server.get(&format!("/threads/{unknown}/{path}")).await.detail();
        assert_eq!(told, (404, format!("Thread with ID {unknown} not found")), "{path}");
        assert_eq!(server.get(&format!("/threads/x/{path}")).await.status, 422);
    }
    let told = server.get(&format!("/threads/{thread}/state/{unknown}")).await.detail();
    assert_eq!(told, (404, format!("Checkpoint {unknown} not found in thread {thread}")));
    let last = json!({ "checkpoint": { "thread_id": thread } });
    let last = server.post(&format!("/threads/{thread}/state/checkpoint"), &last).await;
    assert_eq!((last.status.as_u16(), last.json()), (200, empty));
    let told = server.get(&format!("/threads/{thread}/state/x")).await.detail();
    assert_eq!(told, (422, "Invalid checkpoint ID: must be a UUID".to_owned()));
    let change = json!({ "values": {} });
    let (status, text) = server.post(&format!("/threads/{thread}/state"), &change).await.detail();
    assert!(status == 400 && text.starts_with(&format!("Thread '{thread}' has no assigned")));
}

/// Sees the states of a thread of which three runs have ended, each with its parent.
async fn see_three(server: &Server, thread: &str) {
    let states = history(server, thread, json!({})).await;
    let all =
        [json!(["echo:a", "echo:b", "echo:c"]), json!(["echo:a", "echo:b"]), json!(["echo:a"])];
    let (left, before): (Vec<_>, Vec<_>) =
        states.iter().cloned().partition(|state| state["metadata"]["source"] == "loop");
    assert_eq!(logs(&left), all);
    assert_eq!(logs(&before), [&all[1..], &[json!([])]].concat(), "before each input");
    assert!(states.is_sorted_by_key(|state| Reverse(state["checkpoint_id"].as_str().unwrap())));
    for (nth, one) in states.iter().enumerate() {
        let next = if nth % 2 == 0 { json!([]) } else { json!(["__start__"]) };
        assert_eq!((&one["next"], one["tasks"][0]["name"].as_str()), (&next, next[0].as_str()));
        assert_eq!(one["metadata"]["step"], 4 - i64::try_from(nth).unwrap());
        let parent = states.get(nth + 1).map_or(Value::Null, |parent| parent["checkpoint"].clone());
        assert_eq!(one["parent_checkpoint"], parent);
        assert_eq!(one["parent_checkpoint_id"], parent["checkpoint_id"]);
        let id = one["checkpoint_id"].as_str().unwrap();
        assert_eq!(
            one["checkpoint"],
            json!({ "thread_id": thread, "checkpoint_ns": "", "checkpoint_id": id })
        );
        let path = format!("/threads/{thread}/state/{id}");
        assert_eq!(&server.get(&path).await.json(), one);
        let named = json!({ "checkpoint": one["checkpoint"] });
        let path = format!("/threads/{thread}/state/checkpoint");
        assert_eq!(&server.post(&path, &named).await.json(), one);
        assert_eq!(history(server, thread, named).await, std::slice::from_ref(one));
        let other = json!({ "checkpoint": one["checkpoint"], "metadata": { "step": 9 } });
        assert_eq!(history(server, thread, other).await, [Value::Null; 0]);
        for before in [
            one["checkpoint_id"].clone(),
            one["checkpoint"].clone(),
            json!({ "configurable": one["checkpoint"] }),
        ] {
            let older = history(server, thread, json!({ "before": before })).await;
            assert_eq!(older, states[nth + 1..]);
        }
        let path = format!("/threads/{thread}/history?before={id}&limit=1");
        let older = server.get(&path).await.json();
        assert_eq!(
            older.as_array().unwrap().as_slice(),
            states.get(nth + 1..nth + 2).unwrap_or_default()
        );
    }
    assert_eq!(state(server, thread).await, states[0]);
    assert_eq!(history(server, thread, json!({ "limit": 2 })).await, states[..2]);
    let run = &states[2]["metadata"]["run_id"];
    assert_eq!(
        history(server, thread, json!({ "metadata": { "run_id": run } })).await,
        states[2..4]
    );
}

#[tokio::test]
async fn each_run_leaves_a_state_with_a_parent_also_after_a_restart_and_on_other_nodes() {
    let plain = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (stored, _) = nth(1, &store).await;
    let (a, b) = two();
    for (writers, readers) in [
        ([&plain, &plain], vec![&plain]),
        ([&stored, &stored], vec![&stored]),
        ([&a, &b], vec![&a, &b]),
    ] {
        let thread = writers[0].thread().await;
        for (nth, text) in ["a", "b", "c"].into_iter().enumerate() {
            echo(writers[nth % 2], &thread, text).await;
        }
        let first = history(readers[0], &thread, json!({})).await;
        for reader in readers {
            see_three(reader, &thread).await;
            assert_eq!(history(reader, &thread, json!({})).await, first, "as every node tells it");
        }
    }
    let thread = made(&stored, json!({})).await;
    for text in ["a", "b", "c"] {
        echo(&stored, &thread, text).await;
    }
    stored.service.engine().shutdown(Shutdown::default()).await;
    let (stored, _) = nth(2, &store).await;
    see_three(&stored, &thread).await;
}

#[tokio::test]
async fn what_was_cut_would_go_on_and_what_was_taken_back_has_left_no_state() {
    let server = Server::new();
    let thread = server.thread().await;
    echo(&server, &thread, "a").await;
    for (action, count) in [("rollback", 2), ("interrupt", 5)] {
        let tag = format!("cut {action}");
        let run = server.start(&thread, "steps", json!({ "ms": 60_000, "tag": tag })).await;
        server.until_ticking(&tag).await;
        let cancel = format!("{run}/cancel?wait=quiescent&action={action}");
        assert_eq!(server.post(&cancel, &json!({})).await.status, 200);
        assert_eq!(history(&server, &thread, json!({})).await.len(), count, "{action}");
    }
    let cut = state(&server, &thread).await;
    assert_eq!(cut["values"]["log"], json!(["echo:a", "before"]));
    assert_eq!((&cut["next"], &cut["tasks"][0]["name"]), (&json!(["slow"]), &json!("slow")));
    let failing = json!({ "assistant_id": "failing", "input": { "ms": 0 } });
    server.post(&format!("/threads/{thread}/runs/wait"), &failing).await;
    let failed = state(&server, &thread).await;
    assert_eq!(failed["tasks"][0]["error"], "ValueError: boom");
    // A run that is deleted takes its state along.
    let states = history(&server, &thread, json!({})).await;
    let run =
        format!("/threads/{thread}/runs/{}", states[0]["metadata"]["run_id"].as_str().unwrap());
    assert_eq!(delete(&server, &run).await.status, 204);
    assert_eq!(history(&server, &thread, json!({})).await, states[2..]);
    assert_eq!(state(&server, &thread).await, cut);
}

async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with() {
        Some(answer) => Ok(json!({ "told": answer }).into()),
        None => Err(ctx.pause(Payload::from(json!({ "question": "go on?" })))),
    }
}

#[tokio::test]
async fn the_state_of_a_paused_run_says_what_it_asks() {
    let server = Server::serving([Component::workflow("ask", ask).resumable()]);
    let thread = server.thread().await;
    let run = server.start(&thread, "ask", json!({ "n": 1 })).await;
    within("it asks", async {
        while row(&server, &thread).await["status"] != "interrupted" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let asks = state(&server, &thread).await;
    assert_eq!((&asks["values"], &asks["next"]), (&json!({ "n": 1 }), &json!(["ask"])));
    let [interrupt] = &asks["interrupts"].as_array().unwrap()[..] else { panic!("{asks}") };
    assert_eq!(interrupt["value"], json!({ "question": "go on?" }));
    assert_eq!(asks["tasks"][0]["interrupts"], asks["interrupts"]);
    let of_row = row(&server, &thread).await["interrupts"].clone();
    assert_eq!(of_row[asks["tasks"][0]["id"].as_str().unwrap()][0], *interrupt);
    // Its thread is not idle: it is answered first.
    let path = format!("/threads/{thread}/state");
    let told = server.post(&path, &json!({ "values": { "n": 2 } })).await.detail();
    assert_eq!(told, (409, format!("Thread {thread} has in-flight runs: {}", id_of(&run))));
    let answer = json!({ "assistant_id": "ask", "command": { "resume": "yes" } });
    server.post(&format!("/threads/{thread}/runs/wait"), &answer).await;
    let over = state(&server, &thread).await;
    assert_eq!((&over["values"]["told"], &over["interrupts"]), (&json!("yes"), &json!([])));
    assert_ne!(over["checkpoint_id"], asks["checkpoint_id"]);
}

#[tokio::test]
async fn a_change_of_the_values_is_a_state_and_no_run() {
    let server = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (stored, _) = nth(1, &store).await;
    let (a, b) = two();
    for (writer, reader) in [(&server, &server), (&stored, &stored), (&a, &b)] {
        let thread = writer.thread().await;
        echo(writer, &thread, "a").await;
        let before = state(writer, &thread).await;
        let changed =
            update(writer, &thread, json!({ "text": "x", "more": 1.5, "log": ["mine"] })).await;
        let now = state(reader, &thread).await;
        assert_eq!(now["checkpoint"], changed["checkpoint"]);
        assert_eq!(now["values"], json!({ "text": "x", "more": 1.5, "log": ["echo:a", "mine"] }));
        assert_eq!(
            (&now["parent_checkpoint"], &now["metadata"]["source"]),
            (&before["checkpoint"], &json!("update"))
        );
        assert_eq!(row(reader, &thread).await["values"], now["values"]);
        assert_eq!(row(reader, &thread).await["status"], "idle");
        for server in [writer, reader] {
            let runs = server.get(&format!("/threads/{thread}/runs?limit=1&offset=1")).await.json();
            assert_eq!(runs, json!([]), "it is no run");
        }
        echo(reader, &thread, "b").await;
        assert_eq!(
            state(writer, &thread).await["values"]["log"],
            json!(["echo:a", "mine", "echo:b"])
        );
        // An older one is changed, too: what there was since stays in the history.
        let old = json!({ "values": { "z": 1 }, "checkpoint": before["checkpoint"] });
        let path = format!("/threads/{thread}/state");
        assert_eq!(writer.post(&path, &old).await.status, 200);
        let now = state(reader, &thread).await;
        assert_eq!(now["values"], json!({ "text": "a", "z": 1, "log": ["echo:a"] }));
        assert_eq!(now["parent_checkpoint"], before["checkpoint"]);
        let unknown = json!({ "values": {}, "checkpoint_id": thread });
        let words = format!("Checkpoint {thread} not found in thread {thread}");
        assert_eq!(writer.post(&path, &unknown).await.detail(), (404, words));
        for bad in [
            json!({ "values": 1 }),
            json!({ "values": {}, "as_node": 1 }),
            json!({ "values": {}, "checkpoint": 1 }),
        ] {
            assert_eq!(
                writer.post(&format!("/threads/{thread}/state"), &bad).await.status,
                422,
                "{bad}"
            );
        }
        // A busy thread is not changed.
        let run = reader.start(&thread, "slow", json!({ "ms": 60_000, "tag": thread })).await;
        reader.until_ticking(&thread).await;
        let told = writer.post(&format!("/threads/{thread}/state"), &json!({ "values": {} })).await;
        assert_eq!(
            told.detail(),
            (409, format!("Thread {thread} has in-flight runs: {}", id_of(&run)))
        );
        assert_eq!(delete(writer, &run).await.status, 204);
    }
    let thread = made(&stored, json!({ "graph_id": "echo" })).await;
    update(&stored, &thread, json!({ "text": "first" })).await;
    stored.service.engine().shutdown(Shutdown::default()).await;
    let (stored, _) = nth(2, &store).await;
    let now = state(&stored, &thread).await;
    assert_eq!(now["values"], json!({ "text": "first", "log": [] }));
    assert_eq!(stored.get(&format!("/threads/{thread}/runs")).await.json(), json!([]));
}

#[tokio::test]
async fn nobody_reads_or_changes_the_states_of_another_owner() {
    let access = Access::open().key(Key::new("ada", "a")).key(Key::new("ben", "b"));
    let access = access.key(Key::new("eve", "e").read_only());
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let [ada, ben, eve] = ["a", "b", "e"].map(|key| server.saying("x-api-key", key));
    let thread = ada.thread().await;
    echo(&ada, &thread, "a").await;
    let id = state(&ada, &thread).await["checkpoint_id"].as_str().unwrap().to_owned();
    for path in ["state", "history", &format!("state/{id}")] {
        for who in [&ben, &eve] {
            assert_eq!(who.get(&format!("/threads/{thread}/{path}")).await.status, 404, "{path}");
        }
        assert_eq!(ada.get(&format!("/threads/{thread}/{path}")).await.status, 200);
    }
    let change = json!({ "values": { "text": "x" } });
    for (who, status) in [(&ben, 404), (&eve, 403)] {
        assert_eq!(who.post(&format!("/threads/{thread}/state"), &change).await.status, status);
    }
    assert_eq!(state(&ada, &thread).await["values"]["text"], "a");
}

/// A graph with nodes that changes little of a state, so many times.
async fn counts(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let mut nodes = Nodes::begin(&ctx, input.clone(), ["count"]).await;
    let asked: Value = input.parse().unwrap();
    for nth in 1..=asked["times"].as_u64().unwrap() {
        nodes.leave(json!({ "count": nth }).into(), ["count"]);
    }
    nodes.leave(input, [""; 0]);
    Ok(nodes.into_state())
}

#[tokio::test]
async fn a_state_is_found_also_where_not_all_of_them_can_be_held_at_once() {
    let server = Server::serving([Component::workflow("counts", counts).nodes(["count"])]);
    let thread = server.thread().await;
    let big = "x".repeat(1 << 20);
    for input in [json!({ "big": big, "times": 1 }), json!({ "times": 100 })] {
        let run = server.start(&thread, "counts", input).await;
        server.get(&format!("{run}/join")).await;
    }
    for (step, is_of_first) in [(100, false), (7, false), (-1, false), (1, true)] {
        let count = if is_of_first { json!({ "step": 1 }) } else { json!({ "step": step }) };
        let found = history(&server, &thread, json!({ "limit": 2, "metadata": count })).await;
        assert_eq!(found.len(), 2 - usize::from(step > 1), "{step}");
        let of_last = &found[0];
        assert_eq!(
            (&of_last["metadata"]["step"], &of_last["values"]["big"]),
            (&json!(step), &json!(big))
        );
        let before = json!({ "limit": 1, "before": of_last["checkpoint_id"] });
        let before = &history(&server, &thread, before).await[0];
        assert_eq!(of_last["parent_checkpoint_id"], before["checkpoint_id"], "{step}");
    }
    let (mut all, mut before) = (Vec::new(), Value::Null);
    loop {
        let mut part = history(&server, &thread, json!({ "limit": 9, "before": before })).await;
        let Some(last) = part.last() else { break };
        before = last["checkpoint_id"].clone();
        all.append(&mut part);
    }
    // Besides, each run has one before its first step, one on its input and the last one.
    assert_eq!(all.len(), 3 + 1 + 3 + 100);
    for (one, parent) in all.iter().zip(&all[1..]) {
        assert_eq!(one["parent_checkpoint_id"], parent["checkpoint_id"]);
    }
}

#[tokio::test]
async fn what_executes_nothing_waits_for_no_place_among_those_that_execute() {
    let none_waits = quell::RunLimits::new().running_max(1).queued_max(0);
    let config = EngineConfig::new().limit(quell::Scope::All, none_waits);
    let server = Server::with(config, Options::default(), Access::open());
    let thread = made(&server, json!({})).await;
    let path = format!("/threads/{thread}/runs");
    let first = json!({ "assistant_id": "echo", "input": { "n": 1 } });
    assert_eq!(server.post(&format!("{path}/wait"), &first).await.status, 200);
    let busy = server.thread().await;
    server.start(&busy, "slow", json!({ "ms": 60_000, "tag": "busy" })).await;
    server.until_ticking("busy").await;
    let changed = within("it is changed", update(&server, &thread, json!({ "n": 2 }))).await;
    assert!(changed["checkpoint"]["checkpoint_id"].is_string(), "{changed}");
    let goes_on = json!({ "assistant_id": "echo", "input": null });
    let over = within("nothing comes next", server.post(&format!("{path}/wait"), &goes_on)).await;
    assert_eq!((over.status.as_u16(), over.json()["n"].clone()), (200, json!(2)), "{over:?}");
    let executes = json!({ "assistant_id": "echo", "input": { "n": 3 } });
    assert_eq!(server.post(&path, &executes).await.status, 429, "a run waits for its place");
    let all = json!({ "status": "all" });
    assert_eq!(server.post("/runs/cancel", &all).await.status, 204);
}
