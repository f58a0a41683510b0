//! Assistants: the system assistant of every graph (section 3).

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use quell_http::View;
use serde_json::{Map, Value};

use crate::app::App;
use crate::routes::{Parts, json, parts, read_json, set};
use crate::wire::create::object;
use crate::wire::query::assistant_id;
use crate::wire::refusal::Refusal;
use crate::wire::rows::assistant_row;

pub(super) async fn search(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let Value::Object(body) = read_json(&view, &headers, body).await?.value else {
        return Err(Refusal::invalid("body: must be an object"));
    };
    let metadata = object(&body, "metadata")?;
    let (limit, offset) = (count(&body, "limit", 10)?, count(&body, "offset", 0)?);
    let graph = match body.get("graph_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(graph)) => Some(graph.as_str()),
        Some(_) => return Err(Refusal::invalid("graph_id: must be text")),
    };
    let mut rows = rows(&app, &view);
    rows.retain(|row| {
        graph.is_none_or(|graph| row["graph_id"] == *graph)
            && metadata.iter().all(|(key, value)| row["metadata"].get(key) == Some(value))
    });
    let total = rows.len();
    let page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    let next = offset.saturating_add(page.len());
    let mut response = json(&Value::Array(page));
    set(response.headers_mut(), "x-pagination-total", &total.to_string());
    if next < total {
        set(response.headers_mut(), "x-pagination-next", &next.to_string());
    }
    Ok(response)
}

pub(super) async fn read(
    State(app): State<App>,
    path: Parts<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let id = assistant_id(&parts(path))?.to_string();
    let row = rows(&app, &view).into_iter().find(|row| row["assistant_id"] == *id);
    let row = row.ok_or_else(|| Refusal::missing(format!("Assistant with ID {id} not found")))?;
    Ok(json(&row))
}

fn rows(app: &App, view: &View) -> Vec<Value> {
    let mut graphs: Vec<_> =
        view.components().filter(|graph| view.principal().may_read(graph)).collect();
    // A graph is found by its id alone: the first of two of one id is it.
    graphs.sort_by(|one, other| one.id().cmp(other.id()));
    graphs.dedup_by(|one, other| one.id() == other.id());
    graphs.into_iter().map(|graph| assistant_row(graph, app.since())).collect()
}

fn count(body: &Map<String, Value>, key: &str, default: usize) -> Result<usize, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| Refusal::invalid(format!("{key}: must be a whole number")))
        }
    }
}
