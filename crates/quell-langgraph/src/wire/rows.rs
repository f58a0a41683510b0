//! [`run_object`], [`thread_row`] and [`assistant_row`]: the JSON of runs, threads and assistants.

use std::time::SystemTime;

use quell::{Cause, Payload, RunRow, RunStatus};
use quell_flow::{NodesAsked, Reducers};
use quell_http::{RunState, whole_millis};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::exact::{Keys, finite, with_all, written};
use crate::wire::failure;
use crate::wire::interrupt::Interrupt;
use crate::wire::status::{ThreadFacts, run_status, thread_status};

/// Writes an instant: ISO 8601 with microseconds and `+00:00`.
pub(crate) fn time(at: SystemTime) -> String {
    let text = humantime::format_rfc3339_micros(at).to_string();
    format!("{}+00:00", text.trim_end_matches('Z'))
}

/// Yields the id of the one system assistant of a graph: upstream's, so that stored ids hold.
pub(crate) fn system_assistant(graph: &str) -> Uuid {
    Uuid::new_v5(&GRAPHS, graph.as_bytes())
}

/// Upstream's namespace of graphs.
const GRAPHS: Uuid = Uuid::from_u128(0x6ba7_b821_9dad_11d1_80b4_00c0_4fd4_30c8);

/// What of a run is known besides its state in the engine: the request that made it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) thread: Uuid,
    pub(crate) assistant: Uuid,
    pub(crate) graph: String,
    /// An object: the caller's metadata, as it is spelt, and the three keys of the server.
    pub(crate) metadata: Payload,
    /// As it is spelt. Shared with whatever else needs it: it may be large. What another contract
    /// gave may have numbers that are not finite as doubles.
    pub(crate) input: Payload,
    /// An object: what the request says besides, as it is spelt.
    pub(crate) kwargs: Payload,
    pub(crate) strategy: &'static str,
    /// How its graph takes new values.
    pub(crate) reducers: Reducers,
    /// Whether its graph has nodes.
    pub(crate) has_nodes: bool,
    /// It goes on where its thread was.
    pub(crate) goes_on: bool,
    /// What it is asked of its nodes, as far as that was known when it was made.
    pub(crate) nodes: NodesAsked,
    pub(crate) due: Option<SystemTime>,
}

/// Writes the metadata of a run: the caller's, and the keys of the server. Who made the assistant
/// is one of those of the assistant.
pub(crate) fn run_metadata(given: Keys, graph: &str, assistant: Uuid) -> Payload {
    let mut metadata = given;
    if assistant == system_assistant(graph) {
        metadata.insert("created_by".into(), "system".into());
    }
    metadata.insert("graph_id".into(), graph.into());
    metadata.insert("assistant_id".into(), assistant.to_string().into());
    written(&metadata)
}

/// Writes the keys of a run object that are shown. What may be large is made only then.
pub(crate) fn run_object(
    about: &About,
    row: &RunRow,
    state: &RunState,
    is_shown: impl Fn(&str) -> bool,
) -> Payload {
    let created = about.due.unwrap_or(row.queued_at);
    let last = [row.ended_at, row.stopped_at, row.started_at].into_iter().flatten().next();
    let mut object = json!({
        "run_id": row.run.to_string(),
        "thread_id": about.thread.to_string(),
        "assistant_id": about.assistant.to_string(),
        "status": run_status(row.status),
        "multitask_strategy": about.strategy,
        "created_at": time(whole_millis(created)),
        "updated_at": time(whole_millis(last.unwrap_or(row.queued_at))),
        "langsmith_session_name": null,
        "cancel_reason": row.cause.as_deref().map(cancel_reason),
        "quell": state,
    });
    if let Value::Object(object) = &mut object {
        object.retain(|key, _| is_shown(key));
    }
    let mut spelt = Keys::new();
    if is_shown("metadata") {
        spelt.insert("metadata".into(), about.metadata.clone());
    }
    if is_shown("kwargs") {
        let mut kwargs: Keys = about.kwargs.parse().unwrap_or_default();
        kwargs.insert("input".into(), finite(&about.input));
        spelt.insert("kwargs".into(), written(&kwargs));
    }
    with_all(object, spelt)
}

