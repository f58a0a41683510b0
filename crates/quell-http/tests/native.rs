use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use quell::store::{Store, StoreError};
use quell::{CancelRequest, Engine, EngineConfig, RunId};
use quell_flow::{Catalog, Component};
use quell_http::{Service, router};
use quell_test_support::{Flow, Valve, Writers, within};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{JSON, Witness, get, post, send, service, service_with, soon, start};

#[tokio::test]
async fn a_run_is_started_read_and_listed() {
    let app = router(service());
    let body = json!({
        "component": { "kind": "agent", "id": "echo" }, "id": "my run/1", "session": "s-1",
        "labels": { "customer": "ada" }, "input": { "big": 12_345_678_901_234_567_890_u64 },
    });
    let answer = post(&app, "/v1/runs", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let started = answer.json();
    assert_eq!(started["id"], "my run/1");
    assert_eq!(answer.header("location"), format!("runs/{}", started["uuid"].as_str().unwrap()));

    let stream = get(&app, "/v1/runs/my%20run%2F1/events").await;
    assert_eq!(stream.status, StatusCode::OK);
    let run = get(&app, "/v1/runs/my%20run%2F1").await.json();
    assert_eq!(run["status"], "completed");
    assert_eq!(run["output"], body["input"]);
    assert_eq!(run["text"], "hello world");
    assert_eq!(run["component"], "agent/echo");
    assert_eq!(run["session"], "s-1");
    assert_eq!(run["labels"]["customer"], "ada");
    assert_eq!(run["quiescent"], true);
    assert_eq!(run["cause"], Value::Null);
    assert_eq!(run["rows"][0]["status"], "completed");

    let by_uuid = get(&app, &format!("/v1/{}", answer.header("location"))).await.json();
    assert_eq!(by_uuid["id"], "my run/1");

    for (query, total) in [
        ("", 1),
        ("?status=completed", 1),
        ("?status=running,failed", 0),
        ("?kind=agent&component=echo&session=s-1&label=customer%3Dada", 1),
        ("?component=agent/echo", 1),
        ("?component=team/echo", 0),
        ("?kind=team", 0),
        ("?label=customer%3Dbob", 0),
    ] {
        let list = get(&app, &format!("/v1/runs{query}")).await;
        assert_eq!(list.status, StatusCode::OK, "{query}: {}", list.text);
        assert_eq!(list.json()["total"], total, "{query}");
    }
}

#[tokio::test]
async fn a_component_is_named_by_one_text_and_an_object_says_the_same() {
    let app = router(service());
    for component in [json!("agent/echo"), json!({ "kind": "agent", "id": "echo" })] {
        let started = post(&app, "/v1/runs", &json!({ "component": component })).await;
        assert_eq!(started.status, StatusCode::CREATED, "{component}: {}", started.text);
        assert_eq!(started.json()["component"], "agent/echo");
    }
    let refused = post(&app, "/v1/runs", &json!({ "component": "echo" })).await.json();
    let words = "expected the name of a component, such as `agent/writer`";
    assert!(refused["detail"].as_str().unwrap().starts_with(words), "{refused}");
}

#[tokio::test]
async fn lists_are_newest_first_and_bounded() {
    let app = router(service());
    for id in ["a", "b", "c"] {
        start(&app, "sleeper", id, Value::Null).await;
        sleep(Duration::from_millis(2)).await;
    }
    let list = get(&app, "/v1/runs?limit=2").await.json();
    assert_eq!(list["total"], 3);
    let ids: Vec<_> = list["runs"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
    assert_eq!(ids, ["c", "b"]);
}

#[tokio::test]
async fn a_cancel_is_answered_with_what_came_of_it() {
    let witness = Witness::default();
    let app = router(service_with(EngineConfig::new(), &witness));
    start(&app, "sleeper", "r", Value::Null).await;
    soon("the body is at work", || witness.inside() == 1).await;
    let body = json!({ "reason": "enough", "wait": "quiescent" });
    let answer = post(&app, "/v1/runs/r/cancel", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(witness.inside(), 0, "quiescent was answered, so nothing executes");
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!(answer.header("quell-cause"), "user-request");
    assert_eq!(answer.header("quell-quiescent"), "true");
    let told = answer.json();
    assert_eq!(told["disposition"], "accepted");
    assert_eq!(told["status"], "cancelled");
    assert_eq!(told["cause"]["message"], "enough");
    assert_eq!(told["cause"]["origin"], "r");
    assert_eq!(told["quiescent"], true);

    let again = post(&app, "/v1/runs/r/cancel", &json!({})).await;
    assert_eq!(again.header("quell-disposition"), "already-terminal");
    assert_eq!(again.header("quell-quiescent"), "", "nothing was waited for");
    assert_eq!(again.json()["cause"]["message"], "enough", "the first cause stands");
    let bare = send(&app, "POST", "/v1/runs/r/cancel", &[], "").await;
    assert_eq!(bare.status, StatusCode::OK, "a body is not needed: {}", bare.text);
}

#[tokio::test]
async fn every_disposition_has_its_answer() {
    let app = router(service());
    start(&app, "stubborn", "r", Value::Null).await;
    let when = |field: &str, answer: &Value| answer[field].as_u64().unwrap();
    sleep(Duration::from_millis(20)).await;

    let asked = json!({ "mode": "after_step", "escalate_after_ms": 60_000 });
    let told = post(&app, "/v1/runs/r/cancel", &asked).await.json();
    assert_eq!(told["disposition"], "scheduled");
    assert!(when("escalates_in_ms", &told) > 50_000);
    assert_eq!(told["status"], "running");

    let asked = json!({ "grace_ms": 60_000 });
    let told = post(&app, "/v1/runs/r/cancel", &asked).await.json();
    assert_eq!(told["disposition"], "escalated");
    assert_eq!((&told["from"], &told["to"]), (&json!("after_step"), &json!("cooperative")));
    assert_eq!(told["status"], "stopping");

    let told = post(&app, "/v1/runs/r/cancel", &json!({ "grace_ms": 50_000 })).await.json();
    assert_eq!(told["disposition"], "already-stopping");
    assert!(when("hard_deadline_in_ms", &told) <= 50_000, "deadlines only shrink");

    let asked = json!({ "wait": "terminal", "wait_ms": 20 });
    let answer = post(&app, "/v1/runs/r/cancel", &asked).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "it was not reached, and it says so");
    assert_eq!(answer.json()["reached"], false);
    assert_eq!(answer.header("quell-quiescent"), "false");

    let asked = json!({ "mode": "abort", "wait": "terminal" });
    let told = post(&app, "/v1/runs/r/cancel", &asked).await.json();
    assert_eq!(told["disposition"], "escalated");
    assert_eq!(told["status"], "cancelled");
}

#[tokio::test]
async fn a_child_is_seen_and_stopped_by_its_own_id() {
    let app = router(service());
    start(&app, "steps", "flow", Value::Null).await;
    let mut step = Value::Null;
    while step.is_null() {
        sleep(Duration::from_millis(2)).await;
        step = get(&app, "/v1/runs/flow").await.json()["rows"][1]["run"].clone();
    }
    let path = format!("/v1/runs/{}", step.as_str().unwrap());
    assert_eq!(get(&app, &path).await.json()["kind"], "step");
    let asked = json!({ "wait": "terminal" });
    let told = post(&app, &format!("{path}/cancel"), &asked).await.json();
    assert_eq!(told["status"], "cancelled");
    let events = get(&app, "/v1/runs/flow/events").await.text;
    assert!(events.ends_with("\n\n"), "{events}");
    assert_eq!(get(&app, "/v1/runs/flow").await.json()["status"], "failed");
}

#[tokio::test]
async fn deadlines_and_failures_are_told() {
    let app = router(service());
    let body = json!({
        "component": { "kind": "agent", "id": "sleeper" }, "id": "late", "timeout_ms": 20,
    });
    post(&app, "/v1/runs", &body).await;
    get(&app, "/v1/runs/late/events").await;
    let run = get(&app, "/v1/runs/late").await.json();
    assert_eq!((&run["status"], &run["cause"]["kind"]), (&json!("timed-out"), &json!("deadline")));

    start(&app, "failing", "bad", Value::Null).await;
    get(&app, "/v1/runs/bad/events").await;
    let run = get(&app, "/v1/runs/bad").await.json();
    assert_eq!((&run["status"], &run["error"]), (&json!("failed"), &json!("boom")));
}

#[tokio::test]
async fn a_busy_lane_holds_or_refuses() {
    let app = router(service());
    let body = |id: &str, on_busy: &str| {
        json!({
            "component": { "kind": "agent", "id": "sleeper" }, "id": id,
            "lane": { "key": "thread-1", "on_busy": on_busy },
        })
    };
    assert_eq!(post(&app, "/v1/runs", &body("a", "reject")).await.status, StatusCode::CREATED);
    let refused = post(&app, "/v1/runs", &body("b", "reject")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["type"], "urn:quell:problem:lane-busy");
    assert_eq!(refused.json()["detail"], "lane is busy: run `a` has it");
    let queued = post(&app, "/v1/runs", &body("c", "enqueue")).await.json();
    assert_eq!((&queued["status"], &queued["quiescent"]), (&json!("queued"), &json!(true)));
}

#[tokio::test]
async fn a_server_whose_store_takes_nothing_is_alive_and_not_ready_until_it_does() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &Witness::default());
    let app = router(service.clone());
    let is_ready = async || get(&app, "/readyz").await;
    assert_eq!(is_ready().await.status, StatusCode::OK);
    start(&app, "sleeper", "r", Value::Null).await;
    store.set(Flow::Failing(StoreError::Io { what: "secret-path".into() }));
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    run.cancel(CancelRequest::because("no"));
    let not_ready = async {
        loop {
            let answer = is_ready().await;
            if answer.status != StatusCode::OK {
                return answer;
            }
            sleep(PAUSE).await;
        }
    };
    let not_ready = within("it is not ready", not_ready).await;
    assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(not_ready.json(), json!({ "status": "store-in-trouble" }));
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    store.set(Flow::Open);
    let ready = async {
        while is_ready().await.status != StatusCode::OK {
            sleep(PAUSE).await;
        }
    };
    within("it is ready", ready).await;
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::test]
async fn a_draining_server_is_alive_not_ready_and_takes_nothing_new() {
    let service = service();
    let app = router(service.clone());
    assert_eq!(get(&app, "/readyz").await.status, StatusCode::OK);
    start(&app, "sleeper", "r", Value::Null).await;
    service.drain();
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&app, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = json!({ "component": { "kind": "agent", "id": "echo" } });
    let refused = post(&app, "/v1/runs", &body).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "1");
    let stream = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/v1/runs/r/events").await.text }
    });
    service.engine().shutdown(Duration::from_secs(1)).await;
    let events = stream.await.unwrap();
    assert!(events.contains("event: ended\n"), "streams get their terminal event: {events}");
    assert_eq!(get(&app, "/v1/runs/r").await.json()["cause"]["kind"], "shutdown");
}

