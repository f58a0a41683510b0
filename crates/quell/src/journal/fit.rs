//! [`to_record`] makes a report small enough to be stored: an end is stored whatever it left.

use quell_core::{RunReport, limits};

/// Leaves out what is over the bound of a record: first the payloads of the runs below, then their
/// rows and the run's own payloads. A row that lost something says so.
pub(crate) fn to_record(mut report: RunReport) -> RunReport {
    let bytes = bytes_of(&report);
    if bytes <= BYTES_MAX {
        return report;
    }
    for row in report.rows.iter_mut().skip(1) {
        drop((row.output.take(), row.partial.take(), row.summary.take()));
    }
    if bytes_of(&report) > BYTES_MAX {
        for row in report.rows.drain(1..) {
            report.omitted.add(row.status);
        }
        drop((report.output.take(), report.partial.take()));
        if let Some(own) = report.rows.first_mut() {
            drop((own.output.take(), own.partial.take(), own.summary.take()));
        }
    }
    if let Some(own) = report.rows.first_mut() {
        let words = format!("stored without outputs: the report has {bytes} bytes");
        own.cleanup_errors.push(words.into());
    }
    report
}

/// Yields about how many bytes of payloads and texts a report has.
fn bytes_of(report: &RunReport) -> usize {
    let of_row = |row: &quell_core::RunRow| {
        let payloads = [&row.output, &row.partial, &row.summary];
        let payloads: usize = payloads.into_iter().flatten().map(quell_core::Payload::len).sum();
        let errors: usize = row.cleanup_errors.iter().map(|error| error.len()).sum();
        payloads + errors + row.error.as_ref().map_or(0, |error| error.len()) + ROW_BYTES
    };
    report.rows.iter().map(of_row).sum()
}

/// Well below the bound of a record, whose text is longer than what is in it.
const BYTES_MAX: usize = limits::STORE_RECORD_BYTES_MAX / 4;

/// What a row has besides.
const ROW_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell_core::{Counts, RunId, RunKind, RunRow, RunStatus};

    use super::*;

    /// A row with an output of so many bytes, and an error of so many.
    fn row(name: &str, (output, error): (usize, usize)) -> RunRow {
        let (run, at) = (RunId::from_text(name), SystemTime::UNIX_EPOCH);
        let mut row = RunRow::new(run, RunKind::Step, name.into(), RunStatus::Failed, at);
        row.output = (output > 0).then(|| "x".repeat(output).into());
        row.partial.clone_from(&row.output);
        row.error = (error > 0).then(|| "y".repeat(error).into());
        row
    }

    fn fit(rows: Vec<RunRow>) -> RunReport {
        let before = rows.len() as u64;
        let report = to_record(RunReport::new(rows, Counts::default()));
        assert_eq!(report.rows.len() as u64 + report.omitted.total(), before, "each row counts");
        assert!(bytes_of(&report) <= BYTES_MAX + (1 << 20), "{}", bytes_of(&report));
        report
    }

    #[test]
    fn a_report_within_the_bound_stays_as_it_is() {
        let whole = RunReport::new(vec![row("root", (9, 9)), row("b", (9, 9))], Counts::default());
        assert_eq!(to_record(whole.clone()), whole);
    }

    #[test]
    fn the_payloads_of_runs_below_leave_first_and_the_report_says_so() {
        let report = fit(vec![row("root", (9, 0)), row("b", (BYTES_MAX / 2, 7))]);
        assert_eq!(report.output, Some("x".repeat(9).into()), "the run's own stays");
        assert_eq!((&report.rows[1].output, &report.rows[1].partial), (&None, &None));
        assert_eq!(report.rows[1].error.as_deref(), Some("yyyyyyy"), "the rest of its row stays");
        assert!(report.rows[0].cleanup_errors[0].starts_with("stored without outputs"));
    }

    #[test]
    fn rows_and_the_own_payloads_leave_when_that_is_not_enough() {
        let report = fit(vec![row("root", (BYTES_MAX, 3)), row("b", (0, 1)), row("c", (0, 1))]);
        assert_eq!((report.rows.len(), report.omitted.failed), (1, 2));
        let own = &report.rows[0];
        assert_eq!((&own.output, &own.partial, &report.partial), (&None, &None, &None));
        assert_eq!(report.error.as_deref(), Some("yyy"));
        // Errors alone are too much as well.
        let report = fit(vec![row("root", (0, 0)), row("b", (0, BYTES_MAX))]);
        assert_eq!((report.rows.len(), report.omitted.failed), (1, 1));
    }
}
