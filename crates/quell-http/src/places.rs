//! [`Places`]: requests that hold their connection for long, within a bound.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of requests that hold their connection for long.
#[derive(Debug)]
pub(crate) struct Places(Arc<Semaphore>);

/// The place of a request that holds its connection for long. Dropped, it is free again.
#[derive(Debug)]
#[must_use = "dropped at once, it is free again"]
pub struct LongPlace {
    _place: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    pub(crate) fn take(&self) -> Option<LongPlace> {
        let place = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(LongPlace { _place: place })
    }
}
