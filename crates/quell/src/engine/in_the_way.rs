//! What is in the way of a run that is taken in: a root of this engine that has its id or its key,
//! and that the store is about to refuse for that.
//!
//! Such a root is a repeat that came here while the node was gone that had the run. It has claimed
//! what the run had, in memory, before the store was asked. The run is not this repeat, and does
//! not fail because of it: it waits until the repeat is refused, which frees both.

use quell_core::store::{RunRecord, StoreError};

use crate::engine::Engine;
use crate::engine::left_behind::Fate;
use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::node::flags;
use crate::run::RunRef;

impl Engine {
    /// Tells whether the root of a stored run is in memory: not another one with its id, of which
    /// the store has not said yet what it is.
    pub(super) fn has_root_of(&self, record: &RunRecord) -> bool {
        self.get(record.accepted.root).is_some_and(|root| !is_undecided(&root))
    }

    /// Waits until nothing is in the way of a root, if it is taken in.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    pub(super) async fn until_free(&self, root: &RunRecord, fate: &Fate) -> Result<(), StoreError> {
        let is_taken_in = !matches!(fate, Fate::Ends);
        let Some(journal) = self.shared().journal.as_ref().filter(|_| is_taken_in) else {
            return Ok(());
        };
        while let Some(run) = self.in_the_way(root) {
            // What it had is free before it is told; that it was refused is what it was told.
            let _ = run.accepted().await;
            // What it has left is left out, by its id. The entries of the root come behind that.
            journal.caught_up().await?;
        }
        Ok(())
    }

    fn in_the_way(&self, root: &RunRecord) -> Option<RunRef> {
        let accepted = &root.accepted;
        let key = accepted.key.as_ref().map(IdempotencyKey::of_store);
        let claims = &self.shared().claims;
        // Also with another payload: the key is taken by that no less.
        let with_key = key.and_then(|key| claims.lock().holder(accepted.owner.as_ref(), &key));
        let runs = [root.run()].into_iter().chain(with_key);
        runs.filter_map(|run| self.get(run)).find(is_undecided)
    }
}

/// Tells whether the store has not taken a root yet: it is to say so, or has refused it, and the
/// root is about to leave.
fn is_undecided(run: &RunRef) -> bool {
    // One that is being submitted is whole behind that.
    let _whole = run.node().lock();
    let bits = run.node().flags();
    bits & flags::ACCEPTANCE_STORED == 0 && bits & (flags::AWAITS_STORE | flags::REFUSED) != 0
}

/// Tells whether a run is refused because this engine ends, which leaves it to the next one.
pub(super) const fn is_over(error: &SubmitError) -> bool {
    matches!(error, SubmitError::ShuttingDown | SubmitError::NotStored(_))
}
