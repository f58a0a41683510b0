//! What is read back from a store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{Accepted, Epoch, Record, StopAccepted, StoredHold, StoredPause, StoredSoFar};
use crate::{Abandoned, Counts, Payload, RunFacts, RunId, RunReport, RunRow, RunStatus, StopMode};

/// What is stored of a run. Instants are kept to the millisecond.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use quell_core::store::{Accepted, Epoch, Record, RunRecord};
/// use quell_core::{RunId, RunKind, RunStatus};
///
/// let (run, epoch, at) = (RunId::from_text("order-7"), Epoch::new(1, 1), SystemTime::now());
/// let accepted = Accepted::new(run, RunKind::Agent, "order".into(), epoch, at);
/// let mut record = RunRecord::new(accepted);
/// record.apply(&Record::Started { run, epoch, at });
/// assert_eq!(record.status, RunStatus::Running);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunRecord {
    /// As it was accepted, with the annotations that it has by now.
    pub accepted: Accepted,
    /// The epoch of its current attempt.
    pub epoch: Epoch,
    /// The number of its current attempt, or, if it was given an answer, of that which comes next.
    pub attempt: u32,
    /// How it stands. `Stopping` from the acceptance of a stop on.
    pub status: RunStatus,
    /// When its first attempt began.
    pub started_at: Option<SystemTime>,
    /// The stop that was accepted, if one was.
    pub stop: Option<StopAccepted>,
    /// What it waits for, if it is paused.
    pub paused: Option<StoredPause>,
    /// The answer to its last pause, until the next one. A run that has ended has it, too.
    pub answer: Option<Payload>,
    /// How long its timeout has stood still in the pauses before that.
    pub stood: Duration,
    /// What it had to show in its last pause, from when that is over to its end. While it is
    /// paused, the pause has it.
    pub so_far: StoredSoFar,
    /// Work of it that does not end with its process and has not ended, in the order in which it
    /// began. What an earlier process has left stays here until somebody tells of its end.
    pub holds: Vec<StoredHold>,
    /// Whether nothing of it has ever executed, for certain: the member that had it has given it up
    /// before it started ([`Cluster::release`](crate::cluster::Cluster::release)), or it has a due
    /// time, and no start in the store, for which its body waits. False of one whose process is
    /// gone in any other way, and until it is read to be recovered.
    pub is_unstarted: bool,
    /// What remains of it, if it has ended.
    pub report: Option<Arc<RunReport>>,
    /// When it ended, or, if it ended non-quiescent, when nothing of it executed any more.
    pub quiesced_at: Option<SystemTime>,
    /// Whether nothing of it executes, as the last record of it says.
    pub quiescent: bool,
    /// Whether an event of its log is stored. A run that is no root has no log.
    pub has_events: bool,
}

impl RunRecord {
    /// Makes the record of a run that was just accepted.
    pub const fn new(accepted: Accepted) -> Self {
        Self {
            epoch: accepted.epoch,
            attempt: accepted.epoch.attempt(),
            accepted,
            status: RunStatus::Queued,
            started_at: None,
            stop: None,
            paused: None,
            answer: None,
            stood: Duration::ZERO,
            so_far: StoredSoFar::NOTHING,
            holds: Vec::new(),
            is_unstarted: false,
            report: None,
            quiesced_at: None,
            quiescent: false,
            has_events: false,
        }
    }

    /// Yields the run.
    pub const fn run(&self) -> RunId {
        self.accepted.run
    }

    /// Tells whether it has the answer to its pause, and has not started again.
    pub fn is_answered(&self) -> bool {
        self.status == RunStatus::Queued && self.answer.is_some()
    }

    /// Tells whether it was stopped so that what it has done is taken back
    /// ([`CancelRequest::rollback`](crate::CancelRequest::rollback)): it is forgotten when nothing
    /// of it executes any more.
    pub fn is_rolled_back(&self) -> bool {
        let was_stopped =
            matches!(self.status, RunStatus::Stopping | RunStatus::Cancelled | RunStatus::TimedOut);
        was_stopped && self.stop.as_ref().is_some_and(|stop| stop.rollback)
    }

