//! What an engine reads of its store: runs that are not in memory any more, and those of earlier
//! processes. And what it waits for that it has accepted.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{Claim, Page, Pages, Record, RunRecord, StoreError, Stored};
use quell_core::{RunEvent, RunFilter, RunId};

use crate::engine::Engine;
use crate::failure::SubmitError;
use crate::handle::RunHandle;
use crate::idempotency::IdempotencyKey;

impl Engine {
    /// Tells whether the engine has a store. Without one, nothing is found by the calls below.
    pub fn has_store(&self) -> bool {
        self.shared().journal.is_some()
    }

    /// Tells whether what is submitted now would be stored, as far as is known: the store is not in
    /// trouble, and says so itself ([`Store::ready`](crate::store::Store::ready)). For a check of
    /// readiness. Without a store there is nothing that could fail.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// assert_eq!(quell::Engine::new().store_ready().await, Ok(()));
    /// # });
    /// ```
    pub async fn store_ready(&self) -> Result<(), StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(()) };
        match journal.trouble() {
            Some(error) => Err(error),
            None => journal.store.ready().await,
        }
    }

    /// Reads what is stored of a run. Of one that is in memory, [`Engine::get`] knows more, and
    /// later. A run that was forgotten is not found from then on, also if the store has not
    /// forgotten it yet.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store, and if what is stored of the run cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, RunSpec, RunStatus};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store));
    /// let run = engine.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap().into_ref();
    /// run.quiescent().await;
    /// run.stored().await.unwrap();
    /// let stored = engine.stored_run(run.id()).await.unwrap().unwrap();
    /// assert_eq!(stored.status, RunStatus::Completed);
    /// engine.forget(run.id()).unwrap();
    /// assert_eq!(engine.stored_run(run.id()).await, Ok(None));
    /// # });
    /// ```
    pub async fn stored_run(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(None) };
        // Asked before the read: what leaves later may be found by a read that began before.
        let leaving = journal.leaving();
        let found = journal.store.get(id).await?;
        let hides =
            |record: &RunRecord| journal.hides_by(&leaving, record) || journal.hides(record);
        Ok(found.filter(|record| !hides(record)))
    }

    /// Says why the store would refuse a root with this id, or with this idempotency key of its
    /// owner; none if it would not. Whoever submits a run that takes the place of others asks
    /// first: the store itself answers only when those are stopped
    /// ([`OnBusy::CancelExisting`](crate::OnBusy::CancelExisting)). Without a store there is
    /// nothing to refuse: what is in memory is asked by the submit itself.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, IdempotencyKey, RunSpec, SubmitError};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store));
    /// let key = IdempotencyKey::new("order-7", [b"two of them"]);
    /// let spec = RunSpec::agent("order").idempotency_key(key.clone());
    /// let run = engine.submit(spec, async |_| Ok(())).unwrap().into_ref();
    /// run.accepted().await.unwrap();
    /// let refusal = engine.refusal_of_store(None, None, Some(&key)).await.unwrap();
    /// assert!(matches!(refusal, Some(SubmitError::AlreadySubmitted(id)) if id == run.id()));
    /// # });
    /// ```
    pub async fn refusal_of_store(
        &self,
        id: Option<RunId>,
        owner: Option<&Arc<str>>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<SubmitError>, StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(None) };
        if let Some(key) = key {
            let at = self.shared().clock.wall(self.shared().clock.now());
            let claim = journal.store.claim(owner.cloned(), key.as_str().into(), at).await?;
            if let Some(Claim { run, payload, is_forgotten }) = claim {
                let is_same_payload = payload == key.payload();
                let claimed = StoreError::KeyClaimed { run, is_same_payload, is_forgotten };
                return Ok(Some(SubmitError::of_store(run, claimed)));
            }
        }
        let Some(run) = id else { return Ok(None) };
        let found = journal.store.get(run).await?;
        Ok(found.map(|_| SubmitError::of_store(run, StoreError::Exists { run })))
    }

    /// Reads the stored runs that a filter means, those that were accepted last first. The filter
    /// is asked of what is stored: a run that is in memory may be further by now. A page has fewer
    /// than were wanted if some of them were forgotten just now.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn stored_runs(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> Result<Pages<Stored<RunRecord>>, StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(Pages::none()) };
        // Before the read, for the same reason.
        let leaving = journal.leaving();
        let Pages { items, ends, next } = journal.store.list(filter, page).await?;
        let stays = |item: &Stored<RunRecord>| match item {
            Ok(record) => !journal.hides_by(&leaving, record),
            Err(_) => true,
        };
        let (items, ends) = items.into_iter().zip(ends).filter(|(item, _)| stays(item)).unzip();
        Ok(Pages { items, ends, next })
    }

    /// Reads stored events of the log of a root: those behind a number, at most so many, and none
    /// only if there is none, or if the root was forgotten. Events that follow from the record of
    /// their run may not be stored: [`ImpliedEvents`](crate::store::ImpliedEvents) yields them.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn stored_events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored<RunEvent>>, StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(Vec::new()) };
        // As of a run: also what was read before it was forgotten is not shown.
        if self.is_hidden(root).await? {
            return Ok(Vec::new());
        }
        let events = journal.store.events(root, after, limit).await?;
        Ok(if self.is_hidden(root).await? { Vec::new() } else { events })
    }

    /// Tells whether a root was forgotten, and the store may still have it.
    async fn is_hidden(&self, root: RunId) -> Result<bool, StoreError> {
        let journal = self.shared().journal.as_ref().filter(|journal| journal.is_leaving(root));
        Ok(journal.is_some() && self.stored_run(root).await?.is_none())
    }

    /// Forgets a root that is stored and not in memory, with those below it. Yields when it is gone
    /// from the store.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store, and, changing nothing, if the run is not stored, is not
    /// a root, or has not ended (T14). One that is in memory counts as one that has not ended:
    /// [`Engine::forget`] is for that. There is each of which something executes in this process.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may be forgotten although the future was dropped.
    pub async fn forget_stored(&self, id: RunId) -> Result<(), StoreError> {
        match self.stored_run(id).await? {
            Some(record) => self.forget_record(&record).await,
            None => Err(StoreError::Unknown { run: id }),
        }
    }

    /// As [`forget_stored`](Self::forget_stored), of the run that was [read](Self::stored_run): a
    /// later one that has its id by now stays.
    ///
    /// # Errors
    ///
    /// As [`forget_stored`](Self::forget_stored); and, changing nothing, if another run has the id,
    /// or another node has taken the run over since it was read.
    ///
    /// # Cancel safety
    ///
    /// As [`forget_stored`](Self::forget_stored).
    pub async fn forget_record(&self, record: &RunRecord) -> Result<(), StoreError> {
        let (run, epoch, at) = (record.run(), record.epoch, SystemTime::now());
        let is_root = record.accepted.parent.is_none();
        let Some(journal) = self.shared().journal.as_ref().filter(|_| is_root) else {
            return Err(StoreError::Unknown { run });
        };
        // Of what another node has ended, that one alone knows whether it executes.
        let is_elsewhere = || {
            self.shared().member.is_some()
                && !record.quiescent
                && !journal.is_own(record.epoch.boot())
        };
        let is_live = !record.status.is_terminal() || is_elsewhere();
        let is_kept = match self.get(run) {
            Some(run) => !self.is_forgotten_elsewhere(&run).await,
            None => false,
        };
        if is_live || is_kept {
            return Err(StoreError::Live { run });
        }
        // Of a later run with this id the epoch is another one.
        journal.store.append(vec![Record::Forgotten { run, epoch, at }]).await
    }

    /// Waits until what was submitted is stored, and the stops of the runs whose place it took.
    pub(super) async fn durably<T: Send + 'static>(
        &self,
        submitted: Result<RunHandle<T>, SubmitError>,
    ) -> Result<RunHandle<T>, SubmitError> {
        let run = match &submitted {
            Ok(handle) => Some(handle.run().clone()),
            // It is told of a run that is stored, or why that one was not.
            Err(SubmitError::AlreadySubmitted(run) | SubmitError::LaneJoined(run)) => {
                self.get(*run)
            }
            Err(_) => None,
        };
        if let Some(run) = run {
            run.accepted().await?;
            run.superseded_stored().await;
        }
        submitted
    }
}
