//! [`RunObject`], [`RunList`], [`CancelAnswer`], [`LimitsAnswer`]: the bodies of answers, and the
//! events of a stream.

use std::sync::Arc;
use std::time::Instant;

use quell::{
    Counts, Disposition, Labels, LimitsOutcome, Payload, QueuePosition, RunRow, RunStatus,
    ToolOutcome, Usage, WaitsFor,
};
use quell_flow::{COMPONENT, ComponentKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::SESSION;
use crate::native::wire::pausing::PauseObject;
use crate::run_state::{RunCause, RunState, disposition_name, status_name, written};
use crate::run_view::RunView;
use crate::service::CancelOutcome;
use crate::transcript::ToolNote;

/// A run as it stands, as lists show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// Its id as its caller knows it.
    id: String,
    /// Its id as the event log knows it.
    uuid: String,
    /// The run that spawned it; null for a root.
    parent: Option<String>,
    /// `agent`, `team`, `workflow`, `step`, `branch` or `attempt`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// The name of its component, `agent/writer`; null if it has none.
    component: Option<String>,
    /// What it belongs to.
    session: Option<String>,
    /// Who started it.
    owner: Option<String>,
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Labels,
    #[serde(flatten)]
    state: RunState,
    /// When it was accepted: RFC 3339, UTC, milliseconds; so are the others.
    queued_at: String,
    /// When its body was first polled.
    started_at: Option<String>,
    /// When its stop was accepted.
    stopped_at: Option<String>,
    /// When it became terminal.
    ended_at: Option<String>,
    /// When nothing of it executed any more.
    quiesced_at: Option<String>,
    /// Its output; only of a completed run.
    #[schema(value_type = Option<Value>)]
    output: Option<Payload>,
    /// What it had set as its output when it was stopped or failed.
    #[schema(value_type = Option<Value>)]
    partial: Option<Payload>,
    /// Why it failed, if it did.
    #[schema(value_type = Option<String>)]
    error: Option<Arc<str>>,
}

/// A run as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunObject {
    #[serde(flatten)]
    pub(crate) summary: RunSummary,
    #[serde(flatten)]
    pub(crate) detail: Detail,
}

/// What is said of one run, and not in lists.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// Its input.
    #[schema(value_type = Option<Value>)]
    pub(crate) input: Option<Payload>,
    /// The text that it has emitted so far.
    pub(crate) text: String,
    /// The tool calls that it has begun so far, in order.
    pub(crate) tools: Vec<Tool>,
    /// What it and its descendants have used: `input_tokens`, `output_tokens`, `cost_micros`.
    #[schema(value_type = Value)]
    pub(crate) usage: Usage,
    /// How far it has come, from 0 to 1.
    pub(crate) progress: Option<f32>,
    /// The node that has it, or had it last; null if nodes share no store, or it is not known.
    #[schema(value_type = Option<String>)]
    pub(crate) node: Option<Arc<str>>,
    /// Where it waits for its start; null if it does not.
    pub(crate) queue: Option<QueuePlace>,
    /// What it asks, if it is paused; otherwise null.
    pub(crate) pause: Option<PauseObject>,
    /// The run and its descendants in pre-order; those that did not complete first if there are
    /// more than fit.
    #[schema(value_type = Vec<Value>)]
    pub(crate) rows: Vec<RunRow>,
    /// Descendants without a row, by status.
    #[schema(value_type = Value)]
    pub(crate) omitted: Counts,
}

/// Where a run waits for its start, at this moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuePlace {
    /// What it waits for first: `due-time`, `lane` or `slot`.
    #[schema(value_type = String)]
    waiting_for: &'static str,
    /// Of a slot, the limit that is reached: `in all`, `kind agent`, `component agent/writer` or
    /// `owner`, that of each owner.
    limit: Option<String>,
    /// How many of the runs that wait for the same would start before it; 1,000 stands for as many
    /// or more.
    ahead: usize,
    /// When it is due, if it waits for that.
    due: Option<String>,
}

