use axum::Router;
use axum::body::Body;
use axum::http::Request;
use quell::{CancelRequest, Disposition, Engine, EngineConfig, Limits, Payload, RunStatus};
use quell_flow::{Catalog, ComponentKind};
use quell_http::{
    Access, Key, NATIVE, Principal, Service, ServiceLimits, Start, StartError, View, Wait, router,
};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Answer, JSON, Witness, send, service, service_with, soon};

const ADA: (&str, &str) = ("x-api-key", "adas-key");
const BEN: (&str, &str) = ("x-api-key", "bens-key");

fn guarded(config: EngineConfig, limits: ServiceLimits) -> Service {
    let access = Access::open().key(Key::new("ada", ADA.1)).key(Key::new("ben", BEN.1));
    service_with(config, &Witness::default()).limits(limits).access(access)
}

async fn start(app: &Router, who: (&str, &str), component: &str, input: usize) -> Answer {
    let component = json!({ "kind": "agent", "id": component });
    let body = json!({ "component": component, "input": "x".repeat(input) }).to_string();
    let length = body.len().to_string();
    send(app, "POST", "/v1/runs", &[JSON, who, ("content-length", &length)], body).await
}

#[tokio::test]
async fn requests_under_way_have_a_bound_and_every_caller_a_share() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 400_000;
    let app = router(guarded(EngineConfig::new(), limits));
    for who in [ADA, BEN] {
        assert_eq!(start(&app, who, "echo", 20_000).await.status, 201);
        let refused = start(&app, who, "echo", 40_000).await;
        assert_eq!(refused.status, 429, "{}", refused.text);
        let words = "requests and answers under way of one caller would exceed the limit of 100000";
        assert!(refused.text.contains(words), "{}", refused.text);
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(start(&app, who, "echo", 20_000).await.status, 201, "nothing is left of it");
    }
}

#[tokio::test]
async fn answers_under_way_have_a_bound_and_are_given_back_when_they_are_taken() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 800_000;
    let service = guarded(EngineConfig::new(), limits);
    let app = router(service.clone());
    let view = service.view(NATIVE, Principal::named("ada"));
    let echo = view.find_component("echo").unwrap();
    for (id, size) in [("small", 50_000), ("large", 120_000)] {
        let run = view.start(Start::new(echo, Payload::from("x".repeat(size))).id(id));
        run.await.unwrap().run.ended().await;
    }
    for _ in 0..3 {
        assert_eq!(send(&app, "GET", "/v1/runs/small", &[ADA], "").await.status, 200);
        let refused = send(&app, "GET", "/v1/runs/large", &[ADA], "").await;
        assert_eq!(refused.status, 429, "{}", refused.text);
        assert!(refused.text.contains("of one caller would exceed the limit of 200000"));
    }
}

#[tokio::test]
async fn a_refusal_for_want_of_room_is_documented_by_every_operation_that_answers_it() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 0;
    let service = guarded(EngineConfig::new(), limits);
    let view = service.view(NATIVE, Principal::named("ada"));
    let echo = view.find_component("echo").unwrap();
    let large = Start::new(echo, Payload::from("x".repeat(70_000))).id("large");
    view.start(large).await.unwrap().run.ended().await;
    let app = router(service.clone());
    let document = send(&app, "GET", "/openapi.json", &[], "").await.json();
    let body = json!({ "reason": "x".repeat(50_000) }).to_string();
    for (method, path) in [
        ("POST", "/v1/runs"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/runs/{id}"),
        ("POST", "/v1/runs/{id}/cancel"),
        ("PATCH", "/v1/runs/{id}"),
    ] {
        let sent = if method == "GET" { String::new() } else { body.clone() };
        let answer = send(&app, method, &path.replace("{id}", "large"), &[JSON, ADA], sent).await;
        assert_eq!(answer.status, 429, "{method} {path}");
        let known = &document["paths"][path][method.to_lowercase()]["responses"]["429"];
        assert!(!known.is_null(), "{method} {path} does not document 429");
    }
}

