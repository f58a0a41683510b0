//! Runs that are deleted, made several at once, and counted.

use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{Engine, EngineConfig, Payload, RunFilter, Shutdown};
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, Service, ServiceLimits};
use quell_langgraph::Options;
use quell_test_support::{soon, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes::two;
use crate::receiver::{Receiver, status};
use crate::restart::nth;
use crate::talk::{Says as _, Server, id_of};
use crate::threads::{delete, echo, made, row};
use crate::webhooks::asking;

const GONE: (u16, &str) = (404, "Run not found");

/// The runs of a thread, the newest first.
async fn runs(server: &Server, thread: &str) -> Vec<String> {
    let list = server.get(&format!("/threads/{thread}/runs?select=run_id")).await;
    assert_eq!(list.status, 200, "{}", list.text);
    let path = |run: &Value| format!("/threads/{thread}/runs/{}", run["run_id"].as_str().unwrap());
    list.json().as_array().unwrap().iter().map(path).collect()
}

#[tokio::test]
async fn a_run_that_is_deleted_is_stopped_and_its_thread_is_as_before_it() {
    let server = Server::new();
    for graph in ["slow", "steps", "parallel", "nested"] {
        let thread = server.thread().await;
        echo(&server, &thread, "a").await;
        let before = row(&server, &thread).await;
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": graph });
        let run = server.start(&thread, graph, input).await;
        let queued = server.start(&thread, "echo", json!({ "text": "later" })).await;
        server.until_ticking(graph).await;
        assert_eq!(delete(&server, &queued).await.status, 204);
        let answer = delete(&server, &run).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
        server.assert_stopped(graph).await;
        for run in [&run, &queued] {
            assert_eq!(server.status(run).await, "gone");
            let again = delete(&server, run).await.detail();
            assert_eq!((again.0, &*again.1), GONE);
        }
        assert_eq!(row(&server, &thread).await, before);
        assert_eq!(runs(&server, &thread).await.len(), 1);
    }
    let thread = server.thread().await;
    let unknown = format!("/threads/{thread}/runs/0b9f8c39-5c5c-4b0f-9d4c-222222222222");
    let unknown = delete(&server, &unknown).await.detail();
    assert_eq!((unknown.0, &*unknown.1), GONE);
    let bad = delete(&server, &format!("/threads/{thread}/runs/x")).await.detail();
    assert_eq!(bad, (422, "Invalid run ID: must be a UUID".to_owned()));
    echo(&server, &thread, "a").await;
    let run = &runs(&server, &thread).await[0];
    let other = format!("/threads/{}/runs/{}", server.thread().await, id_of(run));
    assert_eq!(delete(&server, &other).await.detail().0, 404);
    assert_eq!(server.status(run).await, "success");
}

/// Deletes runs of a thread that have ended, and sees what is left.
async fn take_back_one_after_the_other(server: &Server, others: &[&Server]) {
    let thread = made(server, json!({ "who": "ada" })).await;
    let mut rows = vec![row(server, &thread).await];
    for text in ["a", "b", "c", "d"] {
        echo(server, &thread, text).await;
        rows.push(row(server, &thread).await);
    }
    let all = runs(server, &thread).await;
    // One between others has left nothing of its own.
    assert_eq!(delete(server, &all[1]).await.status, 204);
    let shown =
        |row: &Value| (row["values"].clone(), row["status"].clone(), row["metadata"].clone());
    for server in others {
        assert_eq!(shown(&row(server, &thread).await), shown(&rows[4]));
        assert_eq!(runs(server, &thread).await.len(), 3);
    }
    // The last one that is left tells how the thread is.
    for (run, before) in [(&all[0], &rows[2]), (&all[2], &rows[1]), (&all[3], &rows[0])] {
        assert_eq!(delete(server, run).await.status, 204);
        for server in others {
            assert_eq!(server.status(run).await, "gone");
            assert_eq!(shown(&row(server, &thread).await), shown(before), "{run}");
        }
    }
    echo(others[others.len() - 1], &thread, "e").await;
    assert_eq!(row(server, &thread).await["values"]["log"], json!(["echo:e"]));
}

#[tokio::test]
async fn a_run_that_has_ended_leaves_with_what_it_has_left() {
    let server = Server::new();
    take_back_one_after_the_other(&server, &[&server]).await;
    let (server, _) = nth(1, &Arc::default()).await;
    take_back_one_after_the_other(&server, &[&server]).await;
    let (a, b) = two();
    take_back_one_after_the_other(&a, &[&a, &b]).await;
    take_back_one_after_the_other(&a, &[&b]).await;
}

#[tokio::test]
async fn a_run_that_was_deleted_is_not_there_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    echo(&server, &thread, "a").await;
    echo(&server, &thread, "b").await;
    let all = runs(&server, &thread).await;
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, _) = nth(2, &store).await;
    assert_eq!(delete(&server, &all[0]).await.status, 204);
    for boot in 3..5 {
        assert_eq!(server.status(&all[0]).await, "gone");
        assert_eq!(row(&server, &thread).await["values"]["log"], json!(["echo:a"]));
        server.service.engine().shutdown(Shutdown::default()).await;
        let (server, _) = nth(boot, &store).await;
        assert_eq!(runs(&server, &thread).await, [&*all[1]]);
    }
}

