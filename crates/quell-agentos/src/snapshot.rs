//! [`read_at`]: takes snapshots of runs, from which their JSON is made.

use std::collections::HashMap;
use std::time::Duration;

use quell::{CauseKind, Payload, RunId, RunRef, RunReport, RunRow, limits};
use quell_http::{RunState, SESSION, ToolNote, Transcript, View, external_id};
use serde_json::Value;

use crate::wire::exact::Object;
use crate::wire::position::Position;
use crate::wire::run::{RunSnapshot, Tree};
use crate::wire::tool::{Outcome, tool};

/// The label of the user that the caller named.
pub(crate) const USER: &str = "agentos.user_id";

/// The label of the deadline that the caller set, in milliseconds.
pub(crate) const TIMEOUT: &str = "agentos.timeout_ms";

/// Yields the session of a run. Without one, it is the id of the root.
pub(crate) fn session_of(run: &RunRef) -> String {
    let root = run.root();
    root.label(SESSION).map_or_else(|| external_id(&root).into_owned(), str::to_owned)
}

/// Finds the position of a run in its tree; `None` if its component has left the catalog.
pub(crate) fn position_of(view: &View, run: &RunRef) -> Option<Position> {
    let mut line = vec![run.clone()];
    while let Some(parent) = line.last().and_then(RunRef::parent) {
        line.push(parent);
    }
    let root = line.pop()?;
    let mut position = Position::root(view.component_of(&root)?, external_id(&root));
    let mut above = root;
    for run in line.into_iter().rev() {
        let ordinal = above.children().iter().position(|kid| kid.id() == run.id());
        let (kind, id) = (run.kind(), run.id().to_string());
        position = position.child(kind, run.name(), id, ordinal.unwrap_or_default());
        above = run;
    }
    Some(position)
}

/// Takes a snapshot of a run and its descendants.
pub(crate) fn read_at(view: &View, run: &RunRef, report: &RunReport, position: &Position) -> Tree {
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
        let known = view.service().engine().get(row.run);
        let transcript = known.as_ref().map(|run| view.transcript(run));
        let mut snapshot = snapshot_of(view, row, own, known.as_ref(), transcript);
        if at == 0 {
            snapshot.state = view.state_of(report);
        }
        runs.push(snapshot);
    }
    tree(run, runs)
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
    let known = view.service().engine().get(row.run);
    let mut snapshot = snapshot_of(view, &row, position, known.as_ref(), None);
    snapshot.state.truncated = true;
    snapshot.input = Payload::from(Value::Null);
    tree(run, vec![snapshot])
}

/// The longest error in a small snapshot, in bytes. More is cut.
const ERROR_BYTES_MAX: usize = 1 << 10;

fn tree(run: &RunRef, runs: Vec<RunSnapshot>) -> Tree {
    let root = run.root();
    Tree { session: session_of(&root), user: root.label(USER).map(str::to_owned), runs }
}

/// Takes a snapshot of one run, from its row and from what the engine and its transcript still
/// hold.
fn snapshot_of(
    view: &View,
    row: &RunRow,
    position: Position,
    run: Option<&RunRef>,
    transcript: Option<Transcript>,
) -> RunSnapshot {
    let input = run.and_then(RunRef::input).cloned();
    let timeout = run.and_then(|run| run.label(TIMEOUT)?.parse().ok());
    let output = row.output.as_ref().or(row.partial.as_ref());
    let model = transcript.as_ref().and_then(|transcript| transcript.model.as_ref());
    let show = |id| view.service().external_id(id);
    let mut state = RunState::of_row(row, show);
    state.truncated = transcript.as_ref().is_some_and(|transcript| transcript.is_cut);
    RunSnapshot {
        position,
        kids: Vec::new(),
        state,
        status: row.status,
        cause: origin_of(view, row),
        output: output.cloned(),
        usage: row.usage,
        error: row.error.as_deref().map(str::to_owned),
        timeout: timeout.map(Duration::from_millis),
        model: model.map(|model| (model.model.clone(), model.provider.clone())),
        tools: transcript.iter().flat_map(|transcript| transcript.tools.iter().map(call)).collect(),
        said_at: transcript.as_ref().and_then(|transcript| transcript.first_text_at),
        text: transcript.map(|transcript: Transcript| transcript.text).unwrap_or_default(),
        input: input.unwrap_or_else(|| Payload::from(Value::Null)),
        queued_at: row.queued_at,
        started_at: row.started_at,
        stopped_at: row.stopped_at,
        ended_at: row.ended_at,
    }
}

/// Yields the kind of what a stop began with: for a member or a step, that of the run above.
fn origin_of(view: &View, row: &RunRow) -> Option<CauseKind> {
    let cause = row.cause.as_deref()?;
    if cause.kind != CauseKind::ParentStopped {
        return Some(cause.kind);
    }
    let origin = view.service().engine().get(cause.origin).map(|run| run.row());
    Some(origin.and_then(|row| Some(row.cause?.kind)).unwrap_or(cause.kind))
}

fn call(note: &ToolNote) -> Object {
    let took = note.ended_at.and_then(|at| at.duration_since(note.started_at).ok());
    let outcome = note.outcome.as_ref().map(Outcome::of);
    tool(&note.call, &note.name, &note.input, note.started_at, outcome.as_ref(), took)
}
