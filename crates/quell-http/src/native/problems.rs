//! The problems that several routes answer.

use axum::http::StatusCode;

use crate::problem::Problem;

pub(crate) fn unknown_run() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-run", "there is no such run")
}

/// Refuses a caller, and says what they lack.
pub(crate) fn forbidden(lack: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", lack)
}

pub(crate) fn unreadable(header: &str) -> Problem {
    let detail = format!("header {header} is not readable text");
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", detail)
}
