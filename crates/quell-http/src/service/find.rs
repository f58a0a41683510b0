//! [`View::find`]: looks runs up, in memory first, then in the store.

use std::slice;
use std::time::Duration;

use futures::FutureExt as _;
use quell::cluster::RunMeant;
use quell::store::{RunRecord, StoreError};
use quell::{RunId, RunRef, limits};
use quell_flow::{COMPONENT, Component};
use tokio::time::sleep;

use crate::ids::parse_id;
use crate::lookup_error::LookupError;
use crate::pace::Pace;
use crate::run_view::{RunView, StoredRun};
use crate::service::view::View;
use crate::stored_events::read;

type Found = Result<Option<RunView>, LookupError>;

impl View {
    /// Waits, of several nodes, until those have seen the end of a run who wait for it through
    /// other ones: half a second behind it. One that they do not find any more was cancelled for
    /// all that they know, so whoever forgets a run waits before. One that was rolled back was.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until_seen(&self, run: &RunView) {
        if let Some(at) = run.row().ended_at
            && !run.is_rolled_back()
            && self.service().engine().node().is_some()
        {
            // Clocks of hosts differ: it may be ahead.
            let ago = self.service().engine().time().duration_since(at).unwrap_or_default();
            sleep(SEEN_WITHIN.saturating_sub(ago)).await;
        }
    }

    /// Forgets a run that has ended and is only in the store, as that has it by now. One that is
    /// gone is passed by, also if a later one, which may be somebody else's, has its id.
    ///
    /// # Errors
    ///
    /// As [`quell::Engine::forget_record`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may be forgotten although the future was dropped.
    pub async fn forget_stored(&self, run: &RunView) -> Result<(), StoreError> {
        let engine = self.service().engine();
        match engine.stored_run(run.id()).await? {
            Some(now) if run.meant() == RunMeant::from(&now) => engine.forget_record(&now).await,
            _ => Ok(()),
        }
    }

    /// Forgets a run that has ended, as it was found: in memory too, if it is there and nothing of
    /// it executes. Tells whether it is gone, also if a later one, which stays, has its id by now.
    ///
    /// # Cancel safety
    ///
    /// As [`forget_stored`](Self::forget_stored).
    pub async fn forget_found(&self, run: &RunView) -> bool {
        let is_it = |here: &RunRef| run.meant() == RunMeant::from(here);
        match self.service().engine().get(run.id()).filter(is_it) {
            Some(here) => self.forget(&here),
            None => self.forget_stored(run).await.is_ok(),
        }
    }

    /// Finds a visible run by the text of its id, in memory or in the store; `None` also if the
    /// text is not an id. For a run that is in memory and was accepted, and without a store, it
    /// does not wait. One that the store has not taken yet is waited for. Of several nodes each
    /// asks the store about what it has in memory and has ended: another may have forgotten that.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot say whether there is such a run. To a principal who does not see
    /// the runs of all owners, one whose owner cannot be read is unknown.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn find(&self, id: &str) -> Found {
        match parse_id(id) {
            Ok(id) => self.find_by_id(id).await,
            Err(_) => Ok(None),
        }
    }

    /// As [`View::find`], by the id itself.
    ///
    /// # Errors
    ///
    /// As [`View::find`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn find_by_id(&self, id: RunId) -> Found {
        self.find_near(id, None).await
    }

    /// As [`View::find_by_id`], of a run of the same tree as this one, if one is known.
    async fn find_near(&self, id: RunId, kin: Option<&StoredRun>) -> Found {
        let engine = self.service().engine();
        let known = engine.get(id);
        if let Some(run) = &known
            && is_accepted(run).await
            && !self.is_forgotten(run).await
        {
            return Ok(self.sees(run).then(|| RunView::Live(run.clone())));
        }
        if !engine.has_store() {
            return Ok(None);
        }
        // On the heap: without a store nobody pays for its size.
        let stored = Box::pin(self.find_stored(id, kin)).await;
        if let Some(run) = engine.get(id).filter(|run| known.as_ref() != Some(run))
            && is_accepted(&run).await
        {
            // It came while the store was read.
            return Ok(self.sees(&run).then_some(RunView::Live(run)));
        }
        match stored {
            Err(LookupError::Unreadable(_)) if !self.principal().sees_all() => Ok(None),
            found => found,
        }
    }

    /// As [`View::find_by_id`], and waits while the store is in trouble: for a stream, which would
    /// end without its last event. It asks once a second.
    ///
    /// # Errors
    ///
    /// Fails if what is stored of the run cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn find_patiently(&self, id: RunId) -> Found {
        self.find_patiently_near(id, &mut None).await
    }

    /// As [`View::find_patiently`], of one run after another of a tree, for a reader of its events.
    /// `kin` is none at first. The report of a root that has ended has a row of each run below: it
    /// is read once, with the first of them. Read with each, it would cost the square of the runs.
    ///
    /// # Errors
    ///
    /// As [`View::find_patiently`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn find_patiently_near(&self, id: RunId, kin: &mut Option<StoredRun>) -> Found {
        let mut pace = Pace::new(Duration::ZERO);
        loop {
            match self.find_near(id, kin.as_ref()).await {
                Err(LookupError::Unavailable) => pace.rest_in_trouble().await,
                found => {
                    if let Ok(Some(RunView::Stored(run))) = &found
                        && run.whole().is_some()
                    {
                        kin.get_or_insert_with(|| run.clone());
                    }
                    return found;
                }
            }
        }
    }

    /// As [`View::find`], for a run of a component, or below a run of it.
    ///
    /// # Errors
    ///
    /// As [`View::find`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn find_of(&self, component: &Component, id: &str) -> Found {
        let own = (COMPONENT, component.id());
        let found = self.find(id).await?;
        Ok(found.filter(|run| run.is_below(component.kind().run_kind(), own)))
    }

    /// Tells whether another node has forgotten a run in memory that is over. In trouble the store
    /// says nothing of it.
    async fn is_forgotten(&self, run: &RunRef) -> bool {
        let asked = self.service().engine().forgotten_elsewhere(slice::from_ref(run)).await;
        asked.is_ok_and(|answers| answers.contains(&true))
    }

    /// Reads a run and those above it. The root is not read if a run is given that was found below
    /// it when it had ended.
    pub(super) async fn find_stored(&self, id: RunId, kin: Option<&StoredRun>) -> Found {
        let Some(record) = self.stored(id).await? else { return Ok(None) };
        let whole = kin.and_then(|kin| Some((kin.root(), kin.whole()?)));
        let (mut above, mut parent) = (Vec::new(), record.accepted.parent);
        while let Some(id) = parent {
            if let Some((root, whole)) = whole.filter(|(root, _)| root.run == id) {
                let run = RunView::Stored(StoredRun::below(record, above, (root, whole)));
                return Ok(self.sees_view(&run).then_some(run));
            }
            if let Some(below) = above.last_mut() {
                // Of runs between it and the root the report is not needed.
                let below: &mut RunRecord = below;
                below.report = None;
            }
            // The tree was forgotten meanwhile, or somebody has made a circle of parents.
            let Some(next) = self.stored(id).await? else { return Ok(None) };
            if above.len() >= limits::DEPTH_MAX as usize {
                return Ok(None);
            }
            parent = next.accepted.parent;
            above.push(next);
        }
        let run = RunView::Stored(StoredRun::new(record, above));
        Ok(self.sees_view(&run).then_some(run))
    }

    async fn stored(&self, id: RunId) -> Result<Option<RunRecord>, LookupError> {
        read(self.service().engine().stored_run(id)).await
    }

    /// Tells whether a run is visible that was not forgotten.
    pub(crate) fn sees_view(&self, run: &RunView) -> bool {
        match run {
            RunView::Live(run) => self.sees(run),
            RunView::Stored(_) => run.of_root(|root| self.sees_root(root)),
        }
    }
}

/// Tells whether a run is one: the store has taken it. Until that is known nobody sees it, for the
/// store may have another run of its id, which this one must not hide. Without a store it does not
/// wait.
pub(super) async fn is_accepted(run: &RunRef) -> bool {
    run.root().is_accepted().await && run.is_accepted().await
}

/// As [`is_accepted`], as far as it is known by now.
pub(crate) fn is_known_as_accepted(run: &RunRef) -> bool {
    is_accepted(run).now_or_never().unwrap_or(false)
}

/// Twice the longest pause between two looks of who waits for a run of another node.
const SEEN_WITHIN: Duration = Duration::from_millis(500);
