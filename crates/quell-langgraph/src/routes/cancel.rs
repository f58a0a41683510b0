//! [`one`] and [`many`]: the two cancel operations (contract, section 10).

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use quell::{Disposition, RunFilter, RunRef};
use quell_http::{CancelOutcome, RunView, SESSION, View, Wait};
use serde_json::json as value;
use uuid::Uuid;

use crate::app::{App, Located};
use crate::routes::body::read_json;
use crate::routes::caller::Writer;
use crate::routes::path::RunPath;
use crate::routes::response::{json, set};
use crate::wire::cancel::{Action, Seen, Selection, Until, answer, bulk_answer};
use crate::wire::query::Pairs;
use crate::wire::refusal::Refusal;
use crate::wire::status::meaning;

pub(super) async fn one(
    State(app): State<App>,
    Writer(view): Writer,
    path: RunPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let (action, until) = (Action::of(query.get("action")), Until::of(query.get("wait")));
    let cap = query.timeout()?;
    let path_of_run = path.text();
    let wait = match until {
        Until::Now => Wait::terminal().at_most(app.options().settle),
        Until::Terminal => Wait::terminal(),
        Until::Quiescent => Wait::quiescent(),
    };
    let wait = match cap.filter(|_| until != Until::Now) {
        Some(cap) => wait.at_most(cap),
        None => wait,
    };
    let kept = app.find_now(&view, path.thread(), path.run).await?.and_then(Located::kept);
    let run = match kept {
        Some(found) => Some(RunView::Live(found.run)),
        None => app.find_stored(&view, path.thread(), path.run).await?.map(|found| found.run),
    };
    let cancelled = match run {
        Some(run) if !view.may_stop(&run) => {
            return Err(Refusal::forbidden(view.lack_to_stop(&run)));
        }
        Some(run) => view.cancel(run, action.request(&format!("{path_of_run}/cancel")), wait).await,
        None => CancelOutcome::without_run(Disposition::Unknown),
    };
    cancelled.stored?;
    Ok(render_one(cancelled, until, &path_of_run))
}

fn render_one(mut cancelled: CancelOutcome, until: Until, path_of_run: &str) -> Response {
    let answer = answer(&cancelled.disposition, until, cancelled.is_reached);
    if until == Until::Now || answer.is_err() {
        // Held for a moment is not waited for (contract, choice 2).
        cancelled.quiescent = None;
    }
    let mut response = match answer {
        Ok(StatusCode::OK) => json(&value!({})),
        Ok(status) => status.into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    cancelled.write_headers(headers);
    if until != Until::Now && (headers.contains_key("quell-quiescent")) {
        set(headers, "location", &format!("{path_of_run}/join"));
        set(headers, "content-location", path_of_run);
    }
    response
}

pub(super) async fn many(
    State(app): State<App>,
    Writer(view): Writer,
    query: Pairs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let selection = Selection::read(&read_json(&view, &headers, body).await?.keys)?;
    let (action, seen) = (Action::of(query.get("action")), Seen::read(&headers)?);
    let mut found = select(&app, &view, &selection).await?;
    found.retain(|run| seen.has(run.id().as_uuid()));
    let wait = Wait::terminal().at_most(app.options().settle);
    let request = action.request("/runs/cancel");
    let answers = view.cancel_all(&found, request, wait).await;
    answers.iter().try_for_each(|cancelled| cancelled.stored)?;
    let first = answers.into_iter().min_by_key(|cancelled| meaning(&cancelled.disposition).1);
    let mut first = first.unwrap_or_else(|| CancelOutcome::without_run(Disposition::Unknown));
    first.quiescent = None;
    let mut response = match bulk_answer(&first.disposition) {
        Ok(status) => status.into_response(),
        Err(refusal) => refusal.into_response(),
    };
    first.write_headers(response.headers_mut());
    Ok(response)
}

/// Selects in one snapshot of this node, and one of the store for the others. A run is of this
/// contract if it has a thread.
async fn select(app: &App, view: &View, selection: &Selection) -> Result<Vec<RunView>, Refusal> {
    let mut found = match selection {
        Selection::Ids { thread, runs } => named(app, view, *thread, runs).await?,
        Selection::Status { wanted, thread } => {
            let mut filter = RunFilter::new().roots().live();
            if let Some(thread) = thread {
                filter = filter.label(SESSION, thread.to_string());
            }
            let is_meant = |run: &RunView| wanted.has(run.status()) && has_thread(run);
            let runs = view.runs(&filter).into_iter();
            let runs = runs.filter(|run| is_meant(&run.into()));
            let kept = |run: RunRef| app.find(view, None, run.id().as_uuid())?.kept();
            let mut found: Vec<_> = runs.filter_map(|run| Some(kept(run)?.run.into())).collect();
            app.add_elsewhere(view, filter, is_meant, &mut found).await?;
            found
        }
    };
    found.retain(|run| view.may_stop(run));
    Ok(found)
}

/// Finds the runs of a thread that a request names, each once.
async fn named(
    app: &App,
    view: &View,
    thread: Uuid,
    runs: &[Uuid],
) -> Result<Vec<RunView>, Refusal> {
    let mut seen = HashSet::new();
    let runs: Vec<_> = runs.iter().copied().filter(|run| seen.insert(*run)).collect();
    let found = stream::iter(runs).map(|run| async move {
        match app.find(view, Some(thread), run) {
            Some(located) => Ok(located.kept().map(|found| RunView::Live(found.run))),
            None => Ok(app.find_stored(view, Some(thread), run).await?.map(|found| found.run)),
        }
    });
    let found: Result<Vec<Option<RunView>>, Refusal> = found.buffered(AT_ONCE).try_collect().await;
    Ok(found?.into_iter().flatten().collect())
}

fn has_thread(run: &RunView) -> bool {
    run.label(SESSION).is_some_and(|session| Uuid::try_parse(session).is_ok())
}

/// Runs that are looked up in the store at once for one request.
const AT_ONCE: usize = 16;
