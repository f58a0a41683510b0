//! [`Problem`]: a problem document (RFC 9457), the error answer of the native API.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::AccessError;
use crate::body::BodyError;
use crate::idempotency_key::BadKey;
use crate::ids::BadId;
use crate::ledger::Overdrawn;
use crate::lookup_error::LookupError;
use crate::service::StopNotStored;
use crate::start_error::StartError;

/// A problem document: `application/problem+json`. A response that is made of it has it among its
/// extensions, so that a contract can say it in words of its own.
///
/// # Examples
///
/// ```
/// use axum::http::StatusCode;
/// use quell_http::Problem;
///
/// let problem = Problem::new(StatusCode::NOT_FOUND, "unknown-run", "there is no such run");
/// assert_eq!(problem.status(), StatusCode::NOT_FOUND);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[must_use = "it is an answer"]
pub struct Problem {
    /// What sort of problem: `urn:quell:problem:` and its name.
    #[serde(rename = "type")]
    kind: String,
    /// The words of the HTTP status.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong here.
    detail: String,
}

impl Problem {
    /// Names the status, the sort of problem, and what is wrong here.
    pub fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:quell:problem:{name}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// Yields the text of the fault.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Yields the HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let name = match error {
            AccessError::Missing => "credentials-missing",
            AccessError::WrongScheme => "wrong-scheme",
            AccessError::Invalid => "credentials-invalid",
            AccessError::Expired => "token-expired",
            AccessError::WrongAudience => "wrong-audience",
            AccessError::MissingClaim(_) => "claim-missing",
        };
        Self::new(StatusCode::UNAUTHORIZED, name, error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", error.to_string())
            }
            BodyError::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", error.to_string())
            }
            BodyError::Broken => {
                Self::new(StatusCode::BAD_REQUEST, "body-broken", error.to_string())
            }
            BodyError::Overdrawn(error) => error.into(),
        }
    }
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        let (status, name) = match error {
            LookupError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
            LookupError::Unreadable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unreadable-run"),
        };
        Self::new(status, name, error.to_string())
    }
}

impl From<StopNotStored> for Problem {
    fn from(error: StopNotStored) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stop-not-stored", error.to_string())
    }
}

impl From<Overdrawn> for Problem {
    fn from(error: Overdrawn) -> Self {
        let name = if error.is_bytes { "too-many-bytes" } else { "too-many-streams" };
        Self::new(StatusCode::TOO_MANY_REQUESTS, name, error.to_string())
    }
}

impl From<BadId> for Problem {
    fn from(error: BadId) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-id", error.to_string())
    }
}

impl From<BadKey> for Problem {
    fn from(error: BadKey) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-idempotency-key", error.to_string())
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let (status, name) = match error {
            StartError::BadId(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-id"),
            StartError::IdInUse(_) => (StatusCode::CONFLICT, "id-in-use"),
            StartError::LaneBusy { .. } => (StatusCode::CONFLICT, "lane-busy"),
            StartError::TooMany { .. } | StartError::QueueFull { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-runs")
            }
            StartError::ShareUsedUp { .. } => (StatusCode::TOO_MANY_REQUESTS, "share-used-up"),
            StartError::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            StartError::TooLarge { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too-large"),
            StartError::KeyConflict => (StatusCode::CONFLICT, "idempotency-key-conflict"),
            StartError::KeyForgotten | StartError::StartedBefore(_) => {
                (StatusCode::CONFLICT, "idempotency-key-forgotten")
            }
            StartError::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "not-stored"),
            StartError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, name, error.to_string())
    }
}
