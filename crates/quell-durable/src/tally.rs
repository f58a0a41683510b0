//! [`Tally`]: how often was committed, and how many records.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was committed since a store was opened.
///
/// # Examples
///
/// ```
/// let committed = quell_durable::Committed::default();
/// assert_eq!((committed.commits, committed.records), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Transactions.
    pub commits: u64,
    /// Records in them, those that were refused included.
    pub records: u64,
}

/// Counts what is committed.
#[derive(Debug, Default)]
pub struct Tally {
    commits: AtomicU64,
    records: AtomicU64,
}

impl Tally {
    /// Counts a transaction of so many records.
    pub fn count(&self, records: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// Yields what was committed so far.
    pub fn committed(&self) -> Committed {
        Committed {
            commits: self.commits.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
        }
    }
}
