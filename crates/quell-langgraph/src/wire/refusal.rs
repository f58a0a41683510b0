//! [`Refusal`]: the answer to a request that is refused. Every body is exactly `{"detail":
//! "<text>"}`.

use std::borrow::Cow;
use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quell::limits;
use quell_http::{AccessError, BodyError, LookupError, Overdrawn, StartError, StopNotStored};
use serde_json::json;
use uuid::Uuid;

/// The answer to a request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 422.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 422 of a number that is not finite as a double: upstream reads no JSON with one.
    pub(crate) fn infinite(number: &str) -> Self {
        let name = limits::cut(number, NUMBER_MAX);
        Self::invalid(format!("Invalid JSON in request body: {name} is not finite as a double"))
    }

    /// 404.
    pub(crate) fn missing(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404 of a row without a text of its own, and of a path that is not served.
    pub(crate) fn not_found() -> Self {
        Self::missing("Not Found")
    }

    /// 404 of a thread.
    pub(crate) fn no_thread(id: Uuid) -> Self {
        Self::missing(format!("Thread with ID {id} not found"))
    }

    /// 404 of a state.
    pub(crate) fn no_checkpoint(thread: Uuid, id: Uuid) -> Self {
        Self::missing(format!("Checkpoint {id} not found in thread {thread}"))
    }

    /// 405: the path is served, and not with this method.
    pub(crate) fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
    }

    /// 403, with what the caller lacks.
    pub(crate) fn forbidden(lack: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("Forbidden: {lack}"))
    }

    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Thread is already running a task. Wait for it to finish or choose a different \
             multitask strategy.",
        )
    }

    /// Refuses a run without input where a run waits for an answer.
    pub(crate) fn waits() -> Self {
        let text = "Thread is interrupted. Answer with command.resume, or give it new input.";
        Self::new(StatusCode::CONFLICT, text)
    }

    /// Refuses where other nodes have come first too often.
    pub(crate) fn is_changing() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The thread is being changed; ask again")
    }

    /// Refuses to tell the end of a run that another node has by now.
    pub(crate) fn elsewhere() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The run goes on elsewhere. Ask again.")
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    pub(crate) fn too_many() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many live runs")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "detail": self.detail }))).into_response()
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Missing
            | AccessError::WrongScheme
            | AccessError::Invalid
            | AccessError::Expired
            | AccessError::WrongAudience
            | AccessError::MissingClaim(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "Invalid API key")
            }
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")
            }
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
            BodyError::Overdrawn(error) => error.into(),
            BodyError::Broken => Self::invalid("Invalid JSON in request body"),
        }
    }
}

impl From<Overdrawn> for Refusal {
    fn from(error: Overdrawn) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unreadable(_) => Self::internal(),
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
}

impl From<StopNotStored> for Refusal {
    fn from(error: StopNotStored) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            // Upstream's words, to the letter: clients know them.
            StartError::LaneBusy { .. } => Self::busy(),
            StartError::TooMany { what: LIVE_RUNS, .. }
            | StartError::ShareUsedUp { what: LIVE_RUNS, .. } => Self::too_many(),
            // Of bytes the limit is said: a smaller request may fit.
            StartError::TooMany { .. } | StartError::ShareUsedUp { .. } => {
                let text = format!("Too many live runs: {error}");
                Self::new(StatusCode::TOO_MANY_REQUESTS, text)
            }
            StartError::QueueFull { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            StartError::Forbidden => Self::forbidden(error),
            StartError::TooLarge { what: "idempotency key", .. } => {
                Self::invalid("Idempotency-Key: too long")
            }
            StartError::TooLarge { .. } => BodyError::TooLarge.into(),
            StartError::KeyConflict => {
                Self::new(StatusCode::CONFLICT, "Idempotency-Key was used with a different request")
            }
            // A run that was deleted: what it was is not known any more, and it is not run again.
            StartError::KeyForgotten | StartError::StartedBefore(_) => Self::missing(RUN_GONE),
            // 5xx only when nothing was created: the JavaScript client tries again.
            StartError::NotStored => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            StartError::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
            }
            StartError::BadId(_) | StartError::IdInUse(_) => Self::internal(),
        }
    }
}

/// Yields what a refusal quotes of a text that the caller has sent: of a long one its begin.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    limits::cut(text, TEXT_MAX)
}

/// The most of a number that a refusal quotes, in bytes.
const NUMBER_MAX: usize = 35;

/// The most of a text that a refusal quotes, in bytes.
const TEXT_MAX: usize = 256;

/// What the engine has too many of when its bound on runs is reached.
pub(crate) const LIVE_RUNS: &str = "live runs";

/// What is said of a run that a key, or a request, means and that is gone.
pub(crate) const RUN_GONE: &str = "Run not found";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_not_to_start_has_its_status() {
        let big = |what| StartError::TooLarge { what, bytes: 2, max: 1 };
        let table = [
            (StartError::LaneBusy { run: None }, 409),
            (StartError::TooMany { what: "live runs", max: 1 }, 429),
            (big("input"), 413),
            (big("idempotency key"), 422),
            (StartError::KeyConflict, 409),
            (StartError::KeyForgotten, 404),
            (StartError::Unavailable, 503),
            (StartError::NotStored, 503),
            (StartError::IdInUse("r".into()), 500),
            (StartError::BadId(quell_http::parse_id("").unwrap_err()), 500),
        ];
        for (error, status) in table {
            assert_eq!(Refusal::from(error.clone()).status.as_u16(), status, "{error}");
        }
    }

    #[test]
    fn of_live_runs_the_words_are_the_contracts_and_of_bytes_they_say_the_limit() {
        const BYTES: &str = "bytes of live runs";
        const SHARE: &str = "bytes of live runs of one caller would exceed their share of 7";
        let said = |error: StartError| {
            let refusal = Refusal::from(error);
            (refusal.status.as_u16(), refusal.detail.into_owned())
        };
        let table = [
            (StartError::TooMany { what: LIVE_RUNS, max: 7 }, "Too many live runs"),
            (StartError::ShareUsedUp { what: LIVE_RUNS, max: 7 }, "Too many live runs"),
            (
                StartError::TooMany { what: BYTES, max: 7 },
                "Too many live runs: bytes of live runs would exceed the limit of 7",
            ),
        ];
        for (error, text) in table {
            assert_eq!(said(error), (429, text.to_owned()));
        }
        let (status, text) = said(StartError::ShareUsedUp { what: BYTES, max: 7 });
        assert_eq!((status, text), (429, format!("Too many live runs: {SHARE}")));
    }

    #[test]
    fn nobody_is_told_what_is_wrong_with_a_key() {
        let all = [
            AccessError::Missing,
            AccessError::WrongScheme,
            AccessError::Invalid,
            AccessError::Expired,
            AccessError::WrongAudience,
            AccessError::MissingClaim("sub"),
        ];
        for error in all {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status.as_u16(), &*refusal.detail), (401, "Invalid API key"));
        }
    }
}
