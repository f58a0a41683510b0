//! [`gather`]: the statements of many records, as few as may be.
//!
//! A recovery, and a busy store, has ends and events of many runs in one transaction. A statement
//! has the rows of as many of them as may stand in it: the server plans and starts it once.
//!
//! What comes of that is what would come of one statement for each record, in their order:
//!
//! 1. A row joins an earlier statement only if none behind that one concerns its run.
//! 2. Events of one run share a statement if they have the same epoch, for each of them asks for
//!    the epoch that stood before it. Ends of one run never share one.
//! 3. Nothing is moved over a statement that may concern any run.
//!
//! If fewer rows are changed than stand in a statement, one of them is refused, and the appends get
//! transactions in which each record has statements of its own.

use std::collections::HashMap;

use quell_core::store::Record;
use quell_core::{EventKind, RunReport};
use quell_durable::{Write, bits, millis, number, status_number};
use uuid::Uuid;

use crate::sql::Sql;
use crate::step::{ROW_BYTES, Step, Value, id, length, steps};

/// Makes the statements of records that a store of a name writes.
pub(crate) fn gather<'a>(
    writes: impl IntoIterator<Item = &'a Write>,
    node: &'a str,
) -> Vec<Step<'a>> {
    let mut gathered = Gathered::default();
    for write in writes {
        if !write.is_stored_by_another() {
            gathered.take(write, node);
        }
    }
    gathered.parts.into_iter().map(Part::into_step).collect()
}

#[derive(Default)]
struct Gathered<'a> {
    parts: Vec<Part<'a>>,
    /// Which statement was the last one that concerns a run, and with which epoch.
    last: HashMap<Uuid, (usize, i64)>,
    /// The newest statement of each kind that others may join.
    events: Option<usize>,
    ends: Option<usize>,
}

enum Part<'a> {
    Other(Step<'a>),
    Events(Events<'a>),
    Ends(Ends<'a>),
}

impl<'a> Gathered<'a> {
    fn take(&mut self, write: &'a Write, node: &'a str) {
        let record = &write.record;
        let (run, epoch) = (id(record.run()), number(record.epoch()));
        let before = self.last.get(&run).copied();
        match record {
            Record::Event { event, .. } => {
                let may_join = |nth| before.is_none_or(|it| it.0 < nth || it == (nth, epoch));
                let nth = self.events.filter(|nth| may_join(*nth)).unwrap_or(self.parts.len());
                if nth == self.parts.len() {
                    self.parts.push(Part::Events(Events::default()));
                    self.events = Some(nth);
                }
                if let Part::Events(events) = &mut self.parts[nth] {
                    events.push(write, run, (epoch, bits(event.last_seq())));
                }
                self.last.insert(run, (nth, epoch));
                if matches!(event.kind, EventKind::Detached { .. }) {
                    self.take_other(write, node);
                }
            }
            Record::Ended { report, rollback, .. } => {
                let may_join = |nth| before.is_none_or(|it| it.0 < nth);
                let nth = self.ends.filter(|nth| may_join(*nth)).unwrap_or(self.parts.len());
                if nth == self.parts.len() {
                    self.parts.push(Part::Ends(Ends::default()));
                    self.ends = Some(nth);
                }
                if let Part::Ends(ends) = &mut self.parts[nth] {
                    ends.push(write, (run, epoch), report);
                }
                self.last.insert(run, (nth, epoch));
                if *rollback {
                    self.take_other(write, node);
                }
            }
            Record::Accepted(accepted) => {
                self.take_apart(write, node);
                let nth = self.parts.len() - 1;
                self.last.insert(run, (nth, epoch));
                self.last.insert(id(accepted.root), (nth, epoch));
            }
            Record::Forgotten { .. } => self.take_other(write, node),
            _ => {
                self.take_apart(write, node);
                self.last.insert(run, (self.parts.len() - 1, epoch));
            }
        }
    }

    /// Takes the statements that a record has for itself.
    fn take_apart(&mut self, write: &'a Write, node: &'a str) {
        let mut all = Vec::new();
        steps(write, node, &mut all);
        self.parts.extend(all.into_iter().map(Part::Other));
    }

    /// Takes those that may concern any run.
    fn take_other(&mut self, write: &'a Write, node: &'a str) {
        self.take_apart(write, node);
        (self.events, self.ends) = (None, None);
    }
}

impl<'a> Part<'a> {
    fn into_step(self) -> Step<'a> {
        match self {
            Self::Other(step) => step,
            Self::Events(events) => events.into_step(),
            Self::Ends(ends) => ends.into_step(),
        }
    }
}

/// Events, column by column.
#[derive(Default)]
struct Events<'a> {
    runs: Vec<Uuid>,
    epochs: Vec<i64>,
    seqs: Vec<i64>,
    texts: Vec<&'a str>,
}

impl<'a> Events<'a> {
    fn push(&mut self, write: &'a Write, run: Uuid, (epoch, seq): (i64, i64)) {
        self.runs.push(run);
        self.epochs.push(epoch);
        self.seqs.push(seq);
        self.texts.push(&write.text);
    }

    fn into_step(self) -> Step<'a> {
        let (rows, texts) = (self.runs.len(), self.texts.iter());
        let bytes = texts.map(|text| text.len() + ROW_BYTES).sum();
        let values: Vec<Value<'a>> = vec![
            Box::new(self.runs),
            Box::new(self.epochs),
            Box::new(self.seqs),
            Box::new(self.texts),
        ];
        Step::of_rows(Sql::Events, values, rows).with_bytes(bytes)
    }
}

