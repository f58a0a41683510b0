use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use futures::future::join_all;
use quell::store::{MemoryStore, RunRecord, Store};
use quell::{EngineConfig, Limits, Recovery, RunSpec, Shutdown};
use quell_http::{Access, Key, Service, parse_id, router};
use quell_test_support::{Flow, Valve};
use serde_json::json;

use crate::support::{Answer, JSON, Witness, get, send, service, service_with, soon};

fn body(input: &str) -> String {
    json!({ "component": { "kind": "agent", "id": "sleeper" }, "input": input }).to_string()
}

async fn start(app: &Router, key: &str, body: String) -> Answer {
    send(app, "POST", "/v1/runs", &[JSON, ("idempotency-key", key)], body).await
}

#[tokio::test]
async fn the_same_key_and_request_is_the_same_run() {
    let witness = Witness::default();
    let app = router(service_with(EngineConfig::new(), &witness));
    let first = start(&app, "k", body("a")).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = start(&app, "k", body("a")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = start(&app, "k", body("b")).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert_eq!(other.json()["type"], "urn:quell:problem:idempotency-key-conflict");
    assert_eq!(start(&app, "l", body("a")).await.status, StatusCode::CREATED);
    assert_eq!(get(&app, "/v1/runs").await.json()["total"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_starts_it_and_all_get_it() {
    let app = router(service());
    for round in 0..50 {
        let key = format!("k{round}");
        let answers = join_all((0..8).map(|_| {
            let (app, key) = (app.clone(), key.clone());
            tokio::spawn(async move { start(&app, &key, body("a")).await })
        }));
        let answers: Vec<_> = answers.await.into_iter().map(Result::unwrap).collect();
        let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
        assert_eq!(made, 1);
        let id = answers[0].json()["id"].clone();
        assert!(answers.iter().all(|answer| answer.json()["id"] == id));
    }
    assert_eq!(get(&app, "/v1/runs").await.json()["total"], 50);
}

#[tokio::test]
async fn a_refused_start_does_not_use_its_key_up() {
    let mut limits = Limits::default();
    limits.runs_max = 1;
    let app = router(service_with(EngineConfig::new().limits(limits), &Witness::default()));
    assert_eq!(start(&app, "a", body("a")).await.status, StatusCode::CREATED);
    assert_eq!(start(&app, "b", body("b")).await.status, StatusCode::TOO_MANY_REQUESTS);
    let live = get(&app, "/v1/runs").await.json()["runs"][0]["id"].clone();
    let path = format!("/v1/runs/{}/cancel", live.as_str().unwrap());
    send(&app, "POST", &path, &[JSON], r#"{"wait":"quiescent"}"#).await;
    assert_eq!(start(&app, "b", body("b")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_run_that_is_no_longer_kept_is_not_started_again() {
    let mut limits = Limits::default();
    limits.ended_trees_max = 0;
    let app = router(service_with(EngineConfig::new().limits(limits), &Witness::default()));
    let id = start(&app, "k", body("a")).await.json()["id"].clone();
    let path = format!("/v1/runs/{}/cancel", id.as_str().unwrap());
    send(&app, "POST", &path, &[JSON], r#"{"wait":"quiescent"}"#).await;
    while get(&app, "/v1/runs").await.json()["total"] != 0 {
        tokio::task::yield_now().await;
    }
    let again = start(&app, "k", body("a")).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    assert_eq!(again.json()["type"], "urn:quell:problem:idempotency-key-forgotten");
}

/// An app as a process has it that opened the store: the nth one.
async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Service, Router) {
    let config = EngineConfig::new().store(Valve::reopened(store, boot) as Arc<dyn Store>);
    let access = Access::open().key(Key::new("ada", "key-ada")).key(Key::new("bob", "key-bob"));
    let service = service_with(config, &Witness::default()).access(access);
    service.engine().recover(|_| Recovery::Fail).await.unwrap();
    (service.clone(), router(service))
}

#[tokio::test]
async fn i37_a_request_that_is_repeated_after_a_restart_gets_its_run_and_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let ask = async |app: &Router, who: &str, key: &str, id: Option<&str>| {
        let body = json!({ "component": "agent/echo", "id": id, "input": "a" }).to_string();
        let headers = [JSON, ("idempotency-key", key), ("x-api-key", who)];
        send(app, "POST", "/v1/runs", &headers, body).await
    };
    let (first, app) = nth(1, &store).await;
    let mut made = Vec::new();
    for (key, id) in [("k", None), ("l", Some("order-7"))] {
        let answer = ask(&app, "key-ada", key, id).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let run = parse_id(answer.json()["id"].as_str().unwrap()).unwrap();
        first.engine().get(run).expect("it is kept").quiescent().await;
        made.push(answer);
    }
    first.engine().shutdown(Shutdown::default()).await;
    let stored = async |answer: &Answer| {
        let run = parse_id(answer.json()["id"].as_str().unwrap()).unwrap();
        let events = store.events(run, 0, 99).await.unwrap();
        (run, store.get(run).await.unwrap(), events)
    };
    let (service, app) = nth(2, &store).await;
    for (before, (key, id)) in made.iter().zip([("k", None), ("l", Some("order-7"))]) {
        let (run, record, events) = stored(before).await;
        let again = ask(&app, "key-ada", key, id).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        assert_eq!(
            (&again.json()["id"], &again.json()["status"]),
            (&before.json()["id"], &json!("completed"))
        );
        assert_eq!(again.header("location"), before.header("location"));
        let theirs = ask(&app, "key-bob", key, id).await;
        assert_eq!(theirs.status, if id.is_none() { 201 } else { 409 }, "{}", theirs.text);
        let headers = [JSON, ("idempotency-key", key), ("x-api-key", "key-ada")];
        let other = send(&app, "POST", "/v1/runs", &headers, body("b")).await;
        assert_eq!(other.json()["type"], "urn:quell:problem:idempotency-key-conflict");
        assert_eq!(stored(before).await, (run, record, events));
        service.engine().forget_stored(run).await.unwrap();
        let gone = ask(&app, "key-ada", key, id).await;
        assert_eq!(gone.json()["type"], "urn:quell:problem:idempotency-key-forgotten");
    }
}

#[tokio::test]
async fn i37_a_request_that_is_repeated_while_its_run_goes_on_after_a_restart_gets_it() {
    let store = Arc::new(MemoryStore::new());
    let process = |boot| {
        let config = EngineConfig::new().store(Valve::reopened(&store, boot) as Arc<dyn Store>);
        service_with(config, &Witness::default())
    };
    let first = process(1);
    let before = router(first.clone());
    let sleeper = |id: Option<&str>, input: &str| {
        json!({ "component": "agent/sleeper", "id": id, "input": input }).to_string()
    };
    let made = [start(&before, "k", sleeper(None, "a")).await.json()["id"].clone(), json!("o-7")];
    let named = start(&before, "l", sleeper(Some("o-7"), "a")).await;
    assert_eq!(named.json()["id"], made[1], "{}", named.text);
    let second = process(2);
    let goes_on = |_: &RunRecord| {
        Recovery::resume(RunSpec::agent("sleeper"), async |_| {
            std::future::pending::<Result<(), quell::Failure>>().await
        })
    };
    let recovered = second.engine().recover(goes_on).await.unwrap();
    assert_eq!(recovered.resumed.len(), 2);
    let app = router(second);
    for (id, (key, named)) in made.iter().zip([("k", None), ("l", Some("o-7"))]) {
        let again = start(&app, key, sleeper(named, "a")).await;
        assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, id), "{}", again.text);
        let other = start(&app, key, sleeper(named, "b")).await;
        assert_eq!(other.json()["type"], "urn:quell:problem:idempotency-key-conflict");
    }
}

#[tokio::test]
async fn i37_a_request_that_is_repeated_when_its_run_is_only_in_the_store_gets_it() {
    let mut limits = Limits::default();
    limits.ended_trees_max = 0;
    let store = Valve::new(Flow::Open) as Arc<dyn Store>;
    let config = EngineConfig::new().limits(limits).store(store);
    let service = service_with(config, &Witness::default());
    let app = router(service.clone());
    let echo = json!({ "component": "agent/echo", "input": "a" }).to_string();
    let first = start(&app, "k", echo.clone()).await.json()["id"].clone();
    let run = parse_id(first.as_str().unwrap()).unwrap();
    soon("it is only in the store", || service.engine().get(run).is_none()).await;
    let again = start(&app, "k", echo).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, &first), "{}", again.text);
}

#[tokio::test]
async fn a_key_belongs_to_its_caller_and_has_a_bound() {
    let access = Access::open().key(Key::new("ada", "key-ada")).key(Key::new("bob", "key-bob"));
    let app = router(service().access(access));
    for who in ["key-ada", "key-bob"] {
        let headers = [JSON, ("idempotency-key", "k"), ("x-api-key", who)];
        let answer = send(&app, "POST", "/v1/runs", &headers, body(who)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    let long = "k".repeat(257);
    let headers = [JSON, ("idempotency-key", long.as_str()), ("x-api-key", "key-ada")];
    let answer = send(&app, "POST", "/v1/runs", &headers, body("a")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn an_empty_key_is_refused_with_words_and_so_is_one_that_is_no_text() {
    let app = router(service());
    for (key, says) in [
        (
            "",
            "Idempotency-Key: empty; send a text that repeats of this request alone have, or none",
        ),
        (
            " ",
            "Idempotency-Key: empty; send a text that repeats of this request alone have, or none",
        ),
    ] {
        let refused = start(&app, key, body("a")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert_eq!(refused.json()["type"], "urn:quell:problem:bad-idempotency-key");
        assert_eq!(refused.json()["detail"], says);
    }
    assert_eq!(get(&app, "/v1/runs").await.json()["total"], 0);
    assert_eq!(start(&app, "schlüssel", body("a")).await.status, StatusCode::CREATED);
}
