//! Records: what is stored of sessions besides their runs is a step that ends at once.

use quell::{Engine, RunId, RunRef, limits};
use tokio::time::timeout;

/// The name of such a step.
pub(super) const NAME: &str = "session";

/// Waits until all of a run is stored, if there is a store; false if that is slow, or in trouble.
pub(super) async fn is_stored(engine: &Engine, run: &RunRef) -> bool {
    !engine.has_store() || matches!(timeout(limits::STORE_WAIT, run.stored()).await, Ok(Ok(())))
}

/// Forgets a record, in memory and in the store; tells whether it is gone.
pub(super) async fn forget(engine: &Engine, id: RunId) -> bool {
    if let Some(record) = engine.get(id) {
        record.quiescent_status().await;
        if record.forget().is_err() && engine.get(id).is_some() {
            return false;
        }
        is_stored(engine, &record).await;
    }
    match engine.stored_run(id).await {
        Ok(None) => true,
        Ok(Some(_)) => engine.forget_stored(id).await.is_ok(),
        Err(_) => false,
    }
}
