//! [`Hidden`]: runs that are deleted and have not left yet.

use std::collections::HashSet;

use parking_lot::Mutex;
use quell::RunId;

/// Runs that nobody is shown any more: they are deleted, and are about to leave. Each is live, or
/// being forgotten, so that there are no more of them than the engine has.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Mutex<HashSet<RunId>>);

impl Hidden {
    pub(crate) fn hide(&self, runs: impl IntoIterator<Item = RunId>) {
        self.0.lock().extend(runs);
    }

    pub(crate) fn has(&self, run: RunId) -> bool {
        self.0.lock().contains(&run)
    }

    /// Forgets runs that have left.
    pub(crate) fn release(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut all = self.0.lock();
        for run in runs {
            all.remove(&run);
        }
    }
}
