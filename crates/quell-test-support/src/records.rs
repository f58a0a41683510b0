//! Records of runs, as tests of stores append them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{Accepted, Epoch, Record, StopAccepted, Store};
use quell::{
    Cause, CauseKind, Counts, EventKind, Payload, RunEvent, RunId, RunKind, RunReport, RunRow,
    RunStatus, StopMode,
};

/// Yields the first epoch of the boot of a store.
pub fn epoch(store: &impl Store) -> Epoch {
    Epoch::new(store.boot(), 1)
}

/// Yields an instant of which every store keeps all there is.
pub fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// Makes the record of a root that is accepted.
pub fn accept(run: RunId, epoch: Epoch) -> Record {
    let mut accepted = Accepted::new(run, RunKind::Agent, "a run".into(), epoch, at());
    accepted.input = Some(Payload::from("x".repeat(100)));
    Record::Accepted(Box::new(accepted))
}

/// Makes an event of a root.
pub fn event(run: RunId, epoch: Epoch, seq: u64) -> Record {
    let kind = EventKind::Emitted(Payload::from(seq));
    Record::Event { epoch, event: RunEvent::new(seq, run, run, at(), kind) }
}

/// Makes a stop of a run.
pub fn stop(run: RunId, epoch: Epoch) -> Record {
    let mut cause = Cause::new(CauseKind::UserRequest, at(), run);
    cause.message = Some("enough".into());
    let stop = StopAccepted::new(run, epoch, StopMode::Cooperative, Arc::new(cause));
    Record::StopAccepted(Box::new(stop))
}

/// Makes the end of a run, with which its states go.
pub fn end(run: RunId, epoch: Epoch, status: RunStatus) -> Record {
    let mut row = RunRow::new(run, RunKind::Agent, "a run".into(), status, at());
    row.quiescent = true;
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    Record::Ended { run, epoch, report, rollback: true }
}

/// Makes a state of a lane.
pub fn state(run: RunId, epoch: Epoch, lane: &str, state: u64) -> Record {
    let (lane, state) = (lane.into(), Payload::from(state));
    Record::Checkpoint { lane, run, epoch, state, at: at() }
}
