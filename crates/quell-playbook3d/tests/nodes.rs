//! Two labs on two nodes of one store: what is asked of the one about runs of the other.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use quell::testing::cluster::Nodes;
use quell::{Engine, EngineConfig, RunStatus};
use quell_demo::playbook3d::{ALICE, ALPHA, SHORT, SLOW};
use quell_playbook3d::Options;
use quell_test_support::{secs, soon};
use serde_json::{Value, json};

use crate::support::lab::{Client, IN_USE, Lab};

fn two() -> (Lab, Lab) {
    two_with(&Options::default())
}

fn two_with(options: &Options) -> (Lab, Lab) {
    let nodes = Nodes::new(secs(30));
    let lab = |name| {
        let node = nodes.join(name);
        let config = EngineConfig::new().store(Arc::clone(&node) as _).cluster(node);
        Lab::on_with(Engine::with_config(config), options.clone())
    };
    (lab("a"), lab("b"))
}

#[tokio::test]
async fn a_token_of_one_node_is_good_at_the_other_one_if_both_have_the_same_secrets() {
    let mut same = Options::default();
    (same.token_secret, same.platform_key) = (Some("s3cret".repeat(6)), Some("p1atform".into()));
    for (options, status) in [(&same, 200), (&Options::default(), 401)] {
        let (a, b) = two_with(options);
        let mut client = a.alice().await;
        let elsewhere = |client: &Client| {
            let mut other = b.nobody();
            other.headers.clone_from(&client.headers);
            other
        };
        assert_eq!(client.get("/teams").await.status, 200);
        assert_eq!(elsewhere(&client).get("/teams").await.status, status);
        // With the key of the platform, as the SDKs do.
        let secrets = a.nobody().get(&format!("/get-sdk-secrets/{ALICE}")).await;
        client.set("x-api-key", secrets.body["API_KEY"].as_str().unwrap());
        assert_eq!(client.get("/teams").await.status, 200);
        assert_eq!(elsewhere(&client).get("/teams").await.status, status);
    }
}

#[tokio::test]
async fn a_run_of_another_node_is_listed_read_and_cancelled() {
    let (a, b) = two();
    let (near, far) = (a.alice().await, b.alice().await);
    let run = near.start(ALPHA, SLOW, json!({ "message": "tick_ms=2 probe=p" })).await;
    soon("it ticks", || a.ticks("p") > 0).await;
    a.run(&run).stored().await.unwrap();
    let listed = far.listed(&run).await;
    assert_eq!(listed["status"], near.listed(&run).await["status"]);
    assert_eq!(far.result(&run).await["quell"]["status"], "running");
    let others = b.nobody().cancel(ALPHA, &run).await;
    assert_ne!(others.status, 200, "{others:?}");
    assert_eq!(a.run(&run).status(), RunStatus::Running);
    let told = far.cancel(ALPHA, &run).await;
    assert_eq!((told.status.as_u16(), told.header("quell-disposition")), (200, Some("accepted")));
    assert_eq!(told.header("quell-cause"), Some("user-request"));
    assert_eq!(a.run(&run).status(), RunStatus::Cancelled);
    let before = a.ticks("p");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(a.ticks("p"), before, "nothing ticks any more");
    a.run(&run).stored().await.unwrap();
    assert_eq!(far.result(&run).await, near.result(&run).await);
    let again = far.cancel(ALPHA, &run).await;
    assert_eq!(again.header("quell-disposition"), Some("already-terminal"));
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_the_run_that_another_node_has() {
    let (a, b) = two();
    let (mut near, mut far) = (a.alice().await, b.alice().await);
    let body = json!({ "id": SLOW, "origin": "2", "inputs": {} }).to_string();
    let path = format!("/run_workflow/{ALPHA}");
    for client in [&mut near, &mut far] {
        client.set("idempotency-key", "k");
    }
    let first = near.post(&path, body.clone()).await;
    let again = far.post(&path, body).await;
    assert_eq!((first.status, first.text), (again.status, again.text));
    assert!(b.service.engine().runs(&quell::RunFilter::new()).is_empty(), "none was made there");
    let other = json!({ "id": SHORT, "origin": "2", "inputs": {} }).to_string();
    let [one, two] = [near.post(&path, other.clone()).await, far.post(&path, other).await];
    assert_eq!((one.status, one.text), (two.status, two.text), "another request with that key");
}

#[tokio::test]
async fn an_id_that_another_node_has_is_in_use() {
    let (a, b) = two();
    let (near, far) = (a.alice().await, b.alice().await);
    let run = near.start(ALPHA, SLOW, Value::Null).await;
    let body = json!({ "id": SLOW, "origin": "2", "inputs": {} }).to_string();
    let path = format!("/run_workflow/{ALPHA}/{run}");
    let refused = far.call(Method::POST, &path, Body::from(body)).await;
    refused.assert_refused(400, IN_USE);
}

#[tokio::test]
async fn an_id_that_one_node_has_handed_out_is_cancelled_and_started_on_others() {
    let mut options = Options::default();
    options.token_secret = Some("s3cret".repeat(6));
    let (a, b) = two_with(&options);
    let (near, far) = (a.alice().await, b.alice().await);
    let id = near.get("/get_run_id").await.body["run_id"].as_str().expect("an id").to_owned();
    let told = far.cancel(ALPHA, &id).await;
    assert_eq!((told.status.as_u16(), told.header("quell-disposition")), (200, Some("reserved")));
    let body = json!({ "id": SLOW, "inputs": { "message": "tick_ms=1 probe=never" } });
    let path = format!("/run_workflow/{ALPHA}/{id}");
    assert_eq!(near.post(&path, body.to_string()).await.status, 200);
    assert_eq!(a.run(&id).ended().await.status, RunStatus::Cancelled);
    assert_eq!(a.ticks("never"), 0, "it never executes");
    a.run(&id).stored().await.unwrap();
    // Used up.
    let again = far.cancel(ALPHA, &id).await;
    assert_eq!(again.header("quell-disposition"), Some("already-terminal"));
    // Of a server with another secret it is an id as any other.
    let strange = b.alice().await.get("/get_run_id").await.body["run_id"].clone();
    let other = Lab::new();
    let told = other.alice().await.cancel(ALPHA, strange.as_str().expect("an id")).await;
    assert_eq!((told.status.as_u16(), told.header("quell-disposition")), (404, Some("unknown")));
}

#[tokio::test]
async fn what_another_node_has_forgotten_is_not_behind_a_list_of_many() {
    let (a, b) = two();
    let (near, far) = (a.alice().await, b.alice().await);
    let mut old = Vec::new();
    for _ in 0..2 {
        let run = a.run(&near.start(ALPHA, SHORT, Value::Null).await);
        run.quiescent().await;
        run.stored().await.unwrap();
        old.push(run);
    }
    // More than a list reads of the store.
    for _ in 0..2_100 {
        far.start(ALPHA, SHORT, Value::Null).await;
    }
    for run in b.service.engine().runs(&quell::RunFilter::new()) {
        run.stored().await.unwrap();
    }
    b.service.engine().forget_stored(old[0].id()).await.unwrap();
    let listed = near.get("/runs").await.text;
    let has = |nth: usize| listed.contains(&old[nth].id().to_string());
    assert_eq!((has(0), has(1)), (false, true), "the one that is left");
}
