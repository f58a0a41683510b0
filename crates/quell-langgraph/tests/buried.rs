//! Threads that are deleted, and whose process ends before they have left.

use std::sync::Arc;

use quell::store::{MemoryStore, StoreError};
use quell::{EngineConfig, Payload, Recovery, RunContext, RunFilter, RunSpec};
use quell_flow::Component;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{Flow, Valve, ms, within};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::restart::{nth, quiescent};
use crate::talk::Server;
use crate::threads::{delete, made};

/// A thread whose process has ended after it had stored the deletion, and before anything left;
/// the path of the thread, and those of its runs.
async fn half_deleted(store: &Arc<MemoryStore>) -> (String, Vec<String>) {
    let (server, valve) = nth(1, store).await;
    let thread = made(&server, json!({ "who": "ada" })).await;
    let mut runs = Vec::new();
    for text in ["a", "b"] {
        let run = server.start(&thread, "echo", json!({ "text": text })).await;
        quiescent(&server, &run).await;
        crate::nodes::stored(&server, &run).await;
        runs.push(run);
    }
    valve.set(Flow::Keeping);
    let path = format!("/threads/{thread}");
    let (by, gone) = (server.clone(), path.clone());
    drop(tokio::spawn(async move { delete(&by, &gone).await }));
    within("it is decided", async {
        while server.get(&path).await.status != 404 {
            yield_now().await;
        }
    })
    .await;
    (path, runs)
}

async fn assert_gone(server: &Server, path: &str, runs: &[String]) {
    for run in runs {
        assert_eq!(server.get(run).await.status, 404, "{run}");
    }
    for path in [path, &format!("{path}/runs")] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    let id = path.rsplit('/').next().unwrap();
    within("it has left", async {
        while server.post("/threads", &json!({ "thread_id": id })).await.status != 200 {
            yield_now().await;
        }
    })
    .await;
    let list = server.get(&format!("{path}/runs")).await;
    assert_eq!((list.status.as_u16(), list.json()), (200, json!([])));
    assert_eq!(server.get(path).await.json()["metadata"], json!({}));
}

#[tokio::test]
async fn a_deletion_goes_on_after_a_restart_and_nothing_of_the_thread_is_shown() {
    let store = Arc::new(MemoryStore::new());
    let (path, runs) = half_deleted(&store).await;
    let (server, _) = nth(2, &store).await;
    assert_gone(&server, &path, &runs).await;
}

