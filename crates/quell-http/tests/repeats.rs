//! Requests that are sent again when the store alone knows the run of the first one.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store};
use quell::{EngineConfig, IdempotencyKey, OnBusy, Recovery, RunRef};
use quell_flow::ComponentKind;
use quell_http::{Access, Key, NATIVE, Principal, Service, Start, router};
use quell_test_support::{Flow, Valve, Witness};
use serde_json::{Value, json};

use crate::support::{Answer, Headers, JSON, get, send, service_with, soon};

const POLICIES: [&str; 4] = ["reject", "cancel_existing", "rollback_existing", "join_existing"];

struct Site {
    store: Arc<Valve>,
    service: Service,
    app: Router,
    witness: Witness,
}

/// A service as a process has it that opened the store: the nth one.
async fn nth(boot: u32, store: &Arc<MemoryStore>, access: Access) -> Site {
    let (store, witness) = (Valve::reopened(store, boot), Witness::default());
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &witness).access(access);
    service.engine().recover(|_| Recovery::Fail).await.unwrap();
    Site { app: router(service.clone()), store, service, witness }
}

async fn create(app: &Router, key: Option<&str>, body: &Value) -> Answer {
    let own = key.map(|key| ("idempotency-key", key));
    let headers: Vec<_> = own.into_iter().chain([JSON]).collect();
    send(app, "POST", "/v1/runs", &headers, body.to_string()).await
}

fn in_lane(component: &str, id: Option<&str>, on_busy: &str) -> Value {
    let lane = json!({ "key": "x", "on_busy": on_busy });
    json!({ "component": format!("agent/{component}"), "id": id, "lane": lane })
}

/// Runs one to its end in a process that is gone, and then another one, in the same lane.
async fn another_in_its_lane(key: Option<&str>, first: &Value) -> (Site, Value) {
    let store = Arc::new(MemoryStore::new());
    let before = nth(1, &store, Access::open()).await;
    let answer = create(&before.app, key, first).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let run = answer.json();
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    get(&before.app, &format!("{path}/events")).await;
    let stored = before.service.engine().runs(&quell::RunFilter::new());
    for run in stored {
        run.stored().await.unwrap();
    }
    drop(before);
    let after = nth(2, &store, Access::open()).await;
    let other = create(&after.app, None, &in_lane("sleeper", Some("other"), "enqueue")).await;
    assert_eq!(other.status, StatusCode::CREATED);
    soon("it works", || after.witness.inside() == 1).await;
    (after, run)
}

/// The other run works on: a witness says so, and so does the engine.
async fn works_on(site: &Site) {
    let other = get(&site.app, "/v1/runs/other").await;
    assert_eq!((other.status, &other.json()["status"]), (StatusCode::OK, &"running".into()));
    assert_eq!(site.witness.inside(), 1, "its body is inside");
}

#[tokio::test]
async fn a_repeat_whose_run_is_only_in_the_store_is_answered_with_it_and_stops_nobody() {
    for policy in POLICIES {
        let first = in_lane("echo", None, policy);
        let (site, run) = another_in_its_lane(Some("K"), &first).await;
        let again = create(&site.app, Some("K"), &first).await;
        assert_eq!(again.status, StatusCode::OK, "{policy}: {again:?}");
        assert_eq!(again.json()["id"], run["id"], "{policy}");
        works_on(&site).await;
    }
}

/// The store refuses what a repeat has submitted. By then another one has submitted a run as well,
/// which it refuses next.
/// As of a contract that makes an id for each request.
#[tokio::test]
async fn a_repeat_with_an_id_of_its_own_is_answered_with_the_run_of_its_key() {
    let site = nth(1, &Arc::new(MemoryStore::new()), Access::open()).await;
    let view = site.service.view(NATIVE, Principal::anonymous());
    let sleeper = view.component(ComponentKind::Agent, "sleeper").unwrap();
    for policy in [OnBusy::Reject, OnBusy::CancelExisting, OnBusy::RollbackExisting] {
        let key = IdempotencyKey::new(format!("{policy:?}"), ["the same"]);
        let start = async |id: &str| {
            let start = Start::new(sleeper, "x".into()).id(id).lane(format!("{policy:?}"), policy);
            view.start(start.once(key.clone())).await.unwrap()
        };
        let first = start(&format!("first {policy:?}")).await;
        let again = start(&format!("again {policy:?}")).await;
        assert_eq!((again.is_replay, again.run.id()), (true, first.run.id()), "{policy:?}");
        assert!(first.run.row().cause.is_none(), "{policy:?}: it goes on");
    }
}

