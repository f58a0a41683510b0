use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store, StoreError};
use quell::{EngineConfig, Limits, Recovery, Shutdown};
use quell_http::{Access, Key, Service, parse_id, router};
use quell_test_support::{Flow, Valve, Witness};
use serde_json::{Value, json};

use crate::support::{Answer, Headers, JSON, get, post, send, service_with, soon, start};

const ADA: (&str, &str) = ("x-api-key", "adas-key");
const BEN: (&str, &str) = ("x-api-key", "bens-key");

/// A service as a process has it that opened the store: the nth one.
struct Process {
    store: Arc<Valve>,
    service: Service,
    app: Router,
    witness: Witness,
}

impl Process {
    async fn nth(boot: u32, store: &Arc<MemoryStore>, access: Access) -> Self {
        Self::with(Valve::reopened(store, boot), EngineConfig::new(), access).await
    }

    async fn with(store: Arc<Valve>, config: EngineConfig, access: Access) -> Self {
        let witness = Witness::default();
        let config = config.store(Arc::clone(&store) as Arc<dyn Store>);
        let service = service_with(config, &witness).access(access);
        service.engine().recover(|_| Recovery::Fail).await.unwrap();
        Self { app: router(service.clone()), store, service, witness }
    }

    async fn end(self) {
        let report = self.service.engine().shutdown(Shutdown::default()).await;
        assert_eq!(report.unstored, 0);
    }

