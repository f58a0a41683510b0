//! Reading and listing runs (contract, section 6).

use std::cmp::Reverse;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use crate::app::{App, object_of, selected_of};
use crate::routes::path::{Parts, parts};
use crate::routes::response::rendered;
use crate::wire::query::{Pairs, run_id, thread_id};
use crate::wire::refusal::Refusal;
use crate::wire::status::run_status;

pub(super) async fn read(
    State(app): State<App>,
    path: Parts<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let (thread, run) = parts(path);
    let (thread, run) = (thread_id(&thread)?, run_id(&run)?);
    let found = app.find(&view, Some(thread), run).ok_or_else(Refusal::not_found)?;
    let (by, weight) = (view.clone(), found.tracked.weight);
    rendered(&by, weight, move || object_of(&view, &found)).await
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
    // Which ones are shown is known by what is small of them.
    let status = query.get("status");
    let found = found.filter(|found| status.is_none_or(|it| it == run_status(found.run.status())));
    let mut found: Vec<_> = found.map(|found| (found.created_at(), found)).collect();
    found.sort_by_key(|(created, found)| Reverse((*created, found.run.id())));
    let page: Vec<_> = found.into_iter().skip(offset).take(limit).map(|(_, it)| it).collect();
    let weight = page.iter().map(|found| found.tracked.weight).sum();
    rendered(&view.clone(), weight, move || {
        let select: Vec<&str> = query.all("select").flat_map(|keys| keys.split(',')).collect();
        let is_shown = |key: &str| select.is_empty() || select.contains(&key);
        page.iter().map(|found| selected_of(&view, found, is_shown)).collect::<Vec<_>>()
    })
    .await
}