#[tokio::test]
async fn every_documented_path_is_served_and_every_served_one_documented() {
    let app = router(service());
    let document = get(&app, "/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    let document = document.json();
    let mut served = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            served.push(format!("{method} {path}"));
            let path = path.replace("{id}", "some-run");
            let answer = send(&app, &method.to_uppercase(), &path, &[JSON], "{}").await;
            let status = answer.status.as_u16().to_string();
            assert!(!operation["responses"][&status].is_null(), "{method} {path}: {status}");
            // Whatever asks for credentials may be refused for want of them, and for a parameter.
            let is_open = ["/healthz", "/readyz"].contains(&path.as_str());
            assert_eq!(operation["security"].is_array(), !is_open, "{method} {path}");
            for status in ["401", "422"].iter().filter(|_| !is_open) {
                assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
            }
            // The store has to be asked for runs, but for `stops`, which tells what it can.
            let is_of_runs = path.starts_with("/v1/runs");
            assert!(!is_of_runs || operation["responses"]["503"].is_object(), "{method} {path}");
        }
    }
    for scheme in ["apiKey", "bearer"] {
        assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
    }
    let expected = [
        "get /healthz",
        "get /readyz",
        "get /v1/runs",
        "post /v1/runs",
        "get /v1/runs/{id}",
        "patch /v1/runs/{id}",
        "delete /v1/runs/{id}",
        "post /v1/runs/cancel",
        "post /v1/runs/{id}/cancel",
        "get /v1/runs/{id}/events",
        "get /v1/runs/{id}/log",
        "get /v1/runs/{id}/tree",
        "get /v1/components",
        "get /v1/stops",
        "post /v1/runs/{id}/pause",
        "post /v1/runs/{id}/resume",
    ];
    served.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(served, expected);
}

