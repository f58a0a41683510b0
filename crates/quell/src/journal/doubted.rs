//! [`Doubted`] is a run of which nobody knows whether the store has it.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::RunId;
use quell_core::cluster::RunMeant;
use quell_core::store::{Record, RunRecord, StoreError};

use crate::journal::{Journal, Recorded};

/// A run of which nobody knows whether the store has it. What the store has under its id may also
/// be a run of another process or node, or an earlier one: that one stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubted {
    pub(crate) run: RunId,
    /// When it was accepted.
    pub(crate) at: SystemTime,
}

impl Doubted {
    fn is<R: Recorded>(&self, stored: &RunRecord, journal: &Journal<R>) -> bool {
        let is_it = RunMeant::from(stored).is(self.at);
        is_it && journal.is_own(stored.accepted.epoch.boot())
    }
}

/// Takes a root that was refused while the store was in trouble out of it, if it is there. Nobody
/// else writes a run of this engine, so it is still the same one after the look.
///
/// The append that has failed may take effect after its failure was told, and a read may come
/// before that. Once a later append is answered it has, or never will: so one comes first that
/// changes nothing, since nobody is the run of it.
pub(super) async fn take_back<R: Recorded>(
    journal: Arc<Journal<R>>,
    doubted: Doubted,
    nobody: RunId,
    mut records: Vec<Record>,
) -> Result<(), StoreError> {
    let (epoch, at) = (journal.epoch(1), doubted.at);
    let behind = Record::Forgotten { run: nobody, epoch, at };
    match journal.store.append(vec![behind]).await {
        Err(error) if !error.is_refusal() => return Err(error),
        _ => {}
    }
    let stored = match journal.store.get(doubted.run).await {
        // What this engine has written it can read.
        Ok(None) | Err(StoreError::Unreadable(_)) => return Ok(()),
        Ok(Some(stored)) => stored,
        Err(error) => return Err(error),
    };
    let is_own = doubted.is(&stored, &journal);
    if !is_own {
        return Ok(());
    }
    // Its end may have been stored with it.
    records
        .retain(|record| !(stored.status.is_terminal() && matches!(record, Record::Ended { .. })));
    journal.store.append(records).await
}

/// Stores a run below a root whose id the store has: unless it is this very run, which an append
/// has stored that failed, it stays refused.
pub(super) async fn look<R: Recorded>(
    journal: Arc<Journal<R>>,
    doubted: Doubted,
    records: Vec<Record>,
) -> Result<(), StoreError> {
    match journal.store.get(doubted.run).await {
        Ok(Some(stored)) if doubted.is(&stored, &journal) => Ok(()),
        Ok(None) => journal.store.append(records).await,
        Ok(Some(_)) | Err(StoreError::Unreadable(_)) => {
            Err(StoreError::Exists { run: doubted.run })
        }
        Err(error) => Err(error),
    }
}
