//! [`status`], [`stage`] and [`cancel_answer`]: statuses and dispositions in the contract's names.

use quell::{CauseKind, Disposition, RunStatus};

/// Yields the name of a status. The contract has no word for stopping: see `quell.status`.
pub(crate) const fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "PENDING",
        RunStatus::Running | RunStatus::Stopping => "RUNNING",
        RunStatus::Paused => "PAUSED",
        RunStatus::Completed => "COMPLETED",
        RunStatus::Failed | RunStatus::TimedOut => "ERROR",
        RunStatus::Cancelled => "CANCELLED",
    }
}

/// Yields where a cancel met a run; none if it was not cancelled, or because the client or the
/// server went away. `cause` is what the stop began with, also of a member or a step.
pub(crate) fn stage(
    status: RunStatus,
    has_started: bool,
    was_paused: bool,
    cause: Option<CauseKind>,
) -> Option<&'static str> {
    if status != RunStatus::Cancelled
        || matches!(cause, Some(CauseKind::Disconnected | CauseKind::Shutdown))
    {
        return None;
    }
    Some(match (has_started, was_paused) {
        (_, true) => "PAUSED",
        (true, false) => "EXECUTING",
        (false, false) => "PENDING",
    })
}

/// What a cancel is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelAnswer {
    /// 200 `{}`.
    Done,
    /// 404: there is no such run for this caller.
    Unknown,
}

/// Yields what a cancel is answered with. `Forbidden` looks like `Unknown`, as existence is hidden.
pub(crate) const fn cancel_answer(disposition: &Disposition) -> CancelAnswer {
    match disposition {
        Disposition::Accepted { .. }
        | Disposition::Scheduled { .. }
        | Disposition::AlreadyStopping { .. }
        | Disposition::Escalated { .. }
        | Disposition::AlreadyTerminal { .. }
        | Disposition::Recorded { .. }
        | Disposition::Reserved => CancelAnswer::Done,
        Disposition::Unknown | Disposition::Forbidden => CancelAnswer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use quell::StopMode;

    use super::*;

    #[test]
    fn every_status_has_the_word_of_the_contract() {
        let table = [
            (RunStatus::Queued, "PENDING"),
            (RunStatus::Running, "RUNNING"),
            (RunStatus::Stopping, "RUNNING"),
            (RunStatus::Paused, "PAUSED"),
            (RunStatus::Completed, "COMPLETED"),
            (RunStatus::Failed, "ERROR"),
            (RunStatus::TimedOut, "ERROR"),
            (RunStatus::Cancelled, "CANCELLED"),
        ];
        for (from, word) in table {
            assert_eq!(status(from), word);
        }
    }

    #[test]
    fn the_stage_is_absent_when_client_or_server_went_away() {
        let user = Some(CauseKind::UserRequest);
        let table = [
            (RunStatus::Cancelled, true, false, user, Some("EXECUTING")),
            (RunStatus::Cancelled, false, false, user, Some("PENDING")),
            (RunStatus::Cancelled, true, true, user, Some("PAUSED")),
            (RunStatus::Cancelled, true, false, Some(CauseKind::Disconnected), None),
            (RunStatus::Cancelled, false, false, Some(CauseKind::Shutdown), None),
            (RunStatus::Cancelled, true, true, Some(CauseKind::Shutdown), None),
            (RunStatus::TimedOut, true, true, Some(CauseKind::Deadline), None),
            (RunStatus::Completed, true, false, None, None),
        ];
        for (status, has_started, was_paused, cause, expected) in table {
            let stage = stage(status, has_started, was_paused, cause);
            assert_eq!(stage, expected, "{status} {was_paused} {cause:?}");
        }
    }

    #[test]
    fn every_disposition_but_unknown_and_forbidden_is_a_200() {
        let now = Instant::now();
        let done = [
            Disposition::Accepted { hard_deadline: now },
            Disposition::Scheduled { escalate_at: now },
            Disposition::Escalated { from: StopMode::Cooperative, to: StopMode::Abort },
            Disposition::AlreadyTerminal { status: RunStatus::Completed },
            Disposition::Recorded { owner: "a".into(), lease_until: SystemTime::now() },
            Disposition::Reserved,
        ];
        for disposition in done {
            assert_eq!(cancel_answer(&disposition), CancelAnswer::Done, "{disposition:?}");
        }
        for disposition in [Disposition::Unknown, Disposition::Forbidden] {
            assert_eq!(cancel_answer(&disposition), CancelAnswer::Unknown);
        }
    }
}
