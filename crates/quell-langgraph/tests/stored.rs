//! With a store: what is not stored is not acknowledged.

use std::pin::pin;
use std::sync::Arc;

use axum::http::Method;
use quell::store::{Page, Store, StoreError};
use quell::{
    CancelRequest, EngineConfig, Payload, RunContext, RunFilter, RunId, RunKind, Shutdown,
};
use quell_flow::Component;
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::{Counted, Flow, Valve, ms, soon, within};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::restart::{nth, quiescent};
use crate::talk::{Says as _, Server, id_of};
use crate::threads::delete;

/// Has a server on a store begin a run that does not end; yields its thread and its path.
async fn ticking() -> (Server, Arc<Valve>, String, String) {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::with(config, Options::default(), Access::open());
    let thread = server.thread().await;
    let run = server.start(&thread, "slow", json!({"ms": 60_000, "tag": "t"})).await;
    server.until_ticking("t").await;
    (server, store, thread, run)
}

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let (server, store, thread, run) = ticking().await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
    assert_eq!(server.post("/runs", &body).await.status, 503);
    let stopped = server.post(&format!("{run}/cancel?wait=0"), &json!({})).await;
    assert_eq!(stopped.status, 503, "{}", stopped.text);
    assert!(stopped.text.contains("could not be stored"), "{}", stopped.text);
    let bulk = json!({"thread_id": thread, "run_ids": [id_of(&run)]});
    assert_eq!(server.post("/runs/cancel", &bulk).await.status, 503);
    store.set(Flow::Open);
    while server.post("/runs/cancel", &bulk).await.status == 503 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Whoever repeats its request waits for its turn until then, and is there.
#[tokio::test]
async fn a_run_goes_on_for_who_repeats_its_request_if_the_first_client_goes_before_it_is_stored() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::with(config, Options::default(), Access::open());
    let path = format!("/threads/{}/runs/wait", server.thread().await);
    store.set(Flow::Shut { stops: false });
    let asks = |key: &str| {
        let (server, path) = (server.saying("idempotency-key", key), path.clone());
        let input = json!({"ms": 100, "tag": "k"});
        let body = json!({"assistant_id": "slow", "input": input, "on_disconnect": "cancel"});
        tokio::spawn(async move { server.post(&path, &body).await })
    };
    let first = asks("k");
    let live = RunFilter::new().live();
    soon("it is made", || !server.service.engine().runs(&live).is_empty()).await;
    // The store has taken the run before the second one has its turn.
    let (_other, second) = (asks("other"), asks("k"));
    let others_go_on = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    others_go_on().await;
    first.abort();
    assert!(first.await.is_err(), "it has had no answer");
    others_go_on().await;
    store.set(Flow::Open);
    let told = within("it ends", second).await.unwrap();
    assert_eq!(server.status(told.header("content-location")).await, "success", "{told:?}");
}

