//! [`Hidden`]: runs and threads that are deleted and have not left yet.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use quell::RunId;
use uuid::Uuid;

/// Runs that nobody is shown any more: they are deleted, and are about to leave. Each is live, or
/// being forgotten, so that there are no more of them than the engine has. Threads of which that is
/// so with all that they have, each with its owner.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    runs: Mutex<HashSet<RunId>>,
    threads: Mutex<HashMap<Uuid, Option<String>>>,
}

impl Hidden {
    pub(crate) fn hide(&self, runs: impl IntoIterator<Item = RunId>) {
        self.runs.lock().extend(runs);
    }

    pub(crate) fn has(&self, run: RunId) -> bool {
        self.runs.lock().contains(&run)
    }

    /// Forgets runs that have left.
    pub(crate) fn release(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut all = self.runs.lock();
        for run in runs {
            all.remove(&run);
        }
    }

    /// Notes that a thread of an owner is being cleared; false if it is already.
    pub(crate) fn bury(&self, thread: Uuid, owner: Option<&str>) -> bool {
        self.threads.lock().insert(thread, owner.map(str::to_owned)).is_none()
    }

    /// Makes something of a thread, unless one of its id is being cleared: then none. Whoever
    /// clears it has noted that before the thread leaves the table, so that no time is between.
    pub(crate) fn unless_buried<T>(&self, thread: Uuid, make: impl FnOnce() -> T) -> Option<T> {
        let threads = self.threads.lock();
        (!threads.contains_key(&thread)).then(make)
    }

    pub(crate) fn is_buried(&self, thread: Uuid, owner: Option<&str>) -> bool {
        self.threads.lock().get(&thread).is_some_and(|it| it.as_deref() == owner)
    }

    /// Forgets a thread that is cleared.
    pub(crate) fn unbury(&self, thread: Uuid) {
        self.threads.lock().remove(&thread);
    }
}
