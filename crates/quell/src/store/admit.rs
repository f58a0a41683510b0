//! Which records contradict what is stored, asked of a whole batch before any of it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quell_core::RunId;
use quell_core::store::{Accepted, Epoch, Record, StoreError};

use crate::store::tables::{KeyOf, Tables, is_over, number};

/// What a batch finds: the tables, and above them what its own records change before.
pub(super) struct Admission<'a> {
    tables: &'a Tables,
    /// How runs stand after the records so far.
    runs: HashMap<RunId, Standing>,
    /// Runs that these records forget.
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
                let seq = number(event);
                let stored = self.tables.run(run).filter(|_| !self.forgotten.contains(&run));
                let is_stored = stored.is_some_and(|run| run.events.contains_key(&seq));
                if is_stored || !self.events.insert((run, seq)) {
                    return Err(StoreError::SeqTaken { root: run, seq });
                }
            }
            Record::Quiesced { .. } | Record::Forgotten { .. } if !standing.has_ended => {
                return Err(StoreError::Live { run });
            }
            Record::Quiesced { .. } => {}
            Record::Forgotten { .. } => {
                self.runs.remove(&run);
                self.forgotten.insert(run);
                return Ok(());
            }
            _ if standing.has_ended => return Err(StoreError::Ended { run }),
            Record::Ended { .. } => standing.has_ended = true,
            _ => {}
        }
        self.runs.insert(run, standing);
        Ok(())
    }

    fn accept(&mut self, accepted: &Accepted) -> Result<(), StoreError> {
        let Accepted { run, root, epoch, .. } = *accepted;
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
            let stored = self.tables.keys.get(&name);
            let is_free = |forgotten_at| is_over(forgotten_at, accepted.at);
            let stored = stored.filter(|claim| !claim.forgotten_at.is_some_and(is_free));
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
        self.forgotten.remove(&run);
        self.runs.insert(run, Standing { root, epoch, has_ended: false });
        Ok(())
    }

    fn standing(&self, run: RunId) -> Option<Standing> {
        let stored = || {
            let record = &self.tables.run(run)?.record;
            let has_ended = record.status.is_terminal();
            Some(Standing { root: record.accepted.root, epoch: record.epoch, has_ended })
        };
        let is_here =
            |it: &Standing| !self.forgotten.contains(&run) && !self.forgotten.contains(&it.root);
        self.runs.get(&run).copied().or_else(stored).filter(is_here)
    }
}
