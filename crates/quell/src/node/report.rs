//! [`of`] makes the report of a run from the nodes of its tree, and [`row`] its own row.

use std::slice;
use std::sync::Arc;

use quell_core::{Abandoned, Cause, Counts, RunId, RunReport, RunRow, RunStatus, limits};

use crate::failure::Failure;
use crate::log::NODE_BYTES;
use crate::node::outputs::{Emitted, partial};
use crate::node::{Node, State};
use crate::tables::retention::TreeSize;

/// Measures a tree that has ended.
pub(crate) fn size_of(root: &Node) -> TreeSize {
    let state = root.lock();
    let below = state.log.as_ref().map_or(0, |log| log.bytes());
    TreeSize {
        account: root.account(&state).map(Arc::clone),
        bytes: NODE_BYTES + root.charged(&state) + remains(root, &state) + below,
    }
}

/// Measures what a run that has ended holds and was not charged for: what it has failed with, why
/// it was stopped, what went wrong in its cleanup, and the names of what was abandoned.
pub(crate) fn remains(node: &Node, state: &State) -> usize {
    let error = state.failure.as_ref().map_or(0, Failure::bytes);
    // Below the run that was stopped the words are shared.
    let own = |cause: &&Arc<Cause>| cause.origin == node.id;
    let cause = state.cause.as_ref().filter(own).map_or(0, |cause| cause.bytes());
    // Of a stop that never came, and of a failure that runs below were stopped for.
    let others = state.extra.iter().flat_map(|extra| [&extra.scheduled, &extra.failing]);
    let others = others
        .flatten()
        .filter(|other| !state.cause.as_ref().is_some_and(|cause| Arc::ptr_eq(cause, other)));
    let others = others.map(|other| other.bytes()).sum::<usize>();
    let extra = state.extra.as_ref().map_or(0, |extra| {
        let errors = extra.cleanup_errors.iter().map(|error| error.len() + PLACE_BYTES);
        let left = extra.abandoned.iter().map(|work| {
            work.name.len() + work.site.as_ref().map_or(0, |site| site.len()) + PLACE_BYTES
        });
        errors.sum::<usize>() + left.sum::<usize>()
    });
    error + cause + others + extra
}

impl State {
    /// Keeps an error of the run's cleanup for its report. False if that is final already.
    pub(crate) fn note_cleanup_error(&mut self, error: &str) -> bool {
        let is_final = self.times.ended.is_some();
        let errors = &mut self.extra().cleanup_errors;
        if !is_final && errors.len() < limits::CLEANUP_ERRORS_MAX {
            errors.push(error.into());
        }
        !is_final
    }
}

/// What an entry of a list costs besides its text, about.
const PLACE_BYTES: usize = 64;

/// Makes the report of a run as it stands, without recursion.
pub(crate) fn of(node: &Arc<Node>) -> RunReport {
    let rows_max = node.shared.config.limits.report_rows_max.max(1);
    let mut emitters = Vec::new();
    let (mut rows, omitted) = bounded(rows_of(node, &mut emitters), rows_max);
    add_emitted(node, &mut rows, emitters);
    RunReport::new(rows, omitted)
}

/// Makes the row of a run by itself.
pub(crate) fn row(node: &Node) -> RunRow {
    let mut emitters = Vec::new();
    let mut row = row_of(node, &node.lock(), 0, &mut emitters);
    add_emitted(node, slice::from_mut(&mut row), emitters);
    row
}

/// Puts into the rows of runs that have left nothing else what they have emitted.
fn add_emitted(of: &Node, rows: &mut [RunRow], emitters: Vec<RunId>) {
    if emitters.is_empty() {
        return;
    }
    let mut emitted = Emitted::of(of, emitters);
    for row in rows {
        row.partial = row.partial.take().or_else(|| emitted.take(row.run));
    }
}

