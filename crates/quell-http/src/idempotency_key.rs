//! [`idempotency_key`] reads the header `Idempotency-Key`, the same for every contract.

use axum::http::HeaderMap;

/// Yields the idempotency key of a request; `None` if it has none.
///
/// An empty one is refused, for it is a mistake: a variable that was not set, say. As a key it
/// would make one run of all requests of this kind, and ignored it would start each of them twice.
///
/// # Errors
///
/// Fails if the key is empty, or no text.
///
/// # Examples
///
/// ```
/// use axum::http::HeaderMap;
/// use quell_http::{BadKey, idempotency_key};
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(idempotency_key(&headers), Ok(None));
/// headers.insert("idempotency-key", "order-7".parse().unwrap());
/// assert_eq!(idempotency_key(&headers), Ok(Some("order-7")));
/// headers.insert("idempotency-key", "".parse().unwrap());
/// assert_eq!(idempotency_key(&headers), Err(BadKey::Empty));
/// ```
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, BadKey> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match str::from_utf8(key.as_bytes()) {
        Ok(key) if key.trim().is_empty() => Err(BadKey::Empty),
        Ok(key) => Ok(Some(key)),
        Err(_) => Err(BadKey::NoText),
    }
}

/// Why an idempotency key is none.
///
/// Exhaustive on purpose, so that every adapter must name a new reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum BadKey {
    /// The header is there, and has nothing in it.
    #[error("Idempotency-Key: empty; send a text that repeats of this request alone have, or none")]
    Empty,
    /// It is no UTF-8.
    #[error("Idempotency-Key: must be text")]
    NoText,
}
