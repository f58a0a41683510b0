//! An [`IdleWatch`] notes when a subtree last showed a sign of life, for idle limits.

use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::clock::Ticks;

/// When a subtree last showed a sign of life. Only runs with an idle limit make one; their
/// descendants share it, so that a sign costs one store per idle limit above it.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    /// The instant of the last sign of life.
    ticks: AtomicU64,
    /// The watch of the nearest run above that has an idle limit. Its lock is a leaf.
    above: Mutex<Option<Arc<Self>>>,
}

impl IdleWatch {
    pub(crate) fn new(now: Ticks, above: Option<Arc<Self>>) -> Self {
        Self { ticks: AtomicU64::new(now.get()), above: Mutex::new(above) }
    }

    /// Notes a sign of life here and above.
    pub(crate) fn touch(&self, now: Ticks) {
        // The maximum: another thread may have read the clock later and been faster here.
        self.ticks.fetch_max(now.get(), Ordering::Relaxed);
        let mut next = self.above();
        while let Some(watch) = next {
            watch.ticks.fetch_max(now.get(), Ordering::Relaxed);
            next = watch.above();
        }
    }

    fn above(&self) -> Option<Arc<Self>> {
        self.above.lock().clone()
    }

    pub(crate) fn ticks(&self) -> Ticks {
        Ticks::from_raw(self.ticks.load(Ordering::Relaxed))
    }

    /// Cuts this watch off from `watch` above it, because its subtree is detached.
    pub(crate) fn cut_from(&self, watch: &Arc<Self>) {
        let mut above = self.above.lock();
        if above.as_ref().is_some_and(|above| Arc::ptr_eq(above, watch)) {
            *above = None;
        }
    }
}

impl Drop for IdleWatch {
    /// Drops the watches above one by one: recursion down a long chain would overflow the
    /// stack.
    fn drop(&mut self) {
        let mut next = self.above.get_mut().take();
        while let Some(mut watch) = next.and_then(Arc::into_inner) {
            next = watch.above.get_mut().take();
        }
    }
}
