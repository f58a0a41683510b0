//! [`Hidden`]: runs and threads that are deleted and have not left yet.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use quell::cluster::RunMeant;
use tokio::time::Instant;
use uuid::Uuid;

/// Runs that nobody is shown any more: they are deleted, and are about to leave. Each is live, or
/// being forgotten, so that there are no more of them than the engine has. Threads of which that is
/// so with all that they have, each with its owner.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    runs: Mutex<HashSet<RunMeant>>,
    threads: Mutex<HashMap<Uuid, Option<String>>>,
    /// Threads of which nothing came and nobody was told, and whose records are about to leave:
    /// each with the refused requests that have them leave.
    unused: Mutex<HashMap<Uuid, usize>>,
    /// Threads of this process whose deletion the store has failed, the last time then, and that
    /// may be deleted.
    doubtful: Mutex<HashMap<Uuid, Instant>>,
}

impl Hidden {
    /// Notes that the record of a thread of which nothing came is about to leave, before the thread
    /// leaves the table: whoever does not find it there, and its record, knows that.
    pub(crate) fn begin_unused(&self, thread: Uuid) {
        *self.unused.lock().entry(thread).or_default() += 1;
    }

    pub(crate) fn is_unused(&self, thread: Uuid) -> bool {
        self.unused.lock().contains_key(&thread)
    }

    /// Notes that its record has left, or is to stay, as far as one of these requests goes.
    pub(crate) fn end_unused(&self, thread: Uuid) {
        let mut all = self.unused.lock();
        if let Entry::Occupied(mut count) = all.entry(thread) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Notes that a thread may be deleted, and that somebody looks; false if somebody does already.
    pub(crate) fn begin_look(&self, thread: Uuid) -> bool {
        self.doubtful.lock().insert(thread, Instant::now()).is_none()
    }

    /// Ends the look if the last deletion has failed so long ago; tells whether it has.
    pub(crate) fn end_look(&self, thread: Uuid, after: Duration) -> bool {
        let mut all = self.doubtful.lock();
        let is_over = all.get(&thread).is_none_or(|at| at.elapsed() >= after);
        if is_over {
            all.remove(&thread);
        }
        is_over
    }

    pub(crate) fn hide(&self, runs: impl IntoIterator<Item = RunMeant>) {
        self.runs.lock().extend(runs);
    }

    /// Tells whether nobody is shown a run. A later one that has its id, which may be somebody
    /// else's, is shown.
    pub(crate) fn has(&self, run: RunMeant) -> bool {
        self.runs.lock().contains(&run)
    }

    /// Forgets runs that have left.
    pub(crate) fn release(&self, runs: impl IntoIterator<Item = RunMeant>) {
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::RunId;

    use super::*;

    #[test]
    fn a_later_run_that_has_the_id_of_a_hidden_one_is_shown() {
        let (hidden, id, at) = (Hidden::default(), RunId::from_text("r"), SystemTime::now());
        let run = RunMeant::accepted_at(id, at);
        let later = RunMeant::accepted_at(id, at + Duration::from_millis(1));
        hidden.hide([run]);
        assert!(hidden.has(run) && !hidden.has(later));
        hidden.release([later]);
        assert!(hidden.has(run));
    }
}
