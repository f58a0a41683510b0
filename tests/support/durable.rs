//! Engines on a store.

use std::sync::Arc;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig, Failure, RunContext, RunRef, RunSpec, RunStatus};

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
    started_as(engine, spec, listener).await
}

/// Lets a run start that has this body, and be stored so.
pub(crate) async fn started_as<F, Fut>(engine: &Engine, spec: RunSpec, body: F) -> RunRef
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let run = engine.submit_durably(spec, body).await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}
