//! The body of a request.

use axum::body::Body;
use axum::http::HeaderMap;

use crate::access::{is_json, not_json};
use crate::body::Upload;
use crate::problem::Problem;
use crate::view::View;

/// Reads a body that has to be JSON. Asking for the content type keeps web pages of other origins
/// from starting runs on a loopback server: they cannot send it without asking first.
pub(crate) async fn json_body(
    view: &View,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, Problem> {
    let upload = view.read_body(headers, body).await?;
    if !upload.bytes().is_empty() && !is_json(headers) {
        return Err(not_json());
    }
    Ok(upload)
}
