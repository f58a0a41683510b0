//! [`ok`], [`info`] and [`describe`]: the answers of `/ok`, `/info` and `/openapi.json`.

use axum::Json;
use serde_json::{Value, json};

use crate::routes::described::document;

pub(super) async fn ok() -> Json<Value> {
    Json(json!({ "ok": true, "services": {} }))
}

pub(super) async fn get_info() -> Json<Value> {
    Json(info())
}

pub(super) async fn describe() -> Json<Value> {
    Json(document())
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