    /// Yields what a filter asks of it.
    pub fn facts(&self) -> RunFacts<'_> {
        let Accepted { parent, kind, name, owner, labels, .. } = &self.accepted;
        RunFacts {
            is_root: parent.is_none(),
            kind: *kind,
            status: self.status,
            name,
            owner: owner.as_deref(),
            labels: Some(labels),
        }
    }

    /// Yields what it has to show before its end, as far as is stored: what it had in its last
    /// pause.
    pub fn so_far(&self) -> &StoredSoFar {
        self.paused.as_ref().map_or(&self.so_far, |pause| &pause.so_far)
    }

    /// Yields its report; of a run that has not ended, one of what is stored of it.
    pub fn report_by_now(&self) -> RunReport {
        let Some(stored) = &self.report else {
            return RunReport::new(vec![self.row()], Counts::default());
        };
        let mut report = RunReport::clone(stored);
        if self.quiescent {
            // What went on after the end has ended since, also of the runs below.
            for row in report.rows.iter_mut().filter(|row| !row.quiescent) {
                (row.quiescent, row.quiesced_at) = (true, self.quiesced_at);
            }
            report.quiescent = true;
        }
        report
    }

    /// Yields what of its own still executes, if it has ended and is not quiescent: of programs,
    /// requests and nodes what is [held](Self::holds) still, and of the rest what its report names.
    /// The report may say more of a program, as its number: so it is named unless another one that
    /// was held under the same name has ended.
    pub fn left(&self) -> Vec<Abandoned> {
        let ended = self.report.as_deref().filter(|_| !self.quiescent);
        let Some(own) = ended.and_then(|report| report.rows.first()) else { return Vec::new() };
        let is_whole = |hold: &StoredHold| {
            let alike = |it: &&StoredHold| it.what == hold.what && it.name == hold.name;
            let held = self.holds.iter().filter(alike).count();
            own.abandoned.iter().filter(|left| hold.is_named_by(left)).count() == held
        };
        let is_left = |left: &&Abandoned| {
            let is_it = |hold: &StoredHold| hold.is_named_by(left) && is_whole(hold);
            !StoredHold::is_for(left.what) || self.holds.iter().any(is_it)
        };
        let mut left: Vec<_> = own.abandoned.iter().filter(is_left).cloned().collect();
        let others = self.holds.iter().filter(|hold| !is_whole(hold));
        left.extend(others.map(|hold| hold.abandoned(self.run())));
        Abandoned::name_nodes_once(&mut left);
        left
    }

    /// Yields its row, whether it has ended or not.
    pub fn row(&self) -> RunRow {
        if let Some(stored) = &self.report {
            let mut row = stored.own_row().clone();
            row.quiescent |= self.quiescent;
            row.quiesced_at = row.quiesced_at.or(self.quiesced_at);
            return row;
        }
        let accepted = &self.accepted;
        let name = Arc::clone(&accepted.name);
        let mut row = RunRow::new(self.run(), accepted.kind, name, self.status, accepted.at);
        row.parent = accepted.parent;
        row.started_at = self.started_at;
        if let Some(stop) = &self.stop {
            row.cause = Some(Arc::clone(&stop.cause));
            row.stopped_at = (stop.mode != StopMode::AfterStep).then_some(stop.cause.at);
        }
        // One that executes has work of its own under way.
        if matches!(self.status, RunStatus::Queued | RunStatus::Paused) {
            row.abandoned = self.holds.iter().map(|hold| hold.abandoned(self.run())).collect();
            Abandoned::name_nodes_once(&mut row.abandoned);
        }
        let StoredSoFar { partial, summary, used } = self.so_far().clone();
        (row.partial, row.summary, row.usage) = (partial, summary, used);
        row
    }

    /// Changes it as a later record of the same run says, which a store has admitted. What leaves
    /// no trace in it, such as an event, raises its epoch.
    pub fn apply(&mut self, record: &Record) {
        self.epoch = self.epoch.max(record.epoch());
        self.attempt = self.attempt.max(record.epoch().attempt());
        match record {
            Record::Started { at, .. } => {
                self.started_at = self.started_at.or(Some(*at));
                self.is_unstarted = false;
                self.end_pause();
                if matches!(self.status, RunStatus::Queued | RunStatus::Paused) {
                    self.status = RunStatus::Running;
                }
            }
            Record::StopAccepted(stop) => self.apply_stop(stop),
            Record::Paused { pause, .. } => {
                self.attempt = self.attempt.max(pause.attempt);
                (self.paused, self.answer) = (Some(StoredPause::clone(pause)), None);
                self.so_far = StoredSoFar::NOTHING;
                if matches!(self.status, RunStatus::Queued | RunStatus::Running) {
                    self.status = RunStatus::Paused;
                }
            }
            Record::Resumed { attempt, answer, stood, .. } => {
                self.attempt = self.attempt.max(*attempt);
                self.end_pause();
                self.answer = Some(answer.clone());
                self.stood = *stood;
                if matches!(self.status, RunStatus::Paused | RunStatus::Running) {
                    self.status = RunStatus::Queued;
                }
            }
            Record::HoldBegan { hold, .. } => {
                self.holds.retain(|known| known.nr != hold.nr);
                self.holds.push(hold.clone());
            }
            Record::HoldEnded { nr, .. } => self.holds.retain(|known| known.nr != *nr),
            Record::Ended { report, .. } => {
                self.status = report.status;
                self.quiescent = report.quiescent;
                self.quiesced_at = report.rows.first().and_then(|row| row.quiesced_at);
                self.report = Some(Arc::clone(report));
                (self.paused, self.so_far) = (None, StoredSoFar::NOTHING);
            }
            Record::Quiesced { at, .. } => {
                self.quiescent = true;
                self.quiesced_at = self.quiesced_at.or(Some(*at));
            }
            Record::Annotated { annotations, .. } => {
                self.accepted.annotations.clone_from(annotations);
            }
            Record::Event { .. } => self.has_events = true,
            Record::Accepted(_) | Record::Checkpoint { .. } | Record::Forgotten { .. } => {}
        }
    }

    fn end_pause(&mut self) {
        if let Some(pause) = self.paused.take() {
            self.so_far = pause.so_far;
        }
    }

    fn apply_stop(&mut self, stop: &StopAccepted) {
        let mode = match &mut self.stop {
            None => self.stop.insert(stop.clone()).mode,
            Some(first) => {
                first.merge(stop);
                first.mode
            }
        };
        if mode != StopMode::AfterStep {
            self.status = RunStatus::Stopping;
        }
    }
}

