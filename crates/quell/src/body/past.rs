//! [`RunContext::stored_events`]: a body reads what its run has said before.

use quell_core::RunEvent;
use quell_core::store::{StoreError, Stored};

use crate::body::context::RunContext;

impl RunContext {
    /// Reads stored events of the log of the tree of the run: those behind a number, at most so
    /// many. For what [`RunRef::events`](crate::RunRef::events) of the run has no more, or never
    /// had: an earlier process, or another node, has written that. None without a store. What was
    /// said just now may not be stored yet.
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
    /// let config = EngineConfig::new().store(Arc::new(MemoryStore::new()));
    /// let run = Engine::with_config(config).submit(RunSpec::agent("a"), async |ctx| {
    ///     ctx.run().stored().await?;
    ///     Ok(ctx.stored_events(0, 10).await?.len())
    /// });
    /// assert!(run.unwrap().await.unwrap() > 0);
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
