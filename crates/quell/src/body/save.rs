//! [`RunContext::save`]: a body saves states into the history of its lane, and reads them again.

use std::sync::Arc;

use quell_core::store::{Page, StoreError};
use quell_core::{Payload, limits};

use crate::body::context::RunContext;
use crate::journal::Entry;
use crate::node::wait::Wait;
use crate::node::{State, UNSTORED_MAX};
use crate::run::RunRef;
use crate::save_error::SaveError;
use crate::sync::Ordering;

impl RunContext {
    /// Saves a state, and waits until it is in the store: it is appended to the history of the
    /// lane of the run's root, or, without a lane, to a history of the run's own tree. At most
    /// 16 MiB. It is fenced by the attempt: once the run has a successor nothing is saved (I35),
    /// and a stop may take it back ([`CancelRequest::rollback`](crate::CancelRequest::rollback)).
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`SaveError`]. After the trouble of a store the engine goes on
    /// trying.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the state is saved although the future was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, OnBusy, RunSpec};
    ///
    /// let config = EngineConfig::new().store(Arc::new(MemoryStore::new()));
    /// let engine = Engine::with_config(config);
    /// for turn in 1..=2 {
    ///     let spec = RunSpec::agent("reply").lane("thread-1", OnBusy::Enqueue);
    ///     let run = engine.submit(spec, async move |ctx| {
    ///         let before = ctx.saved().await?.map_or(0, |state| state.parse().unwrap_or(0));
    ///         assert_eq!(before + 1, turn);
    ///         ctx.save(quell::Payload::json(&turn)?).await?;
    ///         Ok(())
    ///     });
    ///     run.unwrap().await.unwrap();
    /// }
    /// # });
    /// ```
    pub async fn save(&self, state: Payload) -> Result<(), SaveError> {
        let node = self.node();
        if node.shared.journal.is_none() {
            return Err(SaveError::NoStore);
        }
        // Before any lock: the text may be written only now, by code of the caller.
        let (bytes, max) = (state.len(), limits::PAYLOAD_BYTES_MAX);
        if bytes > max {
            return Err(SaveError::TooLarge { bytes, max });
        }
        if let Some(error) = node.shared.journal.as_ref().and_then(|it| it.refusal(bytes)) {
            return Err(SaveError::Store(error));
        }
        let (root, lane) = history_of(self.run());
        {
            let locked = node.lock();
            if locked.times.ended.is_some() {
                return Err(SaveError::Ended);
            }
            if node.unstored.load(Ordering::Relaxed) >= UNSTORED_MAX {
                return Err(SaveError::TooMany { max: UNSTORED_MAX });
            }
            let at = node.shared.clock.stamp(node.shared.clock.now());
            let root = root.id();
            node.journal(|run| Entry::Saved { run, lane, root, state, at });
        }
        Wait::until(node, |state: &State| node.stored(state)).await.map_err(SaveError::Store)
    }

    /// Reads the state that was saved last in the history of the run; none if there is none. A
    /// later attempt, and a later run of the lane, go on from there.
    ///
    /// # Errors
    ///
    /// Fails if there is no store, or it cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn saved(&self) -> Result<Option<Payload>, SaveError> {
        let node = self.node();
        let Some(journal) = &node.shared.journal else { return Err(SaveError::NoStore) };
        let (_, lane) = history_of(self.run());
        // What a run before this one has saved, and what its end takes back, comes first.
        journal.caught_up().await.map_err(SaveError::Store)?;
        let read = journal.store.checkpoints((*lane).to_owned(), Page::first(1)).await;
        let newest = read.map_err(SaveError::Store)?.items.into_iter().next();
        let newest = newest
            .transpose()
            .map_err(|unreadable| SaveError::Store(StoreError::Unreadable(unreadable)))?;
        Ok(newest.map(|checkpoint| checkpoint.state))
    }
}

/// Yields the root of a run's tree, and the history that its states are in.
fn history_of(run: &RunRef) -> (RunRef, Arc<str>) {
    let root = run.root();
    let lane = root.node().gate().and_then(|gate| gate.lane.as_ref());
    let lane = lane.map(|lane| Arc::clone(&lane.key));
    let lane = lane.unwrap_or_else(|| root.id().to_string().into());
    (root, lane)
}
