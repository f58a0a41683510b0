//! [`list_stops`]: the handler that tells which stops are under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::RawQuery;
use futures::{StreamExt as _, future, stream};
use quell::cluster::{AskedStop, OpenStops};
use quell::{RunFilter, RunId, RunStatus, StopStanding};

use crate::counted::row_bytes;
use crate::lookup_error::LookupError;
use crate::native::extract::Caller;
use crate::native::problems::PROBLEM;
use crate::native::query::limit_alone;
use crate::native::routes::{Answer, unreadable_component};
use crate::native::wire::{StopList, StopObject, abandoned_by, stop_bytes};
use crate::problem::Problem;
use crate::run_view::{RunView, StoredRun};
use crate::service::View;
use crate::stored_events::read;

/// Lists the stops that are under way, the oldest first.
///
/// Each is told by the run at which it began, with what it waits for, by name. A run that has ended
/// with something of it still executing is listed until that has ended. A stop that its node has
/// not decided yet is `recorded`. Of a run that another node has it is told as far as the store
/// tells: hooks and closures are not named. A stop that began below a root of another node is not
/// listed.
#[utoipa::path(
    get, path = "/v1/stops", operation_id = "list_stops", tag = "runs",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000,
            description = "1 to 1,000. Defaults to 100"),
    ),
    responses(
        (status = 200, description = "The stops. While the store cannot be read those of this \
            node, and `more` is true", body = StopList),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Bad parameter", body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large answer", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn list_stops(Caller(view): Caller, RawQuery(query): RawQuery) -> Answer {
    let limit = limit_alone(query.as_deref())?;
    let engine = view.service().engine();
    // By the clock of the other times, which may be ahead of that of the machine.
    let at = engine.time();
    let mut stops = Stops { limit, ..Stops::default() };
    stops.add_own(&view);
    if engine.node().is_some() {
        let open = engine.open_stops(view.own_owner());
        let (stopping, open) = future::join(stopping_elsewhere(&view, limit), open).await;
        // Those of this node are told in any case.
        stops.more |= stopping.is_err() || open.is_err();
        let (stopping, has_more) = stopping.unwrap_or_default();
        stops.more |= has_more;
        for run in stopping {
            stops.add(&view, &run, (None, None));
        }
        stops.add_open(&view, open.unwrap_or_default()).await;
    }
    let (mut all, mut more) = stops.oldest();
    more |= stand(&view, &mut all).await.is_err();
    let about = all.iter().map(|stop| stop.bytes).sum();
    let room = view.room_now(about)?;
    for stop in &mut all {
        let Some(stored) = &stop.stored else { continue };
        let node = engine.owner_of(stored.root().run).await.ok().flatten();
        stop.object.node = node.filter(|node| engine.node() != Some(node));
    }
    let list = move || StopList::new(at, all.into_iter().map(|stop| stop.object).collect(), more);
    Ok(view.json_response_in(room, about, list).await?)
}

/// Tells of the stops of roots that are only in the store how they stand, as far as that tells.
async fn stand(view: &View, all: &mut [Stop]) -> Result<(), LookupError> {
    let mut roots: Vec<_> = all
        .iter_mut()
        .filter_map(|stop| {
            let stored = stop.stored.clone().filter(|run| run.accepted().parent.is_none())?;
            Some((stored, stop))
        })
        .collect();
    let records: Vec<_> = roots.iter().map(|(stored, _)| stored.record()).collect();
    let standings = read(view.service().engine().stored_standings(&records)).await?;
    for ((_, stop), standing) in roots.iter_mut().zip(standings) {
        if let Some(standing) = standing {
            stop.bytes += stop_bytes(Some(&standing));
            stop.object.stands(standing);
        }
    }
    Ok(())
}

/// Finds the runs of other nodes that are stopping, the oldest stops of them, and one more than
/// are asked for; tells whether not all were looked at.
async fn stopping_elsewhere(
    view: &View,
    limit: usize,
) -> Result<(Vec<RunView>, bool), LookupError> {
    let (mut oldest, mut next) = (Vec::new(), None);
    for _ in 0..PARTS_MAX {
        let filter = RunFilter::new().status(RunStatus::Stopping);
        let elsewhere = |run: &RunView| run.live().is_none() && is_shown(view, run);
        let page = view.list(filter, usize::MAX, next, elsewhere).await?;
        oldest.extend(page.runs);
        oldest.sort_by_cached_key(|run| run.row().stopped_at);
        oldest.truncate(limit + 1);
        next = page.next;
        if next.is_none() {
            return Ok((oldest, false));
        }
    }
    Ok((oldest, true))
}

fn is_shown(view: &View, run: &RunView) -> bool {
    unreadable_component(view, run).is_none()
}

/// The stops that were found.
#[derive(Default)]
struct Stops {
    /// How many are asked for.
    limit: usize,
    /// Of each sort at most one more than that.
    all: Vec<Stop>,
    /// The runs that need not be looked up any more.
    known: HashSet<RunId>,
    /// Whether there are more, or may be.
    more: bool,
}

/// A stop that was found, as it is told but for the node that has it.
struct Stop {
    run: RunId,
    since: SystemTime,
    /// The run, if it is only in the store.
    stored: Option<StoredRun>,
    object: StopObject,
    bytes: usize,
}

impl Stops {
    /// Adds those of this node, which come the oldest first.
    fn add_own(&mut self, view: &View) {
        let stops = view.service().engine().stops().into_iter().map(RunView::Live);
        for run in stops.filter(|run| view.sees_view(run) && is_shown(view, run)) {
            self.known.insert(run.id());
            if self.all.len() > self.limit {
                continue;
            }
            // It may be over by now.
            let standing = run.live().and_then(quell::RunRef::stop_standing);
            if standing.is_some() {
                self.add(view, &run, (standing, None));
            }
        }
    }

    /// Adds what the store knows of stops that are asked for, and of runs that have ended.
    async fn add_open(&mut self, view: &View, open: OpenStops) {
        self.more |= open.more;
        let (mut asked, mut runs) = (HashMap::new(), Vec::new());
        for stop in open.asked {
            let run = stop.run;
            asked.entry(run).or_insert_with(|| {
                runs.push(run);
                stop
            });
        }
        for stop in &mut self.all {
            if let Some(asked) = asked.get(&stop.run) {
                stop.object.is_recorded_at(asked.at);
            }
        }
        for mut runs in [runs, open.left] {
            runs.retain(|run| self.known.insert(*run));
            self.more |= runs.len() > self.limit + 1;
            runs.truncate(self.limit + 1);
            let found = stream::iter(runs).map(|run| view.find_by_id(run));
            let mut found = std::pin::pin!(found.buffered(LOOKS_AT_ONCE));
            while let Some(found) = found.next().await {
                // One that cannot be read is in no list.
                self.more |= matches!(found, Err(LookupError::Unavailable));
                let Ok(Some(run)) = found else { continue };
                let stop = asked.remove(&run.id());
                // It may have been decided, or have ended, meanwhile.
                let is_open = match &stop {
                    Some(stop) => stop.means(run.queued_at()) && !run.status().is_terminal(),
                    None => !run.row().executes_nothing(),
                };
                if is_open && is_shown(view, &run) {
                    let standing = stop.is_none().then(|| abandoned_by(&run.report()));
                    self.add(view, &run, (standing, stop));
                }
            }
        }
    }

    fn add(
        &mut self,
        view: &View,
        run: &RunView,
        (standing, asked): (Option<StopStanding>, Option<AskedStop>),
    ) {
        let mut row = run.row();
        (row.output, row.partial) = (None, None);
        let mut since = row.stopped_at.unwrap_or_else(|| run.queued_at());
        if let Some(asked) = &asked
            && row.cause.is_none()
        {
            since = asked.at;
            row.cause = Some(Arc::new(asked.request.to_cause(asked.at, asked.run)));
        }
        let bytes = row_bytes(&row) + stop_bytes(standing.as_ref());
        let state = view.state_of_row_of(run, &row);
        let mut object = StopObject::new(run, &row, state, standing);
        if let Some(asked) = asked {
            object.is_recorded_at(asked.at);
        }
        let stored = match run {
            RunView::Live(_) => None,
            RunView::Stored(stored) => Some(stored.clone()),
        };
        self.known.insert(run.id());
        self.all.push(Stop { run: run.id(), since, stored, object, bytes });
    }

    /// Yields as many as are asked for, and whether there are more.
    fn oldest(self) -> (Vec<Stop>, bool) {
        let Self { limit, mut all, more, .. } = self;
        // Of one instant, in the order in which they were found.
        all.sort_by_key(|stop| stop.since);
        let more = more || all.len() > limit;
        all.truncate(limit);
        (all, more)
    }
}

/// Runs that are looked up at once for one request.
const LOOKS_AT_ONCE: usize = 4;

/// Parts of the list of runs that are stopping that one request reads.
const PARTS_MAX: usize = 16;
