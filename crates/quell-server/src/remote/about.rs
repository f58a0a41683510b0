//! [`About`]: what a request says of its run.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use quell::{Payload, RunContext};
use serde_json::Value;

use crate::environment;

/// What a request says of its run: the same as the environment of a program, but for labels.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// The headers that every request of the run has.
    pub(super) headers: HeaderMap,
    /// The body of a cancel.
    pub(super) cancel: Payload,
}

impl About {
    /// Yields the id of the run, as its caller knows it.
    pub(super) fn run(&self) -> &str {
        let id = self.headers.get("quell-run-id");
        id.and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn of(ctx: &RunContext) -> Self {
        let variables = environment::variables(ctx);
        let mut headers = HeaderMap::new();
        let mut cancel = serde_json::Map::new();
        for (variable, header, key) in SAID {
            let Some(value) = variables.get(variable) else { continue };
            // A value with control characters is in the body of a cancel only.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(header), value);
            }
            cancel.insert(key.to_owned(), value.as_str().into());
        }
        Self { headers, cancel: Value::Object(cancel).into() }
    }
}

/// A variable of programs, the header that says the same, and the key in the body of a cancel.
const SAID: [(&str, &str, &str); 5] = [
    (environment::RUN_ID, "quell-run-id", "run_id"),
    (environment::RUN_SESSION, "quell-session", "session"),
    (environment::ATTEMPT, "quell-attempt", "attempt"),
    (environment::DEADLINE, "quell-deadline-ms", "deadline_ms"),
    (environment::NODES, "quell-nodes", "nodes"),
];
