use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use quell::{CauseKind, OnBusy, Payload, RunStatus};
use quell_flow::Contract;
use quell_http::{Access, Key, NATIVE, Principal, Start, StartError, View, router};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Answer, JSON, get, post, send, service, soon};

fn body(component: &str, id: &str, on_busy: &str) -> Value {
    let lane = json!({ "key": "thread-1", "on_busy": on_busy });
    json!({ "component": format!("agent/{component}"), "id": id, "lane": lane })
}

async fn start(app: &Router, component: &str, id: &str, on_busy: &str) -> Answer {
    post(app, "/v1/runs", &body(component, id, on_busy)).await
}

async fn run(app: &Router, id: &str) -> Value {
    get(app, &format!("/v1/runs/{id}")).await.json()
}

#[tokio::test]
async fn a_run_may_take_the_place_of_what_its_lane_has() {
    let app = router(service());
    for id in ["a", "b"] {
        assert_eq!(start(&app, "sleeper", id, "enqueue").await.status, StatusCode::CREATED);
    }
    let refused = start(&app, "sleeper", "a", "cancel_existing").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(run(&app, "b").await["status"], "queued", "who is refused stops nobody");
    let new = start(&app, "echo", "c", "cancel_existing").await;
    assert_eq!(new.status, StatusCode::CREATED);
    get(&app, "/v1/runs/c/events").await;
    for id in ["a", "b"] {
        let old = run(&app, id).await;
        assert_eq!(
            (&old["status"], &old["cause"]["kind"]),
            (&"cancelled".into(), &"superseded".into())
        );
        assert_eq!(old["cause"]["by"], new.json()["uuid"]);
    }
    assert_eq!(run(&app, "b").await["started_at"], Value::Null);
    assert_eq!(run(&app, "c").await["status"], "completed");
}

