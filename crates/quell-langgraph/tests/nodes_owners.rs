//! Several nodes on one store, and callers with keys of their own: whose a thread is, what its runs
//! left in it, and how much of it is in memory.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use quell::testing::cluster::{Node, Nodes};
use quell::{Engine, EngineConfig, Failure, Payload, RunContext};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, Service, ServiceLimits};
use quell_langgraph::Options;
use quell_test_support::{secs, within};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const ADA: &str = "adas-own-key-0123456789";
const BEN: &str = "bens-own-key-0123456789";
const THREAD: &str = "0b9f8c39-5c5c-4b0f-9d4c-333333333333";

/// Room for what is kept of all callers; each has a quarter of it.
const SMALL: usize = 400_000;
const LARGE: usize = 1 << 28;

struct App {
    router: axum::Router,
    engine: Engine,
}

fn app(node: &Arc<Node>, kept: usize) -> App {
    let echo = Component::agent("echo", async |_ctx: RunContext, input: Payload| Ok(input));
    let fails = Component::agent("fails", async |_ctx: RunContext, _: Payload| {
        Err::<Payload, _>(Failure::new("no"))
    });
    let quiet = Component::agent("quiet", async |_ctx: RunContext, _: Payload| {
        Ok(Payload::from(Value::Null))
    });
    let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("ben", BEN));
    let mut limits = ServiceLimits::default();
    limits.kept_bytes_max = kept;
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    let catalog = Catalog::new().with(echo).with(fails).with(quiet);
    let service = Service::new(Engine::with_config(config), catalog);
    let service = service.limits(limits).access(access);
    let engine = service.engine().clone();
    App { router: crate::support::router(service, Options::default()), engine }
}

fn two(kept: usize) -> (App, App) {
    let nodes = Nodes::new(secs(30));
    (app(&nodes.join("a"), kept), app(&nodes.join("b"), kept))
}

impl App {
    async fn send(&self, key: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = match body {
            Some(_) => Request::post(path).header("content-type", "application/json"),
            None => Request::get(path),
        };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.header("x-api-key", key).body(body).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = to_bytes(answer.into_body(), 1 << 22).await.unwrap();
        (status, serde_json::from_slice(&text).unwrap())
    }

    async fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(key, path, Some(&body)).await
    }

    /// Runs in a thread of ada's, which is made if it is not there, and waits until that is stored
    /// and the thread has what it left.
    async fn run(&self, thread: &str, graph: &str, input: Value) {
        let run = json!({ "assistant_id": graph, "input": input, "if_not_exists": "create" });
        let (status, body) = self.post(ADA, &format!("/threads/{thread}/runs/wait"), run).await;
        assert_eq!(status, 200, "{body}");
        for run in self.engine.runs(&quell::RunFilter::new()) {
            within("it is stored", run.stored()).await.unwrap();
        }
        // The task that follows the run is woken after the client that waits for it.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    async fn row(&self, thread: &str) -> (u16, Value) {
        self.send(ADA, &format!("/threads/{thread}"), None).await
    }

    async fn values(&self, thread: &str) -> Value {
        self.row(thread).await.1["values"].clone()
    }
}

#[tokio::test]
async fn what_a_run_returned_is_in_its_thread_on_every_node() {
    let (a, b) = two(LARGE);
    for number in 0..3 {
        a.run(THREAD, "echo", json!({ "number": number })).await;
        for app in [&a, &b] {
            assert_eq!(app.values(THREAD).await, json!({ "number": number }));
        }
    }
    b.run(THREAD, "echo", json!({ "more": 1 })).await;
    assert_eq!(a.values(THREAD).await, json!({ "number": 2, "more": 1 }));
}

#[tokio::test]
async fn a_failed_run_leaves_the_same_on_every_node() {
    let (a, b) = two(LARGE);
    a.run(THREAD, "fails", json!({ "text": "x" })).await;
    let rows = [a.row(THREAD).await.1, b.row(THREAD).await.1];
    for key in ["status", "values", "error"] {
        assert_eq!(rows[0][key], rows[1][key], "{key}");
    }
    assert_eq!((&rows[1]["status"], &rows[1]["values"]), (&json!("error"), &json!({"text": "x"})));
}

#[tokio::test]
async fn a_run_that_has_made_room_does_not_come_back() {
    let (a, b) = two(SMALL);
    for number in 0..8 {
        a.run(THREAD, "echo", json!({ "blob": "x".repeat(20_000), "number": number })).await;
        for _ in 0..3 {
            assert_eq!(a.values(THREAD).await["number"], number);
        }
    }
    for app in [&a, &b] {
        let runs = app.send(ADA, &format!("/threads/{THREAD}/runs?limit=100"), None).await.1;
        assert_eq!(runs.as_array().map(Vec::len), Some(8), "each is listed, once");
    }
}

#[tokio::test]
async fn a_thread_that_has_left_the_memory_comes_back_as_it_was() {
    for has_record in [true, false] {
        let (a, b) = two(SMALL);
        if has_record {
            let made = a.post(ADA, "/threads", json!({ "thread_id": THREAD })).await;
            assert_eq!(made.0, 200, "{made:?}");
        }
        for number in 0..25 {
            let input = if number == 0 { json!({ "first": 1 }) } else { json!({ "n": number }) };
            a.run(THREAD, "quiet", input).await;
        }
        let before = a.values(THREAD).await;
        assert_eq!(before, json!({ "first": 1, "n": 24 }));
        for nth in 0..20_u128 {
            let other = uuid::Uuid::from_u128(100 + nth).to_string();
            a.run(&other, "quiet", json!({ "blob": "x".repeat(20_000) })).await;
        }
        for app in [&a, &b] {
            assert_eq!(app.values(THREAD).await, before, "{has_record}");
        }
    }
}

