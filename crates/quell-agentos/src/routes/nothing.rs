//! [`page`], [`absent`] and [`refused`]: what this server keeps none of, and that clients ask for
//! (contract, section 10).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use quell_http::View;
use serde_json::Value;

use crate::auth::may;
use crate::routes::extract::Query;
use crate::wire::refusal::Refusal;
use crate::wire::session;
use crate::wire::session_query::page_of;

/// Answers with a list that has no rows, in pages.
pub(super) fn page(view: &View, resource: &str, query: &Query) -> Result<Response, Refusal> {
    may(view, resource, "read")?;
    let (limit, page) = page_of(|name| query.get(name))?;
    Ok(Json(session::page(&[], page, limit, 0)).into_response())
}

/// Answers with what is always the same.
pub(super) fn same(
    view: &View,
    (resource, action): (&str, &str),
    body: Value,
) -> Result<Response, Refusal> {
    may(view, resource, action)?;
    Ok(Json(body).into_response())
}

/// Says that there is no such thing.
pub(super) fn absent(view: &View, resource: &str, detail: &str) -> Result<Response, Refusal> {
    may(view, resource, "read")?;
    Err(Refusal::not_found(detail))
}

/// Refuses what would change something: as upstream does without a database.
pub(super) fn refused(view: &View, resource: &str, action: &str) -> Result<Response, Refusal> {
    may(view, resource, action)?;
    let what = if resource == "evals" { "evaluation runs" } else { resource };
    let text = format!("This AgentOS keeps no {what}");
    Err(Refusal::new(StatusCode::BAD_REQUEST, text))
}
