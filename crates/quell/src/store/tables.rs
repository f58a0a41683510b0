//! The tables of a [`MemoryStore`](super::MemoryStore), and what they owe to records that were
//! admitted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::limits;
use quell_core::store::{Accepted, Checkpoint, EndedTree, Record, RunRecord};
use quell_core::{EventKind, RunEvent, RunId};

/// Everything that is stored.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Runs by the order in which they were accepted.
    pub(super) runs: BTreeMap<u64, StoredRun>,
    /// The place of each run in that order.
    pub(super) places: HashMap<RunId, u64>,
    /// The places of the runs below each root that has any.
    below: HashMap<RunId, BTreeSet<u64>>,
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
    bytes: Bytes,
}

/// Bytes of what is stored of a run, about, without its checkpoints. What takes the place of
/// something else counts in its place.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    accepted: usize,
    stop: usize,
    /// Of what it asks, or of the answer.
    paused: usize,
    /// Of what it had to show in its last pause.
    so_far: usize,
    report: usize,
    holds: usize,
    log: usize,
}

/// A state of a lane.
#[derive(Debug)]
pub(super) struct StoredCheckpoint {
    pub(super) lane: Arc<str>,
    pub(super) checkpoint: Checkpoint,
    bytes: usize,
}

impl StoredRun {
    /// Yields the bytes of what a read of it yields: all but its log.
    pub(super) const fn bytes(&self) -> usize {
        let Bytes { accepted, stop, paused, so_far, report, holds, log: _ } = self.bytes;
        accepted + stop + paused + so_far + report + holds
    }

    const fn all_bytes(&self) -> usize {
        self.bytes() + self.bytes.log
    }

    /// Counts a record that was applied.
    fn charge(&mut self, record: &Record) {
        let bytes = record.bytes();
        match record {
            Record::Event { .. } => self.bytes.log += bytes,
            // The first one stays, and later ones change its mode and its deadline.
            Record::StopAccepted(_) if self.bytes.stop == 0 => self.bytes.stop = bytes,
            // An answer takes the place of what was asked, and the next request its place.
            Record::Paused { pause, .. } => {
                self.bytes.so_far = pause.so_far.bytes();
                self.bytes.paused = bytes - self.bytes.so_far;
            }
            Record::Resumed { .. } => self.bytes.paused = bytes,
            Record::Started { .. } if self.record.answer.is_none() => self.bytes.paused = 0,
            Record::Ended { .. } => {
                let of = &mut self.bytes;
                (of.so_far, of.report) = (0, bytes);
                // The answer to its last pause stays.
                if self.record.answer.is_none() {
                    of.paused = 0;
                }
            }
            Record::HoldBegan { run, epoch, .. } | Record::HoldEnded { run, epoch, .. } => {
                let began = |hold| Record::HoldBegan { run: *run, epoch: *epoch, hold };
                let open = self.record.holds.iter().cloned().map(began);
                self.bytes.holds = open.map(|began| began.bytes()).sum();
            }
            Record::Annotated { .. } => {
                let accepted = Record::Accepted(Box::new(self.record.accepted.clone()));
                self.bytes.accepted = accepted.bytes();
            }
            Record::Accepted(_)
            | Record::Started { .. }
            | Record::StopAccepted(_)
            | Record::Checkpoint { .. }
            | Record::Quiesced { .. }
            | Record::Forgotten { .. } => {}
        }
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
        let before = stored.all_bytes();
        stored.record.apply(&record);
        stored.charge(&record);
        self.bytes = self.bytes - before + stored.all_bytes();
        match record {
            Record::Event { event, .. } => {
                let moved = matches!(event.kind, EventKind::Detached { .. }).then_some(event.run);
                drop(stored.events.insert(event.last_seq(), event));
                if let Some(run) = moved {
                    self.detach(run);
                }
            }
            Record::Checkpoint { lane, run, epoch, state, at } => {
                let checkpoint = Checkpoint { run, epoch, at, state };
                self.checkpoints.insert(self.next, StoredCheckpoint { lane, checkpoint, bytes });
                self.next += 1;
                self.bytes += bytes;
            }
            Record::Ended { rollback: true, .. } => self.drop_checkpoints(|of| of == run),
            Record::Forgotten { at, .. } => self.forget(run, at),
            Record::Started { .. }
            | Record::Annotated { .. }
            | Record::HoldBegan { .. }
            | Record::HoldEnded { .. }
            | Record::Quiesced { .. }
            | Record::Accepted(_)
            | Record::StopAccepted(_)
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Ended { .. } => {}
        }
    }

