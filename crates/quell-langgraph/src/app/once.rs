//! [`once`]: the idempotency keys of requests that make runs.

use axum::http::HeaderMap;
use quell::IdempotencyKey;
use quell_http::{StartError, View, idempotency_key};
use uuid::Uuid;

use crate::app::App;
use crate::wire::refusal::Refusal;

/// Yields the key of a run of a batch: none that a client can send, and short enough whatever key
/// the batch has.
fn of_batch(key: &str, nth: usize) -> String {
    let digest = IdempotencyKey::new("batch", [key.as_bytes()]).payload();
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    format!("batch\n{}\n{nth}", Uuid::from_bytes(bytes))
}

impl App {
    /// Tells whether the store has a key of a caller.
    pub(crate) async fn is_key_kept(
        &self,
        view: &View,
        once: Option<&IdempotencyKey>,
    ) -> Result<bool, Refusal> {
        let owner = view.principal().owner();
        let refusal = self.engine().refusal_of_store(None, owner, once).await;
        Ok(refusal.map_err(|_| StartError::NotStored)?.is_some())
    }
}

/// Yields the key of a request, or of one of the runs of a batch, if it has one.
///
/// # Errors
///
/// Fails if that is no key.
pub(crate) fn once(
    headers: &HeaderMap,
    (path, body): (&str, &[u8]),
    nth: Option<usize>,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let key = idempotency_key(headers);
    let key = key.map_err(|error| Refusal::invalid(error.to_string()))?;
    let key = key.map(|key| match nth {
        Some(nth) => of_batch(key, nth),
        None => key.to_owned(),
    });
    Ok(key.map(|key| IdempotencyKey::new(key, [path.as_bytes(), body])))
}