#[tokio::test]
async fn inputs_of_live_runs_have_a_bound_and_every_caller_a_share() {
    let mut limits = Limits::default();
    limits.live_bytes_max = 40_000;
    let app = router(guarded(EngineConfig::new().limits(limits), ServiceLimits::default()));
    assert_eq!(start(&app, ADA, "sleeper", 6_000).await.status, 201);
    let refused = start(&app, ADA, "sleeper", 6_000).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let words = "bytes of live runs of one caller would exceed their share of 10000";
    assert!(refused.text.contains(words), "{}", refused.text);
    assert_eq!(start(&app, BEN, "sleeper", 6_000).await.status, 201, "another caller has theirs");
}

#[tokio::test]
async fn a_long_owner_and_a_long_lane_are_a_lane() {
    let service = service();
    let (ada, ben) = ("a".repeat(250), "b".repeat(250));
    let lane = "x".repeat(250);
    let begin = async |owner: &str, lane: &str| {
        let view = as_one(&service, Principal::named(owner));
        let sleeper = view.find_component("sleeper").unwrap();
        let start = Start::new(sleeper, Payload::from("x")).lane(lane, quell::OnBusy::Reject);
        view.start(start).await.map(|_| ())
    };
    assert_eq!(begin(&ada, &lane).await, Ok(()));
    assert!(matches!(begin(&ada, &lane).await, Err(StartError::LaneBusy { run: Some(_) })));
    assert_eq!(begin(&ben, &lane).await, Ok(()), "another owner's lane is another one");
    let over = begin(&ada, &"x".repeat(257)).await;
    assert!(matches!(over, Err(StartError::TooLarge { .. })), "{over:?}");
}

fn as_one(service: &Service, who: Principal) -> View {
    service.view(NATIVE, who)
}

