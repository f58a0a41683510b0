//! An [`IdleWatch`] notes when a subtree last showed a sign of life, for idle limits.

use std::sync::{Arc, Weak};

use quell_core::RunId;

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::ticks::Ticks;

/// When a subtree last showed a sign of life. Only runs with an idle limit make one; their
/// descendants share it, so that a sign costs a few atomic operations per idle limit above it.
///
/// The lock is a leaf below that of a node, and taken only to go from one watch to the next.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    /// The run that made it.
    of: RunId,
    /// The instant of the last sign of life.
    ticks: AtomicU64,
    /// The watch of the nearest run above that has one; none if this subtree is detached from it.
    /// That run keeps it. If this subtree is detached it need not: of runs that leave one another
    /// without end, each would keep the watches of all before it.
    above: Mutex<Weak<Self>>,
}

impl IdleWatch {
    pub(crate) fn new(of: RunId, now: Ticks, above: Option<&Arc<Self>>) -> Self {
        let above = above.map_or_else(Weak::new, Arc::downgrade);
        Self { of, ticks: AtomicU64::new(now.get()), above: Mutex::new(above) }
    }

    /// Tells whether a run has made it, rather than one above that run.
    pub(crate) fn is_of(&self, run: RunId) -> bool {
        self.of == run
    }

    /// Notes a sign of life here and above. Not inlined: every event of a run without an idle limit
    /// would pay for it (callgrind, `events/0_0`).
    #[inline(never)]
    pub(crate) fn touch(&self, now: Ticks) {
        self.start_from(now);
        let mut next = self.above();
        while let Some(watch) = next {
            watch.start_from(now);
            next = watch.above();
        }
    }

    fn above(&self) -> Option<Arc<Self>> {
        self.above.lock().upgrade()
    }

    /// Counts from this instant, unless there was a later sign of life.
    pub(crate) fn start_from(&self, now: Ticks) {
        // The maximum: another thread may have read the clock later and been faster here.
        self.ticks.fetch_max(now.get(), Ordering::Relaxed);
    }

    pub(crate) fn ticks(&self) -> Ticks {
        Ticks::from_raw(self.ticks.load(Ordering::Relaxed))
    }

    /// Cuts this watch off from `watch` above it, because its subtree is detached.
    pub(crate) fn cut_from(&self, watch: &Arc<Self>) {
        self.replace_above(Some(watch), Weak::new());
    }

    /// Puts a new watch, of a run between, above this one, if `before` is there now.
    pub(crate) fn put_under(&self, new: &Arc<Self>, before: Option<&Arc<Self>>) {
        self.replace_above(before, Arc::downgrade(new));
    }

    fn replace_above(&self, before: Option<&Arc<Self>>, after: Weak<Self>) {
        let mut above = self.above.lock();
        if std::ptr::eq(above.as_ptr(), before.map_or_else(|| Weak::new().as_ptr(), Arc::as_ptr)) {
            *above = after;
        }
    }
}

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    fn at(ticks: u64) -> Ticks {
        Ticks::from_raw(ticks)
    }

    fn run() -> RunId {
        RunId::from_text("run")
    }

    #[test]
    fn i25_a_watch_that_is_cut_off_shows_nothing_above_and_those_below_show_it() {
        let root = Arc::new(IdleWatch::new(run(), at(1), None));
        let middle = Arc::new(IdleWatch::new(run(), at(1), Some(&root)));
        let leaf = IdleWatch::new(run(), at(1), Some(&middle));
        let seen = || (root.ticks().get(), middle.ticks().get(), leaf.ticks().get());
        leaf.touch(at(2));
        assert_eq!(seen(), (2, 2, 2));
        // What is below the one that leaves is asked, too, and has another one above it.
        leaf.cut_from(&root);
        middle.cut_from(&root);
        leaf.touch(at(3));
        assert_eq!(seen(), (2, 3, 3));
        leaf.touch(at(2));
        assert_eq!(seen(), (2, 3, 3), "of two signs the later one counts");
    }

    #[test]
    fn i39_runs_that_leave_one_another_keep_no_watch_of_those_before_them() {
        let first = Arc::new(IdleWatch::new(run(), at(1), None));
        let (gone, mut last) = (Arc::downgrade(&first), first);
        for now in 2..5 {
            let next = Arc::new(IdleWatch::new(run(), at(now), Some(&last)));
            next.cut_from(&last);
            last = next;
        }
        assert!(gone.upgrade().is_none(), "kept by {last:?}");
    }
}