/// A tool call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tool {
    /// The id of the call.
    #[schema(value_type = String)]
    call: Arc<str>,
    /// The name of the tool.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Its input.
    #[schema(value_type = Value)]
    input: Payload,
    /// How it ended: `{"result": …}`, `{"error": "…"}`, `"cancelled"` or `"unknown"`; null if it
    /// has not.
    #[schema(value_type = Option<Value>)]
    outcome: Option<ToolOutcome>,
}

/// Runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunList {
    /// Those within the limit.
    pub(crate) runs: Vec<RunSummary>,
    /// How many there are without the limit; null if there are more in a store than were read.
    pub(crate) total: Option<usize>,
    /// What `cursor` is to be for those behind; null if there are none.
    pub(crate) next: Option<String>,
}

/// The answer to a request to cancel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelAnswer {
    /// `accepted`, `scheduled`, `already-stopping`, `escalated`, `already-terminal`, `recorded` or
    /// `reserved`.
    #[schema(value_type = String)]
    disposition: &'static str,
    /// How the run stands when the wait is over; null for a run that is not there yet.
    #[schema(value_type = Option<String>)]
    status: Option<&'static str>,
    /// Why it stops or stopped.
    cause: Option<RunCause>,
    /// Whether nothing of it executes; null if nothing was waited for.
    quiescent: Option<bool>,
    /// Whether what was waited for came to pass within the longest wait.
    reached: bool,
    /// Milliseconds until its body is aborted, from the acceptance on.
    hard_deadline_in_ms: Option<u64>,
    /// Milliseconds until the request becomes cooperative.
    escalates_in_ms: Option<u64>,
    /// The mode so far, if this request raised it.
    #[schema(value_type = Option<String>)]
    from: Option<&'static str>,
    /// The mode from now on, if this request raised it.
    #[schema(value_type = Option<String>)]
    to: Option<&'static str>,
    /// The node that has the run and has not answered yet, if the stop is recorded for it.
    #[schema(value_type = Option<String>)]
    owner: Option<Arc<str>>,
    /// When another node may take the run over, and ends it then, if the stop is recorded.
    lease_until: Option<String>,
}

/// The answer to new limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitsAnswer {
    /// `changed`; `unchanged`, if the request names no limit; or `exceeded`: the run was over its
    /// new limit already, and is stopped.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// How the run stands.
    #[schema(value_type = String)]
    status: &'static str,
    /// Milliseconds until the earliest deadline of the run and those above it; null if there is
    /// none, or if it is not known before the run starts.
    deadline_in_ms: Option<u64>,
    /// Milliseconds until its body is aborted, if it was stopped.
    hard_deadline_in_ms: Option<u64>,
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, `ready` or `draining`.
    #[schema(value_type = String)]
    pub(crate) status: &'static str,
}

impl Tool {
    pub(crate) fn of(note: &ToolNote) -> Self {
        Self {
            call: Arc::clone(&note.call),
            name: Arc::clone(&note.name),
            input: note.input.clone(),
            outcome: note.outcome.clone(),
        }
    }
}

impl QueuePlace {
    pub(crate) fn of(position: QueuePosition) -> Self {
        let (waiting_for, limit, due) = match position.waits_for {
            WaitsFor::DueTime(due) => ("due-time", None, Some(written(due))),
            WaitsFor::Slot(scope) => ("slot", Some(scope.to_string()), None),
            // The key of a lane is the caller's own; the engine's has their name in it.
            _ => ("lane", None, None),
        };
        Self { waiting_for, limit, ahead: position.ahead, due }
    }
}