#[tokio::test]
async fn a_view_starts_and_stops_for_nobody_who_may_not() {
    let service = service();
    let ada = as_one(&service, Principal::named("ada"));
    let sleeper = ada.find_component("sleeper").unwrap();
    let begin = || Start::new(sleeper, Payload::from("x"));
    let reader = as_one(&service, Principal::named("ada").read_only());
    let other = as_one(&service, Principal::named("ada").scopes(["agents:echo:run"]));
    for view in [&reader, &other] {
        assert_eq!(view.start(begin()).await.unwrap_err(), StartError::Forbidden);
    }
    let hidden = ada.service().catalog().get(ComponentKind::Team, "hidden").unwrap();
    let of_hidden = Start::new(hidden, Payload::from("x"));
    assert_eq!(ada.start(of_hidden).await.unwrap_err(), StartError::Forbidden);
    assert!(ada.runs(&quell::RunFilter::new()).is_empty(), "nothing was made");

    let run = ada.start(begin().id("r")).await.unwrap().run;
    let echo = ada.start(Start::new(ada.find_component("echo").unwrap(), Payload::from("x")));
    let echo = echo.await.unwrap().run;
    let stop = || CancelRequest::because("enough");
    let ben = as_one(&service, Principal::named("ben"));
    for (view, told) in [
        (&reader, Disposition::Forbidden),
        (&other, Disposition::Forbidden),
        (&ben, Disposition::Unknown),
    ] {
        let cancelled = view.cancel(&run, stop(), Wait::terminal()).await;
        assert_eq!((cancelled.disposition, cancelled.row.is_none()), (told.clone(), true));
        let all = view.cancel_all(&[run.clone(), echo.clone()], stop(), Wait::none()).await;
        assert_eq!(all[0].disposition, told);
    }
    let id = run.id();
    for view in [&reader, &other] {
        let stop = stop().remember_for(std::time::Duration::from_mins(1));
        let answer = view.reserve("", id, stop, Wait::none()).await;
        assert_eq!((answer.disposition, answer.row.is_none()), (Disposition::Forbidden, true));
    }
    assert!(!run.status().is_terminal());
    let cancelled = ada.cancel(&run, stop(), Wait::terminal()).await;
    assert_eq!(cancelled.row.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test]
async fn streams_have_a_bound_and_every_caller_a_share() {
    let mut limits = ServiceLimits::default();
    limits.streams_max = 8;
    let service = guarded(EngineConfig::new(), limits);
    let app = router(service.clone());
    let open = async |who: (&str, &str), run: &str| {
        let request = Request::get(format!("/v1/runs/{run}/events")).header(who.0, who.1);
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    for name in ["ada", "ben"] {
        let view = service.view(NATIVE, Principal::named(name));
        let sleeper = view.find_component("sleeper").unwrap();
        view.start(Start::new(sleeper, Payload::from("x")).id(name)).await.unwrap();
    }
    let first = open(ADA, "ada").await;
    let held = [first, open(ADA, "ada").await];
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = send(&app, "GET", "/v1/runs/ada/events", &[ADA], "").await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert_eq!(refused.json()["type"], "urn:quell:problem:too-many-streams");
    let words = "streams and waits of one caller would exceed the limit of 2";
    assert_eq!(refused.json()["detail"], words);
    assert_eq!(refused.header("retry-after"), "1");
    // Who asks for the head alone follows nothing.
    assert_eq!(send(&app, "HEAD", "/v1/runs/ada/events", &[ADA], "").await.status, 200);
    assert_eq!(send(&app, "GET", "/v1/runs/ada", &[ADA], "").await.status, 200);
    let another = open(BEN, "ben").await;
    assert_eq!(another.status(), 200, "another caller has theirs");
    drop(held);
    assert_eq!(open(ADA, "ada").await.status(), 200, "what is over is given back");
    send(&app, "POST", "/v1/runs/ada/cancel", &[JSON, ADA], "").await;
    for _ in 0..3 {
        let ended = send(&app, "GET", "/v1/runs/ada/events", &[ADA], "").await;
        assert_eq!(ended.status, 200, "what has come to its end, too");
    }
}

#[tokio::test]
async fn a_cancel_that_finds_no_place_to_wait_in_stops_and_answers_at_once() {
    let mut limits = ServiceLimits::default();
    limits.long_requests_max = 1;
    let service = guarded(EngineConfig::new(), limits);
    let app = router(service.clone());
    let taken = service.long_request_permit().expect("one place");
    let view = service.view(NATIVE, Principal::named("ada"));
    let stubborn = view.find_component("stubborn").unwrap();
    let run = view.start(Start::new(stubborn, Payload::from("x")).id("r")).await.unwrap().run;
    soon("it runs", || run.status() == RunStatus::Running).await;
    let body = json!({ "grace_ms": 3_600_000, "wait": "quiescent", "wait_ms": 3_600_000 });
    let cancel =
        async || send(&app, "POST", "/v1/runs/r/cancel", &[JSON, ADA], body.to_string()).await;
    let told = cancel().await;
    assert_eq!((told.status.as_u16(), told.header("quell-quiescent")), (202, "false"));
    assert!(run.row().stopped_at.is_some());
    drop(taken);
    let (told, ()) = tokio::join!(cancel(), async {
        soon("it waits in the place", || service.long_request_permit().is_none()).await;
        run.cancel(CancelRequest::because("enough").abort());
    });
    assert_eq!((told.status.as_u16(), told.header("quell-quiescent")), (200, "true"));
    assert!(service.long_request_permit().is_some(), "it is free again");
}

#[tokio::test]
async fn a_cancel_that_waits_holds_nothing_of_its_body() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 1_000_000;
    let service = service_with(EngineConfig::new(), &Witness::default()).limits(limits);
    let app = router(service.clone());
    let view = service.view(NATIVE, Principal::anonymous());
    let stubborn = view.find_component("stubborn").unwrap();
    let run = view.start(Start::new(stubborn, Payload::from("x")).id("r")).await.unwrap().run;
    soon("it runs", || run.status() == RunStatus::Running).await;
    // It counts three times, so that it has nearly all the room.
    let reason = "x".repeat(300_000);
    let body = json!({ "reason": reason, "grace_ms": 3_600_000, "wait": "terminal" }).to_string();
    let cancel = send(&app, "POST", "/v1/runs/r/cancel", &[JSON], body);
    let (told, ()) = tokio::join!(cancel, async {
        soon("it is stopped", || run.row().stopped_at.is_some()).await;
        assert!(view.room_now(1_000_000).is_ok(), "nothing is under way");
        run.cancel(CancelRequest::because("enough").abort());
    });
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.text.len() < 10_000, "the reason is cut: {}", told.text.len());
}

