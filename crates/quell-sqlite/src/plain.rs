//! A plain report: one that says no more than the row of its run does, but for the output. It is
//! that of a root that completed without children, when nothing of it executed any more.
//!
//! The row has the output alone in place of the report, as a blob. A report as text has some 700
//! bytes, and a row that has grown by them no longer fits its page: the bench `durable -- runs`
//! with 256 submitters spent more than half of its processor time on copying such pages.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::{Counts, Payload, RunId, RunKind, RunReport, RunRow, RunStatus};

/// What the row of a run says of its end.
pub(crate) struct Facts {
    pub(crate) run: RunId,
    pub(crate) kind: RunKind,
    pub(crate) name: Arc<str>,
    pub(crate) queued_at: SystemTime,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) ended_at: Option<SystemTime>,
    pub(crate) quiesced_at: Option<SystemTime>,
    pub(crate) output: Option<Payload>,
}

/// Tells whether a report is a plain one.
pub(crate) fn is_plain(report: &RunReport) -> bool {
    let Some(own) = report.rows.first() else { return false };
    let output = output_of(own);
    // Of a longer one the rest of the row would be in the way; null is no output once it was read.
    if output.len() > INLINE_BYTES_MAX || output == "null" || own.quiesced_at.is_none() {
        return false;
    }
    let made = report_of(Facts {
        run: own.run,
        kind: own.kind,
        name: Arc::clone(&own.name),
        queued_at: own.queued_at,
        started_at: own.started_at,
        ended_at: own.ended_at,
        quiesced_at: own.quiesced_at,
        output: own.output.clone(),
    });
    made == *report
}

/// Yields what the row has in place of a plain report: the text of its output, empty if there is
/// none.
pub(crate) fn output_of(own: &RunRow) -> &str {
    own.output.as_ref().map_or("", Payload::as_json)
}

/// Makes a plain report.
pub(crate) fn report_of(facts: Facts) -> RunReport {
    let Facts { run, kind, name, queued_at, started_at, ended_at, quiesced_at, output } = facts;
    let mut row = RunRow::new(run, kind, name, RunStatus::Completed, queued_at);
    (row.started_at, row.ended_at, row.quiesced_at) = (started_at, ended_at, quiesced_at);
    (row.quiescent, row.output) = (true, output);
    RunReport::new(vec![row], Counts::default())
}

/// A longer text stands in the table `large`.
pub(crate) const INLINE_BYTES_MAX: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(edit: impl FnOnce(&mut RunRow)) -> RunReport {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let run = RunId::from_text("r");
        let mut row = RunRow::new(run, RunKind::Agent, "r".into(), RunStatus::Completed, at(1));
        (row.started_at, row.ended_at, row.quiesced_at) = (Some(at(2)), Some(at(3)), Some(at(3)));
        row.quiescent = true;
        edit(&mut row);
        RunReport::new(vec![row], Counts::default())
    }

    #[test]
    fn a_report_that_says_anything_else_is_not_plain() {
        assert!(is_plain(&report(|_| {})));
        assert!(is_plain(&report(|row| row.started_at = None)));
        assert!(is_plain(&report(|row| row.output = Some("tea".into()))));
        let null = Payload::json(&()).unwrap();
        let long: Payload = "x".repeat(INLINE_BYTES_MAX).into();
        let edits: [fn(&mut RunRow); 8] = [
            |row| row.status = RunStatus::Cancelled,
            |row| (row.quiescent, row.quiesced_at) = (false, None),
            |row| row.late_output = 1,
            |row| row.parent = Some(RunId::from_text("p")),
            |row| row.cleanup_errors.push("no".into()),
            |row| row.summary = Some("s".into()),
            |row| row.partial = Some("p".into()),
            |row| row.usage.input_tokens = 1,
        ];
        for (nth, edit) in edits.into_iter().enumerate() {
            assert!(!is_plain(&report(edit)), "edit {nth}");
        }
        assert!(!is_plain(&report(|row| row.output = Some(null))));
        assert!(!is_plain(&report(|row| row.output = Some(long))));
        let (mut rows, mut other) = (report(|_| {}), report(|_| {}));
        rows.rows.push(rows.rows[0].clone());
        other.omitted.completed = 1;
        assert!(!is_plain(&rows) && !is_plain(&other));
    }
}
