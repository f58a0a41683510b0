//! [`read`], [`list`] and [`delete`]: reads, lists and deletes runs (contract, section 6).

use std::cmp::Reverse;
use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::future::{Either, try_join_all};
use quell_http::RunView;

use crate::app::{App, Located, in_list};
use crate::routes::caller::{Caller, Writer};
use crate::routes::create::object;
use crate::routes::path::{RunPath, ThreadPath};
use crate::routes::response::rendered;
use crate::wire::asked::Asked;
use crate::wire::query::Pairs;
use crate::wire::refusal::Refusal;
use crate::wire::rows::RUN_KEYS;
use crate::wire::status::run_status;

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    path: RunPath,
) -> Result<Response, Refusal> {
    let found = app.find_now(&view, path.thread(), path.run).await?;
    if let Some(found) = found.and_then(Located::kept) {
        return object(&app, &view, found.run.into(), &found.tracked).await;
    }
    let stored = app.find_stored(&view, path.thread(), path.run).await?;
    let stored = stored.ok_or_else(Refusal::not_found)?;
    object(&app, &view, stored.run, &stored.tracked).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    path: RunPath<ThreadPath>,
) -> Result<Response, Refusal> {
    app.delete_run(&view, path.within(), path.run).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let (limit, offset) = (query.count("limit", 10)?, query.count("offset", 0)?);
    let select: Vec<String> = query.names("select").map(str::to_owned).collect();
    check_keys(&select)?;
    let thread = app.thread_anywhere(&view, id).await?;
    if thread.is_none() && app.is_deleted(id).await? {
        return Err(Refusal::no_thread(id));
    }
    if let Some(thread) = thread.as_ref().filter(|_| app.is_node()) {
        app.forget_deleted_of(thread).await?;
    }
    let runs = thread.iter().flat_map(|thread| thread.runs());
    let find = |run| app.find(&view, Some(id), run).and_then(Located::kept);
    let runs = runs.filter(|tracked| !tracked.is_update);
    let found = runs.filter_map(|tracked| find(tracked.id.as_uuid()));
    // Choose the page by the small parts of the runs; the large ones are made for the page alone.
    let status = query.get("status");
    let found = found.filter(|found| status.is_none_or(|it| it == run_status(found.run.status())));
    let kept = found.map(|found| (found.created_at(), found.run.id(), Either::Left(found)));
    let mut found: Vec<_> = kept.collect();
    let is_update = |run: &RunView| Asked::of(run).is_some_and(|asked| asked.is_update);
    let has_status =
        |run: &RunView| status.is_none_or(|it| it == run_status(run.status())) && !is_update(run);
    let stored = app.stored_of(&view, id, offset.saturating_add(limit), has_status).await?;
    // A thread that is gone from memory has its stored runs.
    let is_there = thread.is_some() || !stored.is_empty();
    if !is_there && app.stored_of(&view, id, 1, |_| true).await?.is_empty() {
        return Err(Refusal::no_thread(id));
    }
    // One that was left to the next process meanwhile is there, and was here.
    let was_here: HashSet<_> = found.iter().map(|(_, run, _)| *run).collect();
    let stored = stored.into_iter().map(|run| (run.created_at(), run.run.id(), Either::Right(run)));
    found.extend(stored.filter(|(_, run, _)| !was_here.contains(run)));
    found.sort_by_key(|(created, run, _)| Reverse((*created, *run)));
    let page: Vec<_> = found.into_iter().skip(offset).take(limit).map(|(_, _, it)| it).collect();
    let here = page.iter().filter_map(|it| match it {
        Either::Left(found) => Some(found.run.clone()),
        Either::Right(_) => None,
    });
    let here: Vec<_> = here.collect();
    let weight = page.iter().map(|it| match it {
        Either::Left(found) => found.tracked.weight,
        Either::Right(stored) => stored.tracked.weight,
    });
    let weight = weight.sum();
    let answer = rendered(&view.clone(), weight, move || {
        let is_shown = |key: &str| select.is_empty() || select.iter().any(|it| it == key);
        let written = page.iter().map(|it| match it {
            Either::Left(found) => in_list(&view, found, is_shown),
            Either::Right(stored) => stored.in_list(&view, is_shown),
        });
        written.collect::<Vec<_>>()
    })
    .await?;
    try_join_all(here.iter().map(|run| app.heard(run))).await?;
    Ok(answer)
}

/// Refuses keys that no run object has.
fn check_keys(select: &[String]) -> Result<(), Refusal> {
    if select.iter().all(|key| RUN_KEYS.contains(&key.as_str())) {
        return Ok(());
    }
    let all = RUN_KEYS.join(", ");
    Err(Refusal::invalid(format!("select: must be keys of a run: {all}")))
}
