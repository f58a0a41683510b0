//! [`Rows`] counts the rows of a tree's report.

use quell_core::RunStatus;

use crate::sync::{AtomicU32, Ordering};

/// The numbers of ended runs that are kept for the report of a tree. Completed runs and the others
/// have a budget each, so that many completed runs leave room for one that fails late.
#[derive(Debug)]
pub(super) struct Rows {
    max: u32,
    completed: AtomicU32,
    others: AtomicU32,
}

impl Rows {
    pub(super) fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Self { max, completed: AtomicU32::new(0), others: AtomicU32::new(0) }
    }

    /// Takes a row for a run that ended, if there is one.
    pub(super) fn take(&self, status: RunStatus) -> bool {
        let used = match status {
            RunStatus::Completed => &self.completed,
            _ => &self.others,
        };
        if used.load(Ordering::Relaxed) >= self.max {
            return false;
        }
        used.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        let of = |rows: &AtomicU32| rows.load(Ordering::Relaxed) as usize;
        of(&self.completed) + of(&self.others)
    }
}
