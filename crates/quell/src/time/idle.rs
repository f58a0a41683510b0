//! An [`IdleWatch`] notes when a subtree last showed a sign of life, for idle limits.

use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::time::clock::Ticks;

/// When a subtree last showed a sign of life. Only runs with an idle limit make one; their
/// descendants share it, so that a sign costs one store per idle limit above it, and no lock.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    /// The instant of the last sign of life.
    ticks: AtomicU64,
    /// The watch of the nearest run above that had an idle limit when this one was made.
    above: Option<Arc<Self>>,
    /// Whether this subtree is detached from that run. It is never attached again.
    cut: AtomicBool,
}

impl IdleWatch {
    pub(crate) fn new(now: Ticks, above: Option<Arc<Self>>) -> Self {
        Self { ticks: AtomicU64::new(now.get()), above, cut: AtomicBool::new(false) }
    }

    /// Notes a sign of life here and above.
    pub(crate) fn touch(&self, now: Ticks) {
        let mut next = Some(self);
        while let Some(watch) = next {
            // The maximum: another thread may have read the clock later and been faster here.
            watch.ticks.fetch_max(now.get(), Ordering::Relaxed);
            next = watch.above();
        }
    }

    fn above(&self) -> Option<&Self> {
        self.above.as_deref().filter(|_| !self.cut.load(Ordering::Relaxed))
    }

    pub(crate) fn ticks(&self) -> Ticks {
        Ticks::from_raw(self.ticks.load(Ordering::Relaxed))
    }

    /// Cuts this watch off from `watch` above it, because its subtree is detached.
    pub(crate) fn cut_from(&self, watch: &Arc<Self>) {
        if self.above.as_ref().is_some_and(|above| Arc::ptr_eq(above, watch)) {
            self.cut.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for IdleWatch {
    /// Drops the watches above one by one: recursion down a long chain would overflow the
    /// stack.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(mut watch) = next.and_then(Arc::into_inner) {
            next = watch.above.take();
        }
    }
}
