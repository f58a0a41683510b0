//! [`RunContext::stored_events`]: a body reads what its run has said before.

use quell_core::RunEvent;
use quell_core::store::{StoreError, Stored};

use crate::body::context::RunContext;

impl RunContext {
    /// Reads stored events of the log of the tree of the run: those behind a number, at most so
    /// many. For what [`RunRef::events`](crate::RunRef::events) of the run has no more, or never
    /// had: an earlier process, or another node, has written that. None without a store. What was
    /// said just now may not be stored yet, and what follows from the record of a run need not be:
    /// [`ImpliedEvents`](crate::store::ImpliedEvents) yields that.
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
    /// use quell::{Engine, EngineConfig, RunSpec};
    ///
    /// let engine = Engine::with_config(EngineConfig::new().store(Arc::new(MemoryStore::new())));
    /// let run = engine.submit(RunSpec::agent("a"), async |ctx| {
    ///     ctx.emit("hello");
    ///     while ctx.stored_events(0, 10).await?.is_empty() {
    ///         tokio::task::yield_now().await;
    ///     }
    ///     Ok(())
    /// });
    /// run.unwrap().await.unwrap();
    /// # });
    /// ```
    pub async fn stored_events(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored<RunEvent>>, StoreError> {
        let (root, shared) = (self.run().root().id(), &self.node().shared);
        let Some(journal) = &shared.journal else { return Ok(Vec::new()) };
        journal.store.events(root, after, limit).await
    }
}