#[tokio::test]
async fn another_owner_takes_no_thread_that_has_a_record() {
    let (a, b) = two(LARGE);
    let made = a.post(ADA, "/threads", json!({ "thread_id": THREAD })).await;
    assert_eq!(made.0, 200, "{made:?}");
    let run = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    let path = format!("/threads/{THREAD}/runs/wait");
    for app in [&a, &b] {
        assert_eq!(app.post(BEN, &path, run.clone()).await.0, 404);
        assert_eq!(app.row(THREAD).await.0, 200);
    }
    assert_eq!(b.post(ADA, &path, run).await.0, 200);
}

#[tokio::test]
async fn another_owner_takes_no_thread_that_a_run_has_made() {
    let nodes = Nodes::new(secs(30));
    let [a, b, c] = ["a", "b", "c"].map(|name| app(&nodes.join(name), LARGE));
    a.run(THREAD, "echo", json!({ "x": 1 })).await;
    let run = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    for app in [&a, &b] {
        assert_eq!(app.post(BEN, "/threads", json!({ "thread_id": THREAD })).await.0, 409);
        let path = format!("/threads/{THREAD}/runs/wait");
        assert_eq!(app.post(BEN, &path, run.clone()).await.0, 404);
    }
    for app in [&a, &b, &c] {
        assert_eq!(app.values(THREAD).await, json!({ "x": 1 }));
    }
}

#[tokio::test]
async fn threads_that_have_a_record_make_room_for_others() {
    let (a, b) = two(SMALL);
    let mut all = Vec::new();
    for app in [&a, &b] {
        for _ in 0..15 {
            let body = json!({ "metadata": { "x": "y".repeat(10_000) } });
            let (status, row) = app.post(ADA, "/threads", body).await;
            assert_eq!(status, 200, "{row}");
            all.push(row["thread_id"].as_str().unwrap().to_owned());
        }
    }
    for thread in &all {
        let (status, row) = b.row(thread).await;
        assert_eq!((status, row["metadata"]["x"].as_str().map(str::len)), (200, Some(10_000)));
    }
    b.run(&all[7], "echo", json!({ "x": 1 })).await;
}

#[tokio::test]
async fn the_record_of_a_thread_is_no_run_that_anybody_is_shown() {
    let (a, _) = two(LARGE);
    assert_eq!(a.post(ADA, "/threads", json!({ "thread_id": THREAD })).await.0, 200);
    let records = a.engine.runs(&quell::RunFilter::new());
    assert_eq!(records.len(), 1);
    let service = Service::new(a.engine.clone(), Catalog::new());
    let view = service.view(quell_http::NATIVE, quell_http::Principal::anonymous().admin());
    assert!(view.find_by_id(records[0].id()).await.unwrap().is_none());
    let all = view.list(quell::RunFilter::new(), 10, None, |_| true).await.unwrap();
    assert!(all.runs.is_empty(), "{all:?}");
}

/// Two requests at once to make a run in a thread that is not there: to the first node in the name
/// of ada, to the second one in that of ben.
async fn race(a: &App, b: &App, thread: &str) -> [u16; 2] {
    let run = json!({ "assistant_id": "echo", "input": { "x": 1 }, "if_not_exists": "create" });
    let path = format!("/threads/{thread}/runs/wait");
    let both = tokio::join!(a.post(ADA, &path, run.clone()), b.post(BEN, &path, run));
    [both.0.0, both.1.0]
}

#[tokio::test]
async fn of_two_owners_who_make_one_thread_at_once_one_has_it() {
    let (a, b) = two(LARGE);
    for nth in 0..40_u128 {
        let thread = uuid::Uuid::from_u128(9_000 + nth).to_string();
        let (first, second) = if nth % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let told = race(first, second, &thread).await;
        let keys = match told {
            [200, 404] => [ADA, BEN],
            [404, 200] => [BEN, ADA],
            told => panic!("{nth}: {told:?}"),
        };
        for app in [&a, &b] {
            let path = format!("/threads/{thread}");
            let rows = [app.send(keys[0], &path, None).await, app.send(keys[1], &path, None).await];
            assert_eq!(rows[0].1["values"], json!({ "x": 1 }), "{nth}");
            assert_eq!((rows[0].0, rows[1].0), (200, 404), "{nth}");
        }
    }
}

#[tokio::test]
async fn of_two_requests_of_one_owner_both_run_in_the_thread_that_one_of_them_makes() {
    let (a, b) = two(LARGE);
    for nth in 0..20_u128 {
        let thread = uuid::Uuid::from_u128(8_000 + nth).to_string();
        let run = json!({ "assistant_id": "echo", "input": { "x": 1 }, "if_not_exists": "create" });
        let path = format!("/threads/{thread}/runs/wait");
        let second = if nth % 2 == 0 { &a } else { &b };
        let both = tokio::join!(a.post(ADA, &path, run.clone()), second.post(ADA, &path, run));
        assert_eq!((both.0.0, both.1.0), (200, 200), "{nth}: {both:?}");
    }
}

#[tokio::test]
async fn a_thread_whose_first_run_is_refused_is_not_made_on_any_node() {
    let (a, b) = two(LARGE);
    let shut = quell::RunLimits::new().running_max(0).queued_max(0);
    a.engine.set_limit(quell::Scope::All, shut);
    let run = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    let path = format!("/threads/{THREAD}/runs/wait");
    assert_eq!(a.post(ADA, &path, run.clone()).await.0, 429);
    within("it is gone", async {
        while b.row(THREAD).await.0 != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.row(THREAD).await.0, 404);
    // Another owner may have it now.
    assert_eq!(b.post(BEN, &path, run).await.0, 200);
}
