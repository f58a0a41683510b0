//! [`read_at`]: takes snapshots of runs, from which their JSON is made.

use std::collections::HashMap;
use std::iter;
use std::time::Duration;

use quell::{
    CauseKind, Counts, EventKind, Payload, RunEvent, RunId, RunKind, RunRef, RunReport, RunRow,
    RunStatus, limits,
};
use quell_http::{
    Reading, RunView, SESSION, StoredRun, ToolNote, Transcript, TreeSaid, View, whole_millis,
};
use serde_json::Value;

use crate::wire::exact::Object;
use crate::wire::position::{Position, Role};
use crate::wire::run::{RunSnapshot, Tree};
use crate::wire::tool::{Outcome, tool};

/// The label of the user that the caller named.
pub(crate) const USER: &str = "agentos.user_id";

/// The label of the deadline that the caller set, in milliseconds.
pub(crate) const TIMEOUT: &str = "agentos.timeout_ms";

/// The label of a run that goes on from one that has ended: the id of that.
pub(crate) const FORKED_FROM: &str = "agentos.forked_from";

/// The label of a run that was started in the background with a stream: a client may come back for
/// that.
pub(crate) const STREAMED: &str = "agentos.streamed";

/// Yields the session of a run. Without one, it is the id of the root.
pub(crate) fn session_of(run: &RunView) -> String {
    run.root_label(SESSION).unwrap_or_else(|| run.root_external_id())
}

/// Finds the position of a run in its tree; `None` if its component has left the catalog.
pub(crate) fn position_of(view: &View, run: &RunView) -> Option<Position> {
    let mut position = Position::root(view.component_of(run)?, run.root_external_id());
    match run {
        RunView::Live(run) => {
            let mut line: Vec<_> = iter::successors(Some(run.clone()), RunRef::parent).collect();
            let mut above = line.pop()?;
            for run in line.into_iter().rev() {
                let ordinal = above.children().iter().position(|kid| kid.id() == run.id());
                let (kind, id) = (run.kind(), run.id().to_string());
                position = position.child(kind, run.name(), id, ordinal.unwrap_or_default());
                above = run;
            }
        }
        RunView::Stored(stored) => {
            for run in stored.line().rev().skip(1) {
                let ordinal = run.parent.and_then(|parent| stored.ordinal_of(run.run, parent));
                let (kind, id) = (run.kind, run.run.to_string());
                position = position.child(kind, &run.name, id, ordinal.unwrap_or_default());
            }
        }
    }
    Some(position)
}

/// Reads the run of an event, with which it has ended or is paused. The record of an end may come
/// behind its event. That of a pause comes before it, and may tell of what has come since. `kin` is
/// what [`View::find_patiently_near`] keeps for those that come next.
pub(crate) async fn read_far(
    view: &View,
    event: &RunEvent,
    said: &TreeSaid,
    kin: &mut Option<StoredRun>,
) -> Option<Reading> {
    let found = view.find_patiently_near(event.run, kin).await.ok()??;
    let over = match &found {
        RunView::Stored(stored) if matches!(event.kind, EventKind::Ended(_)) => {
            view.ended_or_paused(stored).await.ok()?
        }
        RunView::Live(_) | RunView::Stored(_) => Some(found),
    };
    match over? {
        RunView::Stored(stored) => Some(view.read_tree_of(&stored, said).await),
        run @ RunView::Live(_) => view.read(run).await.ok(),
    }
}

/// Tells whether a run below does the work of a run, as [`Tree::executor`] does.
pub(crate) fn has_executor(run: &RunRef) -> bool {
    let is_executor = |kind| matches!(kind, RunKind::Agent | RunKind::Team | RunKind::Workflow);
    let mut stack = run.children();
    while let Some(kid) = stack.pop() {
        match kid.kind() {
            kind if is_executor(kind) => return true,
            RunKind::Attempt => stack.extend(kid.children()),
            _ => {}
        }
    }
    false
}

/// Takes a snapshot of a run and its descendants.
pub(crate) fn read_at(reading: &Reading, position: &Position) -> Tree {
    let report = reading.report();
    let mut indices: HashMap<RunId, usize> = HashMap::with_capacity(report.rows.len());
    let mut runs: Vec<RunSnapshot> = Vec::with_capacity(report.rows.len());
    for row in &report.rows {
        let above = row.parent.and_then(|parent| indices.get(&parent)).copied();
        let own = match above {
            None if runs.is_empty() => position.clone(),
            // The row of its parent did not fit.
            None => continue,
            Some(above) => {
                let (parent, id) = (&runs[above], row.run.to_string());
                parent.position.child(row.kind, &row.name, id, parent.kids.len())
            }
        };
        let at = runs.len();
        indices.insert(row.run, at);
        if let Some(above) = above {
            runs[above].kids.push(at);
        }
        let transcript = reading.transcript_of(row.run);
        let mut snapshot = snapshot_of(reading, row, own, transcript);
        if at == 0 {
            snapshot.state = reading.state();
            let pause = reading.run().pause_state().filter(|_| row.status == RunStatus::Paused);
            snapshot.request = pause.map(|pause| pause.request);
        }
        runs.push(snapshot);
    }
    tree(reading.run(), runs)
}

