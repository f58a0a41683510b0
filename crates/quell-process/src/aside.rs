//! [`run`]: awaiting what another thread of ours brings about.

use std::future::Future;

use tokio::task::JoinSet;

/// Awaits a future on a task of its own: whoever completes it wakes that task. The waker of a body
/// is foreign, and may panic or block; the runtime wakes it. None if the runtime goes away.
///
/// # Cancel safety
///
/// The future is dropped with this.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn(future);
    task.join_next().await?.ok()
}
