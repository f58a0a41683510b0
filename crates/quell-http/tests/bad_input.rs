use axum::body::Body;
use axum::http::StatusCode;
use futures::stream;
use quell::{EngineConfig, Limits};
use quell_http::{BODY_BYTES_MAX, router};
use serde_json::Value;

use crate::support::{JSON, Witness, get, send, service, service_with, start};

const START: &str = "/v1/runs";
const CANCEL: &str = "/v1/runs/r/cancel";

/// Method, path, body; status and sort of problem.
const TABLE: &[(&str, &str, &str, u16, &str)] = &[
    ("POST", START, "{", 400, "not-json"),
    ("POST", START, "", 400, "not-json"),
    ("POST", START, "{\"component\": {\"kind\": \"agent\"", 400, "not-json"),
    ("POST", START, "[]", 422, "bad-request"),
    ("POST", START, "{}", 422, "bad-request"),
    ("POST", START, r#"{"component": "echo"}"#, 422, "bad-request"),
    ("POST", START, r#"{"component": "step/echo"}"#, 422, "bad-request"),
    ("POST", START, r#"{"component": "team/echo"}"#, 404, "unknown-component"),
    ("POST", START, r#"{"component": {"kind": "agent"}}"#, 422, "bad-request"),
    ("POST", START, r#"{"component": {"kind": "step", "id": "echo"}}"#, 422, "bad-request"),
    ("POST", START, r#"{"component": {"kind": "agent", "id": 7}}"#, 422, "bad-request"),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo", "x": 1}}"#,
        422,
        "bad-request",
    ),
    ("POST", START, r#"{"component": {"kind": "agent", "id": "nope"}}"#, 404, "unknown-component"),
    ("POST", START, r#"{"component": {"kind": "team", "id": "echo"}}"#, 404, "unknown-component"),
    ("POST", START, r#"{"component": {"kind": "team", "id": "hidden"}}"#, 404, "unknown-component"),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "idd": "x"}"#,
        422,
        "bad-request",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "id": 7}"#,
        422,
        "bad-request",
    ),
    ("POST", START, r#"{"component": {"kind": "agent", "id": "echo"}, "id": ""}"#, 422, "bad-id"),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "id": "a\nb"}"#,
        422,
        "bad-id",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "id": "r"}"#,
        409,
        "id-in-use",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "timeout_ms": -1}"#,
        422,
        "bad-request",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "timeout_ms": 1.5}"#,
        422,
        "bad-request",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "grace_ms": "5"}"#,
        422,
        "bad-request",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"a": 1}}"#,
        422,
        "bad-request",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"component": "x"}}"#,
        422,
        "bad-label",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"external_id": "x"}}"#,
        422,
        "bad-label",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"session": "x"}}"#,
        422,
        "bad-label",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"quell.team": "x"}}"#,
        422,
        "bad-label",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "labels": {"agentos.user_id": "x"}}"#,
        422,
        "bad-label",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "input": ["\ud800"]}"#,
        400,
        "not-json",
    ),
    (
        "POST",
        START,
        r#"{"component": {"kind": "agent", "id": "echo"}, "lane": {"key": "k", "on_busy": "x"}}"#,
        422,
        "bad-request",
    ),
    ("GET", "/v1/runs?status=done", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?kind=step", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?label=x", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?limit=0", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?limit=1001", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?limit=many", "", 422, "bad-parameter"),
    ("GET", "/v1/runs?stat=completed", "", 422, "bad-parameter"),
    ("GET", "/v1/runs/nope", "", 404, "unknown-run"),
    ("GET", "/v1/runs/00000000-0000-0000-0000-000000000000", "", 404, "unknown-run"),
    ("GET", "/v1/runs/a%00b", "", 422, "bad-id"),
    ("GET", "/v1/runs/%FF%FE", "", 422, "bad-id"),
    ("GET", "/v1/runs/nope/events", "", 404, "unknown-run"),
    ("GET", "/v1/runs/r/events?after=x", "", 422, "bad-parameter"),
    ("GET", "/v1/runs/r/events?on_disconnect=stop", "", 422, "bad-parameter"),
    ("GET", "/v1/runs/r/events?from=1", "", 422, "bad-parameter"),
    ("POST", "/v1/runs/nope/cancel", "", 404, "unknown-run"),
    ("POST", "/v1/runs/a%0Ab/cancel", "", 422, "bad-id"),
    ("POST", CANCEL, "nonsense", 400, "not-json"),
    ("POST", CANCEL, r#"{"mode": "kill"}"#, 422, "bad-request"),
    ("POST", CANCEL, r#"{"wait": true}"#, 422, "bad-request"),
    ("POST", CANCEL, r#"{"wait": "ended"}"#, 422, "bad-request"),
    ("POST", CANCEL, r#"{"grace_ms": -5}"#, 422, "bad-request"),
    ("POST", CANCEL, r#"{"grace_ms": 1e-9}"#, 422, "bad-request"),
    ("POST", CANCEL, r#"{"reasn": "x"}"#, 422, "bad-request"),
    ("PUT", "/v1/runs/r", "", 405, "method-not-allowed"),
    ("DELETE", "/v1/runs/x", "", 404, "unknown-run"),
    ("GET", CANCEL, "", 405, "method-not-allowed"),
    ("PUT", START, "{}", 405, "method-not-allowed"),
];

#[tokio::test]
async fn bad_input_is_refused_in_words_and_changes_nothing() {
    let app = router(service());
    start(&app, "sleeper", "r", Value::Null).await;
    for (method, path, body, status, name) in TABLE.iter().copied() {
        let answer = send(&app, method, path, &[JSON], body).await;
        let what = format!("{method} {path} {body}: {}", answer.text);
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:quell:problem:{name}"), "{what}");
        assert_eq!(problem["status"], status, "{what}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{what}");
    }
    let list = get(&app, "/v1/runs").await.json();
    assert_eq!(list["total"], 1);
    assert!(list["runs"][0]["stopped_at"].is_null(), "{list}");
}

#[tokio::test]
async fn a_body_that_is_no_object_is_told_with_one_that_is_right() {
    let app = router(service());
    let start_right = r#"`{"component": "agent/writer", "input": {"topic": "tea"}}`"#;
    let cancel_right = r#"`{"reason": "not needed any more"}`"#;
    for (method, path, body, status, says, right) in [
        ("POST", START, "", 400, "the body is empty; ", start_right),
        ("POST", START, " \n", 400, "the body is empty; ", start_right),
        ("POST", START, "component=agent/a", 400, "the body is not JSON; ", start_right),
        ("POST", START, "[", 400, "the body is not JSON; ", start_right),
        ("POST", START, "[]", 422, ", found a list", start_right),
        ("POST", START, "null", 422, ", found null", start_right),
        ("POST", START, "-1", 422, ", found a number", start_right),
        ("POST", START, "\"agent/a\"", 422, ", found a string", start_right),
        ("POST", CANCEL, " ", 400, "the body is empty; ", cancel_right),
        ("POST", CANCEL, "true", 422, ", found true or false", cancel_right),
        ("POST", "/v1/runs/r/resume", "", 400, "is empty; ", r#"`{"answer": "yes"}`"#),
        ("POST", "/v1/runs/r/pause", "[]", 422, ", found a list", r#"`{"request": "go on?"}`"#),
        ("PATCH", "/v1/runs/r", "", 400, "the body is empty; ", r#"`{"timeout_ms": 60000}`"#),
    ] {
        let answer = send(&app, method, path, &[JSON], body).await;
        let what = format!("{method} {path} {body:?}: {}", answer.text);
        assert_eq!(answer.status.as_u16(), status, "{what}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        let right = format!("expected a JSON object such as {right}");
        let words =
            if says.starts_with(',') { format!("{right}{says}") } else { format!("{says}{right}") };
        assert!(detail.ends_with(&words), "{what}");
    }
}

#[tokio::test]
async fn an_unknown_parameter_or_word_is_told_with_those_that_are_right() {
    let app = router(service());
    for (path, says) in [
        ("/v1/runs?stat=running", "unknown parameter `stat`; did you mean `status`?"),
        ("/v1/runs?colour=x", "unknown parameter `colour`; expected one of `status`, `kind`, "),
        ("/v1/runs?status=runing", "unknown status `runing`; did you mean `running`?"),
        ("/v1/runs?status=done", "unknown status `done`; expected one of `queued`, "),
        ("/v1/runs?kind=agents", "unknown kind `agents`; did you mean `agent`?"),
        ("/v1/runs?kind=step", "unknown kind `step`; expected one of `agent`, `team`, `workflow`"),
    ] {
        let answer = get(&app, path).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.starts_with(says), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_names_those_that_are() {
    let app = router(service());
    let answer = send(&app, "GET", "/v1/runs/r/cancel", &[], "").await;
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn a_body_that_does_not_say_it_is_json_is_refused() {
    let app = router(service());
    let body = r#"{"component": {"kind": "agent", "id": "echo"}}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let answer = send(&app, "POST", START, &[("content-type", kind)], body).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let kind = ("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(send(&app, "POST", START, &[kind], body).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_it_announces_itself_or_not() {
    let app = router(service());
    let announced = [JSON, ("content-length", "99999999")];
    let answer = send(&app, "POST", START, &announced, "{").await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let piece = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let pieces = stream::iter((0..17).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let answer = send(&app, "POST", START, &[JSON], Body::from_stream(pieces)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["type"], "urn:quell:problem:body-too-large");
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken_and_nested_beyond_reason_is_not() {
    let app = router(service());
    let head = r#"{"component":{"kind":"agent","id":"echo"},"input":""#;
    let body = format!("{head}{}\"}}", "x".repeat(BODY_BYTES_MAX - head.len() - 2));
    assert_eq!(body.len(), BODY_BYTES_MAX);
    let answer = send(&app, "POST", START, &[JSON], body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let deep = format!(
        r#"{{"component":{{"kind":"agent","id":"echo"}},"input":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(send(&app, "POST", START, &[JSON], deep).await.status, StatusCode::BAD_REQUEST);
    let bytes = b"{\"component\":{\"kind\":\"agent\",\"id\":\"echo\"},\"id\":\"\xff\"}".to_vec();
    let answer = send(&app, "POST", START, &[JSON], bytes).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    let deep = format!(
        r#"{{"component":{{"kind":"agent","id":"echo"}},"input":{}}}"#,
        "[".repeat(100_000)
    );
    assert_eq!(send(&app, "POST", START, &[JSON], deep).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_bound_of_a_start_is_told() {
    let app = router(service());
    let long = "x".repeat(1_025);
    let many: Vec<_> = (0..33).map(|i| format!("\"l{i}\": \"x\"")).collect();
    for (field, name) in [
        (format!(r#""id": "{}""#, "x".repeat(129)), "bad-id"),
        (format!(r#""session": "{long}""#), "too-large"),
        (format!(r#""labels": {{"a": "{long}"}}"#), "too-large"),
        (format!(r#""labels": {{{}}}"#, many.join(",")), "too-large"),
        (format!(r#""lane": {{"key": "{}"}}"#, "x".repeat(257)), "too-large"),
    ] {
        let body = format!(r#"{{"component": {{"kind": "agent", "id": "echo"}}, {field}}}"#);
        let answer = send(&app, "POST", START, &[JSON], body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.json()["type"], format!("urn:quell:problem:{name}"), "{}", answer.text);
        // Of labels the number is bounded, not their bytes.
        let many = answer.text.contains("there are more than 32 labels");
        assert_eq!(many, field.contains("l32"), "{}", answer.text);
    }
    // The largest numbers are only long times.
    let body = format!(
        r#"{{"component": {{"kind": "agent", "id": "sleeper"}}, "id": "r",
            "timeout_ms": {0}, "grace_ms": {0}}}"#,
        u64::MAX
    );
    assert_eq!(send(&app, "POST", START, &[JSON], body).await.status, StatusCode::CREATED);
    let body = format!(
        r#"{{"mode": "after_step", "grace_ms": {0}, "escalate_after_ms": {0},
            "wait_ms": {0}, "remember_ms": {0}}}"#,
        u64::MAX
    );
    let answer = send(&app, "POST", "/v1/runs/r/cancel", &[JSON], body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = send(&app, "POST", "/v1/runs/new/cancel", &[JSON], body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
}

#[tokio::test]
async fn too_many_live_runs_are_refused_for_the_moment() {
    let mut limits = Limits::default();
    limits.runs_max = 1;
    let app = router(service_with(EngineConfig::new().limits(limits), &Witness::default()));
    start(&app, "sleeper", "r", Value::Null).await;
    let body = r#"{"component": {"kind": "agent", "id": "echo"}}"#;
    let answer = send(&app, "POST", START, &[JSON], body).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "1");
}
