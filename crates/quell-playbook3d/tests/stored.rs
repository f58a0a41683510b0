//! With a store: what is not stored is not acknowledged.

use std::sync::Arc;
use std::time::Duration;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig};
use quell_demo::playbook3d::{ALPHA, SLOW};
use quell_test_support::{Flow, Valve};
use serde_json::json;

use crate::support::lab::Lab;

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let lab = Lab::on(Engine::with_config(config));
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({ "message": "tick_ms=2 probe=live" })).await;
    while lab.ticks("live") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let body = json!({ "id": SLOW, "origin": "2", "inputs": {} }).to_string();
    // The table of the contract has no 503.
    assert_eq!(alice.post(&format!("/run_workflow/{ALPHA}"), body).await.status, 500);
    assert_eq!(alice.cancel(ALPHA, &run).await.status, 500);
    store.set(Flow::Open);
    while alice.cancel(ALPHA, &run).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