    fn accept(&mut self, accepted: Accepted, bytes: usize) {
        let run = accepted.run;
        if let Some(key) = &accepted.key {
            let claim = Claim { run, payload: key.payload, forgotten_at: None };
            self.keys.insert((accepted.owner.clone(), Arc::clone(&key.key)), claim);
        }
        self.places.insert(run, self.next);
        if accepted.root != run {
            self.below.entry(accepted.root).or_default().insert(self.next);
        }
        let record = RunRecord::new(accepted);
        let bytes_of_run = Bytes { accepted: bytes, ..Bytes::default() };
        let stored = StoredRun { record, events: BTreeMap::new(), bytes: bytes_of_run };
        self.runs.insert(self.next, stored);
        self.next += 1;
        self.bytes += bytes;
    }

    /// Yields the runs below a root, in the order in which they were accepted.
    pub(super) fn below(&self, root: RunId) -> impl Iterator<Item = &StoredRun> {
        self.below.get(&root).into_iter().flatten().filter_map(|place| self.runs.get(place))
    }

    /// Yields the lanes of runs that are not terminal.
    pub(super) fn live_lanes(&self) -> HashSet<&str> {
        let live = self.runs.values().filter(|stored| !stored.record.status.is_terminal());
        live.filter_map(|stored| stored.record.accepted.lane.as_deref()).collect()
    }

    /// Yields the tree of a run if it may leave: see [`Store::ended`](super::Store::ended).
    pub(super) fn ended(&self, root: &StoredRun, lanes: &HashSet<&str>) -> Option<EndedTree> {
        let record = &root.record;
        let Accepted { run, parent, lane, at, .. } = &record.accepted;
        let needed = lane.as_deref().is_some_and(|lane| lanes.contains(lane));
        let is_over = parent.is_none() && record.status.is_terminal();
        if !is_over || needed || self.below(*run).any(|stored| !stored.record.status.is_terminal())
        {
            return None;
        }
        let ended_at = record.report.as_ref().and_then(|report| report.own_row().ended_at);
        let quiesced_at = record.quiesced_at.or(ended_at).unwrap_or(*at);
        let mut tree = EndedTree::new(*run, record.epoch, *at, quiesced_at);
        tree.quiescent = record.quiescent;
        tree.rows += (self.below(*run).count() + root.events.len()) as u64;
        Some(tree)
    }

    /// Yields a run and those below it.
    fn tree(&self, run: RunId) -> Vec<RunId> {
        let Some(stored) = self.run(run) else { return Vec::new() };
        let root = stored.record.accepted.root;
        let all = self.below(root);
        let all = all.map(|stored| (stored.record.run(), stored.record.accepted.parent));
        descent(run, root, all)
    }

    fn forget(&mut self, run: RunId, at: SystemTime) {
        for run in self.tree(run) {
            let Some(place) = self.places.remove(&run) else { continue };
            let Some(stored) = self.runs.remove(&place) else { continue };
            self.bytes -= stored.all_bytes();
            let accepted = stored.record.accepted;
            self.leave(accepted.root, place);
            self.drop_checkpoints(|of| of == run);
            if let Some(key) = accepted.key {
                self.forget_key((accepted.owner, key.key), run, at);
            }
        }
    }

    /// Makes a run the root of those below it.
    fn detach(&mut self, root: RunId) {
        for run in self.tree(root) {
            let Some(place) = self.places.get(&run).copied() else { continue };
            let Some(stored) = self.runs.get_mut(&place) else { continue };
            let accepted = &mut stored.record.accepted;
            let left = std::mem::replace(&mut accepted.root, root);
            if run == root {
                accepted.parent = None;
            } else {
                self.below.entry(root).or_default().insert(place);
            }
            self.leave(left, place);
        }
    }

    fn leave(&mut self, root: RunId, place: u64) {
        if let Some(below) = self.below.get_mut(&root) {
            below.remove(&place);
            if below.is_empty() {
                self.below.remove(&root);
            }
        }
    }

    /// Yields who has a key at an instant.
    pub(super) fn claim(&self, key: &KeyOf, at: SystemTime) -> Option<&Claim> {
        let is_free = |forgotten_at| is_over(forgotten_at, at);
        self.keys.get(key).filter(|claim| !claim.forgotten_at.is_some_and(is_free))
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

/// Yields a run and those that descend from it, of what is below a root, each with its parent. All
/// of that descends from the root.
pub(super) fn descent(
    run: RunId,
    root: RunId,
    below: impl Iterator<Item = (RunId, Option<RunId>)>,
) -> Vec<RunId> {
    if run == root {
        return std::iter::once(run).chain(below.map(|(run, _)| run)).collect();
    }
    let mut children: HashMap<RunId, Vec<RunId>> = HashMap::new();
    for (child, parent) in below {
        children.entry(parent.unwrap_or(root)).or_default().push(child);
    }
    let (mut found, mut next) = (vec![run], 0);
    while let Some(parent) = found.get(next) {
        found.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    found
}

/// Tells whether the key of a run that was forgotten is free again.
fn is_over(forgotten_at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(forgotten_at).is_ok_and(|passed| passed >= limits::KEYS_TTL)
}
