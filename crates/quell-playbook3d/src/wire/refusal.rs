//! [`Refusal`]: the answer to a request that is refused (contract, section 5).

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quell_http::{BodyError, LookupError, Overdrawn, StartError};
use serde_json::json;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An id, or the body, is not what it should be.
    Malformed,
    /// There is a run with this id, or was one that is kept. The table has no 409.
    IdInUse,
    /// The idempotency key was used with another request.
    KeyReused,
    /// The idempotency key is none. The table has no 422.
    BadKey,
    /// A part of the request is over its bound.
    TooLarge,
    /// A bound of all callers, or of this one, is reached. The table has no 429; a client has to
    /// know that it may try again later.
    TooMany { what: &'static str, max: usize },
    /// The bearer token or the key names no principal.
    Unauthorized,
    /// The quota hook refused.
    NoCredits,
    /// The caller may not run this workflow.
    MayNotRun,
    /// The caller may not cancel this run.
    MayNotCancel,
    /// No such run, workflow, team or path.
    NotFound,
    /// The path is served for other methods.
    WrongMethod,
    /// Anything else.
    Internal,
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::IdInUse | Self::KeyReused | Self::BadKey | Self::TooLarge => {
                StatusCode::BAD_REQUEST
            }
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoCredits => StatusCode::PAYMENT_REQUIRED,
            Self::MayNotRun | Self::MayNotCancel => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn text(self) -> Cow<'static, str> {
        let text = match self {
            Self::TooMany { what, max } => {
                return format!("Too Many Requests. {what} would exceed the limit of {max}.")
                    .into();
            }
            Self::Malformed => "Bad Request. Possibly invalid team_id/run_id format.",
            Self::IdInUse => "Bad Request. The run id is already in use.",
            Self::KeyReused => "Bad Request. The idempotency key is already in use.",
            Self::BadKey => "Bad Request. The idempotency key is empty, or no text.",
            Self::TooLarge => "Bad Request. A part of the request is too large.",
            Self::Unauthorized => {
                "Unauthorized. The Bearer token or API key is invalid or missing."
            }
            Self::NoCredits => "Payment Required. Subscription not active or no credits available.",
            Self::MayNotRun => "Forbidden. You do not have permission to run this workflow.",
            Self::MayNotCancel => "Forbidden. You do not have permission to cancel this run.",
            Self::NotFound => "Not Found. The run or team was not found.",
            Self::WrongMethod => "Method Not Allowed. The path is served for other methods.",
            Self::Internal => "Internal Server Error. Something went wrong on the server.",
        };
        text.into()
    }

    /// Makes the refusal of an answer that was not written.
    pub(crate) fn of_answer(error: BodyError) -> Self {
        match error.into() {
            refusal @ Self::TooMany { .. } => refusal,
            _ => Self::Internal,
        }
    }
}

impl From<LookupError> for Refusal {
    fn from(_: LookupError) -> Self {
        // The table has no 503.
        Self::Internal
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Overdrawn(Overdrawn { what, max, .. }) => Self::TooMany { what, max },
            BodyError::TooLarge | BodyError::TooSlow | BodyError::Broken => Self::Malformed,
        }
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::BadId(_) => Self::Malformed,
            StartError::IdInUse(_) => Self::IdInUse,
            StartError::KeyConflict | StartError::KeyForgotten | StartError::StartedBefore(_) => {
                Self::KeyReused
            }
            StartError::TooLarge { .. } => Self::TooLarge,
            // The table has no 503.
            StartError::LaneBusy { .. } | StartError::NotStored | StartError::Unavailable => {
                Self::Internal
            }
            StartError::TooMany { what, max } | StartError::ShareUsedUp { what, max } => {
                Self::TooMany { what, max }
            }
            // In the words of the table.
            StartError::QueueFull { max, .. } => Self::TooMany { what: "queued runs", max },
            StartError::Forbidden => Self::MayNotRun,
        }
    }
}

impl IntoResponse for Refusal {
    /// The document contradicts itself about the key, so both are sent (contract, section 5).
    fn into_response(self) -> Response {
        let text = self.text();
        (self.status(), Json(json!({ "result": text, "description": text }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_status_and_the_text_of_the_contract() {
        let rows = [
            (Refusal::Malformed, 400, "Bad Request. Possibly invalid team_id/run_id format."),
            (Refusal::IdInUse, 400, "Bad Request. The run id is already in use."),
            (Refusal::KeyReused, 400, "Bad Request. The idempotency key is already in use."),
            (Refusal::BadKey, 400, "Bad Request. The idempotency key is empty, or no text."),
            (Refusal::TooLarge, 400, "Bad Request. A part of the request is too large."),
            (
                Refusal::Unauthorized,
                401,
                "Unauthorized. The Bearer token or API key is invalid or missing.",
            ),
            (
                Refusal::NoCredits,
                402,
                "Payment Required. Subscription not active or no credits available.",
            ),
            (
                Refusal::MayNotRun,
                403,
                "Forbidden. You do not have permission to run this workflow.",
            ),
            (
                Refusal::MayNotCancel,
                403,
                "Forbidden. You do not have permission to cancel this run.",
            ),
            (Refusal::NotFound, 404, "Not Found. The run or team was not found."),
            (
                Refusal::WrongMethod,
                405,
                "Method Not Allowed. The path is served for other methods.",
            ),
            (Refusal::Internal, 500, "Internal Server Error. Something went wrong on the server."),
        ];
        for (refusal, status, text) in rows {
            assert_eq!((refusal.status().as_u16(), &*refusal.text()), (status, text));
        }
    }

    #[test]
    fn every_reason_why_no_run_was_started_is_a_refusal_of_the_table() {
        let rows = [
            (StartError::IdInUse("r".into()), Refusal::IdInUse),
            (StartError::LaneBusy { run: None }, Refusal::Internal),
            (
                StartError::TooMany { what: "runs", max: 1 },
                Refusal::TooMany { what: "runs", max: 1 },
            ),
            (StartError::Forbidden, Refusal::MayNotRun),
            (StartError::TooLarge { what: "input", bytes: 2, max: 1 }, Refusal::TooLarge),
            (StartError::KeyConflict, Refusal::KeyReused),
            (StartError::KeyForgotten, Refusal::KeyReused),
            (StartError::Unavailable, Refusal::Internal),
        ];
        for (error, refusal) in rows {
            assert_eq!(Refusal::from(error), refusal);
        }
    }
}
