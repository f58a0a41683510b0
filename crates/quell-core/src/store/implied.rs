//! [`ImpliedEvents`]: events that are not stored because they follow from the record of their run.

use std::sync::Arc;
use std::time::SystemTime;

use crate::store::RunRecord;
use crate::{EventKind, RunEvent, RunId, StopMode};

/// Finds the events of a run that are not stored because they follow from its record: all of a
/// root of which nothing but its acceptance, start, stop and end is known, and the end of one that
/// was decided after its process was gone.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::store::{Accepted, Epoch, ImpliedEvents, Record, RunRecord};
/// use quell_core::{EventKind, RunId, RunKind};
///
/// let (run, epoch, at) = (RunId::from_text("order-7"), Epoch::new(1, 1), SystemTime::now());
/// let accepted = Accepted::new(run, RunKind::Agent, "order".into(), epoch, at);
/// let mut record = RunRecord::new(accepted);
/// record.apply(&Record::Started { run, epoch, at });
/// let events = ImpliedEvents::new(run).missing(&record);
/// assert_eq!((events[1].seq, &events[1].kind), (2, &EventKind::Started));
/// ```
#[derive(Clone, Debug)]
pub struct ImpliedEvents {
    /// The run whose events they are.
    run: RunId,
    /// The number of the last event of the tree.
    last_seq: u64,
    /// Whether any event of the run is stored: then those before its stop are.
    has_any: bool,
    /// Whether its stop is stored.
    has_stop: bool,
    /// Whether its end is.
    has_end: bool,
}

impl ImpliedEvents {
    /// Begins before the first event of a run.
    pub const fn new(run: RunId) -> Self {
        Self { run, last_seq: 0, has_any: false, has_stop: false, has_end: false }
    }

    /// Takes note of an event of the tree that is stored, in their order.
    pub fn saw(&mut self, event: &RunEvent) {
        self.last_seq = self.last_seq.max(event.last_seq());
        self.has_any |= event.run == self.run;
        if event.run == self.run {
            self.has_stop |= matches!(event.kind, EventKind::Stopping(_));
            self.has_end |= matches!(event.kind, EventKind::Ended(_));
        }
    }

    /// Tells whether the end of the run was seen. Then nothing that comes before it is missing.
    pub const fn has_end(&self) -> bool {
        self.has_end
    }

    /// Yields what follows from the record and was not seen: to be asked after the last event. Its
    /// numbers go on behind that. Of a live run with events it is nothing: they are on their way.
    /// Of one whose end was seen it is nothing either, also if what came before was not: the place
    /// of that is not behind the end.
    pub fn missing(&self, record: &RunRecord) -> Vec<RunEvent> {
        if self.has_end {
            return Vec::new();
        }
        let accepted = &record.accepted;
        let mut kinds: Vec<(SystemTime, EventKind)> = Vec::new();
        if !self.has_any {
            let (parent, kind, name) = (accepted.parent, accepted.kind, Arc::clone(&accepted.name));
            kinds.push((accepted.at, EventKind::Queued { parent, kind, name, shielded: false }));
            kinds.extend(record.started_at.map(|at| (at, EventKind::Started)));
        }
        let own = record.report.as_ref().map(|report| report.own_row());
        let cause = match own {
            Some(own) => own.cause.as_ref(),
            None if self.has_any => return Vec::new(),
            None => {
                let stop = record.stop.as_ref().filter(|stop| stop.mode != StopMode::AfterStep);
                stop.map(|stop| &stop.cause)
            }
        };
        if let Some(cause) = cause.filter(|_| !self.has_stop) {
            let at = own.and_then(|own| own.stopped_at).unwrap_or(cause.at);
            kinds.push((at, EventKind::Stopping(Arc::clone(cause))));
        }
        if let Some(own) = own {
            let at = own.ended_at.unwrap_or(accepted.at);
            kinds.push((at, EventKind::Ended(own.status)));
        }
        let numbered = kinds.into_iter().zip(self.last_seq.saturating_add(1)..);
        numbered
            .map(|((at, kind), seq)| RunEvent::new(seq, accepted.root, self.run, at, kind))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Accepted, Epoch, Record, StopAccepted};
    use crate::{Cause, CauseKind, Counts, RunKind, RunReport, RunRow, RunStatus};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn run() -> RunId {
        RunId::from_text("r")
    }

