//! [`RunObject`], [`TeamObject`] and [`WorkflowObject`]: runs, teams and workflows in lists
//! (contract, section 3).

use std::time::SystemTime;

use quell::{Payload, RunRow, RunStatus};
use quell_http::{RunState, whole_millis};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A run in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunObject {
    pub(crate) id: String,
    pub(crate) platform: Option<Value>,
    pub(crate) status: &'static str,
    pub(crate) progress: Option<f32>,
    /// Seconds from its start to its end, or to now.
    pub(crate) duration: Option<f64>,
    pub(crate) webhook_url: Option<String>,
    pub(crate) run_result: Option<Payload>,
    pub(crate) team: TeamObject,
    pub(crate) owner: OwnerObject,
    pub(crate) workflow: WorkflowObject,
    pub(crate) quell: RunState,
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct ResultBody {
    result: Option<Payload>,
    status: &'static str,
    quell: RunState,
}

/// A team in a list or in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TeamObject {
    pub(crate) id: Uuid,
    pub(crate) name: String,
}

/// A workflow in a list or in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WorkflowObject {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) team_id: Uuid,
}

/// The owner of a run; without a name when access is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OwnerObject {
    pub(crate) name: Option<String>,
}

impl ResultBody {
    /// Says what the run of a row has brought so far.
    pub(crate) fn new(row: &RunRow, quell: RunState) -> Self {
        Self { result: result_of(row), status: status_word(row.status), quell }
    }
}

/// Yields what an ended run has brought: its value, or what it had when it was stopped.
pub(crate) fn result_of(row: &RunRow) -> Option<Payload> {
    if row.status.is_terminal() { row.output.clone().or_else(|| row.partial.clone()) } else { None }
}

/// Yields how long a run has been at it: none if it never started.
pub(crate) fn seconds(row: &RunRow, now: SystemTime) -> Option<f64> {
    let (until, since) = (whole_millis(row.ended_at.unwrap_or(now)), whole_millis(row.started_at?));
    Some(until.duration_since(since).unwrap_or_default().as_secs_f64())
}

/// Names a status as the contract does.
pub(crate) const fn status_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Paused => "paused",
        RunStatus::Stopping => "canceling",
        RunStatus::Completed => "executed",
        RunStatus::Failed | RunStatus::TimedOut => "failed",
        RunStatus::Cancelled => "canceled",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::{RunId, RunKind};

    use super::*;

    fn row(status: RunStatus) -> RunRow {
        let (id, at) = (RunId::from_text("r"), SystemTime::UNIX_EPOCH);
        RunRow::new(id, RunKind::Workflow, "w".into(), status, at)
    }

    #[test]
    fn every_status_has_the_word_of_the_contract() {
        let rows = [
            (RunStatus::Queued, "queued"),
            (RunStatus::Running, "running"),
            (RunStatus::Paused, "paused"),
            (RunStatus::Stopping, "canceling"),
            (RunStatus::Completed, "executed"),
            (RunStatus::Failed, "failed"),
            (RunStatus::TimedOut, "failed"),
            (RunStatus::Cancelled, "canceled"),
        ];
        for (status, word) in rows {
            assert_eq!(status_word(status), word);
        }
    }

    #[test]
    fn only_an_ended_run_has_a_result() {
        let mut live = row(RunStatus::Running);
        live.output = Some("early".into());
        assert_eq!(result_of(&live), None);
        let mut completed = row(RunStatus::Completed);
        completed.output = Some("value".into());
        assert_eq!(result_of(&completed), Some("value".into()));
        let mut cancelled = row(RunStatus::Cancelled);
        assert_eq!(result_of(&cancelled), None);
        cancelled.partial = Some("part".into());
        assert_eq!(result_of(&cancelled), Some("part".into()));
    }

    #[test]
    fn a_run_lasts_from_its_start_to_its_end_or_to_now() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut row = row(RunStatus::Running);
        assert_eq!(seconds(&row, at(9)), None);
        row.started_at = Some(at(2));
        assert_eq!(seconds(&row, at(9)), Some(7.0));
        assert_eq!(seconds(&row, at(1)), Some(0.0));
        row.ended_at = Some(at(5));
        assert_eq!(seconds(&row, at(9)), Some(3.0));
    }
}
