//! [`search`] and [`read`]: the system assistant of every graph (contract, section 3).

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use quell::Payload;
use quell_http::{View, offload_if_large};
use serde_json::Value;

use crate::app::App;
use crate::routes::body::{Read, read_json};
use crate::routes::caller::Caller;
use crate::routes::path::AssistantPath;
use crate::routes::response::{json, set_page};
use crate::wire::create::{object, typed};
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::rows::assistant_row;

pub(super) async fn search(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys: asked, _upload, .. } = read_json(&view, &headers, body).await?;
    let metadata = object(&asked, "metadata")?;
    let count = |key| typed(&asked, key, "must be a whole number");
    let limit = count("limit")?.unwrap_or(10);
    let offset: usize = count("offset")?.unwrap_or(0);
    let graph: Option<String> = typed(&asked, "graph_id", "must be text")?;
    let bytes = metadata.values().map(Payload::len).sum();
    let rows = rows(&app, &view);
    let rows =
        offload_if_large(bytes, async move { met(rows, graph.as_deref(), &metadata) }).await?;
    let total = rows.len();
    let page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    let next = offset.saturating_add(page.len());
    let mut response = json(&Value::Array(page));
    set_page(&mut response, next, total);
    Ok(response)
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    AssistantPath(id): AssistantPath,
) -> Result<Response, Refusal> {
    let id = id.to_string();
    let row = rows(&app, &view).into_iter().find(|row| row["assistant_id"] == *id);
    let row = row.ok_or_else(|| Refusal::missing(format!("Assistant with ID {id} not found")))?;
    Ok(json(&row))
}

/// Keeps the rows that a search means. What a value cannot hold is no value of an assistant.
fn met(mut rows: Vec<Value>, graph: Option<&str>, metadata: &Keys) -> Vec<Value> {
    let wanted = metadata.iter().map(|(key, value)| Some((key, value.parse::<Value>().ok()?)));
    let Some(wanted) = wanted.collect::<Option<Vec<_>>>() else { return Vec::new() };
    rows.retain(|row| {
        graph.is_none_or(|graph| row["graph_id"] == *graph)
            && wanted.iter().all(|(key, wanted)| row["metadata"].get(key) == Some(wanted))
    });
    rows
}

fn rows(app: &App, view: &View) -> Vec<Value> {
    let mut graphs: Vec<_> =
        view.components().filter(|graph| view.principal().may_read(graph)).collect();
    // A graph is found by its id alone: the first of two of one id is it.
    graphs.sort_by(|one, other| one.id().cmp(other.id()));
    graphs.dedup_by(|one, other| one.id() == other.id());
    graphs.into_iter().map(|graph| assistant_row(graph, app.since())).collect()
}
