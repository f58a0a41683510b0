//! [`one`] and [`many`]: the two cancel operations (contract, section 10).

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, future, stream};
use quell::{Disposition, RunFilter};
use quell_http::{CancelOutcome, RunView, SESSION, View, Wait};
use serde_json::json as value;
use uuid::Uuid;

use crate::app::App;
use crate::routes::body::read_json;
use crate::routes::caller::Writer;
use crate::routes::path::RunPath;
use crate::routes::response::{json, set};
use crate::wire::cancel::{Action, Seen, Selection, Until, Wanted, answer, bulk_answer};
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
    let run = view.for_stop(app.find_to_stop(&view, path.thread(), path.run)).await?;
    let cancelled = match run.map(|(run, _)| run) {
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
    let wait = Wait::terminal().at_most(app.options().settle);
    let is_meant = |run: &RunView| view.may_stop(run) && seen.has(run.id().as_uuid());
    // Those that are here are asked to stop before anything is read, which may take long.
    let mut here = select_here(&app, &view, &selection);
    here.retain(is_meant);
    let others = async {
        let others = select_others(&app, &view, &selection, &here);
        let mut others = view.for_stop(others).await?;
        others.retain(is_meant);
        let request = action.request("/runs/cancel");
        Ok::<_, Refusal>(view.cancel_all(&others, request, wait).await)
    };
    let (mut answers, others) =
        future::join(view.cancel_all(&here, action.request("/runs/cancel"), wait), others).await;
    answers.extend(others?);
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

/// Selects in one snapshot of this node. A run is of this contract if it has a thread.
fn select_here(app: &App, view: &View, selection: &Selection) -> Vec<RunView> {
    let kept = |thread, run| Some(app.find(view, thread, run)?.kept()?.run.into());
    match selection {
        Selection::Ids { thread, runs } => {
            once_each(runs).filter_map(|run| kept(Some(*thread), run)).collect()
        }
        Selection::Status { wanted, thread } => {
            let runs = view.runs(&live(*thread)).into_iter();
            let runs = runs.filter(|run| is_meant(*wanted, &run.into()));
            runs.filter_map(|run| kept(None, run.id().as_uuid())).collect()
        }
    }
}

/// Selects those of other nodes, and of earlier processes, in one snapshot of the store.
async fn select_others(
    app: &App,
    view: &View,
    selection: &Selection,
    here: &[RunView],
) -> Result<Vec<RunView>, Refusal> {
    match selection {
        Selection::Ids { thread, runs } => {
            let is_there = |run: &Uuid| app.find(view, Some(*thread), *run).is_none();
            let others: Vec<_> = once_each(runs).filter(is_there).collect();
            let found = stream::iter(others).map(|run| app.find_stored(view, Some(*thread), run));
            let found: Vec<_> = found.buffered(AT_ONCE).try_collect().await?;
            Ok(found.into_iter().flatten().map(|found| found.run).collect())
        }
        Selection::Status { wanted, thread } => {
            let mut all = here.to_vec();
            let busy: HashSet<_> = here.iter().filter_map(RunView::lane).collect();
            let has_waited = |run: &RunView| {
                // Behind one that was running, and was just asked to stop, it has begun since: of a
                // lane one runs at a time.
                let is_behind = run.lane().is_some_and(|it| busy.contains(it));
                *wanted == Wanted::Running && is_behind
            };
            let is_meant = |run: &RunView| is_meant(*wanted, run) && !has_waited(run);
            app.add_elsewhere(view, live(*thread), is_meant, &mut all).await?;
            Ok(all.split_off(here.len()))
        }
    }
}

fn live(thread: Option<Uuid>) -> RunFilter {
    let filter = RunFilter::new().roots().live();
    match thread {
        Some(thread) => filter.label(SESSION, thread.to_string()),
        None => filter,
    }
}

fn is_meant(wanted: Wanted, run: &RunView) -> bool {
    wanted.has(run.status()) && has_thread(run)
}

fn once_each(runs: &[Uuid]) -> impl Iterator<Item = Uuid> {
    let mut seen = HashSet::new();
    runs.iter().copied().filter(move |run| seen.insert(*run))
}

fn has_thread(run: &RunView) -> bool {
    run.label(SESSION).is_some_and(|session| Uuid::try_parse(session).is_ok())
}

/// Runs that are looked up in the store at once for one request.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::testing::cluster::Nodes;
    use quell::{CancelRequest, Engine, EngineConfig, OnBusy, RunContext, RunSpec, RunStatus};
    use quell_flow::{COMPONENT, Catalog, Component};
    use quell_http::Service;
    use quell_test_support::within;

    use super::*;
    use crate::options::Options;

    /// The one behind it begins when the first one has been stopped: it was pending until then.
    #[tokio::test]
    async fn what_begins_behind_a_run_that_was_stopped_is_not_selected_with_it() {
        let nodes = Nodes::new(Duration::from_secs(30));
        let [a, b] = ["a", "b"].map(|name| {
            let engine = Engine::with_config(EngineConfig::new().node(nodes.join(name)));
            let graph = Component::agent("r", async |_ctx, input: quell::Payload| Ok(input));
            App::new(Service::new(engine, Catalog::new().with(graph)), Options::default())
        });
        let thread = Uuid::now_v7();
        let start = async |app: &App| {
            let spec = RunSpec::agent("r").label(SESSION, thread.to_string());
            let spec = spec.label(COMPONENT, "r").lane(thread.to_string(), OnBusy::Enqueue);
            let body = async |ctx: RunContext| {
                ctx.stopped().await;
                Ok(())
            };
            app.engine().submit_durably(spec, body).await.unwrap().into_ref()
        };
        let (first, behind) = (start(&a).await, start(&b).await);
        let here = [RunView::from(&first)];
        first.cancel(CancelRequest::because("enough"));
        within("it begins", async {
            while behind.status() != RunStatus::Running {
                tokio::task::yield_now().await;
            }
            behind.stored().await.unwrap();
        })
        .await;
        // A session is no lane: this one ran beside the first one.
        let spec = RunSpec::agent("r").label(SESSION, thread.to_string()).label(COMPONENT, "r");
        let body = async |ctx: RunContext| {
            ctx.stopped().await;
            Ok(())
        };
        let beside = b.engine().submit_durably(spec, body).await.unwrap().into_ref();
        within("it runs", async {
            while beside.status() != RunStatus::Running {
                tokio::task::yield_now().await;
            }
            beside.stored().await.unwrap();
        })
        .await;
        for (wanted, selected) in [(Wanted::Running, 1), (Wanted::All, 2)] {
            let selection = Selection::Status { wanted, thread: None };
            let others = select_others(&a, &a.all(), &selection, &here).await.unwrap();
            assert_eq!(others.len(), selected, "{wanted:?}");
        }
        for run in [behind, beside] {
            run.cancel(CancelRequest::because("enough"));
        }
    }
}
