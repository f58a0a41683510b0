//! [`cancel_runs`]: the handler that stops runs by what they are, or by their ids.

use std::collections::HashSet;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use quell::{RunFilter, RunRef, RunStatus};
use quell_flow::excerpt;

use crate::counted::{given_bytes, row_bytes};
use crate::ids::{BadId, parse_id};
use crate::ledger::{Charge, Overdrawn};
use crate::native::extract::{Caller, NoQuery, json_body};
use crate::native::problems::{PROBLEM, RefusedBody, forbidden};
use crate::native::query::is_in_lane;
use crate::native::routes::Answer;
use crate::native::wire::{
    self, CancelRuns, CancelRunsAnswer, Meant, RUNS_MAX, RunStop, component_of,
};
use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::{View, is_known_as_accepted};

/// Cancels runs, all that a filter means or those that are named.
///
/// It looks once at what this node has, and once at the store for the others, and stops what it has
/// found, at most 10,000 runs: those that are queued first, so that the end of none starts another.
/// What a server that ends has left to the next one is found, and is `not-stored`.
/// Runs that the caller may not stop are left out. With `dry_run` it is answered what would be
/// stopped, and nothing is.
#[utoipa::path(
    post, path = "/v1/runs/cancel", operation_id = "cancel_runs", tag = "runs",
    request_body = CancelRuns,
    responses(
        RefusedBody,
        (status = 200, description = "What came of it, or would", body = CancelRunsAnswer),
        (status = 202, description = "The wait was over before what was waited for, of one run \
            at least", body = CancelRunsAnswer),
        (status = 429, description = "No room for a large body or answer: nothing was stopped",
            body = Problem, content_type = PROBLEM),
        (status = 503, description = "The store cannot be read: nothing was stopped",
            body = Problem, content_type = PROBLEM),
    )
)]
pub(crate) async fn cancel_runs(
    Caller(view): Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (meant, asked) = read(&view, &headers, body).await?;
    if view.principal().is_read_only() {
        return Err(forbidden(view.principal().lack_to_run(None)));
    }
    let dry_run = asked.dry_run;
    let found = match meant {
        Meant::Filter(filter, lane) => view.for_stop(matching(&view, (filter, lane))).await?,
        Meant::Named(ids) => view.for_stop(named(&view, ids)).await?,
    };
    let Found { runs, total, unknown, mut room } = found;
    let about = runs.iter().map(answer_bytes).sum::<usize>();
    let about = about + unknown.iter().map(|id| 2 * id.len() + 8).sum::<usize>();
    // Refused here, nothing has changed.
    room.grow(about)?;
    let more = total.is_none_or(|total| total > runs.len());
    let told = move |runs| CancelRunsAnswer { dry_run, total, more, unknown, runs };
    if dry_run {
        let would = move || told(runs.iter().map(RunStop::would).collect());
        return Ok(view.json_response_in(room, about, would).await?);
    }
    let asked = asked.of_each();
    let now = Instant::now();
    let cancelled = view.cancel_all(&runs, asked.request(), asked.wait()).await;
    let is_reached = cancelled.iter().all(|one| one.is_reached || one.stored.is_err());
    let stops: Vec<_> =
        runs.iter().zip(&cancelled).map(|(run, one)| RunStop::of(run, one, now)).collect();
    drop((runs, cancelled));
    let mut response: Response = view.json_response_in(room, about, move || told(stops)).await?;
    *response.status_mut() = if is_reached { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(response)
}

/// Reads what is asked for. Nothing is left of the body when it returns, for the wait may be long.
async fn read(
    view: &View,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Meant, CancelRuns), Problem> {
    let parse = |text: &Bytes| {
        let mut asked: CancelRuns = wire::read(text)?;
        Ok((asked.meant()?, asked))
    };
    Ok(json_body(view, headers, body, parse).await?.0)
}

/// What a request means.
struct Found {
    /// Those that the caller may stop, each once, at most [`RUNS_MAX`].
    runs: Vec<RunView>,
    /// How many there are; none if not all were looked at.
    total: Option<usize>,
    /// The ids of which there is none.
    unknown: Vec<String>,
    /// The room that stored ones take.
    room: Charge,
}

/// Finds the roots that a filter means: one look at this node, then one at the store for others.
async fn matching(
    view: &View,
    (filter, lane): (RunFilter, Option<String>),
) -> Result<Found, Problem> {
    let in_lane = |run: &RunView| lane.as_deref().is_none_or(|lane| is_in_lane(run, lane));
    let is_meant = |run: &RunView| in_lane(run) && view.may_stop(run);
    let mut picked = Picked::new(view.room_now(0)?);
    let mut here = view.runs(&filter);
    // One that the store has not taken may be refused, and must not hide that of another node.
    here.retain(is_known_as_accepted);
    for run in here.iter().rev().map(RunView::from).filter(is_meant) {
        picked.add(run)?;
    }
    let mut is_all = true;
    if view.service().has_others() {
        let mut known: HashSet<_> = here.iter().map(RunRef::id).collect();
        let mut next = None;
        loop {
            let page = view.list(filter.clone(), usize::MAX, next, is_meant).await?;
            for run in page.runs {
                if known.insert(run.id()) {
                    picked.add(run)?;
                }
            }
            next = page.next;
            is_all = next.is_none();
            if is_all || picked.is_full() {
                break;
            }
        }
    }
    Ok(picked.found(is_all))
}

/// Finds the runs that are named, each once.
async fn named(view: &View, texts: Vec<String>) -> Result<Found, Problem> {
    let mut known = HashSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id = parse_id(&text).map_err(|error| bad_id(&text, error))?;
        if known.insert(id) {
            ids.push((text, id));
        }
    }
    let (mut picked, mut unknown) = (Picked::new(view.room_now(0)?), Vec::new());
    let looks = stream::iter(ids).map(async |(text, id)| (text, view.find_by_id(id).await));
    let mut looks = std::pin::pin!(looks.buffered(LOOKS_AT_ONCE));
    while let Some((text, found)) = looks.next().await {
        match found?.filter(|run| view.may_stop(run)) {
            Some(run) => picked.add(run)?,
            None => unknown.push(text),
        }
    }
    Ok(Found { unknown, ..picked.found(true) })
}