/// Yields the row of a run as it was when it was made: who makes one is told that, however fast it
/// is, and has in `quell` what has become of it since.
pub(crate) fn as_made(row: RunRow) -> RunRow {
    let mut made = row;
    made.status = RunStatus::Queued;
    (made.started_at, made.stopped_at, made.ended_at, made.cause) = (None, None, None, None);
    made
}

/// The keys of a run object.
pub(crate) const RUN_KEYS: [&str; 12] = [
    "run_id",
    "thread_id",
    "assistant_id",
    "status",
    "multitask_strategy",
    "created_at",
    "updated_at",
    "langsmith_session_name",
    "cancel_reason",
    "quell",
    "metadata",
    "kwargs",
];

/// The keys of a run object that may be large.
pub(crate) const LARGE_KEYS: [&str; 2] = ["metadata", "kwargs"];

/// Yields the cause as text.
fn cancel_reason(cause: &Cause) -> String {
    match &cause.message {
        Some(message) => format!("{}: {message}", cause.kind),
        None => cause.kind.to_string(),
    }
}

/// Writes why a run ended, for the row of its thread; none if it came to its end.
pub(crate) fn thread_error(row: &RunRow, limit_ms: Option<u64>, is_unmasked: bool) -> Value {
    let message = row.cause.as_deref().and_then(|cause| cause.message.as_deref());
    match row.status {
        RunStatus::Failed => {
            failure::error_object(row.error.as_deref().unwrap_or_default(), is_unmasked)
        }
        RunStatus::TimedOut => failure::timeout_object(limit_ms),
        RunStatus::Cancelled => {
            let kind = row.cause.as_deref().map_or("cancelled", |cause| cause.kind.as_str());
            json!({ "error": "UserInterrupt", "message": message.unwrap_or(kind) })
        }
        RunStatus::Completed
        | RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Paused
        | RunStatus::Stopping => Value::Null,
    }
}

/// What the row of a thread is made of.
#[derive(Debug)]
pub(crate) struct ThreadParts<'a> {
    pub(crate) id: Uuid,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
    pub(crate) state_updated_at: SystemTime,
    pub(crate) metadata: Payload,
    pub(crate) values: Option<&'a Keys>,
    pub(crate) facts: ThreadFacts,
    pub(crate) error: &'a Value,
    /// What its paused run asks.
    pub(crate) interrupt: Option<Interrupt>,
}