/// Ends, column by column.
#[derive(Default)]
struct Ends<'a> {
    runs: Vec<Uuid>,
    epochs: Vec<i64>,
    statuses: Vec<i64>,
    are_quiescent: Vec<bool>,
    quiesced: Vec<Option<i64>>,
    reports: Vec<&'a str>,
    ended: Vec<Option<i64>>,
    started: Vec<Option<i64>>,
    bytes: Vec<i64>,
}

impl<'a> Ends<'a> {
    fn push(&mut self, write: &'a Write, (run, epoch): (Uuid, i64), report: &RunReport) {
        let own = report.rows.first();
        self.runs.push(run);
        self.epochs.push(epoch);
        self.statuses.push(status_number(report.status));
        self.are_quiescent.push(report.quiescent);
        self.quiesced.push(own.and_then(|row| row.quiesced_at).map(millis));
        self.reports.push(&write.text);
        self.ended.push(own.and_then(|row| row.ended_at).map(millis));
        self.started.push(write.started.map(millis));
        self.bytes.push(length(write.text.len()));
    }

    fn into_step(self) -> Step<'a> {
        let (rows, reports) = (self.runs.len(), self.reports.iter());
        let bytes = reports.map(|text| text.len()).sum();
        let values: Vec<Value<'a>> = vec![
            Box::new(self.runs),
            Box::new(self.epochs),
            Box::new(self.statuses),
            Box::new(self.are_quiescent),
            Box::new(self.quiesced),
            Box::new(self.reports),
            Box::new(self.ended),
            Box::new(self.started),
            Box::new(self.bytes),
        ];
        Step::of_rows(Sql::Ends, values, rows).with_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell_core::store::{Accepted, Epoch};
    use quell_core::{Counts, RunEvent, RunId, RunKind, RunRow, RunStatus};
    use quell_durable::encode;

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn run(name: &str) -> RunId {
        RunId::from_text(name)
    }

    fn accepted(name: &str) -> Record {
        let epoch = Epoch::new(1, 1);
        Record::Accepted(Accepted::new(run(name), RunKind::Agent, "a".into(), epoch, AT).into())
    }

    fn event(name: &str, attempt: u32, kind: EventKind) -> Record {
        let (seq, run) = (1, run(name));
        let event = RunEvent::new(seq, run, run, AT, kind);
        Record::Event { epoch: Epoch::new(1, attempt), event }
    }

    fn ended(name: &str, rollback: bool) -> Record {
        let (run, status) = (run(name), RunStatus::Completed);
        let row = RunRow::new(run, RunKind::Agent, "a".into(), status, AT);
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        Record::Ended { run, epoch: Epoch::new(1, 1), report, rollback }
    }

    /// Yields the statements of records, and how many rows each has to change.
    fn gathered(records: Vec<Record>) -> Vec<(Sql, u64)> {
        let (writes, _) = encode(records, |_| false, serde_json::to_string).unwrap();
        gather(&writes, "n").iter().map(|step| (step.sql, step.rows)).collect()
    }

    #[test]
    fn events_and_ends_of_several_runs_share_a_statement_each() {
        let started = || EventKind::Started;
        let records = ["a", "b", "c"].map(|name| [event(name, 1, started()), ended(name, false)]);
        let all = gathered(records.into_iter().flatten().collect());
        assert_eq!(all, [(Sql::Events, 3), (Sql::Ends, 3)]);
        let all =
            gathered(vec![accepted("a"), ended("b", false), accepted("c"), ended("d", false)]);
        assert_eq!(all, [(Sql::Accept, 1), (Sql::Ends, 2), (Sql::Accept, 1)]);
    }

    #[test]
    fn what_concerns_one_run_stays_in_its_order() {
        let started = || EventKind::Started;
        let all = gathered(vec![ended("a", false), event("a", 1, started()), ended("a", false)]);
        assert_eq!(all, [(Sql::Ends, 1), (Sql::Events, 1), (Sql::Ends, 1)]);
        let all = gathered(vec![ended("b", false), accepted("a"), ended("a", false)]);
        assert_eq!(all, [(Sql::Ends, 1), (Sql::Accept, 1), (Sql::Ends, 1)]);
        // Twice the end of one run is refused, and not two rows of one statement.
        assert_eq!(
            gathered(vec![ended("a", false), ended("a", false)]),
            [(Sql::Ends, 1), (Sql::Ends, 1)]
        );
    }

    #[test]
    fn events_of_one_run_share_a_statement_in_one_epoch() {
        let started = || EventKind::Started;
        let all = gathered(vec![event("a", 1, started()), event("a", 1, started())]);
        assert_eq!(all, [(Sql::Events, 2)]);
        let all = gathered(vec![event("a", 2, started()), event("a", 1, started())]);
        assert_eq!(all, [(Sql::Events, 1), (Sql::Events, 1)]);
    }

    #[test]
    fn nothing_is_moved_over_what_may_concern_any_run() {
        let forgotten = Record::Forgotten { run: run("a"), epoch: Epoch::new(1, 1), at: AT };
        let all = gathered(vec![ended("a", false), forgotten, ended("b", false)]);
        assert_eq!(all, [(Sql::Ends, 1), (Sql::Forget, 1), (Sql::Ends, 1)]);
        let all = gathered(vec![ended("a", true), ended("b", false)]);
        assert_eq!(all, [(Sql::Ends, 1), (Sql::RollBack, 0), (Sql::Ends, 1)]);
    }
}
