//! [`list_stops`]: the handler that tells which stops are under way.

use std::time::SystemTime;

use axum::extract::RawQuery;
use quell::{RunFilter, RunRow, RunStatus, StopStanding};

use crate::counted::row_bytes;
use crate::native::extract::Caller;
use crate::native::problems::PROBLEM;
use crate::native::query::limit_alone;
use crate::native::routes::{Answer, unreadable_component};
use crate::native::wire::{StopList, StopObject, stop_bytes};
use crate::problem::Problem;
use crate::run_view::RunView;

/// Lists the stops that are under way, the oldest first.
///
/// Each is told by the run at which it began, with what it waits for, by name. A run that has ended
/// with something of it still executing is listed until that has ended. Of a run that another node
/// has the stop alone is told, and those are behind the others; as are runs below a root of another
/// node, which are not listed.
#[utoipa::path(
    get, path = "/v1/stops", operation_id = "list_stops", tag = "runs",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000,
            description = "1 to 1,000. Defaults to 100"),
    ),
    responses(
        (status = 200, description = "The stops", body = StopList),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Bad parameter", body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large answer", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn list_stops(Caller(view): Caller, RawQuery(query): RawQuery) -> Answer {
    let limit = limit_alone(query.as_deref())?;
    let (engine, at) = (view.service().engine(), SystemTime::now());
    let is_shown = |run: &RunView| unreadable_component(&view, run).is_none();
    let here = engine.stops().into_iter().filter(|run| view.sees(run) && is_shown(&run.into()));
    let here: Vec<_> = here.collect();
    let (mut found, mut room) = (Vec::new(), view.room_now(0)?);
    let (mut about, mut more) = (0, here.len() > limit);
    for run in here.into_iter().take(limit) {
        // It may be over by now.
        let Some(standing) = run.stop_standing() else { continue };
        let run = RunView::Live(run);
        let mut row = run.row();
        (row.output, row.partial) = (None, None);
        let bytes = row_bytes(&row) + stop_bytes(Some(&standing));
        room.grow(bytes)?;
        about += bytes;
        found.push(Stop { run, row, node: None, standing: Some(standing) });
    }
    if engine.node().is_some() && found.len() < limit {
        let filter = RunFilter::new().status(RunStatus::Stopping);
        let elsewhere = |run: &RunView| run.live().is_none() && is_shown(run);
        let page = view.list(filter, limit - found.len(), None, elsewhere).await;
        // Those of this node are told in any case.
        more |= page.as_ref().map_or(true, |page| page.next.is_some());
        for run in page.map_or_else(|_| Vec::new(), |page| page.runs) {
            let (node, row) = (view.node_of(&run).await, run.row());
            let bytes = row_bytes(&row);
            room.grow(bytes)?;
            about += bytes;
            found.push(Stop { run, row, node, standing: None });
        }
    }
    let seen = view.clone();
    let list = move || {
        let stops = found.into_iter().map(|Stop { run, row, node, standing }| {
            let state = seen.state_of_row_of(&run, &row);
            StopObject::new(&run, &row, state, (node, standing))
        });
        StopList::new(at, stops.collect(), more)
    };
    Ok(view.json_response_in(room, about, list).await?)
}

/// A stop that was found.
struct Stop {
    run: RunView,
    row: RunRow,
    node: Option<std::sync::Arc<str>>,
    standing: Option<StopStanding>,
}
