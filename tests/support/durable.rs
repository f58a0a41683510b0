//! Engines on a store.

use std::sync::Arc;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig, RunRef, RunSpec, RunStatus};

use super::{Valve, listener, soon};

/// Makes an engine on a store.
pub(crate) fn durable(store: &Arc<Valve>) -> Engine {
    Engine::with_config(EngineConfig::new().store(Arc::clone(store) as Arc<dyn Store>))
}

/// The trouble of a store that is full.
pub(crate) fn full() -> StoreError {
    StoreError::Full { what: "said the test".into() }
}

/// Lets a run that waits for its stop start, and be stored so.
pub(crate) async fn started(engine: &Engine, spec: RunSpec) -> RunRef {
    let run = engine.submit_durably(spec, listener).await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}