    /// Yields the bodies of these paths.
    async fn bodies(&self, paths: &[String]) -> Vec<(String, String)> {
        let mut bodies = Vec::new();
        for path in paths {
            let answer = get(&self.app, path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            bodies.push((path.clone(), answer.text));
        }
        bodies
    }
}

async fn ended(app: &Router, id: &str) -> Value {
    loop {
        let run = get(app, &format!("/v1/runs/{id}")).await.json();
        if run["quiescent"] == true && run["ended_at"].is_string() {
            return run;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs one of every sort, each to its end.
async fn one_of_every_sort(process: &Process) -> Vec<String> {
    let app = &process.app;
    let echo = json!({
        "component": "agent/echo", "id": "a", "input": {"text": "hi", "n": 1e2}, "session": "s",
        "labels": {"colour": "blue"},
    });
    assert_eq!(post(app, "/v1/runs", &echo).await.status, 201);
    start(app, "failing", "b", Value::Null).await;
    start(app, "talker", "c", json!(200)).await;
    start(app, "steps", "d", json!("x")).await;
    start(app, "sleeper", "e", Value::Null).await;
    let brief = json!({ "component": "agent/sleeper", "id": "f", "timeout_ms": 5 });
    assert_eq!(post(app, "/v1/runs", &brief).await.status, 201);
    soon("they work", || process.witness.entered() > 0).await;
    let steps = process.service.engine().get(parse_id("d").unwrap()).unwrap();
    soon("its step works", || !steps.children().is_empty()).await;
    let step = steps.children()[0].id().to_string();
    let cancel = json!({ "reason": "enough", "wait": "quiescent" });
    for id in ["d", "e"] {
        assert_eq!(post(app, &format!("/v1/runs/{id}/cancel"), &cancel).await.status, 200);
    }
    for id in ["a", "b", "c", "d", "e", "f", &step] {
        ended(app, id).await;
    }
    ["a", "b", "c", "d", "e", "f", &step].map(str::to_owned).into()
}

#[tokio::test]
async fn every_read_is_answered_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    let ids = one_of_every_sort(&first).await;
    let mut paths = Vec::new();
    for id in ids {
        paths.extend(["", "/events"].map(|rest| format!("/v1/runs/{id}{rest}")));
        // Within, at the end, and behind it; also where a read begins in the middle of the log.
        for after in [2, 3, 4, 5, 40, 150, 202, 203, 204, 999] {
            paths.push(format!("/v1/runs/{id}/events?after={after}"));
        }
    }
    for query in ["", "?status=failed", "?kind=agent&limit=2", "?session=s", "?label=colour=blue"] {
        paths.push(format!("/v1/runs{query}"));
    }
    let before = first.bodies(&paths).await;
    first.end().await;
    let second = Process::nth(2, &store, Access::open()).await;
    assert_eq!(second.service.engine().get(parse_id("a").unwrap()), None);
    for ((path, before), (_, after)) in before.into_iter().zip(second.bodies(&paths).await) {
        // A cursor names a place in memory, or one in the store.
        let without_next = |text: &str| match serde_json::from_str::<Value>(text) {
            Ok(mut body) if path.contains("limit=") => {
                assert!(body["next"].is_string(), "{path}: {body}");
                body["next"] = Value::Null;
                // How many there are in the store is not counted.
                body["total"] = Value::Null;
                body.to_string()
            }
            _ => text.to_owned(),
        };
        assert_eq!(without_next(&before), without_next(&after), "{path}");
    }
}

#[tokio::test]
async fn a_stored_run_has_ended_for_all_who_would_change_it() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    start(&first.app, "echo", "a", json!("hi")).await;
    ended(&first.app, "a").await;
    let cancel = |app: Router| async move {
        let answer = post(&app, "/v1/runs/a/cancel", &json!({ "wait": "quiescent" })).await;
        (answer.status, answer.header("quell-disposition").to_owned(), answer.json())
    };
    let limits = |app: Router| async move {
        let body = json!({ "timeout_ms": 1 }).to_string();
        let answer = send(&app, "PATCH", "/v1/runs/a", &[JSON], body).await;
        (answer.status, answer.json())
    };
    let before = (cancel(first.app.clone()).await, limits(first.app.clone()).await);
    assert_eq!(before.0.1, "already-terminal");
    first.end().await;
    let second = Process::nth(2, &store, Access::open()).await;
    let after = (cancel(second.app.clone()).await, limits(second.app.clone()).await);
    assert_eq!(before, after);
    let again = json!({ "component": "agent/echo", "id": "a", "input": 1 });
    assert_eq!(post(&second.app, "/v1/runs", &again).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_an_earlier_process_left_behind_is_shown_as_it_was_decided() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    start(&first.app, "steps", "a", json!("hi")).await;
    let run = first.service.engine().get(parse_id("a").unwrap()).unwrap();
    soon("its step works", || !run.children().is_empty()).await;
    let step = run.children()[0].id();
    while store.get(step).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The process is gone: nothing of it is stored from here on.
    first.store.set(Flow::Shut { stops: true });
    let second = Process::nth(2, &store, Access::open()).await;
    let run = get(&second.app, "/v1/runs/a").await.json();
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("failed"), &json!(true)));
    assert!(run["error"].as_str().unwrap().starts_with("worker lost"), "{run}");
    let below = get(&second.app, &format!("/v1/runs/{step}")).await.json();
    assert_eq!((&below["status"], &below["parent"]), (&json!("failed"), &run["uuid"]));
    let events = get(&second.app, "/v1/runs/a/events").await.text;
    assert!(events.contains(r#""event":"ended","data":"failed"}"#), "{events}");
}

fn with_keys() -> Access {
    Access::open().key(Key::new("ada", ADA.1)).key(Key::new("ben", BEN.1))
}

async fn as_one(app: &Router, who: (&str, &str), path: &str) -> Answer {
    let headers: Headers<'_> = &[who];
    send(app, "GET", path, headers, "").await
}

#[tokio::test]
async fn a_stored_run_of_another_owner_is_as_unknown_as_one_that_never_was() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, with_keys()).await;
    for (who, id) in [(ADA, "of-ada"), (BEN, "of-ben")] {
        let body = json!({ "component": "agent/echo", "id": id, "input": 1 }).to_string();
        assert_eq!(send(&first.app, "POST", "/v1/runs", &[JSON, who], body).await.status, 201);
    }
    first.end().await;
    let second = Process::nth(2, &store, with_keys()).await;
    assert_eq!(as_one(&second.app, BEN, "/v1/runs/of-ben").await.status, StatusCode::OK);
    let never = as_one(&second.app, BEN, "/v1/runs/never").await;
    for path in ["/v1/runs/of-ada", "/v1/runs/of-ada/events"] {
        let hidden = as_one(&second.app, BEN, path).await;
        assert_eq!((hidden.status, &hidden.text), (StatusCode::NOT_FOUND, &never.text));
    }
    let cancel = send(&second.app, "POST", "/v1/runs/of-ada/cancel", &[JSON, BEN], "{}").await;
    assert_eq!((cancel.status, &cancel.text), (StatusCode::NOT_FOUND, &never.text));
    let list = as_one(&second.app, BEN, "/v1/runs").await.json();
    assert_eq!((&list["total"], &list["runs"][0]["id"]), (&json!(1), &json!("of-ben")));
    // Whose it is cannot be told when it cannot be read.
    second.store.damage(parse_id("of-ada").unwrap());
    let damaged = as_one(&second.app, BEN, "/v1/runs/of-ada").await;
    assert_eq!((damaged.status, &damaged.text), (StatusCode::NOT_FOUND, &never.text));
}

#[tokio::test]
async fn one_run_that_cannot_be_read_is_an_error_of_its_own_and_of_no_list() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    for id in ["a", "b", "c"] {
        start(&first.app, "echo", id, json!("hi")).await;
    }
    first.end().await;
    let second = Process::nth(2, &store, Access::open()).await;
    second.store.damage(parse_id("b").unwrap());
    let broken = get(&second.app, "/v1/runs/b").await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(broken.json()["type"].as_str().unwrap().ends_with("unreadable-run"), "{broken:?}");
    assert!(broken.text.contains("unknown: swarm"), "{broken:?}");
    let list = get(&second.app, "/v1/runs").await.json();
    let ids = list["runs"].as_array().unwrap().iter().map(|run| run["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["c", "a"]);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_said_to_be_and_hides_nothing_that_is_in_memory() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    start(&first.app, "echo", "a", json!("hi")).await;
    first.end().await;
    let second = Process::nth(2, &store, Access::open()).await;
    start(&second.app, "echo", "b", json!("hi")).await;
    second.store.fail_reads(StoreError::Io { what: "secret-path".into() });
    for path in ["/v1/runs/a", "/v1/runs/a/events", "/v1/runs/never", "/v1/runs"] {
        let answer = get(&second.app, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer:?}");
        assert!(answer.json()["type"].as_str().unwrap().ends_with("store-unavailable"));
        assert!(!answer.text.contains("secret-path"), "the log says why");
    }
    assert_eq!(get(&second.app, "/v1/runs/b").await.status, StatusCode::OK);
    assert_eq!(get(&second.app, "/v1/runs/b/events").await.status, StatusCode::OK);
    second.store.fail_reads(None);
    assert_eq!(get(&second.app, "/v1/runs/a").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_list_has_each_run_once_newest_first_and_reads_no_more_of_the_store_than_it_shows() {
    const OLD: usize = 300;
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    for nr in 0..OLD {
        start(&first.app, "echo", &format!("old-{nr}"), json!(nr)).await;
    }
    first.end().await;
    let mut process = Process::nth(2, &store, Access::open()).await;
    for nr in 0..20 {
        start(&process.app, "echo", &format!("new-{nr}"), json!(nr)).await;
    }
    let pages = process.store.pages();
    let newest = get(&process.app, "/v1/runs?limit=5").await.json();
    assert_eq!(newest["total"], Value::Null, "{newest}");
    assert!(process.store.pages() <= pages + 1);
    let (mut seen, mut next) = (Vec::new(), None::<String>);
    loop {
        let cursor = next.as_ref().map(|next| format!("&cursor={next}")).unwrap_or_default();
        let list = get(&process.app, &format!("/v1/runs?limit=7{cursor}")).await.json();
        let runs = list["runs"].as_array().unwrap_or_else(|| panic!("{list}"));
        assert!(runs.len() == 7 || list["next"].is_null(), "{list}");
        seen.extend(runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()));
        match list["next"].as_str() {
            Some(text) => next = Some(text.to_owned()),
            None => break,
        }
        if seen.len() == 14 {
            // What was in memory is only in the store when the next part is asked for.
            process.end().await;
            process = Process::nth(3, &store, Access::open()).await;
        }
    }
    let new = (0..20).rev().map(|nr| format!("new-{nr}"));
    let all: Vec<_> = new.chain((0..OLD).rev().map(|nr| format!("old-{nr}"))).collect();
    assert_eq!(seen, all);
    let bad = get(&process.app, "/v1/runs?cursor=7").await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_run_that_is_kept_no_longer_is_read_from_the_store_until_it_is_forgotten() {
    let mut limits = Limits::default();
    limits.ended_trees_ttl = Duration::ZERO;
    let config = EngineConfig::new().limits(limits);
    let process = Process::with(Valve::new(Flow::Open), config, Access::open()).await;
    start(&process.app, "echo", "a", json!("hi")).await;
    let id = parse_id("a").unwrap();
    soon("it leaves memory", || process.service.engine().get(id).is_none()).await;
    let run = get(&process.app, "/v1/runs/a").await.json();
    assert_eq!((&run["output"], &run["text"]), (&json!("hi"), &json!("hello world")));
    process.service.engine().forget_stored(id).await.unwrap();
    assert_eq!(get(&process.app, "/v1/runs/a").await.status, StatusCode::NOT_FOUND);
    let list = get(&process.app, "/v1/runs").await.json();
    assert_eq!(list["total"], 0, "{list}");
}

#[tokio::test]
async fn a_run_that_was_forgotten_is_gone_before_the_store_knows() {
    let process = Process::with(Valve::new(Flow::Open), EngineConfig::new(), Access::open()).await;
    start(&process.app, "steps", "a", json!("hi")).await;
    let run = process.service.engine().get(parse_id("a").unwrap()).unwrap();
    soon("its step works", || !run.children().is_empty()).await;
    let step = run.children()[0].id();
    let cancel = json!({ "wait": "quiescent" });
    assert_eq!(post(&process.app, "/v1/runs/a/cancel", &cancel).await.status, 200);
    run.stored().await.unwrap();
    process.store.set(Flow::Shut { stops: true });
    process.service.engine().forget(run.id()).unwrap();
    assert!(process.store.get(step).await.unwrap().is_some(), "it is still there");
    for id in ["a".to_owned(), step.to_string()] {
        let answer = get(&process.app, &format!("/v1/runs/{id}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    assert_eq!(get(&process.app, "/v1/runs").await.json()["total"], 0);
    process.store.set(Flow::Open);
    run.stored().await.unwrap();
    assert_eq!(process.store.get(step).await, Ok(None));
    assert_eq!(get(&process.app, "/v1/runs/a").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stream_of_a_stored_run_reads_its_log_from_where_its_client_is() {
    let store = Arc::new(MemoryStore::new());
    let first = Process::nth(1, &store, Access::open()).await;
    start(&first.app, "talker", "a", json!(900)).await;
    ended(&first.app, "a").await;
    first.end().await;
    let second = Process::nth(2, &store, Access::open()).await;
    let last = second.store.events(parse_id("a").unwrap(), 0, 1_000).await.unwrap().len();
    assert!((900..1_000).contains(&last), "{last} events");
    for (after, told) in [(last - 5, 5), (last - 1, 1), (last, 0)] {
        let before = second.store.pages();
        let answer = get(&second.app, &format!("/v1/runs/a/events?after={after}")).await;
        assert_eq!(answer.text.matches("data:").count(), told, "{}", answer.text);
        let pages = second.store.pages() - before;
        assert!(pages <= 3, "{pages} pages were read behind {after}");
    }
}
