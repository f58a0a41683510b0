//! `DELETE /v1/runs/{id}`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store, StoreError};
use quell::testing::cluster::Trouble;
use quell::{EngineConfig, Recovery, RunContext, RunSpec, RunStatus, Work};
use quell_http::{Access, Key, Service, router};
use quell_test_support::{Answer, Flow, Gate, Valve, Witness, ms};
use serde_json::Value;

use crate::nodes::two;
use crate::support::{JSON, get, send, service, service_with, soon, start};

async fn delete(app: &Router, id: &str) -> Answer {
    send(app, "DELETE", &format!("/v1/runs/{id}"), &[], "").await
}

#[tokio::test]
async fn a_run_is_stopped_and_gone_and_its_id_is_free() {
    let (store, witness) = (Valve::new(Flow::Open), Witness::default());
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &witness);
    let app = router(service.clone());
    start(&app, "sleeper", "r", Value::Null).await;
    soon("it works", || witness.inside() == 1).await;
    let answer = delete(&app, "r").await;
    assert_eq!((answer.status, witness.inside()), (StatusCode::NO_CONTENT, 0), "{}", answer.text);
    assert_eq!(get(&app, "/v1/runs/r").await.status, StatusCode::NOT_FOUND);
    assert_eq!(delete(&app, "r").await.status, StatusCode::NOT_FOUND);
    start(&app, "echo", "r", Value::Null).await;
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    run.quiescent().await;
    run.stored().await.unwrap();
    assert_eq!(delete(&app, "r").await.status, StatusCode::NO_CONTENT, "one that has ended");
    assert_eq!(get(&app, "/v1/runs/r").await.status, StatusCode::NOT_FOUND);
    assert!(store.get(run.id()).await.unwrap().is_none(), "a restart does not bring it back");
    start(&app, "sleeper", "cancel", Value::Null).await;
    assert_eq!(delete(&app, "cancel").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_what_executes_still_nothing_is_deleted_and_no_part_of_a_tree_is() {
    let (service, gate) = (service(), Gate::new());
    let app = router(service.clone());
    start(&app, "steps", "w", Value::Null).await;
    let root = service.engine().get(quell_http::parse_id("w").unwrap()).unwrap();
    soon("it has a step", || !root.children().is_empty()).await;
    let step = root.children().remove(0).id().to_string();
    let refused = delete(&app, &step).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["type"], "urn:quell:problem:not-a-root");
    assert_eq!(root.status(), RunStatus::Running);

    let opened = gate.clone();
    let body = async move |ctx: RunContext| {
        let mut work = ctx.hold(Work::Blocking, "indexer")?;
        work.abandon();
        std::thread::spawn(move || {
            opened.spin();
            drop(work);
        });
        Ok(())
    };
    let run = service.engine().submit(RunSpec::agent("a"), body).unwrap().into_ref();
    run.ended().await;
    let refused = delete(&app, &run.id().to_string()).await;
    assert_eq!(refused.json()["type"], "urn:quell:problem:not-quiescent", "{}", refused.text);
    gate.open();
    run.quiescent().await;
    assert_eq!(delete(&app, &run.id().to_string()).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_may_not_stop_a_run_does_not_delete_it() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("ada", "key-of-eve").read_only())
        .key(Key::new("ada", "key-of-one").scopes(["agents:read", "agents:echo:run"]));
    let service = service().access(access);
    let app = router(service.clone());
    let asks = async |who: &str, method: &str, path: &str, body: &'static str| {
        let key = format!("Bearer key-of-{who}");
        send(&app, method, path, &[JSON, ("authorization", &key)], body).await.status
    };
    let body = r#"{"component": "agent/sleeper", "id": "r"}"#;
    assert_eq!(asks("ada", "POST", "/v1/runs", body).await, StatusCode::CREATED);
    for (who, status) in [("bob", 404), ("eve", 403), ("one", 403), ("nobody", 401)] {
        assert_eq!(asks(who, "DELETE", "/v1/runs/r", "").await, status, "{who}");
    }
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    assert!(run.row().cause.is_none());
    assert_eq!(asks("ada", "DELETE", "/v1/runs/r", "").await, 204);
}

#[tokio::test]
async fn what_the_store_has_not_taken_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let app = router(service_with(config, &Witness::default()));
    start(&app, "sleeper", "r", Value::Null).await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let answer = delete(&app, "r").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_deleted_through_any_node_and_one_whose_node_is_silent_later() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let answer = delete(&b.app, "r").await;
    assert_eq!((answer.status, a.witness.inside()), (StatusCode::NO_CONTENT, 0), "{}", answer.text);
    assert!(run.is_forgotten());
    assert_eq!(get(&b.app, "/v1/runs/r").await.status, StatusCode::NOT_FOUND);

    a.stopped("ended").await;
    assert_eq!(delete(&b.app, "ended").await.status, StatusCode::NO_CONTENT);
    for app in [&a.app, &b.app] {
        assert_eq!(get(app, "/v1/runs/ended").await.status, StatusCode::NOT_FOUND);
    }

    a.working("sleeper", "far").await;
    a.node.trouble(Trouble::All);
    let answer = delete(&b.app, "far").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_later_run_with_the_id_of_one_that_is_being_deleted_stays() {
    let (_nodes, a, b) = two();
    let run = a.stopped("r").await;
    let app = b.app.clone();
    // It waits a moment for those who wait for the end, through any node.
    let deletion = tokio::spawn(async move { delete(&app, "r").await });
    tokio::time::sleep(ms(100)).await;
    run.forget().unwrap();
    run.stored().await.unwrap();
    a.stopped("r").await;
    assert!(!deletion.is_finished());
    assert_eq!(deletion.await.unwrap().status, StatusCode::NO_CONTENT);
    for app in [&a.app, &b.app] {
        assert_eq!(get(app, "/v1/runs/r").await.status, StatusCode::OK);
    }
}

/// A service as the nth process has it that opens a store.
async fn process(nth: u32, memory: &Arc<MemoryStore>) -> Service {
    let store: Arc<dyn Store> = Valve::reopened(memory, nth);
    let service = service_with(EngineConfig::new().store(store), &Witness::default());
    service.engine().recover(|_| Recovery::Fail).await.unwrap();
    service
}

#[tokio::test]
async fn what_an_earlier_process_has_left_executing_is_named_and_given_up_on_request_alone() {
    let memory = Arc::new(MemoryStore::new());
    let (tell, told) = tokio::sync::oneshot::channel();
    let holds = async move |ctx: RunContext| {
        let _program = ctx.hold_durably(Work::Process, "gcc -O2").await?;
        let _ = tell.send(());
        ctx.stopped().await;
        Ok(())
    };
    let first = process(1, &memory).await;
    let spec = RunSpec::agent("builds").id(quell_http::parse_id("r").unwrap());
    drop(first.engine().submit_durably(spec, holds).await.unwrap());
    told.await.unwrap();
    // The store has seen no end of it, as after a crash.
    let app = router(process(2, &memory).await);
    let refused = delete(&app, "r").await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert_eq!(refused.json()["type"], "urn:quell:problem:not-quiescent");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`gcc -O2`") && detail.contains("?abandoned=true"), "{detail}");
    for bad in ["abandoned=yes", "abandonned=true", "abandoned=true&abandoned=true"] {
        let answer = delete(&app, &format!("r?{bad}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    assert_eq!(get(&app, "/v1/runs/r").await.status, StatusCode::OK);
    let answer = delete(&app, "r?abandoned=true").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    assert_eq!(get(&app, "/v1/runs/r").await.status, StatusCode::NOT_FOUND);
}