    fn cause() -> Arc<Cause> {
        Arc::new(Cause::new(CauseKind::UserRequest, at(3), run()))
    }

    /// A record to which these have happened.
    fn record(stop: Option<StopMode>, has_ended: bool) -> RunRecord {
        let epoch = Epoch::new(1, 1);
        let mut record =
            RunRecord::new(Accepted::new(run(), RunKind::Agent, "r".into(), epoch, at(1)));
        record.apply(&Record::Started { run: run(), epoch, at: at(2) });
        if let Some(mode) = stop {
            record.apply(&Record::StopAccepted(
                StopAccepted::new(run(), epoch, mode, cause()).into(),
            ));
        }
        if has_ended {
            let mut row =
                RunRow::new(run(), RunKind::Agent, "r".into(), RunStatus::Cancelled, at(1));
            (row.cause, row.stopped_at, row.ended_at) = (Some(cause()), Some(at(3)), Some(at(4)));
            let report = Arc::new(RunReport::new(vec![row], Counts::default()));
            record.apply(&Record::Ended { run: run(), epoch, report, rollback: false });
        }
        record
    }

    fn told(events: &[RunEvent]) -> Vec<(u64, SystemTime, EventKind)> {
        events.iter().map(|event| (event.seq, event.at, event.kind.clone())).collect()
    }

    #[test]
    fn what_follows_from_a_record_has_the_times_of_the_record() {
        let (kind, name) = (RunKind::Agent, Arc::from("r"));
        let queued = EventKind::Queued { parent: None, kind, name, shielded: false };
        let all = [
            (1, at(1), queued),
            (2, at(2), EventKind::Started),
            (3, at(3), EventKind::Stopping(cause())),
            (4, at(4), EventKind::Ended(RunStatus::Cancelled)),
        ];
        let implied = ImpliedEvents::new(run());
        let stop = Some(StopMode::Cooperative);
        assert_eq!(told(&implied.missing(&record(stop, true))), all);
        assert_eq!(told(&implied.missing(&record(stop, false))), all[..3]);
        assert_eq!(told(&implied.missing(&record(Some(StopMode::AfterStep), false))), all[..2]);
        assert_eq!(told(&implied.missing(&record(None, false))), all[..2]);
    }

    #[test]
    fn of_a_log_that_was_cut_off_only_the_end_is_missing_and_of_a_live_one_nothing() {
        let mut implied = ImpliedEvents::new(run());
        let event = |seq, kind| RunEvent::new(seq, run(), run(), at(2), kind);
        implied.saw(&event(2, EventKind::Started));
        implied.saw(&event(3, EventKind::Lagged { from: 3, to: 7 }));
        assert_eq!(told(&implied.missing(&record(None, false))), []);
        let end = EventKind::Ended(RunStatus::Cancelled);
        let both = [(8, at(3), EventKind::Stopping(cause())), (9, at(4), end.clone())];
        assert_eq!(told(&implied.missing(&record(None, true))), both);
        implied.saw(&event(8, EventKind::Stopping(cause())));
        assert_eq!(told(&implied.missing(&record(None, true))), both[1..]);
        assert!(!implied.has_end());
        implied.saw(&event(9, end));
        assert!(implied.has_end());
        assert_eq!(told(&implied.missing(&record(None, true))), []);
    }

    #[test]
    fn nothing_is_missing_behind_an_end_whatever_was_seen_before_it() {
        let end = EventKind::Ended(RunStatus::Cancelled);
        let mut implied = ImpliedEvents::new(run());
        implied.saw(&RunEvent::new(9, run(), run(), at(4), end));
        assert_eq!(told(&implied.missing(&record(Some(StopMode::Cooperative), true))), []);
    }
}
