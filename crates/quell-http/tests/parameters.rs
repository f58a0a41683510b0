//! Parameters of the query: every path of the native API refuses those that it does not have,
//! before anything is done.

use axum::Router;
use axum::http::StatusCode;
use quell::RunStatus;
use quell_http::{document, parse_id, router};
use quell_test_support::Answer;
use serde_json::{Value, json};

use crate::support::{JSON, get, post, send, service, soon, start};

/// Paths that need no credentials, read nothing of any run, and are asked by probes, which may add
/// what they like.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What a path that has a body is asked for, so that it would do it.
fn body_of(method: &str, path: &str) -> Value {
    match (method, path) {
        ("POST", "/v1/runs") => json!({ "component": "agent/sleeper", "id": "new" }),
        ("POST", "/v1/runs/cancel") => json!({ "all": true }),
        ("PATCH", _) => json!({ "timeout_ms": 0 }),
        ("POST", path) if path.ends_with("/resume") => json!({ "answer": 1 }),
        _ => json!({}),
    }
}

async fn refused(app: &Router, method: &str, path: &str, query: &str) -> Answer {
    let target = format!("{}?{query}", path.replace("{id}", "r"));
    let answer = send(app, method, &target, &[JSON], body_of(method, path).to_string()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {target}");
    answer
}

#[tokio::test]
async fn every_operation_refuses_a_parameter_that_it_does_not_have_and_does_nothing() {
    let service = service();
    let app = router(service.clone());
    start(&app, "sleeper", "r", Value::Null).await;
    let run = service.engine().get(parse_id("r").unwrap()).unwrap();
    soon("it works", || run.row().started_at.is_some()).await;
    let document = document();
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, all)| {
        all.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.as_str()))
    });
    let mut operations: Vec<_> = operations.filter(|(_, path)| !OPEN.contains(path)).collect();
    // A run may be called so.
    operations.extend(["GET", "PATCH", "DELETE"].map(|it| (it.to_owned(), "/v1/runs/cancel")));
    for (method, path) in operations {
        for query in ["nonsense=1", "=", "dry_run=true", "dry-run"] {
            let answer = refused(&app, &method, path, query).await;
            let problem = answer.json();
            assert_eq!(problem["type"], "urn:quell:problem:bad-parameter", "{method} {path}");
            let words = problem["detail"].as_str().unwrap();
            assert!(words.contains("unknown parameter"), "{method} {path}: {words}");
        }
        if method == "GET" {
            refused(&app, "HEAD", path, "nonsense=1").await;
        }
    }
    assert_eq!(run.status(), RunStatus::Running);
    assert!(run.row().cause.is_none(), "it was stopped");
    assert!(service.engine().get(parse_id("new").unwrap()).is_none(), "it was started");
    assert_eq!(post(&app, "/v1/runs/r/cancel?", &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dry_run_that_is_asked_for_as_a_parameter_is_told_where_it_belongs() {
    let app = router(service());
    for (method, path) in
        [("POST", "/v1/runs/cancel"), ("POST", "/v1/runs/{id}/cancel"), ("DELETE", "/v1/runs/{id}")]
    {
        let answer = refused(&app, method, path, "dry_run=true").await.json();
        let right = "unknown parameter `dry_run`; it is a key of the body of `POST \
            /v1/runs/cancel`, and nothing was done";
        assert_eq!(answer["detail"], right, "{method} {path}");
    }
    let other = refused(&app, "POST", "/v1/runs/{id}/cancel", "mode=abort").await.json();
    let right = "unknown parameter `mode`; there are none here: what is asked for is in the body";
    assert_eq!(other["detail"], right);
}

#[tokio::test]
async fn what_is_given_twice_is_refused_for_nobody_knows_which_is_meant() {
    let app = router(service());
    start(&app, "sleeper", "r", Value::Null).await;
    for (query, says) in [
        ("kind=agent&kind=team", "parameter `kind` is given twice"),
        ("owner=a&owner=b", "parameter `owner` is given twice"),
        ("lane=x&lane=x", "parameter `lane` is given twice"),
        ("since=2026-01-01T00:00:00Z&since=2027-01-01T00:00:00Z", "`since` is given twice"),
        ("limit=1&limit=2", "parameter `limit` is given twice"),
        ("kind=agent&component=team/x", "`kind` and `component` name two kinds"),
        ("component=team/x&kind=agent", "`kind` and `component` name two kinds"),
    ] {
        let answer = get(&app, &format!("/v1/runs?{query}")).await;
        let words = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert!(words.contains(says), "{query}: {words}");
    }
    for path in ["/v1/runs/r/tree", "/v1/stops", "/v1/runs/r/events", "/v1/runs/r/log"] {
        let name = if path.ends_with("events") { "after" } else { "limit" };
        let answer = get(&app, &format!("{path}?{name}=1&{name}=1")).await;
        assert!(answer.text.contains("is given twice"), "{path}: {}", answer.text);
    }
    for (query, count) in [
        ("status=queued&status=running", 1),
        ("kind=agent&component=agent/sleeper", 1),
        ("label=session=a&label=session=b", 0),
        ("until=9999-12-31T23:59:59Z", 1),
        ("until=9999-12-31T23:59:59.999%2B01:00", 1),
        ("since=9999-12-31T23:59:59Z", 0),
    ] {
        let answer = get(&app, &format!("/v1/runs?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        assert_eq!(answer.json()["runs"].as_array().unwrap().len(), count, "{query}");
    }
    for query in ["until=9999-13-31T23:59:59Z", "until=9999-12-31", "until=9999-12-31T23:59:59"] {
        let answer = get(&app, &format!("/v1/runs?{query}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[tokio::test]
async fn objects_of_a_body_are_no_lists_and_have_no_label_twice() {
    let service = service();
    let app = router(service.clone());
    start(&app, "sleeper", "r", Value::Null).await;
    let all = "/v1/runs/cancel";
    for (path, body, says) in [
        (all, r#"{"where": []}"#, "`where`: expected an object, found a list"),
        (
            all,
            r#"{"where": [["running"], "agent", null, null, null, null, {}]}"#,
            "`where`: expected an object, found a list",
        ),
        (all, r#"{"where": {"labels": {"k": "a", "k": "b"}}}"#, "label `k` is given twice"),
        (all, r#"{"where": {"labels": []}}"#, "`where.labels`: expected an object, found a list"),
        (all, r#"{"runs": ["r", "a\nb"]}"#, "`a…`: id is empty"),
        (
            "/v1/runs",
            r#"{"component": "agent/sleeper", "lane": ["k", "enqueue"]}"#,
            "`lane`: expected an object, found a list",
        ),
        (
            "/v1/runs",
            r#"{"component": ["agent", "sleeper"]}"#,
            "expected the name of a component, such as `agent/writer`",
        ),
        (
            "/v1/runs",
            r#"{"component": "agent/sleeper", "labels": {"k": "a", "k": "a"}}"#,
            "label `k` is given twice",
        ),
    ] {
        let answer = send(&app, "POST", path, &[JSON], body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        let words = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(words.contains(says), "{body}: {words}");
    }
    let run = service.engine().get(parse_id("r").unwrap()).unwrap();
    assert!(run.row().cause.is_none(), "it was stopped");
}
