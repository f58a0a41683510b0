//! Crons of which something has gone: who asked for them, what they are of, or a place of theirs.

use std::sync::Arc;

use axum::http::Method;
use quell::store::{MemoryStore, Store};
use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Payload, Shutdown};
use quell_flow::Component;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{Flow, Valve, ms, secs, within};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::assistants::ok;
use crate::crons::{CRONS, OFTEN, delete, found, made, options, patch, runs};
use crate::talk::{Says as _, Server};

fn rarely(assistant: &Value) -> Value {
    json!({ "assistant_id": assistant, "schedule": "@yearly" })
}

fn access() -> Access {
    Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("root", "key-of-root").admin())
}

/// Yields two nodes on one store.
fn two(options: &Options) -> [Server; 2] {
    let nodes = Nodes::new(secs(30));
    ["a", "b"].map(|name| {
        let config = EngineConfig::new().node(nodes.join(name));
        Server::with(config, options.clone(), access())
    })
}

#[tokio::test]
async fn a_thread_takes_no_crons_with_it_but_its_own_whatever_its_id_is() {
    let server = Server::with(EngineConfig::new(), options(), access());
    let [ada, bob] = ["key-of-ada", "key-of-bob"].map(|key| server.saying("x-api-key", key));
    let (system, row) = made(&ada, CRONS, rarely(&json!("echo"))).await;
    let own = ok(&ada, Method::POST, "/assistants", json!({"graph_id": "echo"})).await;
    let own = own["assistant_id"].clone();
    let (of_own, _) = made(&ada, CRONS, rarely(&own)).await;
    // Anybody knows the first id.
    for (by, id) in [(&bob, &row["assistant_id"]), (&ada, &own)] {
        ok(by, Method::POST, "/threads", json!({ "thread_id": id })).await;
        assert_eq!(delete(by, &format!("/threads/{}", id.as_str().unwrap())).await, 204);
    }
    for cron in [&system, &of_own] {
        assert_eq!(ada.get(cron).await.status, 200);
    }
    assert_eq!(delete(&ada, &format!("/assistants/{}", own.as_str().unwrap())).await, 204);
    assert_eq!(ada.get(&of_own).await.status, 404);
    assert_eq!(found(&ada, json!({})).await.len(), 1);
}

#[tokio::test]
async fn an_assistant_takes_its_crons_with_it_whoever_deletes_it_and_wherever() {
    let [a, b] = two(&options());
    let (ada, root) = (a.saying("x-api-key", "key-of-ada"), b.saying("x-api-key", "key-of-root"));
    let own = ok(&ada, Method::POST, "/assistants", json!({"graph_id": "echo"})).await;
    let (cron, _) = made(&ada, CRONS, rarely(&own["assistant_id"])).await;
    let path = format!("/assistants/{}", own["assistant_id"].as_str().unwrap());
    assert_eq!(delete(&root, &path).await, 204);
    assert_eq!(ada.get(&cron).await.status, 404);
}

#[tokio::test]
async fn a_place_that_another_node_has_given_back_is_free() {
    let mut options = options();
    options.crons_owner_max = 2;
    let [a, b] = two(&options).map(|node| node.saying("x-api-key", "key-of-ada"));
    let body = rarely(&json!("echo"));
    for _ in 0..2 {
        let (cron, _) = made(&a, CRONS, body.clone()).await;
        assert_eq!(delete(&b, &cron).await, 204);
    }
    made(&b, CRONS, body.clone()).await;
    made(&a, CRONS, body.clone()).await;
    for node in [a, b] {
        let full = (429, "Too many crons: one owner has 2 at most".to_owned());
        assert_eq!(node.post(CRONS, &body).await.detail(), full);
    }
}

/// Asks for something, and leaves while the store has not answered.
async fn leaves(server: &Server, valve: &Arc<Valve>, (method, path, body): (Method, &str, Value)) {
    valve.set(Flow::Shut { stops: true });
    let body = body.to_string();
    let asked = tokio::time::timeout(ms(100), server.send(method, path, &body)).await;
    assert!(asked.is_err(), "{asked:?}");
    valve.set(Flow::Open);
}

