//! The problems that several routes answer.

use axum::http::StatusCode;

use crate::problem::Problem;

pub(crate) fn unknown_run() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-run", "there is no such run")
}

pub(crate) fn forbidden() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "the credentials do not allow this")
}

pub(crate) fn unreadable(header: &str) -> Problem {
    let detail = format!("header {header} is not readable text");
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", detail)
}
