//! With a store: what is not stored is not acknowledged.

use std::sync::Arc;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig};
use quell_agentos::Options;
use quell_http::Access;
use quell_test_support::{Flow, Valve};

use crate::support::http::start;
use crate::support::{Site, fresh};

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    let (path, probe) = ("/agents/slow-agent", fresh("probe"));
    let run = start(&site, path, &format!("probe={probe}"), "s").await;
    site.at_work(&probe, 1).await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let fields = [("message", "x"), ("stream", "false")];
    assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 503);
    let cancel = format!("{path}/runs/{run}/cancel");
    let stopped = site.post(&cancel).await;
    assert_eq!(stopped.status, 503, "{}", stopped.text);
    assert!(stopped.text.contains("could not be stored"), "{}", stopped.text);
    store.set(Flow::Open);
    while site.post(&cancel).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
