//! [`report`] and [`row`]: a run of a store in the form of a report, whether it has ended or not.

use std::sync::Arc;

use quell::store::RunRecord;
use quell::{Counts, RunReport, RunRow, StopMode};

/// Yields the report of a run; of one that has not ended, a report of what is stored of it.
pub(super) fn report(run: &RunRecord) -> RunReport {
    let Some(stored) = &run.report else {
        return RunReport::new(vec![row(run)], Counts::default());
    };
    let mut report = RunReport::clone(stored);
    if let Some(own) = report.rows.first_mut().filter(|own| !own.quiescent && run.quiescent) {
        // What went on after the end has ended since.
        (own.quiescent, own.quiesced_at) = (true, run.quiesced_at);
        report.quiescent = true;
    }
    report
}

/// Yields the row of a run.
pub(super) fn row(run: &RunRecord) -> RunRow {
    if let Some(stored) = &run.report {
        let mut row = stored.own_row().clone();
        row.quiescent |= run.quiescent;
        row.quiesced_at = row.quiesced_at.or(run.quiesced_at);
        return row;
    }
    let accepted = &run.accepted;
    let name = Arc::clone(&accepted.name);
    let mut row = RunRow::new(run.run(), accepted.kind, name, run.status, accepted.at);
    row.parent = accepted.parent;
    row.started_at = run.started_at;
    if let Some(stop) = &run.stop {
        row.cause = Some(Arc::clone(&stop.cause));
        row.stopped_at = (stop.mode != StopMode::AfterStep).then_some(stop.cause.at);
    }
    row
}
