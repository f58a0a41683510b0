//! What clients are told of a run is in the store before.

use quell::{RunRef, RunStatus, limits};
use quell_http::{RunView, View};
use tokio::time::timeout;

/// Waits until it is in the store that a run of a tree is paused or has ended, if that is what is
/// told: whoever was told of the pause can answer it then, also through another node, and whoever
/// was told of the end is told the same by every node and by every later process, and finds it in
/// the history of the next run. A store that is slow, or in trouble, is not waited for.
///
/// What is told has to be read before: a run may end meanwhile.
pub(crate) async fn is_heard_of(view: &View, root: &RunRef, told: RunStatus) {
    let is_told = told.is_terminal() || told == RunStatus::Paused;
    if is_told && view.service().engine().has_store() {
        let _ = timeout(limits::STORE_WAIT, root.events_stored()).await;
    }
}

/// As [`is_heard_of`], of a run that may be only in the store: what that says is heard of.
pub(crate) async fn is_heard_of_any(view: &View, run: &RunView, told: RunStatus) {
    if let RunView::Live(run) = run {
        is_heard_of(view, run, told).await;
    }
}

/// Yields how a run stands, when that may be told.
pub(crate) async fn status_to_tell(view: &View, run: &RunView) -> RunStatus {
    let now = run.status();
    is_heard_of_any(view, run, now).await;
    now
}
