//! [`Snapshot`]: what was alive when a look began, for everybody who asked before that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::adopted::reap;
use super::processes::Processes;

/// What was alive at some instant.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) begun_at: Instant,
    /// None if `/proc` is not what it should be.
    pub(super) processes: Option<Arc<Processes>>,
    /// The last look that came to its end: this one, if it did.
    complete: Option<Arc<Processes>>,
}

/// Takes a snapshot, unless one was begun since; blocks the thread.
pub(super) fn fresh(asked_at: Instant) -> Snapshot {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(last) = &*last
        && last.begun_at >= asked_at
    {
        return last.clone();
    }
    let begun_at = Instant::now();
    let before = last.take().and_then(|last| last.complete);
    let mut processes = Processes::read(before.as_deref());
    // What the look did not meet alive any more is dead now.
    if let Some(processes) = &mut processes {
        reap(processes);
    }
    let processes = processes.map(Arc::new);
    let complete = processes.clone().filter(|it| it.is_listed).or(before);
    last.insert(Snapshot { begun_at, processes, complete }).clone()
}

/// The snapshot that was taken last.
static LAST: Mutex<Option<Snapshot>> = Mutex::new(None);
