//! [`LongRequests`]: the permits of requests that hold their connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the requests that hold their connection: those for long by themselves, and with the
/// others that are under way. Each is counted before it looks; those that look at once may count
/// each other or not, so that one more is in, or one less.
#[derive(Debug)]
pub(crate) struct LongRequests {
    free: Arc<Semaphore>,
    most: usize,
    /// The others that are under way.
    short: Arc<AtomicUsize>,
}

/// Lets a request hold its connection for long. Another request may have the permit when it is
/// dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it permits nothing"]
pub struct LongRequestPermit {
    _permit: OwnedSemaphorePermit,
}

/// Counts a request that does not hold its connection for long, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts nothing"]
pub struct ShortRequestPermit {
    counted: Arc<AtomicUsize>,
}

impl Drop for ShortRequestPermit {
    fn drop(&mut self) {
        self.counted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LongRequests {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most, short: Arc::default() }
    }

    /// Takes a permit; `None` if all are taken, or if with the others so many are under way as may
    /// be ([`has_room`](Self::has_room)).
    pub(crate) fn try_acquire(&self) -> Option<LongRequestPermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.has_room(self.most / 6).then_some(LongRequestPermit { _permit: permit })
    }

    /// Counts another request in; `None` if with all of them more are under way than this part of
    /// the long ones above these.
    pub(crate) fn try_count(&self, part: usize) -> Option<ShortRequestPermit> {
        self.short.fetch_add(1, Ordering::Relaxed);
        let permit = ShortRequestPermit { counted: Arc::clone(&self.short) };
        self.has_room(self.most / part).then_some(permit)
    }

    /// Tells whether no more are under way than all the long ones and so many more.
    fn has_room(&self, above: usize) -> bool {
        let under_way = self.taken().saturating_add(self.short.load(Ordering::Relaxed));
        under_way <= self.most.saturating_add(above.max(1))
    }

    /// Counts the permits that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }
}