#[tokio::test]
async fn no_answer_tells_an_end_or_what_it_left_before_that_is_stored() {
    let gate = Arc::new(Semaphore::new(0));
    let graph = crate::buried::deaf(&gate);
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::serving_with(config, [graph]);
    let thread = server.thread().await;
    gate.add_permits(1);
    let first = server.start(&thread, "deaf", json!({"first": true})).await;
    assert_eq!(server.get(&format!("{first}/join")).await.status, 200);
    gate.forget_permits(1);
    let keyed = server.saying("idempotency-key", "k");
    let body = json!({ "assistant_id": "deaf", "input": { "k": 1 } });
    let made = keyed.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = made.header("content-location").to_owned();
    let live = server.service.engine().get(RunId::from_text(id_of(&run))).unwrap();
    live.stored().await.unwrap();
    store.set(Flow::Shut { stops: true });
    gate.add_permits(1);
    live.ended().await;
    let [of_thread, runs] = ["", "/runs"].map(|rest| format!("/threads/{thread}{rest}"));
    let (id, get, post) = (json!(thread), Method::GET, Method::POST);
    let asked = [
        (&get, run.clone(), json!({})),
        (&post, runs.clone(), body),
        (&get, runs, json!({})),
        (&get, of_thread.clone(), json!({})),
        (&get, format!("{of_thread}/state"), json!({})),
        (&get, format!("{of_thread}/history"), json!({})),
        (&post, format!("{of_thread}/history"), json!({})),
        (&get, format!("{first}/join"), json!({})),
        (&post, "/threads/search".to_owned(), json!({})),
        (&post, "/threads/count".to_owned(), json!({ "status": "idle" })),
        (&post, "/threads".to_owned(), json!({ "thread_id": id, "if_exists": "do_nothing" })),
    ];
    let asks = asked.map(|(method, path, body)| {
        let (server, method) = (keyed.clone(), method.clone());
        tokio::spawn(async move { server.send(method, &path, &body.to_string()).await })
    });
    tokio::time::sleep(ms(100)).await;
    let early = asks.iter().filter(|ask| ask.is_finished()).count();
    store.set(Flow::Open);
    for ask in asks {
        let answer = within("it is stored", ask).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let is_told = ["\"status\":\"success\"", "\"status\":\"idle\"", "\"k\":1"];
        let is_told = is_told.iter().any(|told| answer.text.contains(told));
        assert!(is_told || answer.text == "1", "{answer:?}");
    }
    assert_eq!(early, 0, "of eleven");
}

#[tokio::test]
async fn an_end_that_comes_while_an_answer_is_made_is_told_when_it_is_stored() {
    let gate = Arc::new(Semaphore::new(0));
    let valve = Valve::new(Flow::Open);
    let store = Counted::of(Arc::clone(&valve) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::serving_with(config, [crate::buried::deaf(&gate)]);
    let thread = server.thread().await;
    let run = server.start(&thread, "deaf", json!({"k": 1})).await;
    let live = server.service.engine().get(RunId::from_text(id_of(&run))).unwrap();
    live.stored().await.unwrap();
    store.hold_lists(true);
    let asks = ["runs", "state", "history"].map(|last| {
        let (server, path) = (server.clone(), format!("/threads/{thread}/{last}"));
        tokio::spawn(async move { server.get(&path).await })
    });
    tokio::time::sleep(ms(50)).await;
    valve.set(Flow::Shut { stops: true });
    gate.add_permits(1);
    live.ended().await;
    store.hold_lists(false);
    tokio::time::sleep(ms(100)).await;
    let early: Vec<_> = asks.iter().map(tokio::task::JoinHandle::is_finished).collect();
    valve.set(Flow::Open);
    for (ask, early) in asks.into_iter().zip(early) {
        let answer = within("it is stored", ask).await.unwrap();
        let is_told = ["\"status\":\"success\"", "\"k\":1"];
        let is_told = is_told.iter().any(|told| answer.text.contains(told));
        assert!(!early || !is_told, "{answer:?}");
    }
}

#[tokio::test]
async fn a_deletion_that_is_not_stored_is_not_acknowledged_and_changes_nothing() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::with(config, Options::default(), Access::open());
    let thread = server.thread().await;
    let run = server.start(&thread, "echo", json!({"text": "kept"})).await;
    quiescent(&server, &run).await;
    let shown = async || server.get(&format!("/threads/{thread}/history")).await.text;
    let before = shown().await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let refused = delete(&server, &run).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text.contains("could not be stored"), "{refused:?}");
    assert_eq!((server.status(&run).await.as_str(), shown().await), ("success", before));
    store.set(Flow::Open);
    within("it is deleted", async {
        while delete(&server, &run).await.status == 503 {
            tokio::time::sleep(ms(5)).await;
        }
    })
    .await;
    assert_eq!(server.status(&run).await, "gone");
    let left = store.list(RunFilter::new(), Page::first(10)).await.unwrap();
    assert!(left.items.iter().flatten().all(|left| left.accepted.name.as_ref() != "echo"));
}

