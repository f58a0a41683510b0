//! [`truncate`]: empties a server, for a benchmark (contract, section 14).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::app::{App, Emptied};
use crate::routes::body::read_json;
use crate::routes::caller::Writer;
use crate::wire::refusal::Refusal;

pub(super) async fn truncate(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let emptied = Emptied::read(&read_json(&view, &headers, body).await?.keys)?;
    app.truncate(&view, &emptied).await?;
    Ok(Json(json!({ "ok": true })))
}
