//! Which records contradict what is stored, asked of a whole batch before any of it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quell_core::store::{Accepted, Epoch, Record, StoreError};
use quell_core::{EventKind, RunId};

use crate::store::tables::{KeyOf, Tables, descent};

/// What a batch finds: the tables, and above them what its own records change before.
pub(super) struct Admission<'a> {
    tables: &'a Tables,
    /// How runs stand after the records so far.
    runs: HashMap<RunId, Standing>,
    /// Runs of the tables that these records forget, those included that come again.
    forgotten: HashSet<RunId>,
    /// Events that these records bring.
    events: HashSet<(RunId, u64)>,
    /// Keys that these records claim.
    keys: HashMap<KeyOf, (RunId, [u8; 32])>,
}

/// How a run stands, as far as it matters to what may be written of it.
#[derive(Clone, Copy)]
struct Standing {
    root: RunId,
    parent: Option<RunId>,
    epoch: Epoch,
    has_ended: bool,
}

impl<'a> Admission<'a> {
    /// Checks every record of a batch in its order.
    pub(super) fn check(tables: &'a Tables, batch: &[Record]) -> Result<(), StoreError> {
        let (runs, forgotten) = (HashMap::new(), HashSet::new());
        let (events, keys) = (HashSet::new(), HashMap::new());
        let mut admission = Self { tables, runs, forgotten, events, keys };
        batch.iter().try_for_each(|record| admission.admit(record))
    }

    fn admit(&mut self, record: &Record) -> Result<(), StoreError> {
        let run = record.run();
        if let Record::Accepted(accepted) = record {
            return self.accept(accepted);
        }
        let mut standing = self.standing(run).ok_or(StoreError::Unknown { run })?;
        if record.epoch() < standing.epoch {
            let (epoch, current) = (record.epoch(), standing.epoch);
            return Err(StoreError::Fenced { run, epoch, current });
        }
        standing.epoch = record.epoch();
        match record {
            Record::Event { event, .. } => {
                let seq = event.last_seq();
                let stored = self.tables.run(run).filter(|_| !self.forgotten.contains(&run));
                let is_stored = stored.is_some_and(|run| run.events.contains_key(&seq));
                if is_stored || !self.events.insert((run, seq)) {
                    return Err(StoreError::SeqTaken { root: run, seq });
                }
                if matches!(event.kind, EventKind::Detached { .. }) {
                    self.runs.insert(run, standing);
                    self.detach(event.run);
                    return Ok(());
                }
            }
            Record::Quiesced { .. } | Record::Forgotten { .. } if !standing.has_ended => {
                return Err(StoreError::Live { run });
            }
            Record::Quiesced { .. } | Record::HoldEnded { .. } => {}
            Record::Forgotten { .. } => return self.forget(run),
            _ if standing.has_ended => return Err(StoreError::Ended { run }),
            Record::Ended { .. } => standing.has_ended = true,
            _ => {}
        }
        self.runs.insert(run, standing);
        Ok(())
    }

    fn accept(&mut self, accepted: &Accepted) -> Result<(), StoreError> {
        let Accepted { run, root, parent, epoch, .. } = *accepted;
        if self.standing(run).is_some() {
            return Err(StoreError::Exists { run });
        }
        if root != run {
            let above = self.standing(root).ok_or(StoreError::Unknown { run: root })?;
            if epoch < above.epoch {
                let current = above.epoch;
                return Err(StoreError::Fenced { run: root, epoch, current });
            }
        }
        if let Some(key) = &accepted.key {
            let name = (accepted.owner.clone(), Arc::clone(&key.key));
            let stored = self.tables.claim(&name, accepted.at);
            let stored =
                stored.map(|claim| (claim.run, claim.payload, claim.forgotten_at.is_some()));
            let own = self.keys.get(&name).map(|(run, payload)| (*run, *payload, false));
            if let Some((run, payload, was_forgotten)) = own.or(stored) {
                let is_same_payload = payload == key.payload;
                let is_forgotten = was_forgotten || self.forgotten.contains(&run);
                return Err(StoreError::KeyClaimed { run, is_same_payload, is_forgotten });
            }
            self.keys.insert(name, (run, key.payload));
        }
        self.runs.insert(run, Standing { root, parent, epoch, has_ended: false });
        Ok(())
    }

    fn forget(&mut self, run: RunId) -> Result<(), StoreError> {
        let leaving = self.tree(run);
        let is_live =
            |run: &&RunId| self.standing(**run).is_some_and(|standing| !standing.has_ended);
        if let Some(run) = leaving.iter().find(is_live).copied() {
            return Err(StoreError::Live { run });
        }
        for run in leaving {
            self.runs.remove(&run);
            self.events.retain(|(root, _)| *root != run);
            self.forgotten.insert(run);
        }
        Ok(())
    }

    fn detach(&mut self, root: RunId) {
        for run in self.tree(root) {
            let Some(standing) = self.standing(run) else { continue };
            let parent = standing.parent.filter(|_| run != root);
            self.runs.insert(run, Standing { root, parent, ..standing });
        }
    }

    /// Yields a run and those below it, none if it is not stored.
    fn tree(&self, run: RunId) -> Vec<RunId> {
        let Some(Standing { root, .. }) = self.standing(run) else { return Vec::new() };
        let stored = self.tables.below(root).map(|stored| stored.record.run());
        let stored: HashSet<_> = stored.collect();
        let own = self.runs.keys().copied().filter(|run| !stored.contains(run));
        let all = self.tables.below(root).map(|stored| stored.record.run()).chain(own);
        let of_tree = all.filter_map(|run| {
            let standing = self.standing(run)?;
            (standing.root == root && run != root).then_some((run, standing.parent))
        });
        descent(run, root, of_tree)
    }

    /// Yields how a run stands after the records so far; none if it is not stored any more.
    fn standing(&self, run: RunId) -> Option<Standing> {
        let stored = || {
            let record = &self.tables.run(run)?.record;
            let Accepted { root, parent, .. } = record.accepted;
            let has_ended = record.status.is_terminal();
            Some(Standing { root, parent, epoch: record.epoch, has_ended })
        };
        let here = || if self.forgotten.contains(&run) { None } else { stored() };
        self.runs.get(&run).copied().or_else(here)
    }
}
