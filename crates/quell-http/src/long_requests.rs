//! [`LongRequests`]: the permits of requests that hold their connection for long.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the requests that hold their connection for long.
#[derive(Debug)]
pub(crate) struct LongRequests {
    free: Arc<Semaphore>,
    most: usize,
}

/// Lets a request hold its connection for long. Another request may have the permit when it is
/// dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it permits nothing"]
pub struct LongRequestPermit {
    _permit: OwnedSemaphorePermit,
}

impl LongRequests {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

    /// Takes a permit; `None` if all are taken.
    pub(crate) fn try_acquire(&self) -> Option<LongRequestPermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(LongRequestPermit { _permit: permit })
    }

    /// Counts the permits that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }
}
