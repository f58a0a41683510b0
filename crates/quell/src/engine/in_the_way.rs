//! What is in the way of a run that is taken in: a root of this engine that has its id or its key,
//! and that the store is about to refuse for that.
//!
//! Such a root is a repeat that came here while the node was gone that had the run. It has claimed
//! what the run had, in memory, before the store was asked. The run is not this repeat, and does
//! not fail because of it: it waits until the repeat is refused, which frees both.

use std::time::SystemTime;

use quell_core::RunId;
use quell_core::cluster::RunMeant;
use quell_core::store::{RunRecord, StoreError};

use crate::engine::Engine;
use crate::engine::left_behind::Fate;
use crate::engine::left_rows::Left;
use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::run::RunRef;
use crate::tables::coming::Root;

impl Engine {
    /// Tells whether the root of a stored run is in memory: not another one with its id, of which
    /// the store has not said yet what it is, nor a run below another root. One that has ended, and
    /// that another node has forgotten, leaves memory: its id is that of the stored one by now.
    pub(super) fn has_root_of(&self, record: &RunRecord) -> bool {
        let Some(root) = self.get(record.accepted.root) else { return false };
        let node = root.node();
        if !node.is_root() || node.is_undecided() {
            return false;
        }
        // It comes before those below it.
        let is_root = record.accepted.parent.is_none();
        let is_it = RunMeant::from(record).is(root.queued_at());
        let is_earlier = is_root && node.is_over() && !is_it;
        if is_earlier {
            self.shared().undo(node);
        }
        !is_earlier
    }

    /// Finds the run that is meant, if it is in memory.
    pub(super) fn get_meant(&self, run: RunMeant) -> Option<RunRef> {
        self.get(run.id()).filter(|here| run.is(here.queued_at()))
    }

    /// Finds a run that is in memory. One of which the store has not said yet what it is is waited
    /// for: another node may have the run of this id, also if one is kept here that it has
    /// forgotten.
    pub(super) async fn accepted_here(&self, run: RunMeant) -> Option<RunRef> {
        let run = self.get_meant(run)?;
        let is_it = run.is_accepted().await && !self.is_forgotten_elsewhere(&run).await;
        is_it.then_some(run)
    }

    /// Takes a root in that does not end, when nothing is in its way any more. Nothing gets there
    /// from now on: who submits with its id or its key is refused. Yields none if it ends.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    pub(super) async fn take_in(
        &self,
        root: &RunRecord,
        last_seq: u64,
        (fate, left): (Fate, Left),
    ) -> Result<Option<Result<RunRef, SubmitError>>, StoreError> {
        let accepted = &root.accepted;
        let key = accepted.key.as_ref().map(IdempotencyKey::of_store);
        let claim = Root { id: root.run(), owner: accepted.owner.clone(), key };
        // While this waits, too: repeats that come one behind the other would hold it up for good.
        let _comes = self.shared().coming.begin(claim.clone());
        loop {
            if let Some(run) = self.in_the_way(&claim) {
                // What it had is free by then, also if its body is not dropped yet.
                let _ = run.is_accepted().await;
            }
            // What a repeat has left is left out, by its id. The entries of the root come behind.
            let journal = self.shared().journal.as_ref();
            match journal.filter(|journal| journal.leaves_out(root.run())) {
                Some(journal) => journal.caught_up().await?,
                None if self.in_the_way(&claim).is_none() => break,
                None => {}
            }
        }
        self.let_go_of_namesake(root.run()).await?;
        self.go_on_behind(root, left.last_at);
        Ok(match fate {
            Fate::Ends => None,
            Fate::GoesOn(how) => Some(self.go_on(root, last_seq, (how, left))),
            Fate::StaysPaused(how) => Some(self.stay_paused(root, last_seq, (how, left))),
        })
    }

    /// Has a root go on behind all that is told of it by now, also if the clock of its process was
    /// ahead of this one: times of a log never run backwards, and who has begun on what another run
    /// has left ends behind that one.
    fn go_on_behind(&self, root: &RunRecord, last_at: SystemTime) {
        let paused_at = root.paused.as_ref().map(|pause| pause.at);
        let told = [Some(root.accepted.at), root.started_at, paused_at];
        let last = told.into_iter().flatten().fold(last_at, SystemTime::max);
        if !self.not_before(last) {
            let run = root.run();
            tracing::warn!(run.uuid = %run, "goes on before what it has told: a clock was ahead");
        }
    }

    /// Lets go of a run below another root that has the id of a root that is taken in, and that the
    /// store refuses for that, or has refused: it goes on, and leaves nothing more for the store.
    /// One that has left its parent since keeps the id for as long as it is live.
    async fn let_go_of_namesake(&self, root: RunId) -> Result<(), StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(()) };
        if let Some(run) = self.get(root) {
            let node = run.node();
            if node.is_root() && !(node.is_namesake() && node.is_over()) {
                return Ok(());
            }
            node.lose_id();
            self.shared().registry.remove(root, node);
            // What it has left is refused by then.
            journal.caught_up().await?;
        }
        journal.let_go_below(root).await
    }

    fn in_the_way(&self, root: &Root) -> Option<RunRef> {
        let claims = &self.shared().claims;
        // Also with another payload: the key is taken by that no less.
        let of_key = |key| claims.lock().holder(root.owner.as_ref(), key);
        let runs = [root.id].into_iter().chain(root.key.as_ref().and_then(of_key));
        runs.filter_map(|run| self.get(run)).find(|run| run.node().is_undecided())
    }
}

/// Tells whether a run is refused because this engine ends, which leaves it to the next one.
pub(super) const fn is_over(error: &SubmitError) -> bool {
    matches!(error, SubmitError::ShuttingDown | SubmitError::NotStored(_))
}
