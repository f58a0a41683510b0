//! [`told`]: what a webhook says of a run that has ended, or waits for an answer.

use std::time::SystemTime;

use quell::{Payload, RunRow, RunStatus};
use quell_http::RunState;
use serde_json::{Value, json};

use crate::wire::exact::{Keys, written};
use crate::wire::rows::{About, run_object, thread_error, time};

/// How a run ended, for its webhook.
#[derive(Debug)]
pub(crate) struct End<'a> {
    pub(crate) values: Option<&'a Keys>,
    pub(crate) limit_ms: Option<u64>,
    pub(crate) is_unmasked: bool,
    pub(crate) is_rolled_back: bool,
    /// There was room for all of it.
    pub(crate) is_whole: bool,
}

/// Writes what a webhook says: the run object, with when and how the run ended.
pub(crate) fn told(about: &About, row: &RunRow, state: &RunState, end: &End<'_>) -> Payload {
    let now = SystemTime::now();
    let is_shown = |key: &str| end.is_whole || !["metadata", "kwargs"].contains(&key);
    let mut all: Keys = run_object(about, row, state, is_shown).parse().unwrap_or_default();
    let mut error = match (end.is_rolled_back, thread_error(row, end.limit_ms, end.is_unmasked)) {
        (true, Value::Object(error)) => {
            json!({ "error": "UserRollback", "message": error.get("message") })
        }
        (_, error) => error,
    };
    let ended = row.ended_at.or_else(|| (row.status == RunStatus::Paused).then_some(now));
    let mut more = json!({
        "run_started_at": row.started_at.map(time),
        "run_ended_at": ended.map(time),
        "webhook_sent_at": time(now),
    });
    if !end.is_whole {
        more["values_omitted"] = true.into();
        if let Some(Value::String(message)) = error.get_mut("message") {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
    }
    if end.is_rolled_back {
        more["status"] = "rollback".into();
    }
    if !error.is_null() {
        more["error"] = error;
    }
    if let Value::Object(more) = more {
        all.extend(more.into_iter().map(|(key, value)| (key, Payload::from(value))));
    }
    let values = end.values.filter(|_| end.is_whole && !end.is_rolled_back);
    all.insert("values".into(), written(&values));
    written(&all)
}

/// The longest message of an error if there is no room for all.
const MESSAGE_BYTES_MAX: usize = 1_024;
