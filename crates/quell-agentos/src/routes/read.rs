//! Reads a run (contract, section 6).

use axum::http::HeaderMap;
use axum::response::Response;
use quell::RunKind;

use crate::gate::{Action, Site, find};
use crate::routes::{parameter, told};
use crate::wire::problem::{Refusal, missing};

pub(super) async fn read(
    site: &Site,
    headers: &HeaderMap,
    kind: RunKind,
    (id, run): (&str, &str),
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let (view, component) = site.component(headers, kind, id, Action::Read)?;
    let session = parameter(query, "session_id")
        .ok_or_else(|| Refusal::invalid(vec![missing("query", "session_id")]))?;
    let answer = match find(&view, &component, run, Some(&session)) {
        Some(run) => told(&view, &run).await?,
        None => None,
    };
    answer.ok_or_else(|| Refusal::not_found("Run not found"))
}