#[tokio::test]
async fn i14_cancels_and_reads_are_answered_whatever_others_hold() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 0;
    let app = router(guarded(EngineConfig::new(), limits));
    assert_eq!(start(&app, ADA, "echo", 20_000).await.status, 429, "there is no room");
    let sleeper = json!({ "kind": "agent", "id": "sleeper" });
    let body = json!({ "component": sleeper, "id": "r", "input": "x".repeat(10_000) });
    let started = send(&app, "POST", "/v1/runs", &[JSON, ADA], body.to_string()).await;
    assert_eq!(started.status, 201, "{}", started.text);
    let told = send(&app, "GET", "/v1/runs/r", &[ADA], "").await;
    assert_eq!(told.json()["input"].as_str().map(str::len), Some(10_000), "{}", told.text);
    let body = json!({ "reason": "the stop button", "wait": "terminal" }).to_string();
    let length = body.len().to_string();
    let headers = [JSON, ADA, ("content-length", &*length)];
    let told = send(&app, "POST", "/v1/runs/r/cancel", &headers, body).await;
    assert_eq!(told.json()["status"], "cancelled", "{}", told.text);
}

#[tokio::test]
async fn whoever_is_refused_with_429_has_started_nothing() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 100_000;
    let service = guarded(EngineConfig::new(), limits);
    let app = router(service.clone());
    let component = json!({ "kind": "agent", "id": "shouter" });
    let body = json!({ "component": component, "id": "loud", "input": 4 }).to_string();
    let start = async || {
        let headers = [JSON, ADA, ("idempotency-key", "k")];
        send(&app, "POST", "/v1/runs", &headers, body.clone()).await
    };
    assert_eq!(start().await.status, 201);
    let view = service.view(NATIVE, Principal::named("ada"));
    view.run("loud").unwrap().ended().await;
    let told = send(&app, "GET", "/v1/runs/loud", &[ADA], "").await;
    assert_eq!(told.status, 429, "it has said too much");
    let again = start().await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(
        (&again.json()["id"], &again.json()["status"]),
        (&"loud".into(), &"completed".into())
    );
}

#[tokio::test]
async fn an_answer_that_is_made_for_a_client_who_has_left_counts_until_it_is_made() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 1_000_000;
    let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
    let view = service.view(NATIVE, Principal::anonymous());
    let (begins, begun) = std::sync::mpsc::channel();
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    let make = move || {
        begins.send(()).unwrap();
        waits.recv().unwrap();
        "x".repeat(900_000)
    };
    let mut answer = Box::pin(view.json_response(1_000_000, make));
    // Answers of other tests may be made before it.
    while begun.try_recv().is_err() {
        assert!(futures::poll!(&mut answer).is_pending());
        tokio::task::yield_now().await;
    }
    drop(answer);
    assert!(view.room_now(100_000).is_err(), "it is being made");
    goes_on.send(()).unwrap();
    drop(view.room_soon(1_000_000).await.unwrap());
}
