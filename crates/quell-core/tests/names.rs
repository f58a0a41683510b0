//! The names that are on the wire: each in one spelling, also where serde writes it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

#[cfg(feature = "serde")]
use quell_core::Abandoned;
use quell_core::{
    CancelRequest, CauseKind, Disposition, RunId, RunKind, RunStatus, StopMode, Work,
};

#[test]
fn every_kind_of_cause_has_a_name_in_kebab_case() {
    let all = [
        (CauseKind::UserRequest, "user-request"),
        (CauseKind::ParentStopped, "parent-stopped"),
        (CauseKind::ParentFailed, "parent-failed"),
        (CauseKind::SiblingFailed, "sibling-failed"),
        (CauseKind::RaceLost, "race-lost"),
        (CauseKind::QuorumReached, "quorum-reached"),
        (CauseKind::Superseded, "superseded"),
        (CauseKind::Deadline, "deadline"),
        (CauseKind::IdleTimeout, "idle-timeout"),
        (CauseKind::BudgetExceeded, "budget-exceeded"),
        (CauseKind::Disconnected, "disconnected"),
        (CauseKind::Shutdown, "shutdown"),
        (CauseKind::LeaseLost, "lease-lost"),
        (CauseKind::ExternalToken, "external-token"),
        (CauseKind::PauseRequested, "pause-requested"),
    ];
    for (kind, name) in all {
        assert_eq!((kind.as_str(), kind.to_string()), (name, name.to_owned()));
        #[cfg(feature = "serde")]
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
}

#[test]
fn every_answer_has_a_name_in_kebab_case() {
    let (at, status) = (Instant::now(), RunStatus::Completed);
    let request = CancelRequest::because("why");
    let cause = Arc::new(request.to_cause(SystemTime::UNIX_EPOCH, RunId::from_text("r")));
    let all = [
        (Disposition::Accepted { hard_deadline: at }, "accepted"),
        (Disposition::Scheduled { escalate_at: at }, "scheduled"),
        (Disposition::AlreadyStopping { cause, hard_deadline: at }, "already-stopping"),
        (Disposition::Escalated { from: StopMode::AfterStep, to: StopMode::Abort }, "escalated"),
        (Disposition::AlreadyTerminal { status }, "already-terminal"),
        (
            Disposition::Recorded { owner: "n".into(), lease_until: SystemTime::UNIX_EPOCH },
            "recorded",
        ),
        (Disposition::Unknown, "unknown"),
        (Disposition::Reserved, "reserved"),
        (Disposition::Forbidden, "forbidden"),
    ];
    for (answer, name) in all {
        assert_eq!(answer.as_str(), name);
    }
}

#[test]
fn every_kind_has_a_name_in_lower_case() {
    for kind in RunKind::ALL {
        assert_eq!(kind.as_str(), format!("{kind:?}").to_lowercase());
        assert_eq!(kind.to_string(), kind.as_str());
        #[cfg(feature = "serde")]
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

#[test]
fn every_status_has_a_name_and_four_are_final() {
    let table = [
        (RunStatus::Queued, "queued", false),
        (RunStatus::Running, "running", false),
        (RunStatus::Stopping, "stopping", false),
        (RunStatus::Completed, "completed", true),
        (RunStatus::Failed, "failed", true),
        (RunStatus::Cancelled, "cancelled", true),
        (RunStatus::TimedOut, "timed-out", true),
        (RunStatus::Paused, "paused", false),
    ];
    for (status, name, is_terminal) in table {
        assert_eq!((status.as_str(), status.is_terminal()), (name, is_terminal));
        assert_eq!(status.to_string(), name);
        #[cfg(feature = "serde")]
        assert_eq!(serde_json::to_value(status).unwrap(), name);
    }
}

#[test]
fn every_status_is_listed_once_and_in_order() {
    // Exhaustive: a new status must be named here, and so be listed.
    let next = |status: &RunStatus| match status {
        RunStatus::Queued => Some(RunStatus::Running),
        RunStatus::Running => Some(RunStatus::Stopping),
        RunStatus::Stopping => Some(RunStatus::Completed),
        RunStatus::Completed => Some(RunStatus::Failed),
        RunStatus::Failed => Some(RunStatus::Cancelled),
        RunStatus::Cancelled => Some(RunStatus::TimedOut),
        RunStatus::TimedOut => Some(RunStatus::Paused),
        RunStatus::Paused => None,
    };
    let all: Vec<_> = std::iter::successors(Some(RunStatus::Queued), next).collect();
    assert_eq!(all, RunStatus::ALL);
    assert!(all.iter().enumerate().all(|(place, status)| *status as usize == place));
}

const WORK: [Work; 6] =
    [Work::Body, Work::Hook, Work::Blocking, Work::Process, Work::Remote, Work::Node];

#[test]
fn every_sort_of_work_has_a_name() {
    for work in WORK {
        assert_eq!(work.as_str(), format!("{work:?}").to_lowercase());
        #[cfg(feature = "serde")]
        assert_eq!(serde_json::to_value(work).unwrap(), work.as_str());
    }
}

#[cfg(feature = "serde")]
#[test]
fn abandoned_work_of_every_sort_is_read_back() {
    for what in WORK {
        let abandoned = Abandoned::new(RunId::from_text("run"), "name".into(), what);
        let text = serde_json::to_string(&abandoned).unwrap();
        assert_eq!(serde_json::from_str::<Abandoned>(&text).unwrap(), abandoned);
    }
    let run = RunId::from_text("run").to_string();
    let unknown = serde_json::json!({ "run": run, "name": "name", "what": "thread" });
    assert!(serde_json::from_value::<Abandoned>(unknown).is_err());
}
