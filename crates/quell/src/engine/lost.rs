//! How a run ends whose process is gone: decided from its record alone (T13, I34).

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::RunRecord;
use quell_core::{Abandoned, Cause, CauseKind, RunRow, RunStatus, limits};

use crate::engine::left_behind::{Fate, LeftTree};
use crate::engine::left_log::LeftLog;

/// Yields the stop with which the run ends: one that was acknowledged is never undone, also if it
/// was to wait for a checkpoint. One because a process gave the run up is none.
pub(super) fn stop_of(record: &RunRecord) -> Option<&Arc<Cause>> {
    let cause = &record.stop.as_ref()?.cause;
    Some(cause).filter(|cause| cause.kind != CauseKind::LeaseLost)
}

/// Makes the row with which a run ends that nobody executes any more. `above` is why its root
/// stops, if it does.
pub(super) fn row(record: &RunRecord, above: Option<&Arc<Cause>>, at: SystemTime) -> RunRow {
    let accepted = &record.accepted;
    let run = record.run();
    let inherited = || above.map(|cause| Arc::new(cause.inherited(CauseKind::ParentStopped)));
    let cause = stop_of(record).cloned().or_else(inherited);
    let name = Arc::clone(&accepted.name);
    let mut row = RunRow::new(run, accepted.kind, name, RunStatus::Failed, accepted.at);
    row.parent = accepted.parent;
    row.started_at = record.started_at;
    let so_far = record.so_far();
    (row.partial, row.summary) = (so_far.partial.clone(), so_far.summary.clone());
    row.usage = so_far.used;
    match cause {
        Some(cause) => stop(&mut row, cause),
        None => row.error = Some(WORKER_LOST.into()),
    }
    // A clock that was set back meanwhile makes no run end before it began.
    let at = at.max(record.started_at.unwrap_or(accepted.at));
    row.abandoned = record.holds.iter().map(|hold| hold.abandoned(run)).collect();
    Abandoned::name_nodes_once(&mut row.abandoned);
    // Programs and services do not end with the process, and nothing tells of their end.
    row.quiescent = row.abandoned.is_empty();
    (row.ended_at, row.quiesced_at) = (Some(at), row.quiescent.then_some(at));
    row
}

/// Has a run end no earlier than the last that is told of its tree: the clock of its process may
/// have been ahead of this one.
pub(super) fn not_before(row: &mut RunRow, last_at: SystemTime) {
    for at in [&mut row.ended_at, &mut row.quiesced_at].into_iter().flatten() {
        *at = (*at).max(last_at);
    }
}

/// Has a run be no more quiescent than what is below it.
pub(super) const fn not_quiescent(row: &mut RunRow) {
    (row.quiescent, row.quiesced_at) = (false, None);
}

/// Has a run end because of a stop.
pub(super) fn stop(row: &mut RunRow, cause: Arc<Cause>) {
    // Only the run whose time was over has timed out (I11).
    let is_own = matches!(cause.kind, CauseKind::Deadline | CauseKind::IdleTimeout)
        && cause.origin == row.run;
    row.status = if is_own { RunStatus::TimedOut } else { RunStatus::Cancelled };
    row.stopped_at = Some(cause.at);
    (row.cause, row.error) = (Some(cause), None);
}

/// Has a root end that was to go on by itself, if too many of its attempts were lost: it may be why
/// its processes end.
pub(super) fn give_up(tree: &mut LeftTree, log: &LeftLog) {
    let goes_on = matches!(&tree.fate, Fate::GoesOn(how) if !how.despite_losses);
    let lost = log.lost_attempts();
    if !goes_on || lost <= limits::LOST_ATTEMPTS_MAX {
        return;
    }
    let mut row = row(&tree.root, None, SystemTime::now());
    row.error = Some(format!("{WORKER_LOST}, in each of its last {lost} attempts").into());
    tree.fate = Fate::Ends;
    // A parent comes before its children.
    tree.ends.insert(0, (tree.root.clone(), row));
}

/// Why a run failed whose process is gone.
pub(super) const WORKER_LOST: &str = "worker lost: its process ended before the run did";
