//! Two sites on two nodes of one store: one keeps a run in memory whose session was deleted through
//! the other one, and a later run has its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quell::testing::cluster::Nodes;
use quell_http::parse_id;
use quell_test_support::{secs, soon, within};
use serde_json::json;

use crate::nodes::{soon_read, two};
use crate::sessions_changed::{at_work, brief, site_with};
use crate::support::Site;
use crate::support::http::read;

const PATH: &str = "/agents/asks";

/// Starts a run that asks.
async fn asks(site: &Site, run: &str) {
    let form = [("message", "hi"), ("stream", "false"), ("session_id", "s"), ("run_id", run)];
    let asked = site.create(&format!("{PATH}/runs"), &form).await;
    assert_eq!(asked.json()["status"], "PAUSED", "{asked:?}");
}

async fn answered(site: &Site, run: &str) {
    let form = [("tools", "[]"), ("stream", "false"), ("session_id", "s")];
    let answer = site.create(&format!("{PATH}/runs/{run}/continue"), &form).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("COMPLETED")));
}

async fn deleted(site: &Site) {
    let request = http_delete("/sessions/s?type=agent");
    assert_eq!(site.send(request).await.status, 204);
}

fn http_delete(path: &str) -> axum::http::Request<axum::body::Body> {
    axum::http::Request::delete(path).body(axum::body::Body::empty()).unwrap()
}

/// Has a run end at the first one, and its session be deleted through the second one.
async fn forgotten(a: &Site, b: &Site, run: &str) {
    asks(a, run).await;
    answered(a, run).await;
    let id = parse_id(run).unwrap();
    let kept = a.service.engine().get(id).unwrap();
    within("it is stored", kept.stored()).await.unwrap();
    deleted(b).await;
    assert!(a.service.engine().get(id).is_some(), "it is kept");
}

#[tokio::test]
async fn t6_a_run_is_answered_through_a_node_that_keeps_an_earlier_one_of_its_id() {
    let (a, b) = two();
    forgotten(&a, &b, "r").await;
    asks(&b, "r").await;
    soon_read(&a, PATH, "r", "PAUSED").await;
    answered(&a, "r").await;
    soon_read(&b, PATH, "r", "COMPLETED").await;
}

#[tokio::test]
async fn an_id_whose_run_was_deleted_through_another_node_is_free() {
    let (a, b) = two();
    forgotten(&a, &b, "r").await;
    asks(&a, "r").await;
    assert_eq!(read(&b, PATH, "r", "s").await["status"], "PAUSED");
}

#[tokio::test]
async fn a_session_is_deleted_through_a_node_that_keeps_an_earlier_run_of_the_id_of_its_run() {
    let (a, b) = two();
    forgotten(&a, &b, "r").await;
    asks(&b, "r").await;
    answered(&b, "r").await;
    soon_read(&b, PATH, "r", "COMPLETED").await;
    within("it is stored", b.service.engine().get(parse_id("r").unwrap()).unwrap().stored())
        .await
        .unwrap();
    deleted(&a).await;
    for site in [&a, &b] {
        assert_eq!(site.get(&format!("{PATH}/runs/r?session_id=s")).await.status, 404);
        assert_eq!(site.get("/sessions/s?type=agent").await.status, 404);
    }
}

#[tokio::test]
async fn a_deletion_that_waits_until_nothing_of_a_run_executes_is_not_of_a_later_one_of_its_id() {
    let (nodes, is_free) = (Nodes::new(secs(30)), Arc::new(AtomicBool::new(false)));
    let [a, b] = ["a", "b"].map(|name| site_with(&is_free, brief().node(nodes.join(name))));
    let form = |wait| {
        [
            ("message", "m"),
            ("stream", "false"),
            ("background", wait),
            ("session_id", "s"),
            ("run_id", "r"),
        ]
    };
    let path = "/agents/stuck";
    assert_eq!(a.create(&format!("{path}/runs"), &form("true")).await.status, 202);
    at_work(&a, "r").await;
    let cancel = format!("{path}/runs/r/cancel?wait=true");
    assert_eq!(a.post(&cancel).await.header("quell-quiescent"), "false");
    // Through both: each sees to it.
    deleted(&b).await;
    deleted(&a).await;
    is_free.store(true, Ordering::SeqCst);
    let id = parse_id("r").unwrap();
    soon("it has left", || a.service.engine().get(id).is_none()).await;
    let gone = async { while a.service.engine().stored_run(id).await != Ok(None) {} };
    within("from the store as well", gone).await;
    let again = a.create(&format!("{path}/runs"), &form("false")).await;
    assert_eq!(again.json()["status"], "COMPLETED", "{again:?}");
    let run = a.service.engine().get(id).unwrap();
    within("it is stored", run.stored()).await.unwrap();
    for site in [&a, &b] {
        assert_eq!(site.get("/sessions/s?type=agent").await.status, 200);
        assert_eq!(read(site, path, "r", "s").await["status"], "COMPLETED");
    }
}