/// Says which of many ids is none.
fn bad_id(text: &str, error: BadId) -> Problem {
    let detail = format!("`{}`: {error}", excerpt(text));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-id", detail)
}

/// Runs that were found, in the order in which they are stopped: no more than one request stops.
struct Picked {
    /// Those that are queued; those that work or have ended; those of which a stop waits for their
    /// next checkpoint; and those that are stopping already. What was stopped before comes last, so
    /// that the same request again gets on to others.
    ranks: [Vec<RunView>; 4],
    total: usize,
    room: Charge,
}

impl Picked {
    const fn new(room: Charge) -> Self {
        Self { ranks: [const { Vec::new() }; 4], total: 0, room }
    }

    /// Adds a run. What the store has of one counts until the answer is taken.
    fn add(&mut self, run: RunView) -> Result<(), Overdrawn> {
        self.total += 1;
        let rank = match run.status() {
            RunStatus::Queued => 0,
            RunStatus::Stopping => 3,
            _ if is_scheduled(&run) => 2,
            _ => 1,
        };
        if self.ranks[rank].len() < RUNS_MAX {
            if let RunView::Stored(stored) = &run {
                let rows = stored.report().rows.iter().map(row_bytes).sum::<usize>();
                self.room.grow(rows + given_bytes(stored.accepted()))?;
            }
            self.ranks[rank].push(run);
        }
        Ok(())
    }

    /// Tells whether no further one could be among those that are stopped, but queued ones.
    fn is_full(&self) -> bool {
        self.ranks[0].len() + self.ranks[1].len() >= RUNS_MAX
    }

    fn found(self, is_all: bool) -> Found {
        let mut runs: Vec<_> = self.ranks.into_iter().flatten().collect();
        runs.truncate(RUNS_MAX);
        let total = is_all.then_some(self.total);
        Found { runs, total, unknown: Vec::new(), room: self.room }
    }
}

/// Tells whether a stop of a run waits for its next checkpoint.
fn is_scheduled(run: &RunView) -> bool {
    match run {
        RunView::Live(run) => run.scheduled_stop().is_some(),
        RunView::Stored(stored) => stored.record().stop.is_some(),
    }
}

/// Estimates the bytes of what is answered of a run.
fn answer_bytes(run: &RunView) -> usize {
    let texts = run.external_id().len() + component_of(run).map_or(0, |name| name.len());
    256 + 2 * texts
}

/// Runs that are looked up at once for one request.
const LOOKS_AT_ONCE: usize = 16;
