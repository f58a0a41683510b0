//! Bodies of requests, within their bound.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The largest body of a request. A larger one is answered 413.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Why the body of a request was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum BodyError {
    /// It is over [`BODY_BYTES_MAX`]: 413.
    #[error("request body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The client went away or sent nonsense: 400.
    #[error("request body could not be read")]
    Broken,
}

/// Reads the body of a request, at most [`BODY_BYTES_MAX`] of it.
///
/// A body that announces more is refused unread.
///
/// # Errors
///
/// Fails if it is too large or breaks off.
///
/// # Cancel safety
///
/// Not cancel safe: dropped, it loses what it has read.
pub async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(BodyError::TooLarge);
    }
    let read = Limited::new(body, BODY_BYTES_MAX).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() { BodyError::TooLarge } else { BodyError::Broken }
    })
}
