//! What is left of the pauses of a run whose process is gone, by wall time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::RunStatus;
use quell_core::lifecycle::later;
use quell_core::store::{Record, RunRecord};

use crate::engine::left_rows::Left;
use crate::gate::{Lane, OnBusy};
use crate::handle::RunHandle;
use crate::idempotency::IdempotencyKey;
use crate::node::{Node, StoredSpec};
use crate::run::RunRef;
use crate::spec::{Again, PauseEnd, RunSpec};
use crate::step::restore::Restored;

/// Tells whether a run waits for an answer, and was not stopped.
pub(super) fn is_paused(record: &RunRecord) -> bool {
    record.status == RunStatus::Paused
}

/// Yields how a run stands to its lane: the smaller one has it. Of those that wait for it the one
/// has it that came first, and a run comes when it is due.
pub(super) fn waits_for_lane(record: &RunRecord) -> (bool, bool, bool, SystemTime) {
    let came = record.accepted.due.unwrap_or(record.accepted.at);
    (!is_paused(record), !record.is_answered(), record.started_at.is_none(), came)
}

/// Makes the spec of a paused run of which the process knows nothing but what is stored.
pub(super) fn spec(record: &RunRecord) -> RunSpec {
    let mut spec = RunSpec::new(record.accepted.kind, Arc::clone(&record.accepted.name));
    if let Some(pause) = &record.paused {
        (spec.timeout, spec.timeout_stands) = (pause.timeout, pause.timeout_stands);
    }
    spec
}

/// Adds to a spec what is stored of its run: its id, key, input, owner, labels and annotations, and
/// its lane and its priority unless the spec names one.
pub(super) fn add_stored(spec: &mut RunSpec, record: &RunRecord) {
    let accepted = &record.accepted;
    spec.id = Some(accepted.run);
    spec.input = spec.input.take().or_else(|| accepted.input.clone());
    let about = spec.about.get_or_insert_default();
    about.owner.clone_from(&accepted.owner);
    about.key = accepted.key.as_ref().map(IdempotencyKey::of_store);
    about.labels.clone_from(&accepted.labels);
    about.annotations.clone_from(&accepted.annotations);
    if let Some(key) = &accepted.lane {
        let gate = spec.gate.get_or_insert_default();
        gate.lane.get_or_insert_with(|| enqueued(key));
    }
    let StoredSpec { priority, .. } = StoredSpec::of(accepted);
    if priority != 0 {
        let gate = spec.gate.get_or_insert_default();
        if gate.priority == 0 {
            gate.priority = priority;
        }
    }
}

/// Has a run that has never started be known by the annotations of its spec, beside its own: it
/// begins as what these say. Yields what is to be stored of that, if it changes anything.
pub(super) fn annotate(record: &mut RunRecord, spec: &RunSpec) -> Option<Record> {
    let about = spec.about.as_ref().filter(|_| record.is_unstarted)?;
    let (run, epoch) = (record.run(), record.epoch);
    let before = record.accepted.annotations.clone();
    record.accepted.annotations.extend(about.annotations.clone());
    let annotations = record.accepted.annotations.clone();
    (annotations != before).then_some(Record::Annotated { run, epoch, annotations })
}

/// Notes that nothing has executed of a run that had a due time and has no start in the store: its
/// body waits until that is stored.
pub(super) fn noted(mut record: RunRecord) -> RunRecord {
    let is_first = record.status == RunStatus::Queued && record.started_at.is_none();
    record.is_unstarted |= record.accepted.due.is_some() && is_first;
    record
}

/// Yields a lane in which a run waits for its turn.
fn enqueued(key: &Arc<str>) -> Lane {
    Lane { key: Arc::clone(key), on_busy: OnBusy::Enqueue }
}

/// Has the spec of a run that has never started wait until it is due, as it was accepted. One that
/// is due by now is known to have been so.
pub(super) fn keep_due(spec: &mut RunSpec, record: &RunRecord, at: SystemTime) {
    let due = record.accepted.due.filter(|_| record.started_at.is_none());
    if let Some(left) = due.map(|due| since(due, at)) {
        let gate = spec.gate.get_or_insert_default();
        gate.not_before = Some(later(crate::sync::now(), left));
    }
}

/// Has the spec of a paused run say so. It has its lane still, and what is left of its time.
pub(super) fn keep_paused(spec: &mut RunSpec, record: &RunRecord, at: SystemTime, first_seq: u64) {
    let gate = spec.gate.get_or_insert_default();
    (gate.not_before, gate.unchanged_since) = (None, None);
    // It has it still, whatever a spec says of a busy one.
    gate.lane = record.accepted.lane.as_ref().map(enqueued);
    let expires_at = record.paused.as_ref().and_then(|pause| pause.expires_at);
    let left = expires_at.map(|end| end.duration_since(at).unwrap_or_default());
    let end = PauseEnd(left.map(|left| later(crate::sync::now(), left)));
    spec.again = Some(Box::new(Again { attempt: record.attempt, first_seq, paused: Some(end) }));
}

/// Yields what a run has of its pauses.
pub(super) fn restored(record: &RunRecord, at: SystemTime) -> Restored {
    let mut restored = Restored {
        answer: record.answer.clone(),
        stood: record.stood,
        used: used(record, at),
        began: (Some(record.accepted.at), record.started_at),
        so_far: record.so_far().clone(),
        ..Restored::default()
    };
    if let Some(pause) = &record.paused {
        restored.request = Some(pause.request.clone());
        (restored.asked_by, restored.since) = (pause.asked_by, Some(pause.at));
        restored.expires_in = pause.expires_at.map(|end| since(end, pause.at));
        if pause.timeout_stands {
            restored.stood += since(at, StoredSpec::of(&record.accepted).unraised(pause.at));
        }
    }
    restored
}

/// Adds what an earlier process has left of a run, with the last number that the store has of its
/// work.
pub(super) fn add_left(restored: &mut Restored, record: &RunRecord, left: Left) {
    let Left { lost, earlier, .. } = left;
    restored.lost = (lost, record.holds.iter().map(|hold| hold.nr).max());
    restored.earlier = earlier;
}

/// Yields how much of its timeout a run has used: the time from its first start, less that in which
/// the timeout stood still.
pub(super) fn used(record: &RunRecord, at: SystemTime) -> Duration {
    let Some(started) = record.started_at else { return Duration::ZERO };
    let standing = record.paused.as_ref().filter(|pause| pause.timeout_stands);
    let passed = match standing {
        Some(pause) => since(pause.at, started),
        None => since(at, StoredSpec::of(&record.accepted).unraised(started)),
    };
    passed.saturating_sub(record.stood)
}

/// Yields the time from one instant to a later one. None has passed if a clock was set back.
fn since(at: SystemTime, earlier: SystemTime) -> Duration {
    at.duration_since(earlier).unwrap_or_default()
}

/// Yields a run whose value nobody can read: it is dropped by the body, when that has returned it.
pub(super) fn unread(node: Arc<Node>) -> RunRef {
    RunHandle::<()>::new(node).into_ref()
}