impl RunSummary {
    pub(crate) fn new(run: &RunView, row: RunRow, state: RunState) -> Self {
        let labels = run.labels();
        Self {
            id: run.external_id().into_owned(),
            uuid: run.id().to_string(),
            parent: row.parent.map(|parent| parent.to_string()),
            kind: row.kind.as_str(),
            name: row.name,
            component: component_of(run),
            session: run.label(SESSION).map(str::to_owned),
            owner: run.owner().map(str::to_owned),
            labels: labels.cloned().unwrap_or_default(),
            state,
            queued_at: written(row.queued_at),
            started_at: row.started_at.map(written),
            stopped_at: row.stopped_at.map(written),
            ended_at: row.ended_at.map(written),
            quiesced_at: row.quiesced_at.map(written),
            output: row.output,
            partial: row.partial,
            error: row.error,
        }
    }
}

impl CancelAnswer {
    pub(crate) fn of(cancelled: &CancelOutcome, state: Option<RunState>, now: Instant) -> Self {
        let mut answer = Self {
            disposition: disposition_name(&cancelled.disposition),
            status: cancelled.row.as_ref().map(|row| status_name(row.status)),
            cause: state.and_then(|state| state.cause),
            quiescent: cancelled.quiescent,
            reached: cancelled.is_reached,
            hard_deadline_in_ms: None,
            escalates_in_ms: None,
            from: None,
            to: None,
            owner: None,
            lease_until: None,
        };
        match &cancelled.disposition {
            Disposition::Accepted { hard_deadline }
            | Disposition::AlreadyStopping { hard_deadline, .. } => {
                answer.hard_deadline_in_ms = Some(millis(*hard_deadline, now));
            }
            Disposition::Scheduled { escalate_at } => {
                answer.escalates_in_ms = Some(millis(*escalate_at, now));
            }
            Disposition::Escalated { from, to } => {
                (answer.from, answer.to) = (Some(from.as_str()), Some(to.as_str()));
            }
            Disposition::Recorded { owner, lease_until } => {
                answer.owner = Some(Arc::clone(owner));
                answer.lease_until = Some(written(*lease_until));
            }
            Disposition::AlreadyTerminal { .. }
            | Disposition::Unknown
            | Disposition::Reserved
            | Disposition::Forbidden => {}
        }
        answer
    }
}

impl LimitsAnswer {
    /// `is_named` tells whether the request has named a limit.
    pub(crate) fn of(
        outcome: &LimitsOutcome,
        is_named: bool,
        status: RunStatus,
        now: Instant,
    ) -> Self {
        let (outcome, deadline, hard) = match outcome {
            LimitsOutcome::Exceeded { hard_deadline } => ("exceeded", None, Some(*hard_deadline)),
            LimitsOutcome::Changed { deadline } if is_named => ("changed", *deadline, None),
            LimitsOutcome::Changed { deadline } => ("unchanged", *deadline, None),
            LimitsOutcome::AlreadyStopping { hard_deadline, .. } => {
                ("already-stopping", None, Some(*hard_deadline))
            }
            LimitsOutcome::AlreadyTerminal { .. } => ("already-terminal", None, None),
        };
        let from_now = |at: Option<Instant>| at.map(|at| millis(at, now));
        Self {
            outcome,
            status: status_name(status),
            deadline_in_ms: from_now(deadline),
            hard_deadline_in_ms: from_now(hard),
        }
    }
}

/// Yields the name of the component of a run, `agent/writer`.
pub(crate) fn component_of(run: &RunView) -> Option<String> {
    run.label(COMPONENT).map(|id| format!("{}/{id}", ComponentKind::of_run(run.kind())))
}

pub(super) fn millis(at: Instant, now: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_stop_that_is_recorded_names_the_node_and_when_another_one_may_have_the_run() {
        let lease_until = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let recorded = Disposition::Recorded { owner: "node-1".into(), lease_until };
        let answer = CancelAnswer::of(&CancelOutcome::without_run(recorded), None, Instant::now());
        let told = serde_json::to_value(answer).unwrap();
        assert_eq!(told["disposition"], "recorded");
        assert_eq!(
            (&told["owner"], &told["lease_until"]),
            (&"node-1".into(), &"1970-01-01T00:00:01.000Z".into())
        );
    }
}
