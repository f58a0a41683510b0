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
