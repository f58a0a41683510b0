//! Reading and listing runs (section 6).

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::Value;

use crate::app::{App, object_of};
use crate::routes::{Parts, json, parts};
use crate::wire::query::{Pairs, run_id, thread_id};
use crate::wire::refusal::Refusal;

pub(super) async fn read(
    State(app): State<App>,
    path: Parts<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let (thread, run) = parts(path);
    let (thread, run) = (thread_id(&thread)?, run_id(&run)?);
    let found = app.find(&view, Some(thread), run).ok_or_else(Refusal::not_found)?;
    Ok(json(&object_of(&view, &found)))
}

pub(super) async fn list(
    State(app): State<App>,
    path: Parts<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let id = thread_id(&parts(path))?;
    let query = Pairs::of(&uri);
    let (limit, offset) = (query.count("limit", 10)?, query.count("offset", 0)?);
    let thread = app.thread(&view, id);
    let thread =
        thread.ok_or_else(|| Refusal::missing(format!("Thread with ID {id} not found")))?;
    let runs = thread.runs().into_iter();
    let found = runs.filter_map(|tracked| app.find(&view, Some(id), tracked.id.as_uuid()));
    let mut rows: Vec<_> = found.map(|found| object_of(&view, &found)).collect();
    let status = query.get("status");
    rows.retain(|row| status.is_none_or(|status| row["status"] == *status));
    rows.sort_by(|one, other| newest(other).cmp(&newest(one)));
    let select: Vec<&str> = query.all("select").flat_map(|keys| keys.split(',')).collect();
    let page = rows.into_iter().skip(offset).take(limit).map(|row| only(row, &select));
    Ok(json(&Value::Array(page.collect())))
}

/// Times are of one width: as text they are in their order.
fn newest(row: &Value) -> (Option<&str>, Option<&str>) {
    (row["created_at"].as_str(), row["run_id"].as_str())
}

fn only(row: Value, select: &[&str]) -> Value {
    match row {
        Value::Object(mut row) if !select.is_empty() => {
            row.retain(|key, _| select.contains(&key.as_str()));
            Value::Object(row)
        }
        row => row,
    }
}
