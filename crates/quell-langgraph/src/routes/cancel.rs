//! [`one`] and [`many`]: the two cancel operations (contract, section 10).

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use quell::{Disposition, RunFilter};
use quell_http::{CancelOutcome, SESSION, View, Wait};
use serde_json::json as value;
use uuid::Uuid;

use crate::app::{App, Found, Located};
use crate::routes::body::read_json;
use crate::routes::caller::Writer;
use crate::routes::path::RunPath;
use crate::routes::response::{json, set};
use crate::wire::cancel::{Action, Selection, Until, answer, bulk_answer};
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
    let found = app.find(&view, path.thread(), path.run).and_then(Located::kept);
    if let Some(found) = found.as_ref().filter(|found| !view.may_stop(&found.run)) {
        return Err(Refusal::forbidden(view.lack_to_stop(&found.run)));
    }
    let request = action.request(&format!("{path_of_run}/cancel"));
    if found.is_none()
        && let Some(stored) = app.find_stored(&view, path.thread(), path.run).await?
    {
        if !view.may_stop(&stored.run) {
            return Err(Refusal::forbidden(view.lack_to_stop(&stored.run)));
        }
        let cancelled = view.cancel(&stored.run, request, wait).await;
        // It has not ended, and whoever has it is not told.
        cancelled.stored?;
        return Ok(render_one(cancelled, until, &path_of_run));
    }
    let answers = app.stop(&view, found.as_slice(), request, wait).await;
    let answers = answers.into_iter().next();
    let cancelled = answers.unwrap_or_else(|| CancelOutcome::without_run(Disposition::Unknown));
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
    let action = Action::of(query.get("action"));
    let found = select(&app, &view, &selection);
    let wait = Wait::terminal().at_most(app.options().settle);
    let request = action.request("/runs/cancel");
    let answers = app.stop(&view, &found, request, wait).await;
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

/// Selects in one snapshot. A run is of this contract if it has a thread.
fn select(app: &App, view: &View, selection: &Selection) -> Vec<Found> {
    let mut found: Vec<_> = match selection {
        Selection::Ids { thread, runs } => {
            let mut seen = HashSet::new();
            let runs = runs.iter().filter(|run| seen.insert(**run));
            runs.filter_map(|run| app.find(view, Some(*thread), *run)?.kept()).collect()
        }
        Selection::Status { wanted, thread } => {
            let mut filter = RunFilter::new().roots().live();
            if let Some(thread) = thread {
                filter = filter.label(SESSION, thread.to_string());
            }
            let runs = view.runs(&filter).into_iter();
            let runs = runs.filter(|run| wanted.has(run.row().status) && has_thread(run));
            runs.filter_map(|run| app.find(view, None, run.id().as_uuid())?.kept()).collect()
        }
    };
    found.retain(|found| view.may_stop(&found.run));
    found
}

fn has_thread(run: &quell::RunRef) -> bool {
    run.label(SESSION).is_some_and(|session| Uuid::try_parse(session).is_ok())
}