#[tokio::test]
async fn what_the_document_allows_is_taken_and_what_it_forbids_is_not() {
    let app = router(service());
    let document = get(&app, "/openapi.json").await.json();
    let at = |place: &str| document.pointer(place).unwrap_or_else(|| panic!("{place}")).clone();
    let schemas = "/components/schemas";
    let statuses = at(&format!("{schemas}/State/properties/status/enum"));
    assert!(statuses.as_array().unwrap().contains(&json!("timed-out")), "{statuses}");
    let kinds = at(&format!("{schemas}/RunSummary/allOf/1/properties/kind/enum"));
    assert_eq!(kinds.as_array().unwrap().len(), 6, "{kinds}");
    assert!(
        at(&format!("{schemas}/CancelAnswer/properties/status/enum")).to_string().contains("null")
    );
    assert_eq!(at(&format!("{schemas}/Millis")), json!({"type": "integer", "minimum": 0}));
    assert_eq!(
        at(&format!("{schemas}/StartRun/properties/id/pattern")),
        "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    );
    let limit = at("/paths/~1v1~1runs/get/parameters/5/schema");
    assert_eq!((&limit["minimum"], &limit["maximum"]), (&json!(1), &json!(1_000)));
    assert!(at("/paths/~1v1~1runs~1{id}/get/parameters/0/schema")["pattern"].is_string());
    let start =
        async |body: &str| send(&app, "POST", "/v1/runs", &[JSON], body.to_owned()).await.status;
    let timed = |ms: &str| {
        format!(
            r#"{{"component": {{"kind": "agent", "id": "sleeper"}}, "id": "r{ms}",
        "timeout_ms": {ms}, "grace_ms": {ms}}}"#
        )
    };
    for (ms, status) in [("3566.0", 201), ("1e30", 201), ("0.5", 422), ("-1", 422)] {
        assert_eq!(start(&timed(ms)).await, status, "{ms}");
    }
    let cancel = async |path: &str, body: &str| {
        send(&app, "POST", &format!("/v1/runs/{path}/cancel"), &[JSON], body.to_owned())
            .await
            .status
    };
    assert_eq!(cancel("r1e30", "null").await, 200);
    assert_eq!(cancel("r1e30", r#"{"remember_ms": 18446744073709551616}"#).await, 200);
    assert_eq!(cancel("new", r#"{"remember_ms": 9223372036854775807}"#).await, 202);
}

#[tokio::test]
async fn no_digit_of_a_number_is_lost() {
    let app = router(service());
    let long = "1234567890".repeat(40);
    let exact = format!(r#"{{"n":{long},"x":[0.1000,-18446744073709551617,1e400,-1E+999]}}"#);
    let body =
        format!(r#"{{"component":{{"kind":"agent","id":"repeater"}},"id":"r","input":{exact}}}"#);
    let answer = send(&app, "POST", "/v1/runs", &[JSON], body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let stream = get(&app, "/v1/runs/r/events").await.text;
    assert!(stream.contains(&format!(r#""data":{exact}"#)), "{stream}");
    let run = get(&app, "/v1/runs/r").await.text;
    for key in ["input", "output"] {
        assert!(run.contains(&format!(r#""{key}":{exact}"#)), "{run}");
    }
    let list = get(&app, "/v1/runs").await.text;
    assert!(list.contains(&format!(r#""output":{exact}"#)), "{list}");
}

#[tokio::test]
async fn a_large_answer_is_written_on_another_thread() {
    let writers = Writers::default();
    let its = writers.clone();
    let large = Component::agent("large", move |_ctx, _input| {
        let output = its.output();
        async move { Ok(output) }
    });
    let service = Service::new(Engine::new(), Catalog::new().with(large));
    let app = router(service.clone());
    for (id, path) in [("a", "/v1/runs/a"), ("b", "/v1/runs?session=b")] {
        let body = json!({
            "component": { "kind": "agent", "id": "large" }, "id": id, "session": id,
        });
        assert_eq!(post(&app, "/v1/runs", &body).await.status, StatusCode::CREATED);
        service.engine().get(RunId::from_text(id)).unwrap().ended().await;
        let answer = get(&app, path).await;
        assert!(answer.text.contains("xxx"), "{}", answer.text);
    }
    writers.assert_elsewhere(2);
}