#[tokio::test]
async fn after_a_restart_a_thread_that_is_deleted_leaves_by_itself() {
    let store = Arc::new(MemoryStore::new());
    let (path, _) = half_deleted(&store).await;
    let (server, _) = nth(2, &store).await;
    let id = path.rsplit('/').next().unwrap();
    within("it has left", async {
        for filter in [RunFilter::new().label("session", id), RunFilter::new()] {
            let page = || quell::store::Page::first(1);
            let engine = server.service.engine();
            while !engine.stored_runs(filter.clone(), page()).await.unwrap().items.is_empty() {
                yield_now().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_deletion_of_which_the_store_did_not_say_that_it_took_it_stops_what_executes() {
    let store = Arc::new(MemoryStore::new());
    let (server, valve) = nth(1, &store).await;
    let thread = server.thread().await;
    server.start(&thread, "slow", json!({ "ms": 60_000, "tag": "works" })).await;
    server.until_ticking("works").await;
    valve.set(Flow::Shut { stops: false });
    let (by, path, read) = (server.clone(), format!("/threads/{thread}"), valve.pages());
    let told = tokio::spawn(async move { delete(&by, &path).await });
    within("it is written next", async {
        while valve.pages() == read {
            yield_now().await;
        }
    })
    .await;
    tokio::time::sleep(ms(50)).await;
    valve.fail_reads(StoreError::Io { what: "a broken connection".into() });
    valve.set(Flow::Open);
    let told = told.await.unwrap();
    assert_eq!(told.status, 503, "{told:?}");
    // Nobody asks for the thread, or its runs, from here on.
    valve.fail_reads(None);
    within("it stops", async {
        loop {
            let before = server.witness.get("works");
            tokio::time::sleep(ms(50)).await;
            if server.witness.get("works") == before {
                break;
            }
        }
    })
    .await;
    assert_eq!(server.get(&format!("/threads/{thread}")).await.status, 404);
}

#[tokio::test]
async fn a_deletion_goes_on_when_anybody_reads_the_thread() {
    let store = Arc::new(MemoryStore::new());
    let (path, runs) = half_deleted(&store).await;
    let valve = Valve::reopened(&store, 2);
    let config = EngineConfig::new().store(Arc::clone(&valve) as _);
    valve.fail_reads(StoreError::Io { what: "later".into() });
    let server = Server::with(config, Options::default(), Access::open());
    for _ in 0..50 {
        // The look at its start has failed by then.
        yield_now().await;
    }
    valve.fail_reads(None);
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    assert_gone(&server, &path, &runs).await;
}

const ADA: &str = "adas-own-key-0123456789";
const BEN: &str = "bens-own-key-0123456789";

/// Two nodes, as ada and ben speak to them.
fn two_of_owners() -> [Server; 2] {
    let nodes = quell::testing::cluster::Nodes::new(quell_test_support::secs(30));
    ["a", "b"].map(|name| {
        let node = nodes.join(name);
        let config =
            EngineConfig::new().store(Arc::clone(&node) as _).cluster(Arc::clone(&node) as _);
        let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("ben", BEN));
        Server::with(config, Options::default(), access)
    })
}

/// Starts a stateless run of ada's; yields its thread, and its path.
async fn stateless(server: &Server) -> (String, String) {
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "alone" });
    let body = json!({ "assistant_id": "slow", "input": input });
    let run = server.saying("x-api-key", ADA).post("/runs", &body).await.json();
    server.until_ticking("alone").await;
    let thread = run["thread_id"].as_str().unwrap().to_owned();
    let path = format!("/threads/{thread}/runs/{}", run["run_id"].as_str().unwrap());
    crate::nodes::stored(server, &path).await;
    (thread, path)
}

#[tokio::test]
async fn the_thread_of_a_stateless_run_is_in_use_on_every_node() {
    let [a, b] = two_of_owners();
    let (thread, run) = stateless(&a).await;
    for server in [&a, &b] {
        for key in [ADA, BEN] {
            let body = json!({ "thread_id": thread });
            let made = server.saying("x-api-key", key).post("/threads", &body).await;
            assert_eq!(made.status, 409, "{}", made.text);
        }
        assert_eq!(server.saying("x-api-key", ADA).status(&run).await, "running");
    }
}

#[tokio::test]
async fn a_deletion_leaves_a_run_of_another_owner_that_names_the_thread_as_it_is() {
    let [a, b] = two_of_owners();
    let (thread, run) = stateless(&a).await;
    // As an earlier release has let it be made.
    let spec = RunSpec::step("thread").input(Payload::from(json!({}))).owner("ben");
    let spec = spec.label(quell_http::RECORD, &*thread).label("langgraph.owner", "ben");
    let record = b.service.engine().submit_durably(spec, async |_ctx| Ok(())).await.unwrap();
    record.into_ref().stored().await.unwrap();
    let path = format!("/threads/{thread}");
    assert_eq!(delete(&b.saying("x-api-key", BEN), &path).await.status, 204);
    for server in [&b, &a] {
        assert_eq!(server.saying("x-api-key", ADA).status(&run).await, "running");
    }
}

/// A graph that hears of its stop, and goes on until somebody lets it end.
pub(crate) fn deaf(gate: &Arc<Semaphore>) -> Component {
    let gate = Arc::clone(gate);
    Component::agent("deaf", move |ctx: RunContext, input: Payload| {
        let gate = Arc::clone(&gate);
        async move {
            let _ = ctx.is_stopping();
            drop(gate.acquire().await);
            Ok(input)
        }
    })
}

#[tokio::test]
async fn the_id_of_a_thread_is_in_use_until_it_is_deleted_and_the_next_one_of_it_loses_nothing() {
    for has_store in [false, true] {
        let config = EngineConfig::new();
        let config = if has_store { config.store(Arc::new(MemoryStore::new())) } else { config };
        let gate = Arc::new(Semaphore::new(0));
        let server = Server::serving_with(config, [deaf(&gate)]);
        let (thread, create) = (
            server.thread().await,
            json!({ "if_not_exists": "create",
            "assistant_id": "echo", "input": { "text": "next" } }),
        );
        let (path, body) = (format!("/threads/{thread}"), json!({ "thread_id": thread }));
        let run = server.start(&thread, "deaf", json!({})).await;
        within("it runs", async {
            while server.status(&run).await != "running" {
                yield_now().await;
            }
        })
        .await;
        let (by, gone) = (server.clone(), path.clone());
        let deleting = tokio::spawn(async move { delete(&by, &gone).await });
        within("it is hidden", async {
            while server.get(&path).await.status != 404 {
                yield_now().await;
            }
        })
        .await;
        assert_eq!(server.post("/threads", &body).await.status, 409);
        assert_eq!(server.post(&format!("{path}/runs"), &create).await.status, 404);
        gate.add_permits(1);
        assert_eq!(deleting.await.unwrap().status, 204);
        let next = within("its id is free", async {
            loop {
                let next = server.post(&format!("{path}/runs"), &create).await;
                if next.status == 200 {
                    break next.header("content-location").to_owned();
                }
                yield_now().await;
            }
        })
        .await;
        server.get(&format!("{next}/join")).await;
        assert_eq!(server.status(&next).await, "success", "with a store: {has_store}");
    }
}