/// Collects the rows in pre-order, siblings in order of their start, and counts those without one.
fn rows_of(root: &Arc<Node>, emitters: &mut Vec<RunId>) -> (Vec<RunRow>, Counts) {
    // A run without children is the common case, and has one row.
    let mut rows = Vec::with_capacity(1);
    let mut omitted = Counts::default();
    let mut stack = Vec::new();
    let mut next = Some((Arc::clone(root), 0));
    while let Some((node, depth)) = next {
        let mut children: Vec<(Arc<Node>, u32)> = {
            let state = node.lock();
            rows.push(row_of(&node, &state, depth, emitters));
            if let Some(counts) = state.children.omitted() {
                omitted.merge(*counts);
            }
            if let Some(earlier) = state.earlier() {
                // Only a root has any. They come before what was spawned since.
                rows.extend(earlier.rows.iter().cloned());
                omitted.merge(earlier.omitted);
            }
            state.children.iter().map(|child| (Arc::clone(child), depth + 1)).collect()
        };
        children.sort_by_key(|(child, _)| std::cmp::Reverse(child.ordinal));
        stack.append(&mut children);
        next = stack.pop();
    }
    (rows, omitted)
}

/// Keeps the run itself, then those that did not complete, then the others, in pre-order.
fn bounded((rows, mut omitted): (Vec<RunRow>, Counts), max: usize) -> (Vec<RunRow>, Counts) {
    if rows.len() <= max {
        return (rows, omitted);
    }
    let incomplete = |row: &RunRow| row.status != RunStatus::Completed;
    let wanted = rows.iter().skip(1).filter(|row| incomplete(row)).count();
    let (mut first, mut rest) = (wanted.min(max - 1), (max - 1).saturating_sub(wanted));
    let mut kept = Vec::with_capacity(max);
    for (index, row) in rows.into_iter().enumerate() {
        let budget = if incomplete(&row) { &mut first } else { &mut rest };
        if index == 0 {
            kept.push(row);
        } else if *budget > 0 {
            *budget -= 1;
            kept.push(row);
        } else {
            omitted.add(row.status);
        }
    }
    (kept, omitted)
}

/// Makes the row of a run without what it emitted: it is named among the emitters if that is all
/// that it left.
fn row_of(node: &Node, state: &State, depth: u32, emitters: &mut Vec<RunId>) -> RunRow {
    let status = node.told_status(state);
    let wall = |at| node.shared.clock.wall_at(at);
    let (queued_at, started_at) = node.began(state);
    let mut row = RunRow::new(node.id, node.kind, Arc::clone(&node.name), status, queued_at);
    row.parent = state.parent_id;
    row.depth = depth;
    row.quiescent = state.life.is_quiescent();
    row.started_at = started_at;
    if !node.is_left_to_next() {
        row.cause.clone_from(&state.cause);
        row.aborted = state.aborted;
        row.stopped_at = state.times.stopped.map(wall);
        row.ended_at = state.times.ended.map(wall);
        row.quiesced_at = state.times.quiesced.map(wall);
    }
    if status == RunStatus::Completed {
        row.output.clone_from(&state.output);
    } else {
        let returned = state.extra.as_ref().and_then(|extra| extra.returned.clone());
        row.partial = partial(state.output.clone(), returned, || {
            emitters.extend((state.has_emitted && status.is_terminal()).then_some(node.id));
            None
        });
    }
    if status == RunStatus::Failed {
        row.error = state.failure.as_ref().map(|failure| failure.to_string().into());
    }
    row.late_output = state.late;
    if let Some(extra) = &state.extra {
        row.abandoned.clone_from(&extra.abandoned);
        if !extra.lost.is_empty() {
            // What an earlier process has left may execute, until somebody says otherwise.
            (row.quiescent, row.quiesced_at) = (false, None);
        }
        if matches!(status, RunStatus::Queued | RunStatus::Paused) {
            let own = extra.lost.iter().filter(|lost| lost.run == node.id);
            row.abandoned.extend(own.cloned());
            Abandoned::name_nodes_once(&mut row.abandoned);
        }
        row.cleanup_errors.clone_from(&extra.cleanup_errors);
        row.summary.clone_from(&extra.summary);
        row.usage = extra.used;
        row.hooks_skipped = extra.hooks_skipped;
        row.detached_from = extra.detached_from;
    }
    row
}
