//! On what a run starts is decided when all that was left before it is known, and a later attempt
//! starts there as well, wherever it is.

use std::sync::Arc;

use quell::store::{MemoryStore, Store};
use quell::testing::cluster::{Node, Nodes};
use quell::{
    CancelRequest, EngineConfig, Payload, Recovery, RunContext, RunId, RunStatus, Shutdown,
};
use quell_flow::{Component, Nodes as GraphNodes, OnWorkerLost, Reducer};
use quell_test_support::{Counted, Valve, secs, soon, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes::stored;
use crate::talk::{Server, id_of};
use crate::threads::delete;
use crate::undone::graph;

/// Appends its name to what it got.
fn says() -> Component {
    let body = async |_ctx: RunContext, input: Payload| {
        let input: Value = input.parse().unwrap();
        Ok(json!({ "said": [input["own"]], "by": input["own"], "got": input["by"] }).into())
    };
    let say = Component::workflow("say", body).reducer("said", Reducer::Append).resumable();
    say.on_worker_lost(OnWorkerLost::Continue)
}

fn alone(store: &Arc<MemoryStore>, boot: u32) -> (Server, Arc<Counted>) {
    let store = Counted::of(Valve::reopened(store, boot));
    let config = EngineConfig::new().store(Arc::clone(&store) as _);
    (Server::serving_with(config, [says()]), store)
}

async fn recover(server: &Server, store: Arc<dyn Store>) -> usize {
    let decide = |run: &_| server.service.catalog().recovery(run, &store);
    let engine = server.service.engine();
    let all = engine.recover(|run| decide(run).unwrap_or(Recovery::Fail)).await;
    all.unwrap().resumed.len()
}

fn run_id(path: &str) -> RunId {
    RunId::from_text(id_of(path))
}

async fn values(server: &Server, thread: &str) -> Value {
    server.get(&format!("/threads/{thread}/state")).await.json()["values"].clone()
}

#[tokio::test]
async fn a_run_that_waited_over_a_restart_starts_on_what_the_earlier_process_has_left() {
    let store = Arc::new(MemoryStore::new());
    let (before, of_before) = alone(&store, 1);
    recover(&before, Arc::clone(&of_before) as _).await;
    let thread = before.thread().await;
    let path = format!("/threads/{thread}/runs");
    let body = json!({ "assistant_id": "say", "input": { "own": 1 } });
    before.post(&format!("{path}/wait"), &body).await;
    let later = json!({ "assistant_id": "say", "input": { "own": 2 }, "after_seconds": 1 });
    let made = before.post(&path, &later).await;
    let run = made.header("content-location").to_owned();
    stored(&before, &run).await;
    // It is gone: nothing of it comes into the store any more.
    of_before.hold(true);
    let (after, of_after) = alone(&store, 2);
    of_after.hold_lists(true);
    assert_eq!(recover(&after, Arc::clone(&of_after) as _).await, 1);
    let engine = after.service.engine();
    soon("it runs", || engine.get(run_id(&run)).unwrap().status() == RunStatus::Running).await;
    // Whoever follows it comes to its start meanwhile.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    of_after.hold_lists(false);
    within("it ends", engine.get(run_id(&run)).unwrap().ended()).await;
    assert_eq!(
        values(&after, &thread).await,
        json!({ "own": 2, "by": 2, "said": [1, 2], "got": 1 })
    );
}

#[tokio::test]
async fn a_run_behind_one_that_is_taken_back_starts_on_what_a_deletion_in_its_thread_has_left() {
    let (store, go) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(0)));
    let (before, of_before) = alone(&store, 1);
    recover(&before, Arc::clone(&of_before) as _).await;
    let thread = before.thread().await;
    let path = format!("/threads/{thread}/runs");
    let body = |graph: &str, own: u32| {
        let input = json!({ "own": own });
        json!({ "assistant_id": graph, "input": input, "multitask_strategy": "enqueue" })
    };
    before.post(&format!("{path}/wait"), &body("say", 1)).await;
    let last = before.post(&path, &body("say", 2)).await.header("content-location").to_owned();
    let engine = before.service.engine();
    within("it ends", engine.get(run_id(&last)).unwrap().ended()).await;
    engine.shutdown(Shutdown::default()).await;
    let of_after = Counted::of(Valve::reopened(&store, 2));
    let config = EngineConfig::new().store(Arc::clone(&of_after) as _);
    let after = Server::serving_with(config, [says(), graph("wait", &go)]);
    recover(&after, Arc::clone(&of_after) as _).await;
    let mut made = Vec::new();
    for own in [3, 4] {
        let run = after.post(&path, &body("wait", own)).await;
        made.push(run_id(run.header("content-location")));
    }
    assert_eq!(delete(&after, &last).await.status, 204);
    of_after.hold_lists(true);
    let [first, behind] = [0, 1].map(|nth| after.service.engine().get(made[nth]).unwrap());
    first.cancel(CancelRequest::because("taken back").rollback());
    soon("it runs", || behind.status() == RunStatus::Running).await;
    // Whoever follows it comes to its start meanwhile.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    of_after.hold_lists(false);
    go.add_permits(1);
    within("it ends", behind.ended()).await;
    assert_eq!(values(&after, &thread).await["said"], json!([1, 4]));
}

