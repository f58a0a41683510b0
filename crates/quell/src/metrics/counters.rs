//! [`Counters`]: what an engine has counted since it was made.
//!
//! Nothing is decided by what is counted, and nothing follows from the order in which it is: each
//! count is one atomic step that orders nothing, with or without the lock of a run. So a reader may
//! find the end of a run counted and its wait not yet.
//!
//! A run that ends costs one such step, a root that starts two, a stop that was asked of the run
//! itself four.

use quell_core::{CauseKind, RunStatus, Work};

use crate::metrics::histogram::Durations;
use crate::sync::{Ordering, Tally};

/// What an engine has counted. In cache lines of its own: every end of a run writes here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    /// Ends by status, and by the kind of their cause; those without one come first.
    ended: [[Tally; CAUSES]; STATUSES],
    /// From the acceptance of a stop to the end of the run that it was asked of.
    pub(crate) cancel_to_terminal: Durations,
    /// From there until nothing of it executed any more.
    pub(crate) cancel_to_quiescent: Durations,
    /// From the end of a run of which something still executed until nothing did.
    pub(crate) honesty_gap: Durations,
    /// From the decision of a run over others until all of these had ended.
    pub(crate) settle_lag: Durations,
    /// From the acceptance of a root, or its due time, to its first start.
    pub(crate) queue_wait: Durations,
    /// Bodies that were dropped at their hard deadline.
    aborted: Tally,
    /// Work that was named as abandoned, by its sort.
    abandoned: [Tally; WORKS],
    /// How often a reader was told that it has missed events.
    lagged: Tally,
    /// What was not started because of a stop.
    refused: Tally,
    /// Writes after the end.
    late: Tally,
    /// The streams that are open: this one also falls.
    streams: Tally,
}

impl Counters {
    pub(crate) fn run_ended(&self, status: RunStatus, cause: Option<CauseKind>) {
        add(&self.ended[status as usize][place_of(cause)], 1);
    }

    pub(crate) fn body_aborted(&self) {
        add(&self.aborted, 1);
    }

    pub(crate) fn work_abandoned(&self, what: Work) {
        add(&self.abandoned[what as usize], 1);
    }

    pub(crate) fn reader_lagged(&self) {
        add(&self.lagged, 1);
    }

    pub(crate) fn start_refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn writes_were_late(&self, count: u32) {
        add(&self.late, count.into());
    }

    pub(crate) fn stream_opened(&self) {
        add(&self.streams, 1);
    }

    pub(crate) fn stream_closed(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Yields how many runs have ended so.
    pub(super) fn ended(&self, status: RunStatus, cause: Option<CauseKind>) -> u64 {
        read(&self.ended[status as usize][place_of(cause)])
    }

    pub(super) fn aborted(&self) -> u64 {
        read(&self.aborted)
    }

    pub(super) fn abandoned(&self, what: Work) -> u64 {
        read(&self.abandoned[what as usize])
    }

    pub(super) fn lagged(&self) -> u64 {
        read(&self.lagged)
    }

    pub(super) fn refused(&self) -> u64 {
        read(&self.refused)
    }

    pub(super) fn late(&self) -> u64 {
        read(&self.late)
    }

    pub(crate) fn streams(&self) -> u64 {
        read(&self.streams)
    }
}

fn add(tally: &Tally, count: u64) {
    tally.fetch_add(count, Ordering::Relaxed);
}

fn read(tally: &Tally) -> u64 {
    tally.load(Ordering::Relaxed)
}

const fn place_of(cause: Option<CauseKind>) -> usize {
    match cause {
        None => 0,
        Some(kind) => kind as usize + 1,
    }
}

const STATUSES: usize = RunStatus::ALL.len();
const CAUSES: usize = CauseKind::ALL.len() + 1;
const WORKS: usize = Work::ALL.len();

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_status_cause_and_sort_of_work_has_a_count_of_its_own() {
        let counters = Counters::default();
        let causes = || [None].into_iter().chain(CauseKind::ALL.iter().copied().map(Some));
        for status in RunStatus::ALL {
            causes().for_each(|cause| counters.run_ended(status, cause));
        }
        for what in Work::ALL {
            counters.work_abandoned(*what);
        }
        for status in RunStatus::ALL {
            assert!(causes().all(|cause| counters.ended(status, cause) == 1), "{status}");
        }
        assert!(Work::ALL.iter().all(|what| counters.abandoned(*what) == 1));
    }
}
