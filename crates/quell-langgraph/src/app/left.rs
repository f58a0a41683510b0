//! [`Known`]: which states a run has left, before its log is read.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{RunId, RunRow, RunStatus};
use quell_flow::Component;
use quell_http::{RunView, View};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::app::states::Which;
use crate::threads::{Mark, Thread};
use crate::values::{START, Step, state_id};
use crate::wire::asked::{Asked, next_of};
use crate::wire::exact::{Keys, written};
use crate::wire::interrupt::Interrupt;
use crate::wire::rows::thread_error;
use crate::wire::state::{StateMetadata, StateParts};

/// What is known of the states that a run has left, before its log is read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) mark: Option<Mark>,
    pub(super) status: RunStatus,
    pub(super) is_update: bool,
    /// Its graph has nodes.
    pub(super) has_nodes: bool,
    /// It had input of its own.
    has_input: bool,
    started_at: SystemTime,
    /// The state on which it has started, if that was not the last one.
    pub(super) fork: Option<Uuid>,
    /// What came next where it started, as far as it keeps that.
    pub(super) next_kept: Vec<String>,
    /// What its states have in common, and what its last one has besides.
    pub(super) parts: StateParts,
    pub(super) from: From,
}

impl Known {
    /// Tells whether it has left states after its steps.
    pub(super) const fn has_steps(&self) -> bool {
        self.has_nodes && !self.is_update
    }

    /// Yields the state before a run with input whose graph has no nodes, and has its own come
    /// behind that. Of a graph with nodes it is one of the steps.
    pub(super) fn take_start(&mut self) -> Option<Self> {
        let From::Run(run) = self.from else { return None };
        if self.has_nodes || self.is_update || !self.has_input {
            return None;
        }
        let mut start = self.clone();
        (start.id, start.from) = (state_id(RunId::from_uuid(run), 0), From::Start(run));
        start.parts.id = start.id;
        start.parts.at = self.started_at;
        start.parts.next = vec![START.to_owned()];
        start.parts.metadata.set("source", json!("input"));
        (start.parts.interrupt, start.parts.error) = (None, None);
        (self.parts.parent, self.fork) = (Some(start.id), None);
        Some(start)
    }
}

/// Where the values of a state are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Run(Uuid),
    /// What the run has started on, without its input.
    Start(Uuid),
    /// The run has been forgotten: what it left is in its thread.
    Thread,
    /// The thread was made with them.
    Base,
}

impl App {
    pub(super) fn known_of(&self, view: &View, run: &RunView, thread: Uuid) -> Option<Known> {
        let asked = Asked::of(run)?;
        let row = run.row();
        let interrupt = Interrupt::of(run);
        let source = if asked.is_update { "update" } else { "loop" };
        let run_id = run.id().to_string();
        let own = [("source", json!(source)), ("run_id", json!(run_id)), ("parents", json!({}))];
        let error = thread_error(&row, asked.limit_ms, self.options().unmasked_errors);
        let pause = run.pause_state().map(|pause| pause.attempt);
        let id = match pause {
            // What it leaves at its end is another state.
            Some(nr) => state_id(run.id(), PAUSES | nr),
            None => run.id().as_uuid(),
        };
        let parts = StateParts {
            thread,
            id,
            parent: None,
            // What its log says.
            next: Vec::new(),
            metadata: StateMetadata::new(asked.metadata, own.into()),
            at: row.ended_at.or(row.started_at).unwrap_or(row.queued_at),
            interrupt,
            error: error_of(&row, &error),
            input: None,
        };
        Some(Known {
            id,
            mark: row.status.is_terminal().then(|| Mark::of(&row)),
            status: row.status,
            is_update: asked.is_update,
            has_nodes: view.component_of(run.clone()).is_some_and(has_nodes),
            has_input: !asked.goes_on,
            started_at: row.started_at.unwrap_or(row.queued_at),
            fork: asked.fork,
            next_kept: next_of(run).unwrap_or_default(),
            parts,
            from: From::Run(run.id().as_uuid()),
        })
    }
}

pub(super) fn has_nodes(graph: &Arc<Component>) -> bool {
    !graph.nodes_of().is_empty()
}

/// Finds the place of a state among those of the runs.
pub(super) fn place_of(known: &[Known], id: Uuid) -> Option<(usize, Which)> {
    let place = |(nth, known): (usize, &Known)| match seq_in(known, id) {
        _ if known.id == id => Some((nth, Which::all())),
        Some(seq) => Some((nth, Which::until(seq))),
        None => None,
    };
    known.iter().enumerate().find_map(place)
}

/// Yields the number of the event that says a state, if that is a step of this run.
pub(super) fn seq_in(known: &Known, id: Uuid) -> Option<u64> {
    match known.from {
        From::Run(run) if known.has_nodes => Step::seq_of(id, RunId::from_uuid(run)),
        _ => None,
    }
}

/// Finds the place of those before a state.
pub(super) fn before_of(known: &[Known], id: Uuid) -> Option<(usize, Which)> {
    let (nth, which) = place_of(known, id)?;
    Some(match known.get(nth) {
        Some(known) if known.has_steps() => (nth, which.before()),
        _ => (nth + 1, Which::all()),
    })
}

/// What stands before the number of a pause in the name of its state: it comes behind the steps.
const PAUSES: u32 = 1 << 30;

/// Says in a line why a run was cut that failed.
fn error_of(row: &RunRow, error: &Value) -> Option<String> {
    if !matches!(row.status, RunStatus::Failed | RunStatus::TimedOut) {
        return None;
    }
    let part = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Some(format!("{}: {}", part("error"), part("message")))
}

/// Makes what is known of a state of which no run tells.
pub(super) fn bare(thread: &Thread, id: Uuid, mark: Option<Mark>, from: From) -> Known {
    let source = if from == From::Base { "fork" } else { "loop" };
    let own = vec![
        ("source", json!(source)),
        ("parents", json!({})),
        ("thread_id", json!(thread.id.to_string())),
    ];
    let parts = StateParts {
        thread: thread.id,
        id,
        parent: None,
        next: Vec::new(),
        metadata: StateMetadata::new(written(&Keys::new()), own),
        at: mark.map_or_else(|| thread.record_at(), Mark::at),
        interrupt: None,
        error: None,
        input: None,
    };
    Known {
        id,
        mark,
        status: RunStatus::Completed,
        is_update: false,
        has_nodes: false,
        has_input: false,
        started_at: parts.at,
        fork: None,
        next_kept: Vec::new(),
        parts,
        from,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_state_of_a_copied_thread_has_the_time_of_its_record() {
        let (made, later) = (SystemTime::UNIX_EPOCH + Duration::from_secs(5), SystemTime::now());
        let id = Uuid::now_v7();
        // It came into memory by a later run of it.
        let thread = Thread::new(id, None, &Keys::new(), false).since(later);
        thread.note_record(made);
        assert_eq!(bare(&thread, id, None, From::Base).parts.at, made);
    }
}
