//! [`read`] and [`list`]: reads and lists runs (contract, section 6).

use std::cmp::Reverse;

use axum::extract::State;
use axum::response::Response;
use futures::future::Either;
use quell_http::RunView;

use crate::app::{App, Located, object_of, selected_of};
use crate::routes::caller::Caller;
use crate::routes::create::stored_object;
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
    let Some(found) = app.find(&view, path.thread(), path.run).and_then(Located::kept) else {
        let stored = app.find_stored(&view, path.thread(), path.run).await?;
        return stored_object(&view, stored.ok_or_else(Refusal::not_found)?).await;
    };
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
    let thread = app.thread_anywhere(&view, id).await?;
    let runs = thread.iter().flat_map(|thread| thread.runs());
    let find = |run| app.find(&view, Some(id), run).and_then(Located::kept);
    let found = runs.filter_map(|tracked| find(tracked.id.as_uuid()));
    // Choose the page by the small parts of the runs; the large ones are made for the page alone.
    let status = query.get("status");
    let found = found.filter(|found| status.is_none_or(|it| it == run_status(found.run.status())));
    let kept = found.map(|found| (found.created_at(), found.run.id(), Either::Left(found)));
    let mut found: Vec<_> = kept.collect();
    let has_status = |run: &RunView| status.is_none_or(|it| it == run_status(run.status()));
    let stored = app.stored_of(&view, id, offset.saturating_add(limit), has_status).await?;
    // A thread that is gone from memory has its stored runs.
    let is_there = thread.is_some() || !stored.is_empty();
    if !is_there && app.stored_of(&view, id, 1, |_| true).await?.is_empty() {
        return Err(Refusal::no_thread(id));
    }
    let stored = stored.into_iter();
    found.extend(stored.map(|run| (run.created_at(), run.run.id(), Either::Right(run))));
    found.sort_by_key(|(created, run, _)| Reverse((*created, *run)));
    let page: Vec<_> = found.into_iter().skip(offset).take(limit).map(|(_, _, it)| it).collect();
    let weight = page.iter().map(|it| match it {
        Either::Left(found) => found.tracked.weight,
        Either::Right(stored) => stored.tracked.weight,
    });
    let weight = weight.sum();
    rendered(&view.clone(), weight, move || {
        let select: Vec<&str> = query.all("select").flat_map(|keys| keys.split(',')).collect();
        let is_shown = |key: &str| select.is_empty() || select.contains(&key);
        let written = page.iter().map(|it| match it {
            Either::Left(found) => selected_of(&view, found, is_shown),
            Either::Right(stored) => stored.in_list(&view, is_shown),
        });
        written.collect::<Vec<_>>()
    })
    .await
}