#[tokio::test]
async fn a_stop_of_a_run_that_another_process_has_left_is_not_acknowledged_and_the_run_not_denied()
{
    let memory = Arc::default();
    let opened = |boot| {
        let store = Valve::reopened(&memory, boot) as Arc<dyn Store>;
        Server::with(EngineConfig::new().store(store), Options::default(), Access::open())
    };
    let first = opened(1);
    let run = first.start(&first.thread().await, "slow", json!({"ms": 60_000, "tag": "t"})).await;
    first.until_ticking("t").await;
    let second = opened(2);
    for wait in ["", "?wait=1", "?action=rollback"] {
        let stopped = second.post(&format!("{run}/cancel{wait}"), &json!({})).await;
        assert_eq!(stopped.status, 503, "{}", stopped.text);
        assert!(stopped.text.contains("could not be stored"), "{}", stopped.text);
    }
    assert_eq!(second.status(&run).await, "running");
}

#[tokio::test]
async fn a_run_that_the_store_refuses_when_its_client_has_gone_is_none_of_its_thread() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::with(config, Options::default(), Access::open());
    let thread = server.thread().await;
    let row = server.get(&format!("/threads/{thread}")).await.json();
    store.set(Flow::Shut { stops: true });
    let client = tokio::spawn({
        let (server, path) = (server.clone(), format!("/threads/{thread}/runs"));
        let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
        async move { server.post(&path, &body).await }
    });
    let engine = server.service.engine();
    let live = RunFilter::new().live().kind(RunKind::Workflow);
    while engine.runs(&live).is_empty() {
        tokio::task::yield_now().await;
    }
    client.abort();
    assert!(client.await.is_err(), "it has had no answer");
    assert_eq!(server.get(&format!("/threads/{thread}")).await.json()["status"], "busy");
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    while !engine.runs(&live).is_empty() {
        tokio::task::yield_now().await;
    }
    // Whoever waits for the store's answer is told after the run has left the engine.
    within("the thread is as before", async {
        while server.get(&format!("/threads/{thread}")).await.json() != row {
            tokio::time::sleep(ms(1)).await;
        }
    })
    .await;
}

/// Asks, and when it has its answer waits until it may go on.
fn asks(go_on: &Arc<Semaphore>) -> Component {
    let go_on = Arc::clone(go_on);
    let body = move |ctx: RunContext, _input: Payload| {
        let go_on = Arc::clone(&go_on);
        async move {
            let answer = ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
            go_on.acquire().await.unwrap().forget();
            Ok(answer)
        }
    };
    Component::workflow("asks", body).resumable()
}

#[tokio::test]
async fn i31_a_client_that_leaves_while_its_answer_is_stored_leaves_no_run_that_nobody_follows() {
    let go_on = Arc::new(Semaphore::new(0));
    for (policy, status) in [("cancel", "interrupted"), ("continue", "success")] {
        for how in ["stream", "wait"] {
            let store = Valve::new(Flow::Open);
            let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
            let server = Server::serving_with(config, [asks(&go_on)]);
            let path = format!("/threads/{}/runs", server.thread().await);
            let body = json!({ "assistant_id": "asks", "input": {} });
            let asked = server.post(&format!("{path}/wait"), &body).await;
            let path_of_run = asked.header("content-location").to_owned();
            let run = server.service.engine().get(RunId::from_text(id_of(&path_of_run))).unwrap();
            store.set(Flow::Shut { stops: false });
            let client = tokio::spawn({
                let (server, path) = (server.clone(), format!("{path}/{how}"));
                let body = json!({ "assistant_id": "asks", "on_disconnect": policy,
                    "command": { "resume": "yes" } });
                async move { server.post(&path, &body).await }
            });
            soon("it has its answer", || run.attempt() == 2).await;
            client.abort();
            assert!(client.await.is_err(), "nobody has been told");
            store.set(Flow::Open);
            if policy == "continue" {
                go_on.add_permits(1);
            }
            within("it ends", run.ended()).await;
            assert_eq!(server.status(&path_of_run).await, status, "{how}");
        }
    }
}

