//! [`read`]: parses the body of a request.

use axum::http::StatusCode;
use quell::{JSON_LEVELS_MAX, check_json};
use serde::de::DeserializeOwned;

use crate::native::wire::misfit::in_words;
use crate::native::wire::{CancelRun, CancelRuns, PauseRun, ResumeRun, SetLimits, StartRun};
use crate::problem::Problem;

/// What the body of a request is parsed into: an object.
pub(crate) trait Body: DeserializeOwned {
    /// One that is right, for the message about a body that is no object.
    const EXAMPLE: &str;
}

impl Body for StartRun {
    const EXAMPLE: &str = r#"{"component": "agent/writer", "input": {"topic": "tea"}}"#;
}

impl Body for CancelRun {
    const EXAMPLE: &str = r#"{"reason": "not needed any more"}"#;
}

impl Body for CancelRuns {
    const EXAMPLE: &str = r#"{"where": {"status": ["queued"]}, "reason": "not needed any more"}"#;
}

impl Body for SetLimits {
    const EXAMPLE: &str = r#"{"timeout_ms": 60000}"#;
}

impl Body for PauseRun {
    const EXAMPLE: &str = r#"{"request": "go on?"}"#;
}

impl Body for ResumeRun {
    const EXAMPLE: &str = r#"{"answer": "yes"}"#;
}

/// What may be null.
impl<T: Body> Body for Option<T> {
    const EXAMPLE: &str = T::EXAMPLE;
}

/// Parses JSON: 400 if it is not JSON, 422 if it has another shape.
pub(crate) fn read<T: Body>(bytes: &[u8]) -> Result<T, Problem> {
    let first = bytes.trim_ascii_start().first();
    // From a list serde would take the fields in the order of their declaration.
    let read = match first {
        None | Some(b'[') => Err(String::new()),
        _ => serde_json::from_slice(bytes).map_err(|error| in_words(bytes, &error)),
    };
    read.map_err(|error| {
        let is_json =
            str::from_utf8(bytes).is_ok_and(|text| check_json(text, JSON_LEVELS_MAX).is_ok());
        let right = format!("expected a JSON object such as `{}`", T::EXAMPLE);
        let detail = match first.map(|first| kind_of(*first)) {
            None => format!("the body is empty; {right}"),
            Some(Some(_)) if !is_json => format!("the body is not JSON; {right}"),
            Some(Some(kind)) => format!("{right}, found {kind}"),
            Some(None) => error,
        };
        let (status, name) = if is_json {
            (StatusCode::UNPROCESSABLE_ENTITY, "bad-request")
        } else {
            (StatusCode::BAD_REQUEST, "not-json")
        };
        Problem::new(status, name, detail)
    })
}

/// Says what a JSON text is that begins so, unless it is an object.
const fn kind_of(first: u8) -> Option<&'static str> {
    match first {
        b'{' => None,
        b'[' => Some("a list"),
        b'"' => Some("a string"),
        b'n' => Some("null"),
        b't' | b'f' => Some("true or false"),
        _ => Some("a number"),
    }
}