#[tokio::test]
async fn what_whoever_asked_did_not_wait_for_is_known_all_the_same() {
    let valve = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&valve) as _);
    let mut options = options();
    options.crons_owner_max = 1;
    let server = Server::with(config, options, Access::open());
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/crons");
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    leaves(&server, &valve, (Method::POST, &path, body)).await;
    let before = runs(&server, &thread, 1).await.len();
    let row = found(&server, json!({})).await.remove(0);
    let cron = format!("{CRONS}/{}", row["cron_id"].as_str().unwrap());
    patch(&server, &cron, json!({"enabled": false})).await;
    leaves(&server, &valve, (Method::PATCH, &cron, json!({"enabled": true}))).await;
    runs(&server, &thread, before + 2).await;
    patch(&server, &cron, json!({"schedule": "@yearly"})).await;
    leaves(&server, &valve, (Method::DELETE, &cron, json!({}))).await;
    within("its place is free", async {
        while server.post(CRONS, &rarely(&json!("echo"))).await.status == 429 {
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
    assert_eq!(found(&server, json!({})).await[0]["schedule"], "@yearly");
}

#[test]
fn a_server_whose_first_runtime_has_gone_makes_the_runs_of_crons() {
    let runtime = || Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = runtime();
    let server =
        first.block_on(async { Server::with(EngineConfig::new(), options(), Access::open()) });
    drop(first);
    runtime().block_on(async {
        let thread = server.thread().await;
        let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
        made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
        runs(&server, &thread, 1).await;
    });
}

#[tokio::test]
async fn a_router_that_was_made_where_no_runtime_was_makes_the_runs_of_crons_that_are_kept() {
    let valve = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&valve) as _);
    let mut server = Server::with(config, options(), Access::open());
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
    let before = runs(&server, &thread, 1).await.len();
    let service = server.service.clone();
    let router = std::thread::spawn(|| crate::support::router(service, options()));
    // The first one goes with its clockwork, which may be about to make one run.
    server.app = router.join().unwrap();
    runs(&server, &thread, before + 3).await;
}

#[tokio::test]
async fn the_threads_of_an_assistant_go_with_it_although_the_caller_has_gone() {
    let valve = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&valve) as _);
    let server = Server::with(config, options(), Access::open());
    let own = ok(&server, Method::POST, "/assistants", json!({"graph_id": "echo"})).await;
    let mut threads = Vec::new();
    for _ in 0..3 {
        let thread = server.thread().await;
        let body = json!({"assistant_id": own["assistant_id"], "input": {}});
        ok(&server, Method::POST, &format!("/threads/{thread}/runs/wait"), body).await;
        threads.push(format!("/threads/{thread}"));
    }
    let path = format!("/assistants/{}?delete_threads=true", own["assistant_id"].as_str().unwrap());
    leaves(&server, &valve, (Method::DELETE, &path, json!({}))).await;
    within("they are gone", async {
        for thread in &threads {
            while server.get(thread).await.status != 404 {
                tokio::time::sleep(ms(5)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_cron_whose_runs_are_refused_by_now_can_be_switched_off() {
    let store = Arc::new(MemoryStore::new());
    let of = |graph: Component| {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        Server::serving_with(config, [graph])
    };
    let graph = || Component::agent("g", async |_ctx, input: Payload| Ok(input));
    let before = of(graph().nodes(["one", "two"]));
    let body = json!({
        "assistant_id": "g", "schedule": "@yearly", "interrupt_before": "*", "input": {},
    });
    let (path, _) = made(&before, CRONS, body).await;
    before.service.engine().shutdown(Shutdown::default()).await;
    let now = of(graph());
    for more in [json!({"enabled": false}), json!({"metadata": {"a": 1}, "schedule": "@monthly"})] {
        patch(&now, &path, more).await;
    }
    assert_eq!(found(&now, json!({})).await[0]["enabled"], false);
    let refused = now.send(Method::PATCH, &path, r#"{"input":{}}"#).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

/// Its graph has left the configuration, and it is larger and due more often than may be by now.
#[tokio::test]
async fn a_cron_that_could_not_be_made_by_now_can_be_switched_off() {
    let store = Arc::new(MemoryStore::new());
    let of = |options: Options| {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        Server::with(config, options, Access::open())
    };
    let mut before = options();
    (before.cron_bytes_max, before.cron_interval_min) = (1_000, secs(1));
    let before = of(before);
    let body = json!({ "assistant_id": "echo", "schedule": "* * * * *",
        "input": { "text": "x".repeat(500) } });
    let (path, _) = made(&before, CRONS, body).await;
    before.service.engine().shutdown(Shutdown::default()).await;
    let mut now = Options::default();
    (now.cron_bytes_max, now.cron_interval_min) = (100, secs(3_600));
    let now = of(now);
    patch(&now, &path, json!({ "enabled": false })).await;
    assert_eq!(found(&now, json!({})).await[0]["enabled"], false);
    for (more, status) in [
        (json!({ "schedule": "* * * * *" }), 422),
        (json!({ "metadata": { "a": "x".repeat(500) } }), 413),
    ] {
        let refused = now.send(Method::PATCH, &path, &more.to_string()).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    now.service.engine().shutdown(Shutdown::default()).await;
    let serving = |id: &str| {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let graph = Component::agent(id, async |_ctx, input: Payload| Ok(input));
        Server::serving_with(config, [graph])
    };
    let with = serving("g");
    let (path, _) = made(&with, CRONS, rarely(&json!("g"))).await;
    with.service.engine().shutdown(Shutdown::default()).await;
    let without = serving("other");
    assert_eq!(patch(&without, &path, json!({ "enabled": false })).await["enabled"], false);
    for more in [r#"{"input":{}}"#, r#"{"enabled":true}"#, r#"{"schedule":"@yearly"}"#] {
        let refused = without.send(Method::PATCH, &path, more).await;
        assert_eq!(refused.status, 404, "{more}: {refused:?}");
    }
    let refused = without.send(Method::PATCH, &path, r#"{"enabled":false,"metadata":{}}"#).await;
    assert_eq!(refused.status, 404, "{refused:?}");
}
