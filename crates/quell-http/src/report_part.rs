//! [`part_of`]: the part of a report that is of a run below the root.

use std::collections::HashSet;

use quell::RunReport;
use quell::store::RunRecord;

/// Yields the part of a root's report that is of a run below it and of those below that. Where the
/// report has no row of it, its own is all there is.
pub(crate) fn part_of(whole: &RunReport, record: &RunRecord) -> RunReport {
    let mut part = record.report_by_now();
    let Some(at) = whole.rows.iter().position(|row| row.run == record.run()) else { return part };
    let depth = whole.rows[at].depth;
    let mut members = HashSet::from([record.run()]);
    for row in &whole.rows[at + 1..] {
        if row.parent.is_some_and(|parent| members.contains(&parent)) {
            members.insert(row.run);
            let mut row = row.clone();
            row.depth = row.depth.saturating_sub(depth);
            part.rows.push(row);
        }
    }
    RunReport::new(part.rows, part.omitted)
}
