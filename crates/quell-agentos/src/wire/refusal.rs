//! [`Refusal`]: the answer to a request that is refused (contract, section 12).

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quell_http::{AccessError, BadKey, BodyError, JsonError, LookupError, Overdrawn, StartError};
use serde_json::{Value, json};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: Value,
    /// The header `quell-disposition`, of a cancel.
    pub(crate) disposition: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Value>) -> Self {
        Self { status, detail: detail.into(), disposition: None }
    }

    pub(crate) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Refuses a request with the list of the faults of its fields.
    pub(crate) fn invalid(complaints: Vec<Value>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, complaints)
    }

    /// Refuses a caller who lacks a scope.
    pub(crate) fn forbidden(resource: &str, action: &str) -> Self {
        let detail = format!("Insufficient permissions. Required scope(s): {resource}:{action}");
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")
    }

    pub(crate) fn unexpected() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }

    /// Makes the refusal of an answer that was not written.
    pub(crate) fn of_answer(error: BodyError) -> Self {
        if error == BodyError::Broken { Self::unexpected() } else { error.into() }
    }

    /// Makes the refusal of a request that would exceed a bound.
    pub(crate) fn overdrawn(error: Overdrawn) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
    }

    /// Makes the refusal of a start.
    pub(crate) fn of_start(error: &StartError) -> Self {
        match error {
            StartError::BadId(_) => Self::invalid(vec![bad_id()]),
            StartError::IdInUse(id) => conflict(&format!("Run {id} already exists")),
            StartError::LaneBusy { run: Some(run) } => {
                conflict(&format!("Session is busy: run {run} has it"))
            }
            StartError::LaneBusy { run: None } => conflict("Session is busy"),
            StartError::TooMany { .. } | StartError::ShareUsedUp { .. } => {
                let text = format!("Too many live runs: {error}");
                Self::new(StatusCode::TOO_MANY_REQUESTS, text)
            }
            StartError::QueueFull { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            StartError::Forbidden => Self::new(StatusCode::FORBIDDEN, "Insufficient permissions"),
            StartError::TooLarge { what: "input", .. } => Self::too_large(),
            StartError::TooLarge { what: "idempotency key", max, .. } => {
                Self::invalid(vec![too_long(&KEY, *max)])
            }
            StartError::TooLarge { what, max, .. } => {
                Self::invalid(vec![too_long(&["body", what], *max)])
            }
            StartError::KeyConflict => {
                conflict("Idempotency-Key was used with a different request")
            }
            // A stream of what was stored before its client had this key is not told again.
            StartError::KeyForgotten | StartError::StartedBefore(_) => {
                conflict("Run of this Idempotency-Key is no longer kept")
            }
            StartError::NotStored => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            StartError::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Server is shutting down")
            }
        }
    }

    /// Writes the answer; without `error_code` if `has_codes` is false.
    pub(crate) fn answer(self, has_codes: bool) -> Response {
        let body = body(self.status, &self.detail, has_codes);
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(disposition) = self.disposition {
            headers.insert("quell-disposition", HeaderValue::from_static(disposition));
        }
        response
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        let status = match error {
            LookupError::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(),
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "Request timed out"),
            BodyError::Broken => {
                Self::new(StatusCode::BAD_REQUEST, "There was an error parsing the body")
            }
            BodyError::Overdrawn(error) => Self::overdrawn(error),
        }
    }
}

/// Yields the text that refuses credentials; those for tokens differ from those for keys.
pub(crate) fn access_error(error: AccessError, by_token: bool) -> Cow<'static, str> {
    let text = match (error, by_token) {
        (AccessError::MissingClaim(claim), true) => {
            return format!("Invalid token: Token is missing the \"{claim}\" claim").into();
        }
        (AccessError::Missing, false) => "Authorization header required",
        (AccessError::Missing | AccessError::WrongScheme, true) => "Authorization header missing",
        (AccessError::Expired, true) => "Token has expired",
        (AccessError::WrongAudience, true) => {
            "Invalid token audience - token not valid for this AgentOS instance"
        }
        (AccessError::Invalid, true) => "Invalid token: Signature verification failed",
        (
            AccessError::WrongScheme
            | AccessError::Invalid
            | AccessError::Expired
            | AccessError::WrongAudience
            | AccessError::MissingClaim(_),
            false,
        ) => "Invalid authentication token",
    };
    text.into()
}

/// Makes the body of an error.
pub(crate) fn body(status: StatusCode, detail: &Value, has_codes: bool) -> Value {
    let mut body = json!({ "detail": detail });
    if let Some(code) = code(status).filter(|_| has_codes) {
        body["error_code"] = code.into();
    }
    body
}

/// Yields the `error_code` of the five statuses that have one.
fn code(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::BAD_REQUEST => Some("BAD_REQUEST"),
        StatusCode::UNAUTHORIZED => Some("UNAUTHENTICATED"),
        StatusCode::NOT_FOUND => Some("NOT_FOUND"),
        StatusCode::UNPROCESSABLE_ENTITY => Some("VALIDATION_ERROR"),
        StatusCode::INTERNAL_SERVER_ERROR => Some("INTERNAL_SERVER_ERROR"),
        _ => None,
    }
}

fn conflict(detail: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, detail)
}

/// Complains that a field is missing.
pub(crate) fn missing(part: &str, field: &str) -> Value {
    json!({ "type": "missing", "loc": [part, field], "msg": "Field required", "input": null })
}

