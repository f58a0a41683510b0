//! Reads a run (section 6).

use axum::http::HeaderMap;
use axum::response::Response;
use quell::RunKind;

use crate::gate::{Action, Site, find};
use crate::gather;
use crate::routes::{parameter, told};
use crate::wire::problem::{Refusal, missing};

pub(super) fn read(
    site: &Site,
    headers: &HeaderMap,
    kind: RunKind,
    (id, run): (&str, &str),
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let (view, component) = site.component(headers, kind, id, Action::Read)?;
    let session = parameter(query, "session_id")
        .ok_or_else(|| Refusal::invalid(vec![missing("query", "session_id")]))?;
    let run = find(&view, &component, run, Some(&session));
    let tree = run.and_then(|run| gather::read(&view, &run));
    let tree = tree.ok_or_else(|| Refusal::not_found("Run not found"))?;
    told(&tree)
}
