//! [`Batch`]: a request that makes several runs, which a process that ends does not cut in the
//! middle.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::service::Service;

/// A request that makes several runs, or none. [`Service::end_batches`] waits until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, nobody waits for it"]
pub struct Batch(#[expect(dead_code, reason = "it counts until it is dropped")] TaskTrackerToken);

impl Service {
    /// Says that a request begins that makes several runs. `None` behind
    /// [`end_batches`](Self::end_batches): then it makes none.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Engine;
    /// use quell_flow::Catalog;
    /// use quell_http::Service;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// let service = Service::new(Engine::new(), Catalog::new());
    /// let batch = service.begin_batch().unwrap();
    /// assert!(!service.end_batches(std::time::Duration::ZERO).await);
    /// assert!(service.begin_batch().is_none());
    /// drop(batch);
    /// assert!(service.end_batches(std::time::Duration::ZERO).await);
    /// # });
    /// ```
    pub fn begin_batch(&self) -> Option<Batch> {
        // In this order: whoever waits from here on waits for this one, or it is not begun.
        let token = self.shared().batches.token();
        (!self.shared().batches.is_closed()).then_some(Batch(token))
    }

    /// Lets no more batches begin, and waits until those have ended that have begun, at most so
    /// long; zero looks once. Tells whether they have. To be called before [`Service::drain`], which
    /// would have them refused when some of their runs are made, and those be stopped for their
    /// client to find.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once polled, no more batches begin.
    pub async fn end_batches(&self, within: Duration) -> bool {
        self.shared().batches.close();
        timeout(within, self.shared().batches.wait()).await.is_ok()
    }
}
