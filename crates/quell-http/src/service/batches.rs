//! [`Batch`]: a request that makes several runs, which a process that ends does not cut in the
//! middle.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::service::Service;

/// A request that makes several runs, or none. [`Service::end_batches`] waits until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, nobody waits for it"]
pub struct Batch {
    all: TaskTracker,
    /// Counts it until it is dropped.
    _token: TaskTrackerToken,
}

impl Batch {
    /// Tells whether it is to make no more runs, and to take back those that it has made: the
    /// service is about to end, and would stop them.
    pub fn is_to_end(&self) -> bool {
        self.all.is_closed()
    }
}

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
    /// assert!(!batch.is_to_end());
    /// assert!(!service.end_batches(std::time::Duration::ZERO).await);
    /// assert!(batch.is_to_end() && service.begin_batch().is_none());
    /// drop(batch);
    /// assert!(service.end_batches(std::time::Duration::ZERO).await);
    /// # });
    /// ```
    pub fn begin_batch(&self) -> Option<Batch> {
        // In this order: whoever waits from here on waits for this one, or it is not begun.
        let all = self.shared().batches.clone();
        let token = all.token();
        (!all.is_closed()).then_some(Batch { all, _token: token })
    }

    /// Lets no more batches begin, has those give up that have begun ([`Batch::is_to_end`]), and
    /// waits until they have ended, at most so long; zero looks once. Tells whether they have. To
    /// be called before the engine is shut down, behind which nothing can be taken back any more:
    /// their runs would be stopped, and be there for their client to find.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once polled, no more batches begin.
    pub async fn end_batches(&self, within: Duration) -> bool {
        self.shared().batches.close();
        timeout(within, self.shared().batches.wait()).await.is_ok()
    }
}
