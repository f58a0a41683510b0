//! [`Backlog`]: whether bytes wait to be written to a client, and since when.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Since when a write waits for the client, if one does. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Arc<Mutex<Option<Instant>>>);

impl Backlog {
    /// Yields since when the client has taken none of the bytes that wait to be written; none if no
    /// bytes wait.
    pub(super) fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }

    /// Notes whether a write has to wait for the client.
    pub(super) fn note(&self, waits: bool) {
        let mut since = self.0.lock();
        *since = if waits { since.or_else(|| Some(Instant::now())) } else { None };
    }
}
