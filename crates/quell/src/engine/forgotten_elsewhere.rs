//! [`Engine::forgotten_elsewhere`]: runs that are in memory here, and that another node has
//! forgotten.
//!
//! A run that has ended is kept in memory for a while. If another node forgets it meanwhile, its id
//! is free: a further run may have it, on any node. What is kept here must not answer for that one,
//! so it leaves memory as soon as this engine hears of it, which is when somebody asks for the id.

use std::collections::HashMap;
use std::slice;

use quell_core::cluster::RunMeant;
use quell_core::store::StoreError;

use crate::engine::Engine;
use crate::run::RunRef;

impl Engine {
    /// Tells of each of these runs whether another node has forgotten it: its tree has left the
    /// store, or another run has the id of its root there. Such a tree leaves memory here as well:
    /// its ids are free from then on, and [`get`](Self::get) does not find it. Nothing is read of a
    /// run that nobody can have forgotten, as of one that is live, and none was forgotten if the
    /// engine is alone.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has not left memory by then does so when it is asked for again.
    pub async fn forgotten_elsewhere(&self, runs: &[RunRef]) -> Result<Vec<bool>, StoreError> {
        let mut are_forgotten = vec![false; runs.len()];
        let Some(journal) = &self.shared().journal else { return Ok(are_forgotten) };
        let roots = runs.iter().map(RunRef::root).enumerate();
        let asked = |root: &RunRef| self.node().is_some() && self.may_be_forgotten(root);
        let roots: Vec<_> = roots.filter(|(_, root)| asked(root)).collect();
        for part in roots.chunks(ASKED_AT_ONCE) {
            let ids = part.iter().map(|(_, root)| root.id()).collect();
            let found: HashMap<_, _> = journal.store.accepted_at(ids).await?.into_iter().collect();
            for (nth, root) in part {
                let meant = RunMeant::from(root);
                are_forgotten[*nth] = !found.get(&root.id()).is_some_and(|at| meant.is(*at));
                if are_forgotten[*nth] {
                    self.shared().undo(root.node());
                }
            }
        }
        Ok(are_forgotten)
    }

    /// As [`forgotten_elsewhere`](Self::forgotten_elsewhere), of one run. In trouble the store says
    /// nothing of it: then it counts as the run of its id.
    pub(super) async fn is_forgotten_elsewhere(&self, run: &RunRef) -> bool {
        let asked = self.forgotten_elsewhere(slice::from_ref(run)).await;
        asked.is_ok_and(|answers| answers.contains(&true))
    }

    /// Tells whether another node may have forgotten a run that is here and has ended: then that
    /// one, or a third one, may have a further run of its id. Only what is stored is forgotten, and
    /// nothing of which something executes. In trouble the store says nothing of it.
    fn may_be_forgotten(&self, run: &RunRef) -> bool {
        let is_away = || self.shared().journal.iter().any(|it| it.trouble().is_some());
        run.node().is_over() && !run.node().has_unstored() && !is_away()
    }
}

/// This run, and no other.
impl From<&RunRef> for RunMeant {
    fn from(run: &RunRef) -> Self {
        Self::accepted_at(run.id(), run.queued_at())
    }
}

/// How many runs are looked up by one read.
const ASKED_AT_ONCE: usize = 1_000;
