//! What really ran, as the bodies themselves say.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quell::{EventKind, RunContext, RunEvent, RunId};
use shuttle::thread;

/// Counts outside of the engine, in atomics that are no points of the schedule.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    entered: Mutex<Vec<RunId>>,
    live: AtomicUsize,
    most: AtomicUsize,
    /// Nothing may run any more.
    is_sealed: AtomicBool,
    late: AtomicUsize,
}

/// A body that runs.
#[derive(Debug)]
pub(crate) struct Here(Arc<Witness>);

impl Witness {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A body says that it has begun.
    pub(crate) fn enter(self: &Arc<Self>, ctx: &RunContext) -> Here {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner).push(ctx.id());
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(live, Ordering::SeqCst);
        let here = Here(Arc::clone(self));
        here.step();
        here
    }

    /// From here on nothing may run.
    pub(crate) fn seal(&self) {
        assert_eq!(self.live.load(Ordering::SeqCst), 0, "bodies run after the end: {self:?}");
        self.is_sealed.store(true, Ordering::SeqCst);
    }

    /// How many bodies ran.
    pub(crate) fn entered(&self) -> Vec<RunId> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many ran at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The last word: each body ran once, and only if a log says that it was started; none was
    /// there after the end. A run may have the id of one that has ended and is forgotten.
    pub(crate) fn agree_with<'a>(&self, logs: impl IntoIterator<Item = &'a [RunEvent]>) {
        let mut started = Vec::new();
        for event in logs.into_iter().flatten() {
            if matches!(event.kind, EventKind::Started) {
                started.push(event.run);
            }
        }
        for run in self.entered() {
            let start = started.iter().position(|started| *started == run);
            let start = start.unwrap_or_else(|| panic!("{run} ran unstarted, or twice: {self:?}"));
            started.swap_remove(start);
        }
        assert_eq!(self.late.load(Ordering::SeqCst), 0, "ran after the end: {self:?}");
        assert_eq!(self.live.load(Ordering::SeqCst), 0, "still runs: {self:?}");
    }
}

impl Here {
    /// The body goes on.
    pub(crate) fn step(&self) {
        if self.0.is_sealed.load(Ordering::SeqCst) {
            self.0.late.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // A destructor takes its time.
        thread::yield_now();
        self.step();
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}
