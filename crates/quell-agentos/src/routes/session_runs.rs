//! [`of_component`] (contract, section 6), [`of_session`], [`previews`] and [`one`] (contract,
//! section 10): the runs of a session.

use std::pin::pin;

use axum::response::Response;
use futures::future::ready;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use quell::RunId;
use quell_flow::ComponentKind;
use quell_http::{Charge, Reading, RunView, View, same_id};
use serde::Serialize;

use crate::app::App;
use crate::auth::{Action, component, may};
use crate::heard::is_heard_of_any;
use crate::routes::extract::{RunRequest, SessionRequest};
use crate::snapshot::{position_of, read_at, session_of};
use crate::wire::position::{Position, Role};
use crate::wire::refusal::{Refusal, missing};
use crate::wire::run::{Tree, seconds};
use crate::wire::session;
use crate::wire::session_query::{RunsQuery, kind};
use crate::wire::status::status;

/// What is needed to write runs, in the order of the answer. It counts as under way.
pub(super) struct Readings {
    all: Vec<(Reading, Position)>,
    pub(super) weight: usize,
    _room: Charge,
}

/// Lists the runs of a component in a session.
pub(super) async fn of_component(
    app: &App,
    of: ComponentKind,
    request: &RunRequest,
) -> Result<Response, Refusal> {
    let RunRequest { view, component: id, query, .. } = request;
    let component = component(view, of, id, Action::Read)?;
    let session = query
        .get("session_id")
        .ok_or_else(|| Refusal::invalid(vec![missing("query", "session_id")]))?;
    let is_own = |run: &RunView| {
        view.component_of(run).is_some_and(|it| it.kind() == of && it.id() == component.id())
    };
    let found = app.sessions.find(view, &session, is_own).await?;
    let found = found.ok_or_else(|| Refusal::not_found("Session not found"))?;
    let asked = RunsQuery::of_status(query.get("status"), |name| query.get(name))?;
    let readings = readings(view, &found.runs, &asked).await?;
    let about = readings.weight;
    let make = move || readings.trees().map(|tree| session::run(&tree)).collect::<Vec<_>>();
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

/// Lists the runs of a session.
pub(super) async fn of_session(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    listed(app, request, |tree| session::run(tree).without_nulls()).await
}

/// Lists the runs of a session in short.
pub(super) async fn previews(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    listed(app, request, session::preview).await
}

async fn listed<T: Serialize + 'static>(
    app: &App,
    request: &SessionRequest,
    write: fn(&Tree) -> T,
) -> Result<Response, Refusal> {
    let SessionRequest { view, session, query, .. } = request;
    may(view, "sessions", "read")?;
    let asked = RunsQuery::read(|name| query.get(name), query.all("status"))?;
    let found = app.sessions.find(view, session, |_| true).await?;
    let found = found.ok_or_else(|| no_session(session))?;
    let readings = readings(view, &found.runs, &asked).await?;
    let about = readings.weight;
    let make = move || readings.trees().map(|tree| write(&tree)).collect::<Vec<_>>();
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

/// Shows a run of a session.
pub(super) async fn one(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    let SessionRequest { view, session, run: id, query } = request;
    may(view, "sessions", "read")?;
    kind(|name| query.get(name)).map_err(|fault| Refusal::invalid(vec![fault]))?;
    let found = match view.find(id).await? {
        Some(run) if !app.sessions.has(view, &run).await? => None,
        found => found.filter(|run| same_id(&session_of(run), session)),
    };
    let found = found.and_then(|run| Some((position_of(view, &run)?, run)));
    let is_shown = |role| matches!(role, Role::Agent | Role::Team | Role::Workflow);
    let Some((position, run)) = found.filter(|(position, _)| is_shown(position.role)) else {
        let is_there = app.sessions.find(view, session, |_| true).await?.is_some();
        let text = format!("Run with ID {id} not found in session {session}");
        return Err(if is_there { Refusal::not_found(&text) } else { no_session(session) });
    };
    let reading = view.read_tree(run).await?;
    is_heard_of_any(view, reading.run(), reading.report().own_row().status).await?;
    let about = reading.weight();
    let make = move || session::run(&read_at(&reading, &position));
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

/// Reads the part of runs that is asked for, as far as they are meant; the newest are named first.
/// Those that have left meanwhile are left out.
pub(super) async fn readings(
    view: &View,
    runs: &[RunId],
    asked: &RunsQuery,
) -> Result<Readings, Refusal> {
    let meant =
        stream::iter(runs.iter().copied()).map(|run| meant(view, run, asked)).buffered(AT_ONCE);
    let mut before = asked.part.skipped();
    let is_before = move |_: &_| {
        let is_before = before > 0;
        before = before.saturating_sub(1);
        ready(Ok(is_before))
    };
    let page = meant.filter_map(|run| ready(run.transpose())).try_skip_while(is_before);
    let reads = page.take(asked.part.limit()).map(async |run| read(view, run?).await);
    let mut reads = pin!(reads.buffered(AT_ONCE));
    let (mut all, mut weight) = (Vec::new(), 0);
    let mut room = view.room_now(0).map_err(Refusal::overdrawn)?;
    while let Some((reading, position)) = reads.try_next().await? {
        weight += reading.weight() + BYTES;
        room = grown(view, room, weight)?;
        all.push((reading, position));
    }
    all.reverse();
    Ok(Readings { all, weight, _room: room })
}

/// Makes room for so many bytes in all. A small answer takes none.
fn grown(view: &View, room: Charge, bytes: usize) -> Result<Charge, Refusal> {
    // Before the next charge: together they would be too many.
    drop(room);
    view.room_now(bytes).map_err(Refusal::overdrawn)
}

/// Finds a run, if it is meant.
async fn meant(
    view: &View,
    run: RunId,
    asked: &RunsQuery,
) -> Result<Option<(RunView, Position)>, Refusal> {
    let Some(run) = view.find_by_id(run).await? else { return Ok(None) };
    if !asked.means(status(run.status()), seconds(run.queued_at())) {
        return Ok(None);
    }
    Ok(position_of(view, &run).map(|position| (run, position)))
}

async fn read(
    view: &View,
    (run, position): (RunView, Position),
) -> Result<(Reading, Position), Refusal> {
    // Of what agents and teams were given, and said, those below need not be read one by one.
    let is_workflow = position.role == Role::Workflow;
    let reading = if is_workflow { view.read_tree(run).await? } else { view.read(run).await? };
    is_heard_of_any(view, reading.run(), reading.report().own_row().status).await?;
    Ok((reading, position))
}

impl Readings {
    /// Takes snapshots of the runs, one after the other.
    pub(super) fn trees(&self) -> impl Iterator<Item = Tree> {
        self.all.iter().map(|(reading, position)| read_at(reading, position))
    }
}

fn no_session(id: &str) -> Refusal {
    Refusal::not_found(&format!("Session with ID {id} not found"))
}

/// Runs that are read at once.
const AT_ONCE: usize = 8;

/// What a run takes in a list besides its values.
const BYTES: usize = 2 << 10;