/// Writes the part of a run that is small enough to need no room.
pub(crate) fn without_values(view: &View, run: &RunRef, position: Position) -> Object {
    small(view, run, position).without_values()
}

/// Takes a snapshot of a run without its input, its transcript and its descendants.
pub(crate) fn small(view: &View, run: &RunRef, position: Position) -> Tree {
    let mut row = run.row();
    (row.output, row.partial) = (None, None);
    row.error = row.error.map(|error| limits::cut(&error, ERROR_BYTES_MAX).into());
    let report = RunReport::new(vec![row], Counts::default());
    small_of(&view.read_live(run, report.into()), position)
}

/// As [`small`], of what was read of a run.
pub(crate) fn small_of(reading: &Reading, position: Position) -> Tree {
    let executor = executor_in(reading, &position);
    let mut own = small_row(reading, reading.report().own_row(), position);
    own.kids.extend(executor.is_some().then_some(1));
    tree(reading.run(), iter::once(own).chain(executor).collect())
}

/// Finds the run that does the work of a step: what is told of a step says who has done it.
fn executor_in(reading: &Reading, step: &Position) -> Option<RunSnapshot> {
    let report = reading.report();
    let own = report.own_row().run;
    let mut shown: HashMap<_, _> = HashMap::from([(own, step.clone())]);
    for row in report.rows.iter().filter(|_| step.role == Role::Step) {
        let Some(above) = row.parent.filter(|_| row.run != own).and_then(|it| shown.get(&it))
        else {
            continue;
        };
        let position = above.child(row.kind, &row.name, row.run.to_string(), 0);
        match position.role {
            Role::Agent | Role::Team | Role::Workflow => {
                return Some(small_row(reading, row, position));
            }
            Role::Hidden => drop(shown.insert(row.run, position)),
            Role::Step | Role::Parallel => {}
        }
    }
    None
}

/// Takes a snapshot of a run without its input and its transcript.
fn small_row(reading: &Reading, row: &RunRow, position: Position) -> RunSnapshot {
    let mut snapshot = snapshot_of(reading, row, position, None);
    snapshot.state.truncated = true;
    (snapshot.output, snapshot.error) =
        (None, snapshot.error.map(|error| limits::cut(&error, ERROR_BYTES_MAX).into()));
    snapshot.input = Payload::from(Value::Null);
    snapshot
}

/// The longest error in a small snapshot, in bytes. More is cut.
const ERROR_BYTES_MAX: usize = 1 << 10;

fn tree(run: &RunView, runs: Vec<RunSnapshot>) -> Tree {
    let (user, forked_from) = (run.root_label(USER), run.root_label(FORKED_FROM));
    Tree { session: session_of(run), user, forked_from, runs }
}

/// Takes a snapshot of one run, from its row and from what is known of it besides.
fn snapshot_of(
    reading: &Reading,
    row: &RunRow,
    position: Position,
    transcript: Option<Transcript>,
) -> RunSnapshot {
    let input = reading.input_of(row.run);
    let timeout = reading.label_of(row.run, TIMEOUT).and_then(|text| text.parse().ok());
    let output = row.output.as_ref().or(row.partial.as_ref());
    let model = transcript.as_ref().and_then(|transcript| transcript.model.as_ref());
    let mut state = reading.state_of_row(row);
    state.truncated = transcript.as_ref().is_none_or(|transcript| transcript.is_cut);
    RunSnapshot {
        position,
        kids: Vec::new(),
        state,
        status: row.status,
        cause: origin_of(reading, row),
        request: None,
        was_paused: transcript.as_ref().is_some_and(|said| said.is_paused),
        output: output.cloned(),
        usage: row.usage,
        error: row.error.as_deref().map(str::to_owned),
        timeout: timeout.map(Duration::from_millis),
        model: model.map(|model| (model.model.clone(), model.provider.clone())),
        tools: transcript.iter().flat_map(|transcript| transcript.tools.iter().map(call)).collect(),
        said_at: transcript.as_ref().and_then(|said| said.first_text_at).map(whole_millis),
        text: transcript.map(|transcript: Transcript| transcript.text).unwrap_or_default(),
        input: input.unwrap_or_else(|| Payload::from(Value::Null)),
        queued_at: row.queued_at,
        started_at: row.started_at.map(whole_millis),
        stopped_at: row.stopped_at.map(whole_millis),
        ended_at: row.ended_at.map(whole_millis),
    }
}

/// Yields the kind of what a stop began with: for a member or a step, that of the run above.
fn origin_of(reading: &Reading, row: &RunRow) -> Option<CauseKind> {
    let cause = row.cause.as_deref()?;
    if cause.kind != CauseKind::ParentStopped {
        return Some(cause.kind);
    }
    Some(reading.cause_of(cause.origin).unwrap_or(cause.kind))
}

fn call(note: &ToolNote) -> Object {
    let started_at = whole_millis(note.started_at);
    let ended_at = note.ended_at.map(whole_millis);
    let took = ended_at.and_then(|at| at.duration_since(started_at).ok());
    let outcome = note.outcome.as_ref().map(Outcome::of);
    let asked = Some((&*note.name, &note.input));
    tool(&note.call, asked, note.started_at, outcome.as_ref(), took)
}
