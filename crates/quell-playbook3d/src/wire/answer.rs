//! [`cancel_message`] and [`queued`]: the answers to `cancel` and `run_workflow` (contract,
//! section 4).

use quell::{Disposition, RunStatus};
use serde_json::{Value, json};

use crate::wire::refusal::Refusal;
use crate::wire::run::status_word;

/// Says what came of a cancel: the engine's answer, and how the run stands after the wait.
///
/// What stands decides among the answers of 200: a run that the engine was asked to stop and that
/// a deadline had stopped before reads `failed`, so that is what is said.
pub(crate) fn cancel_message(
    disposition: &Disposition,
    status: RunStatus,
) -> Result<String, Refusal> {
    match disposition {
        Disposition::Accepted { .. }
        | Disposition::Scheduled { .. }
        | Disposition::AlreadyStopping { .. }
        | Disposition::Escalated { .. }
        | Disposition::Recorded { .. } => Ok(stopped(status)),
        Disposition::AlreadyTerminal { status } => Ok(final_state(*status)),
        Disposition::Reserved => Ok(CANCELED.into()),
        Disposition::Unknown => Err(Refusal::NotFound),
        Disposition::Forbidden => Err(Refusal::MayNotCancel),
    }
}

fn stopped(status: RunStatus) -> String {
    if status == RunStatus::Cancelled {
        CANCELED.into()
    } else if status.is_terminal() {
        final_state(status)
    } else {
        format!("Run cancellation accepted. Current state: {}.", status_word(status))
    }
}

fn final_state(status: RunStatus) -> String {
    format!("Run is already in a final state: {}.", status_word(status))
}

/// Says that a workflow was queued.
pub(crate) fn queued(run_id: &str) -> Value {
    json!({
        "run_id": run_id,
        "status": "queued",
        "message": "Workflow queued successfully.",
    })
}

const CANCELED: &str = "Run successfully canceled.";

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use quell::{Cause, CauseKind, RunId, StopMode};

    use super::*;

    /// Every answer of the engine that is not about an ended or unknown run.
    fn accepting() -> [Disposition; 5] {
        let now = Instant::now();
        let cause =
            Cause::new(CauseKind::UserRequest, SystemTime::now(), RunId::from_text("origin"));
        [
            Disposition::Accepted { hard_deadline: now },
            Disposition::Scheduled { escalate_at: now },
            Disposition::AlreadyStopping { cause: Arc::new(cause), hard_deadline: now },
            Disposition::Escalated { from: StopMode::AfterStep, to: StopMode::Cooperative },
            Disposition::Recorded { owner: "a".into(), lease_until: SystemTime::now() },
        ]
    }

    #[test]
    fn a_live_run_is_answered_by_how_it_stands_after_the_wait() {
        let rows = [
            (RunStatus::Queued, "Run cancellation accepted. Current state: queued."),
            (RunStatus::Running, "Run cancellation accepted. Current state: running."),
            (RunStatus::Stopping, "Run cancellation accepted. Current state: canceling."),
            (RunStatus::Completed, "Run is already in a final state: executed."),
            (RunStatus::Failed, "Run is already in a final state: failed."),
            (RunStatus::Cancelled, "Run successfully canceled."),
            (RunStatus::TimedOut, "Run is already in a final state: failed."),
        ];
        for disposition in accepting() {
            for (status, message) in rows {
                let said = cancel_message(&disposition, status);
                assert_eq!(said.as_deref(), Ok(message), "{disposition:?} {status}");
            }
        }
    }

    #[test]
    fn an_ended_run_is_answered_by_its_end() {
        let rows = [
            (RunStatus::Completed, "Run is already in a final state: executed."),
            (RunStatus::Failed, "Run is already in a final state: failed."),
            (RunStatus::Cancelled, "Run is already in a final state: canceled."),
            (RunStatus::TimedOut, "Run is already in a final state: failed."),
        ];
        for (status, message) in rows {
            let said = cancel_message(&Disposition::AlreadyTerminal { status }, status);
            assert_eq!(said.as_deref(), Ok(message));
        }
    }

    #[test]
    fn a_run_that_is_not_there_is_answered_by_the_disposition_alone() {
        let said = |disposition| cancel_message(&disposition, RunStatus::Queued);
        assert_eq!(said(Disposition::Reserved).as_deref(), Ok("Run successfully canceled."));
        assert_eq!(said(Disposition::Unknown), Err(Refusal::NotFound));
        assert_eq!(said(Disposition::Forbidden), Err(Refusal::MayNotCancel));
    }
}
