//! [`describe`]: describes the contract.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;

use crate::routes::described::document;
use crate::routes::path::Shared;

/// Anybody may ask for it: it is written once.
pub(super) async fn describe(State(app): Shared) -> ([(HeaderName, &'static str); 1], Bytes) {
    let text = app.document.get_or_init(|| document(app.options()).to_string().into());
    ([(CONTENT_TYPE, "application/json")], text.clone())
}