#[tokio::test]
async fn of_those_that_wait_the_highest_priority_starts_first_and_admins_alone_go_above_0() {
    let scopes = ["agents:echo:run", "agents:sleeper:run"];
    let access = Access::open().key(Key::new("ada", "ada").scopes(scopes));
    let access = access.key(Key::new("boss", "boss").scopes(["quell:admin"]));
    let app = router(service().access(access));
    let submit = async |key: &str, id: &str, priority: i16| {
        let lane = json!({ "key": "l" });
        let asked = json!({
            "component": "agent/sleeper", "id": id, "lane": lane, "priority": priority,
        });
        let headers = &[JSON, ("x-api-key", key)];
        send(&app, "POST", "/v1/runs", headers, asked.to_string()).await.status
    };
    let ahead = async |id: &str| {
        let path = format!("/v1/runs/{id}");
        let run = send(&app, "GET", &path, &[("x-api-key", "boss")], "").await.json();
        run["queue"]["ahead"].clone()
    };
    assert_eq!(submit("boss", "holder", 0).await, StatusCode::CREATED);
    for (id, priority) in [("low", -128), ("none", 0), ("high", 127)] {
        assert_eq!(submit("boss", id, priority).await, StatusCode::CREATED);
    }
    assert_eq!(ahead("high").await, 0);
    assert_eq!((ahead("none").await, ahead("low").await), (1.into(), 2.into()));
    assert_eq!(submit("boss", "more", 128).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(submit("ada", "above", 1).await, StatusCode::FORBIDDEN);
    assert_eq!(submit("ada", "below", -1).await, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_rolled_back_is_forgotten_when_nothing_of_it_executes() {
    let app = router(service());
    for id in ["a", "b"] {
        start(&app, "sleeper", id, "enqueue").await;
    }
    let new = start(&app, "sleeper", "c", "rollback_existing").await;
    assert_eq!(new.status, StatusCode::CREATED);
    for id in ["a", "b"] {
        let path = format!("/v1/runs/{id}");
        while get(&app, &path).await.status != StatusCode::NOT_FOUND {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let cancel = r#"{"rollback":true,"wait":"quiescent"}"#;
    let told = send(&app, "POST", "/v1/runs/c/cancel", &[JSON], cancel).await;
    assert_eq!((told.status, &told.json()["status"]), (StatusCode::OK, &json!("cancelled")));
    while get(&app, "/v1/runs/c").await.status != StatusCode::NOT_FOUND {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(start(&app, "echo", "a", "reject").await.status, StatusCode::CREATED, "it is free");
}

#[tokio::test]
async fn a_run_may_be_joined_by_who_would_start_another_in_its_lane() {
    let app = router(service());
    let first = start(&app, "sleeper", "a", "join_existing").await;
    assert_eq!(first.status, StatusCode::CREATED);
    let joined = start(&app, "echo", "b", "join_existing").await;
    assert_eq!((joined.status, &joined.json()["id"]), (StatusCode::OK, &json!("a")));
    assert_eq!(joined.header("location"), first.header("location"));
    assert_eq!(get(&app, "/v1/runs").await.json()["total"], 1, "nothing was started");
    send(&app, "POST", "/v1/runs/a/cancel", &[JSON], r#"{"wait":"terminal"}"#).await;
    let second = start(&app, "echo", "b", "join_existing").await;
    assert_eq!((second.status, &second.json()["id"]), (StatusCode::CREATED, &json!("b")));
}

#[tokio::test]
async fn who_may_not_stop_what_a_lane_has_does_not_take_its_place() {
    let limited = Key::new("ada", "limited").scopes(["agents:echo:run"]);
    let access = Access::open().key(Key::new("ada", "ada")).key(limited);
    let app = router(service().access(access));
    let start = async |key: &str, component: &str, id: &str, on_busy: &str| {
        let body = body(component, id, on_busy).to_string();
        send(&app, "POST", "/v1/runs", &[JSON, ("x-api-key", key)], body).await
    };
    assert_eq!(start("ada", "sleeper", "a", "enqueue").await.status, StatusCode::CREATED);
    let refused = start("limited", "echo", "b", "cancel_existing").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["type"], "urn:quell:problem:lane-busy");
    let read = send(&app, "GET", "/v1/runs/a", &[("x-api-key", "ada")], "").await;
    assert_eq!(read.json()["cause"], Value::Null, "it goes on");
    assert_eq!(start("ada", "echo", "c", "cancel_existing").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn who_may_not_read_what_a_lane_has_does_not_join_it() {
    let access = Access::open()
        .key(Key::new("ada", "ada"))
        .key(Key::new("ada", "reads").scopes(["agents:echo:run", "agents:sleeper:read"]))
        .key(Key::new("ada", "limited").scopes(["agents:echo:run"]));
    let app = router(service().access(access));
    let start = async |key: &str, component: &str, id: &str| {
        let body = body(component, id, "join_existing").to_string();
        send(&app, "POST", "/v1/runs", &[JSON, ("x-api-key", key)], body).await
    };
    assert_eq!(start("ada", "sleeper", "a").await.status, StatusCode::CREATED);
    let refused = start("limited", "echo", "b").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["type"], "urn:quell:problem:lane-busy");
    assert_eq!(start("reads", "echo", "b").await.json()["id"], "a");
}

/// Otherwise the right to stop would be asked of other runs than those that are stopped.
#[test]
fn a_run_that_comes_while_a_lane_is_looked_at_is_not_stopped_by_who_may_not() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let service = service();
    let limited = Principal::named("ada").scopes(["agents:echo:run"]);
    let (ada, limited) =
        (service.view(NATIVE, Principal::named("ada")), service.view(NATIVE, limited));
    for round in 0..30 {
        for _ in 0..200 {
            let later = begin(&limited, "echo", OnBusy::Enqueue).after(Duration::from_mins(1));
            runtime.block_on(limited.start(later)).unwrap();
        }
        let barrier = Barrier::new(2);
        let (new, run) = thread::scope(|scope| {
            let take = scope.spawn(|| {
                let new = begin(&limited, "echo", OnBusy::CancelExisting);
                barrier.wait();
                runtime.block_on(limited.start(new))
            });
            let run = begin(&ada, "sleeper", OnBusy::Enqueue);
            barrier.wait();
            // In some rounds it comes while the other looks at the lane.
            thread::sleep(Duration::from_micros(round));
            let run = runtime.block_on(ada.start(run)).unwrap().run;
            (take.join().unwrap(), run)
        });
        assert_eq!(run.row().cause, None, "round {round}: {new:?}");
        let last = begin(&ada, "echo", OnBusy::CancelExisting);
        let last = runtime.block_on(ada.start(last)).unwrap().run;
        runtime.block_on(last.ended());
    }
}

fn begin(view: &View, component: &str, on_busy: OnBusy) -> Start {
    let component = view.find_component(component).unwrap();
    Start::new(component, Payload::from("x")).lane("main", on_busy)
}

#[tokio::test]
async fn a_run_that_a_caller_does_not_see_is_neither_joined_nor_stopped() {
    let service = service();
    let of = |contract| service.view(contract, Principal::named("ada"));
    let (elsewhere, here) = (of(Contract::named("agentos")), of(NATIVE));
    let later = begin(&elsewhere, "hidden", OnBusy::Enqueue).after(Duration::from_mins(1));
    let hidden = elsewhere.start(later).await.unwrap().run;
    for on_busy in [OnBusy::JoinExisting, OnBusy::CancelExisting, OnBusy::RollbackExisting] {
        let refused = here.start(begin(&here, "echo", on_busy)).await.unwrap_err();
        // Not even its name is told.
        assert_eq!(refused, StartError::LaneBusy { run: None }, "{on_busy:?}");
    }
    assert_eq!(hidden.status(), RunStatus::Queued);
    let joined = elsewhere.start(begin(&elsewhere, "hidden", OnBusy::JoinExisting)).await.unwrap();
    assert!(joined.is_replay && joined.run == hidden);
    let new = elsewhere.start(begin(&elsewhere, "hidden", OnBusy::CancelExisting)).await.unwrap();
    let cause = hidden.ended().await.cause.clone().unwrap();
    assert_eq!(
        (cause.kind, cause.by.clone()),
        (CauseKind::Superseded, Some(new.run.id().to_string().into()))
    );
    soon("it ends", || new.run.status().is_terminal()).await;
}
