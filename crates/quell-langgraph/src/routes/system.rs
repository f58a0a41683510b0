//! [`ok`], [`info`] and [`describe`]: the answers of `/ok`, `/info` and `/openapi.json`.

use std::sync::LazyLock;

use axum::Json;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::routes::described::document;

pub(super) async fn ok() -> Json<Value> {
    Json(json!({ "ok": true, "services": {} }))
}

pub(super) async fn get_info() -> Json<Value> {
    Json(info())
}

/// Anybody may ask for it: it is written once.
pub(super) async fn describe() -> ([(HeaderName, &'static str); 1], &'static str) {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(CONTENT_TYPE, "application/json")], &DOCUMENT)
}

/// Makes the answer to `GET /info`.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_langgraph::info()["flags"]["assistants"], true);
/// ```
pub fn info() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        // There is no Python here.
        "langgraph_py_version": null,
        "flags": { "assistants": true, "crons": true, "langsmith": false },
        "host": { "kind": "self-hosted" },
        "metadata": {},
    })
}
