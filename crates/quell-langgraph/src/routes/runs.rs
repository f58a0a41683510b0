//! [`read`] and [`list`]: reads and lists runs (contract, section 6).

use std::cmp::Reverse;

use axum::extract::State;
use axum::response::Response;

use crate::app::{App, Located, object_of, selected_of};
use crate::routes::caller::Caller;
use crate::routes::path::{RunPath, ThreadPath};
use crate::routes::response::rendered;
use crate::wire::query::Pairs;
use crate::wire::refusal::Refusal;
use crate::wire::status::run_status;

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    path: RunPath,
) -> Result<Response, Refusal> {
    let found = app.find(&view, path.thread(), path.run).and_then(Located::kept);
    let found = found.ok_or_else(Refusal::not_found)?;
    let (by, weight) = (view.clone(), found.tracked.weight);
    rendered(&by, weight, move || object_of(&view, &found)).await
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let (limit, offset) = (query.count("limit", 10)?, query.count("offset", 0)?);
    let thread = app.thread(&view, id).ok_or_else(|| Refusal::no_thread(id))?;
    let runs = thread.runs().into_iter();
    let find = |run| app.find(&view, Some(id), run).and_then(Located::kept);
    let found = runs.filter_map(|tracked| find(tracked.id.as_uuid()));
    // Choose the page by the small parts of the runs; the large ones are made for the page alone.
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
