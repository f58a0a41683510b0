//! [`Doubted`] is a root that was refused while the store was in trouble, and may be stored.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use quell_core::RunId;
use quell_core::store::{Record, StoreError};

use crate::journal::{Journal, Recorded};

/// A root of which nobody knows whether the store has it. What the store has under its id may also
/// be a run of another process or node: that one stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubted {
    pub(crate) run: RunId,
    /// When it was accepted.
    pub(crate) at: SystemTime,
}

/// Takes a root out of the store if it is there. Nobody else writes a run of this engine, so it is
/// still the same one after the look.
pub(super) async fn take_back<R: Recorded>(
    journal: Arc<Journal<R>>,
    doubted: Doubted,
    mut records: Vec<Record>,
) -> Result<(), StoreError> {
    let stored = match journal.store.get(doubted.run).await {
        // What this engine has written it can read.
        Ok(None) | Err(StoreError::Unreadable(_)) => return Ok(()),
        Ok(Some(stored)) => stored,
        Err(error) => return Err(error),
    };
    let accepted = &stored.accepted;
    let is_own = journal.is_own(accepted.epoch.boot()) && millis(accepted.at) == millis(doubted.at);
    if !is_own {
        return Ok(());
    }
    // Its end may have been stored with it.
    records
        .retain(|record| !(stored.status.is_terminal() && matches!(record, Record::Ended { .. })));
    journal.store.append(records).await
}

/// As precise as stores keep a time.
fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
