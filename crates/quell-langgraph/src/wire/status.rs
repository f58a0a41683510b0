//! [`run_status`] and [`meaning`]: the names of statuses and the meanings of dispositions, the two
//! exhaustive matches of the adapter.

use quell::{Disposition, RunStatus};

/// Yields the status of a run as the contract spells it (contract, section 6).
pub(crate) const fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "pending",
        // Honest status (contract, choice 2): `interrupted` only when it has stopped.
        RunStatus::Running | RunStatus::Stopping => "running",
        // Of a paused run the thread says that it waits.
        RunStatus::Paused | RunStatus::Completed => "success",
        RunStatus::Failed => "error",
        RunStatus::TimedOut => "timeout",
        RunStatus::Cancelled => "interrupted",
    }
}

/// From what the status of a thread is computed (contract, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadFacts {
    /// A run of it is live: queued, also for later; running; stopping.
    pub(crate) is_live: bool,
    /// A run of it waits for an answer.
    pub(crate) is_paused: bool,
    /// How its last ended run ended.
    pub(crate) last: Option<RunStatus>,
    /// Whether something was cut that would run next.
    pub(crate) has_next: bool,
}

/// Computes the status of a thread.
pub(crate) fn thread_status(facts: ThreadFacts) -> &'static str {
    if facts.is_live {
        "busy"
    } else if facts.is_paused {
        "interrupted"
    } else if matches!(facts.last.map(run_status), Some("error" | "timeout")) {
        "error"
    } else if facts.has_next {
        "interrupted"
    } else {
        "idle"
    }
}

/// What a disposition means to a caller of cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The run stops, or stops already.
    Stops,
    /// It had ended.
    Ended,
    /// There is none.
    Unknown,
}

/// Yields what a disposition means, and its place in the order in which a bulk answer names the
/// first one that any of its runs got.
pub(crate) const fn meaning(disposition: &Disposition) -> (Meaning, u8) {
    match disposition {
        Disposition::Escalated { .. } => (Meaning::Stops, 0),
        Disposition::Accepted { .. } => (Meaning::Stops, 1),
        Disposition::Scheduled { .. } => (Meaning::Stops, 2),
        Disposition::AlreadyStopping { .. } => (Meaning::Stops, 3),
        // Durable, and decided by the node that has the run.
        Disposition::Recorded { .. } => (Meaning::Stops, 4),
        Disposition::AlreadyTerminal { .. } => (Meaning::Ended, 5),
        // No stop is remembered here, and what is forbidden looks like what is unknown.
        Disposition::Unknown | Disposition::Reserved | Disposition::Forbidden => {
            (Meaning::Unknown, 6)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use quell::{Cause, CauseKind, RunId, StopMode};

    use super::*;

    #[test]
    fn every_status_of_the_engine_has_its_word() {
        let table = [
            (RunStatus::Queued, "pending"),
            (RunStatus::Running, "running"),
            (RunStatus::Paused, "success"),
            (RunStatus::Stopping, "running"),
            (RunStatus::Completed, "success"),
            (RunStatus::Failed, "error"),
            (RunStatus::TimedOut, "timeout"),
            (RunStatus::Cancelled, "interrupted"),
        ];
        for (status, word) in table {
            assert_eq!(run_status(status), word);
        }
    }

    #[test]
    fn the_status_of_a_thread_is_computed_live_runs_first() {
        let table = [
            (true, false, Some(RunStatus::Failed), true, "busy"),
            (true, true, None, false, "busy"),
            (false, true, Some(RunStatus::Failed), false, "interrupted"),
            (false, false, Some(RunStatus::Failed), true, "error"),
            (false, false, Some(RunStatus::TimedOut), true, "error"),
            (false, false, Some(RunStatus::Cancelled), true, "interrupted"),
            (false, false, Some(RunStatus::Cancelled), false, "idle"),
            (false, false, Some(RunStatus::Completed), false, "idle"),
            (false, false, None, false, "idle"),
        ];
        for (is_live, is_paused, last, has_next, word) in table {
            let facts = ThreadFacts { is_live, is_paused, last, has_next };
            assert_eq!(thread_status(facts), word);
        }
    }

    #[test]
    fn a_bulk_answer_ranks_dispositions_as_the_contract_lists_them() {
        let now = Instant::now();
        let id = RunId::from_text("r");
        let cause = Arc::new(Cause::new(CauseKind::UserRequest, SystemTime::now(), id));
        let order = [
            Disposition::Escalated { from: StopMode::AfterStep, to: StopMode::Cooperative },
            Disposition::Accepted { hard_deadline: now },
            Disposition::Scheduled { escalate_at: now },
            Disposition::AlreadyStopping { cause, hard_deadline: now },
            Disposition::Recorded { owner: "a".into(), lease_until: SystemTime::now() },
            Disposition::AlreadyTerminal { status: RunStatus::Completed },
            Disposition::Unknown,
        ];
        let ranks: Vec<_> = order.iter().map(|one| meaning(one).1).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(meaning(&order[4]).0, Meaning::Stops);
        assert_eq!(meaning(&order[5]).0, Meaning::Ended);
        assert_eq!(meaning(&Disposition::Forbidden), meaning(&Disposition::Unknown));
        assert_eq!(meaning(&Disposition::Reserved).0, Meaning::Unknown);
    }
}
