//! The records of what happened to a run, as the store keeps them.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{Accepted, ClaimedKey, Epoch, LaneRule, Record};
use quell_core::{Annotations, Counts, RunEvent, RunId, RunReport, RunStatus, limits};

use crate::gate::{Lane, OnBusy};
use crate::journal::{self, Entry, Journal};
use crate::node::{Node, StoredSpec, flags, report};
use crate::time::ticks::Ticks;

/// Makes the record of an entry, and that which is in the same append, if there is one.
pub(super) fn of(entry: &Entry<Node>, journal: &Journal<Node>) -> (Record, Option<Record>) {
    let wall = |node: &Node, at: Ticks| node.shared.clock.wall_at(at);
    let epoch = |node: &Node| journal.epoch(node.attempt());
    let record = match entry {
        Entry::Accepted { run, root, parent, at } => {
            let accepted = accepted(run, (*root, *parent), epoch(run), *at);
            Record::Accepted(Box::new(accepted))
        }
        Entry::Started { run, at, .. } => {
            Record::Started { run: run.id, epoch: epoch(run), at: wall(run, *at) }
        }
        Entry::Annotated(node, all) => {
            let annotations = Annotations::clone(all);
            Record::Annotated { run: node.id, epoch: epoch(node), annotations }
        }
        Entry::Stop(node, stop) => {
            let mut stop = stop.clone();
            stop.epoch = epoch(node);
            Record::StopAccepted(stop)
        }
        Entry::Event(attempt, event) => {
            Record::Event { epoch: journal.epoch(*attempt), event: RunEvent::clone(event) }
        }
        Entry::Saved { run, lane, root, state, at } => Record::Checkpoint {
            lane: Arc::clone(lane),
            run: *root,
            epoch: epoch(run),
            state: state.clone(),
            at: wall(run, *at),
        },
        Entry::Paused(node, pause) => {
            Record::Paused { run: node.id, epoch: epoch(node), pause: pause.clone() }
        }
        Entry::Resumed(node, given) => Record::Resumed {
            run: node.id,
            epoch: epoch(node),
            attempt: given.attempt,
            answer: given.answer.clone(),
            stood: given.stood,
            at: wall(node, given.at),
        },
        Entry::HoldBegan(node, hold) => {
            Record::HoldBegan { run: node.id, epoch: epoch(node), hold: hold.clone() }
        }
        Entry::HoldEnded(node, nr) => {
            Record::HoldEnded { run: node.id, epoch: epoch(node), nr: *nr }
        }
        Entry::Ended(node, rollback) => {
            // The report of a root has the rows of its tree: that of a run below only its own.
            let report = if node.is_root() {
                report::of(node)
            } else {
                RunReport::new(vec![report::row(node)], Counts::default())
            };
            let report = Arc::new(journal::to_record(report));
            Record::Ended { run: node.id, epoch: epoch(node), report, rollback: *rollback }
        }
        Entry::Quiesced(node, at) => {
            Record::Quiesced { run: node.id, epoch: epoch(node), at: wall(node, *at) }
        }
        Entry::Forgotten(node, at, _) => {
            let at = left_at(node, wall(node, *at));
            Record::Forgotten { run: node.id, epoch: epoch(node), at }
        }
        Entry::TakenBack(node, at) => {
            return taken_back(node, epoch(node), left_at(node, wall(node, *at)));
        }
    };
    (record, None)
}

/// Makes the two records of a run that is taken back.
fn taken_back(node: &Arc<Node>, epoch: Epoch, at: SystemTime) -> (Record, Option<Record>) {
    let (run, report) = (node.id, Arc::new(report_of_taken_back(node)));
    let ended = Record::Ended { run, epoch, report, rollback: true };
    (ended, Some(Record::Forgotten { run, epoch, at }))
}

/// Yields when a run counts as forgotten. One that was refused never was: its key is free at once.
fn left_at(node: &Node, at: SystemTime) -> SystemTime {
    if node.flags() & flags::REFUSED == 0 && !node.lock().frees_key() {
        return at;
    }
    at.checked_sub(limits::KEYS_TTL).unwrap_or(at)
}

/// Makes the report of a run that is taken back: of a root that was refused, that it never ran.
fn report_of_taken_back(node: &Arc<Node>) -> RunReport {
    if node.flags() & flags::REFUSED == 0 {
        return journal::to_record(report::of(node));
    }
    let mut row = report::row(node);
    row.status = RunStatus::Cancelled;
    RunReport::new(vec![row], Counts::default())
}

const fn rule(on_busy: OnBusy) -> LaneRule {
    match on_busy {
        OnBusy::Enqueue => LaneRule::Wait,
        OnBusy::Reject => LaneRule::Refuse,
        OnBusy::CancelExisting | OnBusy::RollbackExisting => LaneRule::Replace,
        OnBusy::JoinExisting => LaneRule::Join,
    }
}

fn accepted(
    node: &Node,
    (root, parent): (RunId, Option<RunId>),
    epoch: Epoch,
    at: Ticks,
) -> Accepted {
    let (name, ticks, at) = (Arc::clone(&node.name), at, node.shared.clock.wall_at(at));
    let mut accepted = Accepted::new(node.id, node.kind, name, epoch, at);
    (accepted.root, accepted.parent) = (root, parent);
    accepted.input = node.input().cloned();
    let ahead = node.shared.clock.ahead(ticks);
    accepted.spec = StoredSpec::new(node.gate(), ahead).written();
    if let Some(gate) = node.gate() {
        accepted.lane = gate.lane.as_ref().map(|lane| Arc::clone(&lane.key));
        // Others may have runs of it: the append decides together with them.
        let is_shared = node.shared.member.is_some() && parent.is_none();
        let is_full = gate.full.get().is_some();
        let rule = |lane: &Lane| match rule(lane.on_busy) {
            LaneRule::Wait if is_full => LaneRule::NoWait,
            // It would stop what others have, and wait meanwhile.
            _ if is_full => LaneRule::Refuse,
            rule => rule,
        };
        accepted.lane_rule = gate.lane.as_ref().filter(|_| is_shared).map(rule);
        accepted.due = gate.not_before.map(|due| node.shared.clock.due(due));
    }
    if let Some(about) = node.about() {
        accepted.owner.clone_from(&about.owner);
        accepted.labels.clone_from(&about.labels);
        accepted.annotations.clone_from(about.annotations());
        accepted.stop_scopes = about.stop_scopes.iter().map(|scope| scope.bytes()).collect();
        let key = about.key.as_ref();
        accepted.key =
            key.map(|key| ClaimedKey { key: Arc::clone(key.text()), payload: key.payload() });
    }
    accepted
}
