//! Runs that are made together: all of them or none, whatever becomes of their client and server.

use std::sync::Arc;

use quell::store::Store;
use quell::testing::cluster::Nodes;
use quell::{EngineConfig, RunFilter, RunLimits, RunRef, Scope};
use quell_flow::Component;
use quell_test_support::{Flow, Valve, ms, secs, soon, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::buried::deaf;
use crate::nodes::two;
use crate::talk::{Says as _, Server};

const BATCH: &str = "/runs/batch";

#[tokio::test]
async fn a_batch_that_is_refused_leaves_nothing_although_its_client_has_left() {
    let (gate, room) = (Arc::new(Semaphore::new(0)), RunLimits::new().running_max(1).queued_max(1));
    let config = EngineConfig::new().limit(Scope::All, room);
    let server = Server::serving_with(config, [deaf(&gate)]);
    let item = json!({ "assistant_id": "deaf", "input": {}, "on_completion": "keep" });
    let (asker, batch) = (server.clone(), json!([item, item, item]));
    let asks = tokio::spawn(async move { asker.post(BATCH, &batch).await });
    let engine = server.service.engine();
    // It waits for those that it has made.
    let is_refused = || engine.runs(&RunFilter::new()).iter().any(RunRef::is_rolled_back);
    soon("it is refused", is_refused).await;
    asks.abort();
    assert!(asks.await.unwrap_err().is_cancelled());
    gate.add_permits(9);
    soon("no run is left", || engine.runs(&RunFilter::new()).is_empty()).await;
    within("no thread is left", async {
        while server.post("/threads/count", &json!({})).await.json() != json!(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_made_although_its_client_leaves_and_taken_back_if_its_server_is_to_end() {
    for ends in [false, true] {
        let store = Valve::new(Flow::Open);
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let gate = Arc::new(Semaphore::new(9));
        let server = Server::serving_with(config, [deaf(&gate)]);
        let item = json!({ "assistant_id": "deaf", "input": {}, "on_completion": "keep" });
        // The first of its threads cannot be made yet.
        store.set(Flow::Shut { stops: true });
        let (asker, batch) = (server.clone(), json!([item, item, item]));
        let asks = tokio::spawn(async move { asker.post(BATCH, &batch).await });
        // Until it waits for the store, of which nothing tells.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let left = if ends {
            let service = server.service.clone();
            let ended = tokio::spawn(async move { service.end_batches(secs(60)).await });
            soon("no more begin", || server.service.begin_batch().is_none()).await;
            assert_eq!(server.post(BATCH, &json!([item])).await.status, 503);
            assert!(!ended.is_finished());
            store.set(Flow::Open);
            assert!(within("it is taken back", ended).await.unwrap());
            assert_eq!(asks.await.unwrap().status, 503);
            0
        } else {
            asks.abort();
            store.set(Flow::Open);
            3
        };
        within("they are all there, or none", async {
            while server.post("/threads/count", &json!({})).await.json() != left {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn of_two_nodes_none_answers_with_runs_of_a_batch_that_the_other_one_takes_back() {
    let (gate, nodes) = (Arc::new(Semaphore::new(0)), Nodes::new(secs(30)));
    let node = |name| EngineConfig::new().node(nodes.join(name));
    let room = RunLimits::new().running_max(1).queued_max(1);
    let a = Server::serving_with(node("a").limit(Scope::All, room), [deaf(&gate)]);
    let b = Server::serving_with(node("b"), [deaf(&gate)]);
    let c = Server::serving_with(node("c"), [deaf(&gate)]);
    let item = json!({ "assistant_id": "deaf", "input": {}, "on_completion": "keep" });
    let batch = json!([item, item, item]);
    let ask = |server: &Server| {
        let (server, batch) = (server.clone(), batch.clone());
        tokio::spawn(async move { server.saying("idempotency-key", "k").post(BATCH, &batch).await })
    };
    let first = ask(&a);
    let engine = a.service.engine();
    let is_refused = || engine.runs(&RunFilter::new()).iter().any(RunRef::is_rolled_back);
    soon("it is refused", is_refused).await;
    let again = ask(&b);
    // What that one has made executes still: the other one neither finds it nor makes more.
    tokio::time::sleep(ms(100)).await;
    let is_of_graph = |run: &RunRef| run.label("component").is_some();
    assert!(
        !again.is_finished() && !b.service.engine().runs(&RunFilter::new()).iter().any(is_of_graph)
    );
    // A server that ends does not wait for one that only waits for its turn.
    let late = ask(&c);
    let of_turn = RunFilter::new().label(quell_http::RECORD, "batch");
    let waits = || !c.service.engine().runs(&of_turn).is_empty();
    soon("it waits for its turn", waits).await;
    assert!(c.service.end_batches(secs(0)).await);
    gate.add_permits(9);
    let (first, again) = (first.await.unwrap(), within("it has its turn", again).await.unwrap());
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (429, 200), "{again:?}");
    for run in again.json().as_array().unwrap() {
        let text = |key: &str| run[key].as_str().unwrap().to_owned();
        let path = format!("/threads/{}/runs/{}/join", text("thread_id"), text("run_id"));
        assert_eq!(b.get(&path).await.status, 200, "it is there");
    }
    // And so it is, however often it is repeated, through either one.
    let ids = |answer: &Value| -> Vec<Value> {
        answer.as_array().unwrap().iter().map(|run| run["run_id"].clone()).collect()
    };
    for server in [&a, &b] {
        let repeat = server.saying("idempotency-key", "k").post(BATCH, &batch).await;
        assert_eq!(ids(&repeat.json()), ids(&again.json()));
    }
    assert_eq!(late.await.unwrap().status, 503);
    let has_left = |server: &Server| server.service.engine().runs(&of_turn).is_empty();
    soon("nothing is left of the turns", || [&a, &b, &c].into_iter().all(has_left)).await;
}

#[tokio::test]
async fn a_batch_is_repeated_with_what_it_has_made_also_when_that_has_ended_and_is_gone() {
    for has_store in [false, true] {
        let config = EngineConfig::new();
        let config = if has_store { config.store(Valve::new(Flow::Open) as _) } else { config };
        let server = Server::serving_with(config, []).saying("idempotency-key", "k");
        let item = json!({ "assistant_id": "echo", "input": { "text": "hi" } });
        let batch = json!([item, item]);
        let made = server.post(BATCH, &batch).await;
        let engine = server.service.engine();
        soon("they are gone", || engine.runs(&RunFilter::new()).is_empty()).await;
        let again = server.post(BATCH, &batch).await;
        assert_eq!((made.status.as_u16(), again.status.as_u16()), (200, 200), "{again:?}");
        assert_eq!(ids(&again.json()), ids(&made.json()));
    }
}

#[tokio::test]
async fn a_batch_that_was_refused_is_made_by_a_repeat_although_one_of_it_had_ended() {
    let room = RunLimits::new().running_max(3).queued_max(1);
    for keeps in [false, true] {
        let gate = Arc::new(Semaphore::new(0));
        let config = EngineConfig::new().limit(Scope::All, room);
        // While the store is waited for, it ends.
        let config = config.store(Valve::new(Flow::Open) as _);
        let server = Server::serving_with(config, [deaf(&gate)]).saying("idempotency-key", "k");
        let completion = if keeps { "keep" } else { "delete" };
        let item = |graph: &str, input: Value| {
            json!({ "assistant_id": graph, "input": input,
            "on_completion": completion })
        };
        // It fails at once.
        let fails = item("deaf", Value::Null);
        let waits = item("deaf", json!({}));
        let held = server.start(&server.thread().await, "deaf", json!({})).await;
        let batch = json!([fails, waits, waits, waits, waits]);
        assert_eq!(server.post(BATCH, &batch).await.status, 429, "{held}");
        server.post(&format!("{held}/cancel"), &Value::Null).await;
        gate.add_permits(9);
        let engine = server.service.engine();
        let is_live = |run: &RunRef| !run.status().is_terminal();
        soon("there is room", || !engine.runs(&RunFilter::new()).iter().any(is_live)).await;
        // What fails may take a place for a moment.
        let again = within("there is room", async {
            loop {
                let again = server.post(BATCH, &batch).await;
                if again.status != 429 {
                    break again;
                }
            }
        })
        .await;
        assert_eq!((again.status.as_u16(), ids(&again.json()).len()), (200, 5), "{again:?}");
        soon("all have ended", || !engine.runs(&RunFilter::new()).iter().any(is_live)).await;
    }
}

#[tokio::test]
async fn a_thread_that_is_made_for_a_run_is_gone_if_its_client_leaves_before_there_is_a_run() {
    let store = Valve::new(Flow::Shut { stops: true });
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::serving_with(config, []);
    let body = json!({ "assistant_id": "echo", "input": {}, "on_completion": "keep" });
    let asker = server.clone();
    let asks = tokio::spawn(async move { asker.post("/runs", &body).await });
    // Until it waits for the store, of which nothing tells.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    asks.abort();
    assert!(asks.await.unwrap_err().is_cancelled());
    store.set(Flow::Open);
    within("the thread was made, and is gone", async {
        while store.stored().is_empty()
            || server.post("/threads/count", &json!({})).await.json() != json!(0)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn ids(made: &Value) -> Vec<Value> {
    made.as_array().unwrap().iter().map(|run| run["run_id"].clone()).collect()
}

#[tokio::test]
async fn a_fault_of_one_is_told_with_its_place_before_any_is_made() {
    let graph = Component::workflow("noded", async |_ctx, input| Ok(input)).nodes(["a", "b"]);
    let server = Server::serving([graph]);
    let ok = json!({ "assistant_id": "noded", "input": {} });
    let id = "01a22840-2deb-74c4-b633-7daf60243829";
    for (key, value, told) in [
        ("checkpoint_id", json!(id), (404, format!("1.Checkpoint {id} not found"))),
        ("command", json!({ "goto": "zz" }), (422, "1.command.goto: 'zz' is none of a, b".into())),
    ] {
        let mut bad = ok.clone();
        bad[key] = value;
        assert_eq!(server.post(BATCH, &json!([ok, bad])).await.detail(), told);
        assert!(server.service.engine().runs(&RunFilter::new()).is_empty(), "{key}");
    }
}

#[tokio::test]
async fn keys_of_batches_are_as_long_as_others_and_no_client_has_one_of_a_part() {
    let (server, other) = two();
    let ok = json!({ "assistant_id": "echo", "input": { "text": "hi" } });
    let long = "k".repeat(256);
    let keyed = server.saying("idempotency-key", &long);
    let batch = json!(vec![ok.clone(); 120]);
    let made = keyed.post(BATCH, &batch).await;
    assert_eq!(made.status, 200, "{made:?}");
    let again = other.saying("idempotency-key", &long).post(BATCH, &batch).await;
    assert_eq!(ids(&again.json()), ids(&made.json()));
    let single = server.saying("idempotency-key", "z#1").post("/runs", &ok).await;
    let batch = server.saying("idempotency-key", "z").post(BATCH, &json!([ok, ok])).await;
    assert_eq!((single.status.as_u16(), batch.status.as_u16()), (200, 200), "{batch:?}");
}
