//! Lanes of two nodes, through HTTP.

use axum::Router;
use axum::http::StatusCode;
use quell::CancelRequest;
use quell_test_support::{secs, soon};
use serde_json::{Value, json};

use crate::nodes::two;
use crate::support::{Answer, JSON, get, post, send};

async fn start(app: &Router, component: &str, id: &str, on_busy: &str) -> Answer {
    let lane = json!({ "key": "thread-1", "on_busy": on_busy });
    let body = json!({ "component": format!("agent/{component}"), "id": id, "lane": lane });
    post(app, "/v1/runs", &body).await
}

#[tokio::test(start_paused = true)]
async fn a_busy_lane_of_another_node_is_409_and_names_its_run() {
    let (_nodes, a, b) = two();
    assert_eq!(start(&a.app, "sleeper", "first", "reject").await.status, StatusCode::CREATED);
    soon("it works", || a.witness.inside() == 1).await;
    for on_busy in ["reject", "join_existing"] {
        let refused = start(&b.app, "sleeper", "second", on_busy).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{on_busy}");
        let told = refused.json();
        assert!(told["type"].as_str().unwrap().ends_with("lane-busy"), "{told}");
        assert!(told["detail"].as_str().unwrap().contains("run `first` has it"), "{told}");
        let none = get(&b.app, "/v1/runs/second").await;
        assert_eq!(none.status, StatusCode::NOT_FOUND, "{on_busy}");
    }
    assert_eq!(b.witness.entered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_through_another_node_is_not_refused_for_the_run_that_the_first_one_starts() {
    let (_nodes, a, b) = two();
    let lane = json!({ "key": "thread-1", "on_busy": "reject" });
    let body = json!({ "component": "agent/sleeper", "lane": lane }).to_string();
    let keyed =
        |app| send(app, "POST", "/v1/runs", &[JSON, ("idempotency-key", "k")], body.clone());
    // Neither has been stored when the other one looks.
    let (first, again) = tokio::join!(keyed(&a.app), keyed(&b.app));
    let told = (first.status.as_u16(), again.status.as_u16());
    assert_eq!(told, (201, 200), "{} {}", first.json(), again.json());
    assert_eq!(first.json()["id"], again.json()["id"]);
    // Another request is told of its key first.
    let other = json!({ "component": "agent/sleeper", "lane": lane, "input": 1 }).to_string();
    let other = send(&b.app, "POST", "/v1/runs", &[JSON, ("idempotency-key", "k")], other).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert_eq!(other.json()["type"], "urn:quell:problem:idempotency-key-conflict");
    soon("it works", || a.witness.inside() == 1).await;
    assert_eq!(b.witness.entered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_its_turn_or_takes_the_place_of_one_on_another_node() {
    let (_nodes, a, b) = two();
    start(&a.app, "sleeper", "first", "enqueue").await;
    soon("it works", || a.witness.inside() == 1).await;
    let second = start(&b.app, "sleeper", "second", "enqueue").await;
    assert_eq!(second.status, StatusCode::CREATED);
    tokio::time::sleep(secs(3)).await;
    assert_eq!(get(&a.app, "/v1/runs/second").await.json()["status"], "queued");
    assert_eq!(b.witness.entered(), 0);
    a.run("first").cancel(CancelRequest::because("enough"));
    soon("it is its turn", || b.witness.inside() == 1).await;
    assert_eq!(a.witness.inside(), 0);
    let third = start(&a.app, "sleeper", "third", "cancel_existing").await;
    soon("it is its turn", || a.witness.inside() == 1).await;
    assert_eq!(b.witness.inside(), 0);
    let cause: Value = get(&b.app, "/v1/runs/second").await.json()["cause"].clone();
    assert_eq!((&cause["kind"], &cause["by"]), (&json!("superseded"), &third.json()["uuid"]));
}
