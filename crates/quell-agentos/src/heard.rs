//! What clients are told of a run is in the store before.

use axum::http::StatusCode;
use quell::{RunRef, RunStatus, limits};
use quell_http::{RunView, View, is_loss};
use tokio::time::timeout;

use crate::wire::refusal::Refusal;

/// Waits until it is in the store that a run of a tree is paused or has ended, if that is what is
/// told: whoever was told of the pause can answer it then, also through another node, and whoever
/// was told of the end is told the same by every node and by every later process, and finds it in
/// the history of the next run. A store that is slow, or in trouble, is not waited for.
///
/// What is told has to be read before: a run may end meanwhile.
///
/// # Errors
///
/// Fails if this node has lost its lease, or the run is that of another one by now: that one says
/// how the run ends, and this must not be told.
///
/// # Cancel safety
///
/// Cancel safe: it only waits.
pub(crate) async fn is_heard_of(
    view: &View,
    root: &RunRef,
    told: RunStatus,
) -> Result<(), Refusal> {
    let is_told = told.is_terminal() || told == RunStatus::Paused;
    if is_told && view.service().engine().has_store() {
        let stored = async {
            root.events_stored().await?;
            // What a node has given up since it has lost its lease is on its way no more.
            root.stored().await
        };
        let stored = timeout(limits::STORE_WAIT, stored).await;
        if matches!(stored, Ok(Err(error)) if is_loss(&error)) {
            return Err(is_elsewhere());
        }
    }
    Ok(())
}

/// As [`is_heard_of`], of a run that may be only in the store: what that says is heard of.
pub(crate) async fn is_heard_of_any(
    view: &View,
    run: &RunView,
    told: RunStatus,
) -> Result<(), Refusal> {
    match run {
        RunView::Live(run) => is_heard_of(view, run, told).await,
        RunView::Stored(_) => Ok(()),
    }
}

/// Yields how a run stands, when that may be told.
///
/// # Errors
///
/// As [`is_heard_of`].
pub(crate) async fn status_to_tell(view: &View, run: &RunView) -> Result<RunStatus, Refusal> {
    let now = run.status();
    is_heard_of_any(view, run, now).await?;
    Ok(now)
}

fn is_elsewhere() -> Refusal {
    let text = "This server has lost the run to another one, which says how it ends; ask again";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}
