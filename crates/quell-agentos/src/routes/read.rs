//! Reads a run (contract, section 6).

use axum::http::HeaderMap;
use axum::response::Response;
use quell::RunKind;

use crate::app::{App, find};
use crate::auth::Action;
use crate::routes::query::parameter;
use crate::routes::run_response::told;
use crate::wire::refusal::{Refusal, missing};

pub(super) async fn read(
    app: &App,
    headers: &HeaderMap,
    kind: RunKind,
    (id, run): (&str, &str),
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let (view, component) = app.component(headers, kind, id, Action::Read)?;
    let session = parameter(query, "session_id")
        .ok_or_else(|| Refusal::invalid(vec![missing("query", "session_id")]))?;
    let answer = match find(&view, &component, run, Some(&session)) {
        Some(run) => told(&view, &run).await?,
        None => None,
    };
    answer.ok_or_else(|| Refusal::not_found("Run not found"))
}
