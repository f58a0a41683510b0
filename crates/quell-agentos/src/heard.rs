//! What clients are told of a run is in the store before.

use axum::http::StatusCode;
use quell::{RunRef, RunStatus, limits};
use quell_http::{RunView, View};
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
/// Fails if this node has lost its lease, or the run is that of another one by now, or if this
/// process ends while its store is in trouble: another one says how the run ends, and this must not
/// be told.
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
        let holds = timeout(limits::STORE_WAIT, view.service().holds_tree(root)).await;
        if holds == Ok(false) {
            return Err(not_known());
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

fn not_known() -> Refusal {
    let text = "Another server says how the run ends: this one has lost it, or is about to end \
                itself; ask again";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}