#[tokio::test]
async fn repeats_that_come_while_the_store_refuses_others_are_answered_with_the_run_of_the_key() {
    let first = in_lane("echo", None, "enqueue");
    let (site, run) = another_in_its_lane(Some("K"), &first).await;
    site.store.set(Flow::Shut { stops: false });
    let engine = site.service.engine().clone();
    let submitted = || {
        let runs = engine.runs(&quell::RunFilter::new()).into_iter();
        runs.filter(|run| run.label("external_id").is_none()).collect::<Vec<_>>()
    };
    let asks = |refused: Option<RunRef>| {
        let (app, first) = (site.app.clone(), first.clone());
        tokio::spawn(async move {
            if let Some(refused) = refused {
                assert!(refused.accepted().await.is_err());
            }
            create(&app, Some("K"), &first).await
        })
    };
    let mut answers = vec![asks(None)];
    soon("it is in memory", || submitted().len() == 1).await;
    for _ in 0..8 {
        answers.push(asks(None));
        answers.push(asks(submitted().pop()));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    site.store.set(Flow::Open);
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::OK, &run["id"]));
    }
    works_on(&site).await;
}

#[tokio::test]
async fn another_request_with_the_key_of_a_stored_run_is_refused_and_stops_nobody() {
    for policy in POLICIES {
        let (site, _) = another_in_its_lane(Some("K"), &in_lane("echo", None, policy)).await;
        let other = create(&site.app, Some("K"), &in_lane("failing", None, policy)).await;
        assert_eq!(other.status, StatusCode::CONFLICT, "{policy}: {other:?}");
        assert_eq!(
            other.json()["type"],
            "urn:quell:problem:idempotency-key-conflict",
            "{policy}: {other:?}"
        );
        works_on(&site).await;
    }
}

#[tokio::test]
async fn a_run_with_the_id_of_a_stored_one_is_refused_and_stops_nobody() {
    for policy in POLICIES {
        let first = in_lane("echo", Some("first"), policy);
        let (site, _) = another_in_its_lane(None, &first).await;
        let again = create(&site.app, None, &first).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{policy}: {again:?}");
        assert_eq!(again.json()["type"], "urn:quell:problem:id-in-use", "{policy}: {again:?}");
        works_on(&site).await;
    }
}

fn keys() -> Access {
    Access::open().key(Key::new("ada", "adas-key")).key(Key::new("ben", "bens-key"))
}

const ADA: (&str, &str) = ("x-api-key", "adas-key");
const BEN: (&str, &str) = ("x-api-key", "bens-key");

#[tokio::test]
async fn who_submits_the_id_of_a_stored_run_hides_it_from_nobody() {
    let store = Arc::new(MemoryStore::new());
    let before = nth(1, &store, keys()).await;
    let body = json!({ "component": "agent/echo", "id": "hers" }).to_string();
    let made = send(&before.app, "POST", "/v1/runs", &[ADA, JSON], body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let of_ada = |app: &Router, method: &'static str, path: &'static str| {
        let app = app.clone();
        async move {
            let headers: Headers<'_> = &[ADA, JSON];
            send(&app, method, path, headers, if method == "GET" { "" } else { "{}" }).await
        }
    };
    of_ada(&before.app, "GET", "/v1/runs/hers/events").await;
    for run in before.service.engine().runs(&quell::RunFilter::new()) {
        run.stored().await.unwrap();
    }
    drop(before);
    for who in [ADA, BEN] {
        let after = nth(2, &store, keys()).await;
        after.store.set(Flow::Shut { stops: false });
        let (app, body) = (after.app.clone(), body.clone());
        let again =
            tokio::spawn(
                async move { send(&app, "POST", "/v1/runs", &[who, JSON], body).await.status },
            );
        let engine = after.service.engine().clone();
        soon("it is in memory", || !engine.runs(&quell::RunFilter::new()).is_empty()).await;
        let list = of_ada(&after.app, "GET", "/v1/runs").await.json();
        assert_eq!(list["runs"].as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list["runs"][0]["status"], "completed");
        let read = tokio::spawn(of_ada(&after.app, "GET", "/v1/runs/hers"));
        let stop = tokio::spawn(of_ada(&after.app, "POST", "/v1/runs/hers/cancel"));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        after.store.set(Flow::Open);
        assert_eq!(again.await.unwrap(), StatusCode::CONFLICT);
        assert_eq!(read.await.unwrap().json()["status"], "completed");
        let stop = stop.await.unwrap();
        assert_eq!(stop.header("quell-disposition"), "already-terminal", "{stop:?}");
    }
}
