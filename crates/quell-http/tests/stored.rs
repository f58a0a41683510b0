//! With a store: what is acknowledged is stored, and what is not stored is not acknowledged.

use std::sync::Arc;

use axum::http::StatusCode;
use quell::EngineConfig;
use quell::store::{Store, StoreError};
use quell_http::router;
use quell_test_support::{Flow, Valve, Witness};
use serde_json::json;

use crate::support::{get, post, service_with, soon};

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let (store, witness) = (Valve::new(Flow::Open), Witness::default());
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &witness);
    let app = router(service.clone());
    let body = |id: &str| json!({ "component": "agent/sleeper", "id": id });
    let created = post(&app, "/v1/runs", &body("a")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let id = quell_http::parse_id("a").unwrap();
    assert!(store.get(id).await.unwrap().is_some(), "it is stored when it is acknowledged");
    soon("it works", || witness.inside() == 1).await;

    store.set(Flow::Failing(StoreError::Full { what: "secret-path".into() }));
    let refused = post(&app, "/v1/runs", &body("b")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.json()["type"].as_str().unwrap().ends_with("not-stored"), "{refused:?}");
    assert!(!refused.text.contains("secret-path"), "the log says why");
    assert_eq!(get(&app, "/v1/runs/b").await.status, StatusCode::NOT_FOUND);
    let stopped = post(&app, "/v1/runs/a/cancel", &json!({})).await;
    assert_eq!(stopped.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(stopped.json()["type"].as_str().unwrap().ends_with("stop-not-stored"));
    soon("it is in effect all the same", || witness.inside() == 0).await;

    store.set(Flow::Open);
    let again = || async { post(&app, "/v1/runs/a/cancel", &json!({})).await.status };
    while again().await != StatusCode::OK {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(store.get(id).await.unwrap().unwrap().stop.is_some());
}