#[tokio::test]
async fn runs_of_an_earlier_process_have_ended_for_a_cancel_by_ids_too() {
    let memory = Arc::default();
    let (server, _) = nth(1, &memory).await;
    let thread = server.thread().await;
    let run = server.start(&thread, "echo", json!({})).await;
    quiescent(&server, &run).await;
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, _) = nth(2, &memory).await;
    let ids = json!({"thread_id": thread, "run_ids": [id_of(&run)]});
    let one = server.post(&format!("{run}/cancel"), &json!(null)).await;
    let some = server.post("/runs/cancel", &ids).await;
    for answer in [one, some] {
        let (status, words) = answer.detail();
        assert!(status == 404 && words.starts_with("No matching runs to cancel."), "{words}");
        assert_eq!(answer.header("quell-disposition"), "already-terminal");
    }
}

#[tokio::test]
async fn the_answer_that_tells_the_end_of_a_run_comes_when_that_is_stored() {
    let (server, store, _, run) = ticking().await;
    let engine = server.service.engine();
    let id = RunId::from_text(id_of(&run));
    // The end waits, the stop does not.
    store.set(Flow::Shut { stops: false });
    engine.get(id).unwrap().cancel(CancelRequest::because("enough"));
    engine.get(id).unwrap().ended().await;
    let path = format!("{run}/join");
    let mut joined = pin!(server.get(&path));
    // More often than it takes to answer without waiting.
    for _ in 0..100 {
        assert!(futures::poll!(&mut joined).is_pending());
        tokio::task::yield_now().await;
    }
    store.set(Flow::Open);
    assert_eq!(joined.await.status, 200);
    let stored = engine.stored_run(id).await.unwrap().unwrap();
    assert!(stored.status.is_terminal(), "{stored:?}");
}

#[tokio::test]
async fn a_repeated_request_gives_its_run_whatever_its_strategy_is_and_whatever_came_of_it() {
    let store = Valve::new(Flow::Open);
    let stored = EngineConfig::new().store(store as Arc<dyn Store>);
    for config in [EngineConfig::new(), stored] {
        let server = Server::with(config, Options::default(), Access::open());
        for strategy in ["enqueue", "reject", "interrupt", "rollback"] {
            for graph in ["echo", "slow", "interrupting"] {
                let thread = server.thread().await;
                let path = format!("/threads/{thread}/runs");
                let body = json!({ "assistant_id": graph, "input": { "ms": 60_000 },
                    "multitask_strategy": strategy });
                let keyed = server.saying("idempotency-key", &format!("{strategy} {graph}"));
                let first = keyed.post(&path, &body).await.json();
                let run = format!("{path}/{}", first["run_id"].as_str().unwrap());
                let end = match graph {
                    "echo" => "completed",
                    "slow" => "running",
                    _ => "paused",
                };
                for _ in 0..2 {
                    let again = keyed.post(&path, &body).await;
                    assert_eq!(again.status, 200, "{strategy} {graph}: {again:?}");
                    assert_eq!(again.json()["run_id"], first["run_id"], "{strategy} {graph}");
                    within("it has come so far", async {
                        while server.get(&run).await.json()["quell"]["status"] != end {
                            tokio::task::yield_now().await;
                        }
                    })
                    .await;
                }
                let listed = server.get(&path).await.json();
                assert_eq!(listed.as_array().unwrap().len(), 1, "{strategy} {graph}");
            }
        }
    }
}

#[tokio::test]
async fn a_repeated_request_to_go_on_gives_its_run_when_that_waits_for_an_answer() {
    let server = Server::new();
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let nothing = json!({ "assistant_id": "echo", "input": null });
    let keyed = server.saying("idempotency-key", "on");
    let first = keyed.post(&path, &nothing).await.json();
    let asking = server.start(&thread, "interrupting", json!({})).await;
    within("it asks", async {
        while server.get(&asking).await.json()["quell"]["status"] != "paused" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.post(&path, &nothing).await.status, 409, "another one is refused");
    let again = keyed.post(&path, &nothing).await;
    assert_eq!((again.status.as_u16(), &again.json()["run_id"]), (200, &first["run_id"]));
}
