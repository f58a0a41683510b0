use axum::Router;
use axum::http::StatusCode;
use quell_http::{Access, Key, router};
use quell_test_support::Answer;
use serde_json::{Value, json};

use crate::support::{JSON, get, post, send, service, start};

async fn patch(app: &Router, id: &str, body: &Value) -> Answer {
    send(app, "PATCH", &format!("/v1/runs/{id}"), &[JSON], body.to_string()).await
}

/// Waits until a run has started.
async fn running(app: &Router, id: &str) {
    while get(app, &format!("/v1/runs/{id}")).await.json()["status"] != "running" {
        tokio::task::yield_now().await;
    }
}

const MINUTE: u64 = 60_000;

/// What an answer says of a time in milliseconds, in whole minutes.
fn minutes(at: &Value) -> Option<u64> {
    at.as_u64().map(|ms| (ms + MINUTE / 2) / MINUTE)
}

#[tokio::test]
async fn i10_limits_change_while_a_run_works_and_what_is_left_out_stays() {
    let app = router(service());
    start(&app, "sleeper", "r", Value::Null).await;
    running(&app, "r").await;
    for (limits, outcome, deadline) in [
        (json!({}), "unchanged", None),
        (json!({ "timeout_ms": 10 * MINUTE }), "changed", Some(10)),
        (json!({ "idle_ms": 5 * MINUTE }), "changed", Some(10)),
        (json!({ "timeout_ms": 3 * MINUTE, "idle_ms": null }), "changed", Some(3)),
        (json!({}), "unchanged", Some(3)),
        (json!({ "timeout_ms": null }), "changed", None),
    ] {
        let answer = patch(&app, "r", &limits).await;
        assert_eq!(answer.status, StatusCode::OK, "{limits}: {}", answer.text);
        let told = answer.json();
        assert_eq!((&told["outcome"], &told["status"]), (&json!(outcome), &json!("running")));
        assert_eq!(minutes(&told["deadline_in_ms"]), deadline, "{limits}");
        assert_eq!(told["hard_deadline_in_ms"], Value::Null);
    }
    post(&app, "/v1/runs/r/cancel", &json!({ "wait": "terminal" })).await;
}

#[tokio::test]
async fn i10_a_timeout_that_is_over_stops_the_run_now_and_its_cause_says_so() {
    for limits in [json!({ "timeout_ms": 0 }), json!({ "idle_ms": 0, "timeout_ms": 60_000 })] {
        let app = router(service());
        let body = json!({ "component": "agent/stubborn", "id": "r", "grace_ms": 60_000 });
        post(&app, "/v1/runs", &body).await;
        running(&app, "r").await;
        let told = patch(&app, "r", &limits).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        let told = told.json();
        assert_eq!((&told["outcome"], &told["status"]), (&json!("exceeded"), &json!("stopping")));
        assert_eq!(minutes(&told["hard_deadline_in_ms"]), Some(1));
        let cause = &get(&app, "/v1/runs/r").await.json()["cause"]["kind"];
        let expected = if limits["idle_ms"] == 0 { "idle-timeout" } else { "deadline" };
        assert_eq!(cause, expected);
        // It stops, and what it has stays.
        let late = patch(&app, "r", &json!({ "timeout_ms": 900_000 })).await;
        assert_eq!(late.status, StatusCode::CONFLICT);
        assert_eq!(late.json()["type"], "urn:quell:problem:run-stopping");
        let abort = json!({ "mode": "abort", "wait": "terminal" });
        assert_eq!(post(&app, "/v1/runs/r/cancel", &abort).await.json()["status"], "timed-out");
        let late = patch(&app, "r", &json!({ "timeout_ms": null })).await;
        assert_eq!(late.status, StatusCode::CONFLICT);
        assert_eq!(late.json()["type"], "urn:quell:problem:run-ended");
        assert_eq!(late.json()["detail"], "the run has ended: it is timed-out");
    }
}

#[tokio::test]
async fn what_is_no_change_of_limits_is_refused_and_changes_nothing() {
    let app = router(service());
    start(&app, "sleeper", "r", Value::Null).await;
    running(&app, "r").await;
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("null", 422),
        ("[]", 422),
        (" [0]", 422),
        ("[0", 400),
        (r#"{"timeout_ms": -1}"#, 422),
        (r#"{"timeout_ms": 0.5}"#, 422),
        (r#"{"timeout_ms": "1"}"#, 422),
        (r#"{"timeout_ms": 0, "idle_ms": -1}"#, 422),
        (r#"{"timeout_ms": 0, "timeout_ms": 0}"#, 422),
        (r#"{"timeout_ms": 0, "grace_ms": 1}"#, 422),
    ] {
        let answer = send(&app, "PATCH", "/v1/runs/r", &[JSON], body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
    }
    let listed = send(&app, "POST", "/v1/runs/r/cancel", &[JSON], r#"["why"]"#).await;
    assert_eq!(listed.status, StatusCode::UNPROCESSABLE_ENTITY);
    let unnamed = send(&app, "PATCH", "/v1/runs/r", &[], r#"{"timeout_ms": 0}"#).await;
    assert_eq!(unnamed.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(get(&app, "/v1/runs/r").await.json()["status"], "running");
    let unknown = patch(&app, "nobody", &json!({})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    post(&app, "/v1/runs/r/cancel", &json!({ "wait": "terminal" })).await;
}

#[tokio::test]
async fn the_limits_of_somebody_elses_run_do_not_change() {
    let access = Access::open().key(Key::new("ada", "of-ada")).key(Key::new("ben", "of-ben"));
    let app = router(service().access(access));
    let ada = [JSON, ("authorization", "Bearer of-ada")];
    let ben = [JSON, ("authorization", "Bearer of-ben")];
    let body = r#"{"component": "agent/sleeper", "id": "r"}"#;
    assert_eq!(send(&app, "POST", "/v1/runs", &ada, body).await.status, StatusCode::CREATED);
    let zero = r#"{"timeout_ms": 0}"#;
    let foreign = send(&app, "PATCH", "/v1/runs/r", &ben, zero).await;
    let unknown = send(&app, "PATCH", "/v1/runs/nobody", &ben, zero).await;
    assert_eq!((foreign.status, foreign.text), (StatusCode::NOT_FOUND, unknown.text));
    let own = send(&app, "PATCH", "/v1/runs/r", &ada, r#"{"timeout_ms": 60000}"#).await;
    assert_eq!(own.json()["outcome"], "changed", "{}", own.text);
    send(&app, "POST", "/v1/runs/r/cancel", &ada, "").await;
}