/// Writes the row of a thread. Its status is computed here, and kept nowhere.
pub(crate) fn thread_row(parts: &ThreadParts<'_>) -> Payload {
    let mut row = json!({
        "thread_id": parts.id.to_string(),
        "created_at": time(parts.created_at),
        "updated_at": time(parts.updated_at),
        "state_updated_at": time(parts.state_updated_at),
        "status": thread_status(parts.facts),
        "config": {},
    });
    if parts.facts.last.is_some() {
        row["error"] = parts.error.clone();
        row["interrupts"] = json!({});
    }
    let mut spelt = vec![("metadata", parts.metadata.clone()), ("values", written(&parts.values))];
    if let Some(interrupt) = &parts.interrupt {
        row["error"] = Value::Null;
        spelt.push(("interrupts", interrupt.of_thread()));
    }
    with_all(row, spelt.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use quell::{CancelRequest, RunId, RunKind};

    use super::*;

    fn at(micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    fn row(status: RunStatus) -> RunRow {
        let id = RunId::from_text("01a1f7a0-b8be-771e-8334-e5af4180e25e");
        RunRow::new(id, RunKind::Workflow, "steps".into(), status, at(1_795_155_867_838_324))
    }

    #[test]
    fn a_time_has_microseconds_and_an_offset() {
        assert_eq!(time(at(1_795_155_867_838_324)), "2026-11-20T06:24:27.838324+00:00");
        assert_eq!(time(at(1_000_000)), "1970-01-01T00:00:01.000000+00:00");
    }

    #[test]
    fn the_system_assistant_of_a_graph_has_the_id_that_upstream_gives_it() {
        let id = system_assistant("steps").to_string();
        assert_eq!(id, "01d10e59-d4b4-51ec-8e94-9b2716b34de8");
    }

    #[test]
    fn a_run_object_has_the_shape_of_the_contract() {
        let about = About {
            thread: Uuid::nil(),
            assistant: system_assistant("steps"),
            graph: "steps".into(),
            metadata: Payload::from(json!({})),
            input: Payload::from(json!({"a": 1})),
            kwargs: Payload::from(json!({})),
            strategy: "enqueue",
            reducers: Reducers::default(),
            has_nodes: false,
            goes_on: false,
            nodes: NodesAsked::default(),
            due: Some(at(1_795_155_868_000_000)),
        };
        let mut row = row(RunStatus::Stopping);
        let request = CancelRequest::because("interrupt requested via POST /x");
        row.cause = Some(Arc::new(request.to_cause(row.queued_at, row.run)));
        let state = RunState::of_row(&row, |id| id.to_string());
        let object: Value = run_object(&about, &row, &state, |_| true).parse().unwrap();
        assert_eq!(object["status"], "running");
        assert_eq!(object["kwargs"], json!({"input": {"a": 1}}));
        assert_eq!(object["created_at"], "2026-11-20T06:24:28.000000+00:00");
        assert_eq!(object["cancel_reason"], "user-request: interrupt requested via POST /x");
        assert_eq!(object["quell"]["status"], "stopping");
        assert_eq!(object["quell"]["cause"]["kind"], "user-request");
        assert_eq!(object["quell"]["abandoned"], json!([]));
        assert_eq!(object["langsmith_session_name"], Value::Null);
    }

    #[test]
    fn the_error_of_a_thread_says_how_its_last_run_ended() {
        let mut failed = row(RunStatus::Failed);
        failed.error = Some("ValueError: boom".into());
        let error = thread_error(&failed, None, false);
        assert_eq!(error, json!({"error": "ValueError", "message": "boom"}));
        let error = thread_error(&row(RunStatus::TimedOut), Some(5), false);
        assert_eq!(error["message"], "Run exceeded its time limit of 5 ms");
        let mut cancelled = row(RunStatus::Cancelled);
        let request = CancelRequest::because("why");
        cancelled.cause = Some(Arc::new(request.to_cause(at(0), cancelled.run)));
        let error = thread_error(&cancelled, None, false);
        assert_eq!(error, json!({"error": "UserInterrupt", "message": "why"}));
        assert_eq!(thread_error(&row(RunStatus::Completed), None, false), Value::Null);
    }

    #[test]
    fn a_thread_shows_no_error_before_a_run_of_it_has_ended() {
        let mut parts = ThreadParts {
            id: Uuid::nil(),
            created_at: at(0),
            updated_at: at(0),
            state_updated_at: at(0),
            metadata: Payload::from(json!({})),
            values: None,
            facts: ThreadFacts::default(),
            error: &Value::Null,
            interrupt: None,
        };
        let row: Value = thread_row(&parts).parse().unwrap();
        assert_eq!((&row["status"], &row["values"]), (&json!("idle"), &Value::Null));
        assert!(row.get("error").is_none() && row.get("interrupts").is_none());
        parts.facts.last = Some(RunStatus::Completed);
        let row: Value = thread_row(&parts).parse().unwrap();
        assert_eq!(row.get("error"), Some(&Value::Null));
    }
}
