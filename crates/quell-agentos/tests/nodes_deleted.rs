//! Two sites on two nodes of one store: what clients of a run are told that somebody deletes.

use axum::body::Body;
use axum::http::Request;
use quell_test_support::Answer;
use serde_json::json;
use tokio::task::yield_now;

use crate::nodes::{PATHS, soon_read, two};
use crate::support::http::{Events as _, names, post_form};
use crate::support::{Site, fresh};

/// Sends a request in the background.
fn sent(site: &Site, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
    let site = site.clone();
    tokio::spawn(async move { site.send(request).await })
}

async fn delete(site: &Site, session: &str) {
    let path = format!("/sessions/{session}");
    let request = Request::builder().method("DELETE").uri(path).body(Body::empty()).unwrap();
    assert_eq!(site.send(request).await.status, 204);
}

#[tokio::test]
async fn who_waits_through_another_node_for_a_run_is_told_its_end_although_it_is_deleted_then() {
    let (a, b) = two();
    // For so long that looks are rare.
    let form = [
        ("message", "ticks=600 tick_ms=2"),
        ("stream", "false"),
        ("background", "false"),
        ("session_id", "s"),
        ("run_id", "r"),
    ];
    let request = || {
        let mut request = post_form(&format!("{}/runs", PATHS[0]), &form);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    let near = sent(&a, request());
    soon_read(&b, PATHS[0], "r", "RUNNING").await;
    let far = sent(&b, request());
    let near = near.await.unwrap();
    assert_eq!(near.json()["status"], "COMPLETED", "{near:?}");
    delete(&a, "s").await;
    let far = far.await.unwrap();
    let told =
        |answer: &Answer| (answer.json()["status"].clone(), answer.json()["content"].clone());
    assert_eq!(told(&far), told(&near), "{far:?}");
}

#[tokio::test]
async fn who_waits_through_another_node_for_a_run_that_is_deleted_is_told_that_it_was_cancelled() {
    let (a, b) = two();
    for path in PATHS {
        for stream in ["false", "true"] {
            let (run, near, far) = both_told(&a, &b, path, stream).await;
            assert_eq!((near.status.as_u16(), far.status.as_u16()), (200, 200), "{path} {far:?}");
            if stream == "true" {
                let (near, far) = (near.events(), far.events());
                assert_eq!(names(&near).last(), names(&far).last(), "{path} {far:?}");
            } else {
                let told = |answer: &Answer| {
                    let told = answer.json();
                    json!([told["run_id"], told["session_id"], told["status"]])
                };
                assert_eq!(told(&near), told(&far), "{path}");
                assert_eq!(told(&far), json!([run, "s", "CANCELLED"]), "{path}");
            }
        }
    }
}

/// Has a client of each node wait for a run, whose session is deleted then. Yields the run, and
/// what they are told.
async fn both_told(a: &Site, b: &Site, path: &str, stream: &str) -> (String, Answer, Answer) {
    loop {
        let run = fresh("run");
        let form = [
            ("message", "ticks=100000 tick_ms=2 probe=p"),
            ("stream", stream),
            ("background", "false"),
            ("session_id", "s"),
            ("run_id", &*run),
        ];
        let request = || {
            let mut request = post_form(&format!("{path}/runs"), &form);
            request.headers_mut().insert("idempotency-key", run.parse().unwrap());
            request
        };
        let near = sent(a, request());
        soon_read(b, path, &run, "RUNNING").await;
        let far = sent(b, request());
        for _ in 0..1_000 {
            yield_now().await;
        }
        delete(b, "s").await;
        let (near, far) = (near.await.unwrap(), far.await.unwrap());
        // Nothing tells when it has found the run: on a busy machine the deletion came first.
        if far.status != 409 {
            return (run, near, far);
        }
    }
}