#[tokio::test]
async fn a_run_that_is_deleted_while_its_thread_is_read_leaves_nothing_in_that() {
    let store = Arc::new(MemoryStore::new());
    let (before, of_before) = alone(&store, 1);
    recover(&before, of_before as _).await;
    let thread = before.thread().await;
    let (engine, mut last) = (before.service.engine(), String::new());
    for own in [1, 2] {
        let body = json!({ "assistant_id": "say", "input": { "own": own } });
        let made = before.post(&format!("/threads/{thread}/runs"), &body).await;
        last = made.header("content-location").to_owned();
        within("it ends", engine.get(run_id(&last)).unwrap().ended()).await;
    }
    engine.shutdown(Shutdown::default()).await;
    let (after, of_after) = alone(&store, 2);
    recover(&after, Arc::clone(&of_after) as _).await;
    of_after.hold_events(true);
    let reader = {
        let (after, thread) = (after.clone(), thread.clone());
        tokio::spawn(async move { values(&after, &thread).await })
    };
    // It has read the last run, and waits for what that said.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!reader.is_finished());
    assert_eq!(within("it is deleted", delete(&after, &last)).await.status, 204);
    of_after.hold_events(false);
    within("it is read", reader).await.unwrap();
    assert_eq!(values(&after, &thread).await["said"], json!([1]));
}

/// Has two nodes. The second one is lost in the first attempt.
fn twice(go: &Arc<Semaphore>) -> Component {
    let go = Arc::clone(go);
    let body = move |ctx: RunContext, input: Payload| {
        let go = Arc::clone(&go);
        async move {
            let mut nodes = GraphNodes::begin(&ctx, input, ["one"]).await;
            while let Some(now) = nodes.now().map(|now| now[0].clone()) {
                if now == "one" {
                    go.acquire().await.unwrap().forget();
                } else if ctx.attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                let next = if now == "one" { vec!["two"] } else { vec![] };
                let mut state: Value = nodes.state().parse().unwrap();
                let mut said = state["said"].as_array().cloned().unwrap_or_default();
                said.push(now.into());
                state["said"] = said.into();
                nodes.leave(state.into(), next);
            }
            Ok(nodes.into_state())
        }
    };
    let twice = Component::workflow("twice", body).nodes(["one", "two"]);
    let twice = twice.reducer("said", Reducer::Append).resumable();
    twice.on_worker_lost(OnWorkerLost::Continue)
}

fn of_node(node: Arc<Node>, go: &Arc<Semaphore>) -> Server {
    Server::serving_with(EngineConfig::new().node(node), [twice(go)])
}

#[tokio::test]
async fn what_goes_on_where_its_thread_was_goes_on_there_in_an_attempt_of_another_process_too() {
    for is_queued in [false, true] {
        let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
        let lost = of_node(nodes.join("a"), &go);
        let thread = lost.thread().await;
        let path = format!("/threads/{thread}/runs");
        let first = json!({ "assistant_id": "twice", "input": {}, "interrupt_after": ["one"],
            "multitask_strategy": "enqueue" });
        let first = lost.post(&path, &first).await.header("content-location").to_owned();
        let engine = lost.service.engine();
        if !is_queued {
            go.add_permits(1);
            within("it ends", engine.get(run_id(&first)).unwrap().ended()).await;
        }
        let null = json!({ "assistant_id": "twice", "input": null,
            "multitask_strategy": "enqueue" });
        let run = lost.post(&path, &null).await;
        assert_eq!(run.status, 200, "{run:?}");
        let run = run.header("content-location").to_owned();
        go.add_permits(1);
        soon("it runs", || engine.get(run_id(&run)).unwrap().status() == RunStatus::Running).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        stored(&lost, &run).await;
        let node = nodes.join("a");
        let again = of_node(Arc::clone(&node), &go);
        assert_eq!(recover(&again, node as _).await, 1);
        let run = again.service.engine().get(run_id(&run)).unwrap();
        within("it ends", run.ended()).await;
        let said = values(&again, &thread).await["said"].clone();
        assert_eq!(said, json!(["one", "two"]), "{is_queued}");
        drop(lost);
    }
}
