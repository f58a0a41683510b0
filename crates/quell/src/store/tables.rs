//! The tables of a [`MemoryStore`](super::MemoryStore), and what they owe to records that were
//! admitted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::limits;
use quell_core::store::{Accepted, Checkpoint, Record, RunRecord};
use quell_core::{EventKind, RunEvent, RunId};

/// Everything that is stored.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Runs by the order in which they were accepted.
    pub(super) runs: BTreeMap<u64, StoredRun>,
    /// The place of each run in that order.
    pub(super) places: HashMap<RunId, u64>,
    /// Keys that are claimed, by owner and text.
    pub(super) keys: HashMap<KeyOf, Claim>,
    /// Keys of runs that were forgotten, the oldest first.
    forgotten_keys: VecDeque<(SystemTime, KeyOf)>,
    /// States of lanes by the order in which they were saved.
    pub(super) checkpoints: BTreeMap<u64, StoredCheckpoint>,
    /// The next number in either order.
    next: u64,
    /// Bytes of all that is stored, about.
    pub(super) bytes: usize,
}

/// An owner, if there is one, and the text of a key.
pub(super) type KeyOf = (Option<Arc<str>>, Arc<str>);

/// Who has a key.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) run: RunId,
    pub(super) payload: [u8; 32],
    /// When the run was forgotten, if it was.
    pub(super) forgotten_at: Option<SystemTime>,
}

/// A run with its log.
#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) record: RunRecord,
    /// Its events by their numbers, if it is a root; a gap by its last one.
    pub(super) events: BTreeMap<u64, RunEvent>,
    /// Bytes of what is stored of it, about, without its checkpoints.
    bytes: usize,
}

/// A state of a lane.
#[derive(Debug)]
pub(super) struct StoredCheckpoint {
    pub(super) lane: Arc<str>,
    pub(super) checkpoint: Checkpoint,
    bytes: usize,
}

impl StoredRun {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Tables {
    pub(super) fn run(&self, run: RunId) -> Option<&StoredRun> {
        self.runs.get(self.places.get(&run)?)
    }

    /// Stores a record that was admitted.
    pub(super) fn apply(&mut self, record: Record) {
        let (bytes, run) = (record.bytes(), record.run());
        if let Record::Accepted(accepted) = record {
            self.accept(*accepted, bytes);
            return;
        }
        let Some(stored) = self.places.get(&run).and_then(|place| self.runs.get_mut(place)) else {
            return;
        };
        stored.record.apply(&record);
        let (mut kept, root) = (bytes, stored.record.accepted.root);
        match record {
            Record::Event { event, .. } => drop(stored.events.insert(number(&event), event)),
            Record::Checkpoint { lane, run, epoch, state, at } => {
                let checkpoint = Checkpoint { run, epoch, at, state };
                self.checkpoints.insert(self.next, StoredCheckpoint { lane, checkpoint, bytes });
                self.next += 1;
                self.bytes += bytes;
                return;
            }
            Record::Ended { rollback: true, .. } => self.drop_checkpoints(|of| of == run),
            Record::Forgotten { at, .. } => {
                self.forget(run, root == run, at);
                return;
            }
            Record::Started { .. } | Record::Quiesced { .. } => kept = 0,
            Record::Accepted(_)
            | Record::StopAccepted(_)
            | Record::Paused { .. }
            | Record::Ended { .. } => {}
        }
        if let Some(stored) = self.places.get(&run).and_then(|place| self.runs.get_mut(place)) {
            stored.bytes += kept;
            self.bytes += kept;
        }
    }

    fn accept(&mut self, accepted: Accepted, bytes: usize) {
        let run = accepted.run;
        if let Some(key) = &accepted.key {
            let claim = Claim { run, payload: key.payload, forgotten_at: None };
            self.keys.insert((accepted.owner.clone(), Arc::clone(&key.key)), claim);
        }
        self.places.insert(run, self.next);
        let record = RunRecord::new(accepted);
        self.runs.insert(self.next, StoredRun { record, events: BTreeMap::new(), bytes });
        self.next += 1;
        self.bytes += bytes;
    }

    fn forget(&mut self, run: RunId, is_root: bool, at: SystemTime) {
        let leaves = |stored: &StoredRun| {
            let accepted = &stored.record.accepted;
            accepted.run == run || (is_root && accepted.root == run)
        };
        let left: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, stored)| leaves(stored))
            .map(|(place, _)| *place)
            .collect();
        for place in left {
            let Some(stored) = self.runs.remove(&place) else { continue };
            let accepted = stored.record.accepted;
            self.places.remove(&accepted.run);
            self.bytes -= stored.bytes;
            self.drop_checkpoints(|of| of == accepted.run);
            if let Some(key) = accepted.key {
                self.forget_key((accepted.owner, key.key), accepted.run, at);
            }
        }
    }

    fn forget_key(&mut self, key: KeyOf, run: RunId, at: SystemTime) {
        if let Some(claim) = self.keys.get_mut(&key).filter(|claim| claim.run == run) {
            claim.forgotten_at = Some(at);
            self.forgotten_keys.push_back((at, key));
        }
        while self.forgotten_keys.front().is_some_and(|(since, _)| {
            self.forgotten_keys.len() > limits::KEYS_MAX || is_over(*since, at)
        }) {
            let Some((since, key)) = self.forgotten_keys.pop_front() else { return };
            // The key may have another run by now.
            if self.keys.get(&key).is_some_and(|claim| claim.forgotten_at == Some(since)) {
                self.keys.remove(&key);
            }
        }
    }

    fn drop_checkpoints(&mut self, is_of: impl Fn(RunId) -> bool) {
        let bytes = &mut self.bytes;
        self.checkpoints.retain(|_, stored| {
            let stays = !is_of(stored.checkpoint.run);
            *bytes -= if stays { 0 } else { stored.bytes };
            stays
        });
    }
}

/// Tells whether the key of a run that was forgotten is free again.
pub(super) fn is_over(forgotten_at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(forgotten_at).is_ok_and(|passed| passed >= limits::KEYS_TTL)
}

/// Yields the number under which an event is stored.
pub(super) const fn number(event: &RunEvent) -> u64 {
    match event.kind {
        EventKind::Lagged { to, .. } => to,
        _ => event.seq,
    }
}