impl StopAccepted {
    /// Adds a later stop of the same run: the first cause stands, the mode only rises, the deadline
    /// only shrinks, and the run is taken back if any of them says so (I6, I7, I36).
    pub fn merge(&mut self, later: &Self) {
        self.mode = self.mode.max(later.mode);
        self.epoch = self.epoch.max(later.epoch);
        let both = [self.hard_deadline, later.hard_deadline];
        self.hard_deadline = both.into_iter().flatten().min();
        self.rollback |= later.rollback;
    }
}

/// A state of a lane.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and this is all there is")]
pub struct Checkpoint {
    /// The run that saved it.
    pub run: RunId,
    /// The epoch of the attempt that did.
    pub epoch: Epoch,
    /// When.
    pub at: SystemTime,
    /// The state.
    pub state: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunKind, Work};

    #[test]
    fn work_is_open_until_its_number_has_ended_also_behind_the_end_of_its_run() {
        let (run, epoch, at) = (RunId::from_text("r"), Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
        let mut record = RunRecord::new(Accepted::new(run, RunKind::Agent, "r".into(), epoch, at));
        let began = |nr, name: &str| {
            let hold = StoredHold::new(nr, Work::Process, name.into());
            Record::HoldBegan { run, epoch, hold }
        };
        let ended = |nr| Record::HoldEnded { run, epoch, nr };
        let open = |record: &RunRecord| {
            let names = record.holds.iter().map(|hold| (hold.nr, hold.name.to_string()));
            names.collect::<Vec<_>>()
        };
        for one in [began(0, "a"), began(1, "b"), began(0, "c"), ended(2)] {
            record.apply(&one);
        }
        assert_eq!(open(&record), [(1, "b".to_owned()), (0, "c".to_owned())]);
        let mut row = record.row();
        row.status = RunStatus::Failed;
        row.abandoned = record.holds.iter().map(|hold| hold.abandoned(run)).collect();
        assert_eq!(row.abandoned[0], Abandoned::new(run, "b".into(), Work::Process));
        row.abandoned[0].name = "b (pid 7)".into();
        row.abandoned.push(Abandoned::new(run, "tidy up".into(), Work::Hook));
        let report = RunReport::new(vec![row], Counts::default()).into();
        record.apply(&Record::Ended { run, epoch, report, rollback: false });
        assert_eq!((record.holds.len(), record.quiescent), (2, false));
        let left = |record: &RunRecord| {
            let left = record.left().into_iter();
            left.map(|left| left.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(left(&record), ["b (pid 7)", "c", "tidy up"]);
        record.apply(&ended(1));
        assert_eq!(open(&record), [(0, "c".to_owned())]);
        assert_eq!(left(&record), ["c", "tidy up"]);
        record.apply(&ended(0));
        assert_eq!(left(&record), ["tidy up"]);
        record.apply(&Record::Quiesced { run, epoch, at });
        assert_eq!(left(&record), [""; 0]);
    }

    #[test]
    fn of_programs_of_one_name_none_is_named_by_its_number_once_one_has_ended() {
        let (run, epoch, at) = (RunId::from_text("r"), Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
        let mut record = RunRecord::new(Accepted::new(run, RunKind::Agent, "r".into(), epoch, at));
        for (nr, name) in [(0, "sh"), (1, "sh"), (2, "sh2")] {
            let hold = StoredHold::new(nr, Work::Process, name.into());
            record.apply(&Record::HoldBegan { run, epoch, hold });
        }
        let mut row = RunRow::new(run, RunKind::Agent, "r".into(), RunStatus::Failed, at);
        let program = |name: &&str| Abandoned::new(run, (*name).into(), Work::Process);
        row.abandoned = ["sh (pid 7)", "sh (pid 8)", "sh2 (pid 9)"].iter().map(program).collect();
        let report = RunReport::new(vec![row.clone()], Counts::default()).into();
        record.apply(&Record::Ended { run, epoch, report, rollback: false });
        assert_eq!(record.left(), row.abandoned);
        record.apply(&Record::HoldEnded { run, epoch, nr: 0 });
        let names: Vec<_> = record.left().into_iter().map(|left| left.name).collect();
        assert_eq!(names, ["sh2 (pid 9)", "sh"].map(Into::into));
    }

    #[test]
    fn once_a_run_is_quiescent_no_row_below_it_says_otherwise() {
        let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
        let [root, below] = ["r", "below"].map(RunId::from_text);
        let accepted = Accepted::new(root, RunKind::Agent, "r".into(), epoch, at);
        let mut record = RunRecord::new(accepted);
        let row = |run| RunRow::new(run, RunKind::Agent, "r".into(), RunStatus::Failed, at);
        let report = RunReport::new(vec![row(root), row(below)], Counts::default()).into();
        record.apply(&Record::Ended { run: root, epoch, report, rollback: false });
        let said = |record: &RunRecord| {
            let report = record.report_by_now();
            let rows = report.rows.iter().map(|row| (row.quiescent, row.quiesced_at));
            (report.quiescent, rows.collect::<Vec<_>>())
        };
        assert_eq!(said(&record), (false, vec![(false, None); 2]));
        record.apply(&Record::Quiesced { run: root, epoch, at });
        assert_eq!(said(&record), (true, vec![(true, Some(at)); 2]));
    }
}
