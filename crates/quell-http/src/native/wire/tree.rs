//! [`TreePage`]: rows of a tree.

use std::sync::Arc;

use quell::{Counts, RunRow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::run_state::{RunState, written};

/// Runs of a tree in pre-order, siblings in the order of their start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreePage {
    /// Those within the limit.
    pub(crate) rows: Vec<TreeRow>,
    /// How many rows there are in all, as the tree stands now.
    pub(crate) total: usize,
    /// What `cursor` is to be for the rows behind; null if there are none.
    pub(crate) next: Option<String>,
    /// Runs of the tree that have no row, by status: reports are bounded.
    #[schema(value_type = Value)]
    pub(crate) omitted: Counts,
}

/// A run of a tree.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeRow {
    /// Its id as the event log knows it.
    uuid: String,
    /// The run that spawned it; null for a root.
    parent: Option<String>,
    /// Steps from the run that was asked for: zero for that run.
    depth: u32,
    /// `agent`, `team`, `workflow`, `step`, `branch` or `attempt`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    #[serde(flatten)]
    state: RunState,
    /// Whether its body was dropped at the hard deadline.
    aborted: bool,
    /// When it was accepted: RFC 3339, UTC, milliseconds; so are the others.
    queued_at: String,
    /// When its body was first polled.
    started_at: Option<String>,
    /// When its stop was accepted.
    stopped_at: Option<String>,
    /// When it became terminal.
    ended_at: Option<String>,
    /// When nothing of it executed any more.
    quiesced_at: Option<String>,
    /// Why it failed, if it did.
    #[schema(value_type = Option<String>)]
    error: Option<Arc<str>>,
}

impl TreeRow {
    pub(crate) fn new(row: &RunRow, state: RunState) -> Self {
        Self {
            uuid: row.run.to_string(),
            parent: row.parent.map(|parent| parent.to_string()),
            depth: row.depth,
            kind: row.kind.as_str(),
            name: Arc::clone(&row.name),
            state,
            aborted: row.aborted,
            queued_at: written(row.queued_at),
            started_at: row.started_at.map(written),
            stopped_at: row.stopped_at.map(written),
            ended_at: row.ended_at.map(written),
            quiesced_at: row.quiesced_at.map(written),
            error: row.error.clone(),
        }
    }
}
