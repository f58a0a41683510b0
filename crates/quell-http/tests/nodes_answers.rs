//! What a node answers about runs of others: in its words, and while it ends.

use axum::http::StatusCode;
use quell::Shutdown;
use quell_test_support::{ms, soon};
use serde_json::json;

use crate::nodes::two;
use crate::support::post;

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_stop_names_its_run_as_its_caller_knows_it_on_any_node() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "order-7").await;
    let cancel = json!({ "reason": "enough", "wait": "terminal" });
    for app in [&b.app, &a.app, &b.app] {
        let told = post(app, "/v1/runs/order-7/cancel", &cancel).await.json();
        assert_eq!(told["cause"]["origin"], "order-7", "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_has_the_runs_of_others_stopped_and_paused_as_before() {
    let (_nodes, a, b) = two();
    let _holds = b.working("stubborn", "own").await;
    a.working("sleeper", "r").await;
    let ends = tokio::spawn({
        let engine = b.service.engine().clone();
        async move { engine.shutdown(Shutdown::default()).await }
    });
    b.service.drain();
    tokio::time::sleep(ms(10)).await;
    let paused = post(&b.app, "/v1/runs/r/pause", &json!({})).await;
    assert_eq!(paused.status, StatusCode::CONFLICT, "it is not resumable: {paused:?}");
    let stopped = post(&b.app, "/v1/runs/r/cancel", &json!({})).await;
    assert_eq!((stopped.status, stopped.header("quell-disposition")), (StatusCode::OK, "accepted"));
    soon("it stops", || a.witness.inside() == 0).await;
    assert!(!ends.is_finished(), "its own run has its grace");
    ends.await.unwrap();
}
