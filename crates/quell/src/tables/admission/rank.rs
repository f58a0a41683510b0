//! [`Rank`] orders the runs of a queue.

use std::cmp::Reverse;

use super::Candidate;

/// The place of a run in the order of a queue: the higher priority first, then the earlier arrival.
/// No two runs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<i8>,
    arrival: u64,
}

impl Rank {
    /// Ranks a run that arrives with this number.
    pub(super) fn of<R: Candidate>(run: &R, arrival: u64) -> Self {
        let priority = run.gate().map_or(0, |gate| gate.priority);
        Self { priority: Reverse(priority), arrival }
    }
}