/// Complains about a field that there is not. Of a long name the beginning is told.
pub(crate) fn unknown_field(field: &str) -> Value {
    let msg = "Extra inputs are not permitted";
    let name: String = field.chars().take(NAME_CHARS_MAX).collect();
    json!({ "type": "extra_forbidden", "loc": ["body", name], "msg": msg, "input": null })
}

/// Complains about a field that is no boolean.
pub(crate) fn not_bool(field: &str, input: &str) -> Value {
    let msg = "Input should be a valid boolean, unable to interpret input";
    json!({ "type": "bool_parsing", "loc": ["body", field], "msg": msg, "input": input })
}

/// Complains about a field that is no integer.
pub(crate) fn not_int(field: &str, input: &str) -> Value {
    not_int_in("body", field, input)
}

/// As [`not_int`], of a part of a request.
pub(crate) fn not_int_in(part: &str, field: &str, input: &str) -> Value {
    let msg = "Input should be a valid integer, unable to parse string as an integer";
    json!({ "type": "int_parsing", "loc": [part, field], "msg": msg, "input": input })
}

/// Complains about a field that is no JSON, or none that can be read.
pub(crate) fn no_json(field: &str, error: &JsonError) -> Value {
    let msg = format!("Invalid JSON: {error}");
    json!({ "type": "json_invalid", "loc": ["body", field], "msg": msg, "input": null })
}

/// Complains about a field that is no JSON object.
pub(crate) fn no_object(field: &str) -> Value {
    let msg = "Input should be a valid dictionary";
    json!({ "type": "dict_type", "loc": ["body", field], "msg": msg, "input": null })
}

/// Complains about a field that is too long.
pub(crate) fn too_long(loc: &[&str], max: usize) -> Value {
    let msg = format!("String should have at most {max} bytes");
    json!({ "type": "string_too_long", "loc": loc, "msg": msg, "input": null })
}

/// Complains about the value of a field.
pub(crate) fn bad_value(field: &str, msg: &str) -> Value {
    json!({ "type": "value_error", "loc": ["body", field], "msg": msg, "input": null })
}

/// Complains about a field whose answer is none to what is asked.
pub(crate) fn no_answer(field: &str, error: &dyn fmt::Display) -> Value {
    bad_value(field, &error.to_string())
}

/// Complains about an idempotency key that is none.
pub(crate) fn bad_key(error: BadKey) -> Value {
    json!({ "type": "value_error", "loc": KEY, "msg": error.to_string(), "input": null })
}

/// Complains about a field that is missing because the body is no form.
pub(crate) fn no_form(place: &str, field: &str) -> Value {
    let mut complaint = missing(place, field);
    complaint["msg"] = "Field required: the body has to be a form, urlencoded or multipart".into();
    complaint
}

/// Complains about a run id that is none.
pub(crate) fn bad_id() -> Value {
    let msg = "run_id should have 1 to 128 bytes, no control characters and no spaces around it, \
               and should not be `.` or `..`";
    json!({ "type": "value_error", "loc": ["body", "run_id"], "msg": msg, "input": null })
}

/// Where an idempotency key stands.
const KEY: [&str; 2] = ["header", "idempotency-key"];

/// How much of the name of a field a complaint tells.
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_statuses_have_a_code_and_the_others_have_none() {
        let table = [
            (400, Some("BAD_REQUEST")),
            (401, Some("UNAUTHENTICATED")),
            (404, Some("NOT_FOUND")),
            (422, Some("VALIDATION_ERROR")),
            (500, Some("INTERNAL_SERVER_ERROR")),
            (403, None),
            (405, None),
            (409, None),
            (413, None),
            (429, None),
        ];
        for (status, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let body = body(status, &"x".into(), true);
            assert_eq!(body.get("error_code").and_then(Value::as_str), expected, "{status}");
            assert_eq!(super::body(status, &"x".into(), false), json!({ "detail": "x" }));
        }
    }

    #[test]
    fn every_reason_not_to_start_has_its_status() {
        let table = [
            (StartError::IdInUse("r1".into()), 409, "Run r1 already exists"),
            (
                StartError::TooMany { what: "runs", max: 1 },
                429,
                "Too many live runs: runs would exceed the limit of 1",
            ),
            (
                StartError::TooLarge { what: "input", bytes: 2, max: 1 },
                413,
                "Request body too large",
            ),
            (StartError::KeyConflict, 409, "Idempotency-Key was used with a different request"),
            (StartError::KeyForgotten, 409, "Run of this Idempotency-Key is no longer kept"),
            (StartError::Unavailable, 503, "Server is shutting down"),
        ];
        for (error, status, detail) in table {
            let refusal = Refusal::of_start(&error);
            assert_eq!((refusal.status.as_u16(), refusal.detail), (status, detail.into()));
        }
        assert_eq!(
            Refusal::of_start(&StartError::BadId(quell_http::parse_id("").unwrap_err())).status,
            422
        );
    }

    #[test]
    fn credentials_are_refused_in_the_words_of_the_contract() {
        let table = [
            (AccessError::Missing, false, "Authorization header required"),
            (AccessError::WrongScheme, false, "Invalid authentication token"),
            (AccessError::Invalid, false, "Invalid authentication token"),
            (AccessError::Missing, true, "Authorization header missing"),
            (AccessError::Expired, true, "Token has expired"),
            (AccessError::Invalid, true, "Invalid token: Signature verification failed"),
            (
                AccessError::MissingClaim("exp"),
                true,
                "Invalid token: Token is missing the \"exp\" claim",
            ),
            (AccessError::MissingClaim("exp"), false, "Invalid authentication token"),
        ];
        for (error, by_token, text) in table {
            assert_eq!(access_error(error, by_token), text, "{error:?} {by_token}");
        }
    }
}