#[tokio::test]
async fn a_live_run_of_another_node_is_deleted_and_stops() {
    let (a, b) = two();
    let thread = a.thread().await;
    echo(&a, &thread, "a").await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "far" });
    let run = a.start(&thread, "slow", input).await;
    a.until_ticking("far").await;
    assert_eq!(delete(&b, &run).await.status, 204);
    a.assert_stopped("far").await;
    for server in [&a, &b] {
        within("it is gone", async {
            while server.status(&run).await != "gone" {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let now = row(server, &thread).await;
        assert_eq!((&now["status"], &now["values"]["log"]), (&json!("idle"), &json!(["echo:a"])));
    }
}

#[tokio::test]
async fn nobody_deletes_the_run_of_another_owner() {
    let access = Access::open().key(Key::new("ada", "a")).key(Key::new("ben", "b"));
    let access = access.key(Key::new("eve", "e").read_only());
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let [ada, ben, eve] = ["a", "b", "e"].map(|key| server.saying("x-api-key", key));
    let thread = ada.thread().await;
    let run = ada.start(&thread, "slow", json!({ "ms": 60_000, "tag": "owned run" })).await;
    ada.until_ticking("owned run").await;
    for (who, status) in [(&ben, 404), (&eve, 403)] {
        assert_eq!(delete(who, &run).await.status, status);
        assert_eq!(who.get("/metrics?format=json").await.json()["queue"]["n_running"], 0);
    }
    assert_eq!(ada.status(&run).await, "running");
    assert_eq!(ada.get("/metrics?format=json").await.json()["queue"]["n_running"], 1);
    assert_eq!(delete(&ada, &run).await.status, 204);
}

#[tokio::test]
async fn a_batch_makes_all_of_its_runs_or_none() {
    let server = Server::new();
    let item = |tag: &str| json!({ "assistant_id": "slow", "input": { "ms": 60_000, "tag": tag } });
    let made = server.post("/runs/batch", &json!([item("one"), item("two")])).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let rows = made.json();
    for (row, tag) in rows.as_array().unwrap().iter().zip(["one", "two"]) {
        assert_eq!(
            (&row["kwargs"]["temporary"], &row["kwargs"]["input"]["tag"]),
            (&json!(true), &json!(tag))
        );
        server.until_ticking(tag).await;
        let path = format!(
            "/threads/{}/runs/{}",
            row["thread_id"].as_str().unwrap(),
            row["run_id"].as_str().unwrap()
        );
        assert_eq!(delete(&server, &path).await.status, 204);
        server.assert_stopped(tag).await;
    }
    let engine = server.service.engine();
    soon("they have left", || engine.runs(&RunFilter::new()).is_empty()).await;
    let bad = [
        (json!([item("x"), { "assistant_id": "nope" }]), 422, "1.Invalid assistant"),
        (json!([item("x"), {}]), 422, "1.assistant_id: field required"),
        (json!([item("x"), { "assistant_id": "ehco" }]), 422, "1.Invalid assistant: 'ehco'."),
        (json!([item("x"), 7]), 422, "1: must be an object"),
        (json!([]), 422, "body: must be a list of 1 to 1000 runs"),
        (json!({}), 422, "body: must be a list"),
        (json!([{ "assistant_id": "echo", "command": { "resume": 1 } }]), 400, "You must provide"),
    ];
    for (body, status, text) in bad {
        let (found, detail) = server.post("/runs/batch", &body).await.detail();
        assert!(found == status && detail.starts_with(text), "{body}: {found} {detail}");
    }
    assert_eq!(server.send(Method::POST, "/runs/batch", "[").await.status, 422);
    assert!(engine.runs(&RunFilter::new()).is_empty(), "nothing was made");
}

#[tokio::test]
async fn a_batch_of_which_one_finds_no_room_leaves_nothing_and_a_retry_makes_nothing_twice() {
    let config = EngineConfig::new()
        .running_max(1)
        .limit(quell::Scope::All, quell::RunLimits::new().running_max(1).queued_max(1));
    let server = Server::with(config, Options::default(), Access::open());
    let item = json!({ "assistant_id": "slow", "input": { "ms": 60_000 } });
    let all = json!([item, item, item]);
    assert_eq!(server.post("/runs/batch", &all).await.status, 429);
    let engine = server.service.engine();
    soon("none is left", || engine.runs(&RunFilter::new()).is_empty()).await;
    let refused = server.saying("idempotency-key", "refused");
    assert_eq!(refused.post("/runs/batch", &all).await.status, 429);
    soon("none is left", || engine.runs(&RunFilter::new()).is_empty()).await;
    let keyed = server.saying("idempotency-key", "k");
    let two = json!([item, item]);
    let ids = |answer: Value| {
        answer.as_array().unwrap().iter().map(|run| run["run_id"].clone()).collect::<Vec<_>>()
    };
    let first = ids(keyed.post("/runs/batch", &two).await.json());
    assert_eq!(ids(keyed.post("/runs/batch", &two).await.json()), first);
    for other in [json!([item]), all] {
        let refused = keyed.post("/runs/batch", &other).await;
        assert_eq!(refused.detail(), (409, OTHER.to_owned()));
    }
    assert_ne!(first[0], first[1]);
    let all = json!({ "status": "all" });
    assert_eq!(server.post("/runs/cancel", &all).await.status, 204);
}

const OTHER: &str = "Idempotency-Key was used with a different request";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_batch_that_is_refused_nobody_is_told() {
    let room = quell::RunLimits::new().running_max(30).queued_max(30);
    let config = EngineConfig::new().limit(quell::Scope::All, room);
    let server = Server::with(config, crate::webhooks::options(), Access::open());
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let input = |tag: &str| json!({ "ms": 60_000, "chunk_ms": 1, "tag": tag });
    let item = |tag: &str| asking("slow", &input(tag), &receiver.url());
    let all = vec![item("refused"); 61];
    assert_eq!(server.post("/runs/batch", &json!(all)).await.status, 429);
    let engine = server.service.engine();
    soon("none is left", || engine.runs(&RunFilter::new()).is_empty()).await;
    server.assert_stopped("refused").await;
    // Nor is a thread left that was made for one of them.
    let mut keeps = item("refused");
    keeps["on_completion"] = json!("keep");
    let before = server.post("/threads/count", &json!({})).await.json();
    assert_eq!(server.post("/runs/batch", &json!(vec![keeps; 61])).await.status, 429);
    assert_eq!(server.post("/threads/count", &json!({})).await.json(), before);
    // What is told of the next one comes behind what would have been told of these.
    assert_eq!(server.post("/runs/batch", &json!([item("made"), item("made")])).await.status, 200);
    server.until_ticking("made").await;
    let all = json!({ "status": "all" });
    assert_eq!(server.post("/runs/cancel", &all).await.status, 204);
    let told = receiver.got(2).await;
    assert!(told.iter().all(|(_, told)| told["kwargs"]["input"]["tag"] == "made"), "{told:?}");
    assert_eq!(receiver.by_now(), 2);
}

#[tokio::test]
async fn metrics_count_what_runs_and_what_waits() {
    let server = Server::new();
    let numbers = async || server.get("/metrics?format=json").await.json();
    let none = numbers().await;
    assert_eq!(none["queue"]["pending_runs_wait_time_max_secs"], Value::Null);
    assert_eq!((&none["workers"]["active"], &none["api"]), (&json!(0), &json!({})));
    let thread = server.thread().await;
    let run = server.start(&thread, "parallel", json!({ "ms": 60_000, "tag": "busy" })).await;
    server.until_ticking("busy").await;
    server.start(&thread, "echo", json!({})).await;
    let later = json!({ "assistant_id": "echo", "after_seconds": 1_000 });
    assert_eq!(server.post("/runs", &later).await.status, 200);
    let some = numbers().await;
    assert_eq!((&some["queue"]["n_running"], &some["queue"]["n_pending"]), (&json!(1), &json!(2)));
    assert_eq!(some["workers"]["active"], 1, "runs, not nodes: {some}");
    assert!(some["queue"]["pending_runs_wait_time_max_secs"].as_f64().unwrap() >= 0.0);
    assert_eq!(some["queue"]["pending_unblocked_runs_wait_time_max_secs"], Value::Null);
    let text = server.get("/metrics").await;
    assert!(text.header("content-type").starts_with("text/plain"));
    assert!(text.text.contains("lg_api_num_pending_runs 2\n"), "{}", text.text);
    assert_eq!(server.post(&format!("{run}/cancel?wait=1"), &json!({})).await.status, 200);
    soon("it is told", || server.service.engine().runs(&RunFilter::new().live()).len() == 1).await;
    assert_eq!(numbers().await["workers"]["active"], 0);
}

#[tokio::test]
async fn a_list_of_runs_shows_what_is_selected() {
    let server = Server::new();
    let thread = server.thread().await;
    echo(&server, &thread, "a").await;
    let path = format!("/threads/{thread}/runs");
    let some = server.get(&format!("{path}?select=status,thread_id&select=kwargs")).await.json();
    let keys: Vec<_> = some[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["kwargs", "status", "thread_id"]);
    let (status, text) = server.get(&format!("{path}?select=status,nope")).await.detail();
    assert!(status == 422 && text.starts_with("select: must be keys of a run"), "{text}");
    assert_eq!(server.get(&format!("{path}?limit=x")).await.status, 422);
    assert_eq!(server.get(&format!("{path}?status=error")).await.json(), json!([]));
}

/// A server whose callers may have so much under way, and kept; `waits` waits at a gate.
fn narrow(under_way: usize, kept: usize, gate: &Arc<Semaphore>) -> Server {
    let gate = Arc::clone(gate);
    let waits = Component::workflow("waits", move |_ctx, input: Payload| {
        let gate = Arc::clone(&gate);
        async move {
            drop(gate.acquire().await);
            Ok(input)
        }
    });
    let echo = Component::workflow("echo", async |_ctx, input: Payload| Ok(input));
    let mut limits = ServiceLimits::default();
    (limits.requests_bytes_max, limits.kept_bytes_max) = (under_way, kept);
    let service = Service::new(Engine::new(), Catalog::new().with(waits).with(echo)).limits(limits);
    let app = crate::support::router(service.clone(), Options::default());
    Server { app, service, witness: Witness::default(), headers: Vec::new() }
}

#[tokio::test]
async fn a_batch_that_is_repeated_takes_back_no_run_that_it_has_not_made() {
    let gate = Arc::new(Semaphore::new(0));
    let server = narrow(1 << 24, 4_096, &gate);
    let keyed = server.saying("idempotency-key", "k");
    let item = |graph: &str| json!({ "assistant_id": graph, "input": {} });
    let batch = json!([item("waits"), item("echo")]);
    let made = keyed.post("/runs/batch", &batch).await.json();
    let path = |nth: usize| {
        let part = |key: &str| made[nth][key].as_str().unwrap().to_owned();
        format!("/threads/{}/runs/{}", part("thread_id"), part("run_id"))
    };
    within("it has left", async {
        while server.status(&path(1)).await != "gone" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What was kept of its end makes room for another one.
    assert_eq!(server.post("/runs/wait", &item("echo")).await.status, 200);
    let again = keyed.post("/runs/batch", &batch).await.detail();
    assert_eq!((again.0, &*again.1), GONE);
    assert_eq!(server.status(&path(0)).await, "running");
}

#[tokio::test]
async fn a_batch_that_was_made_is_answered_with_its_runs_whatever_room_there_is() {
    let gate = Arc::new(Semaphore::new(0));
    let server = narrow(4_000_000, 1 << 24, &gate);
    // What its assistant says stands in each run.
    let body = json!({ "graph_id": "waits", "context": { "text": "x".repeat(400_000) } });
    let assistant = server.post("/assistants", &body).await.json();
    let item = json!({ "assistant_id": assistant["assistant_id"], "input": {} });
    let answer = server.post("/runs/batch", &json!(vec![item; 6])).await;
    let live = server.service.engine().runs(&RunFilter::new().live()).len();
    assert_eq!((answer.status.as_u16(), live), (200, 6), "{:.300}", answer.text);
    for row in answer.json().as_array().unwrap() {
        assert!(row["run_id"].is_string() && row["thread_id"].is_string(), "{row}");
    }
}

#[tokio::test]
async fn a_batch_that_was_taken_back_is_made_when_it_is_repeated() {
    let config = EngineConfig::new()
        .running_max(1)
        .limit(quell::Scope::All, quell::RunLimits::new().running_max(1).queued_max(1));
    let server = Server::with(config, Options::default(), Access::open());
    let keyed = server.saying("idempotency-key", "k");
    let item = json!({ "assistant_id": "slow", "input": { "ms": 60_000 } });
    let first = server.post("/runs", &item).await.json();
    let two = json!([item, item]);
    assert_eq!(keyed.post("/runs/batch", &two).await.status, 429);
    let part = |key: &str| first[key].as_str().unwrap();
    let path = format!("/threads/{}/runs/{}", part("thread_id"), part("run_id"));
    assert_eq!(delete(&server, &path).await.status, 204);
    let engine = server.service.engine();
    soon("none is left", || engine.runs(&RunFilter::new()).is_empty()).await;
    let again = keyed.post("/runs/batch", &two).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(
        engine.runs(&RunFilter::new().roots().live()).len(),
        2,
        "they are those that run now"
    );
}
