//! [`RunContext::hold_durably`]: work that outlives the process is stored before it begins.

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use quell_core::{Stopped, Work};

use crate::body::context::RunContext;
use crate::marks::shield;
use crate::node::wait::Wait;
use crate::node::{Site, State};
use crate::step::hold::Hold;

impl RunContext {
    /// As [`hold`](Self::hold), for work that does not end with this process: a program, a request
    /// to a service. Waits until the store has that it begins, so that a process that comes after a
    /// crash knows what may still execute: the run then ends non-quiescent, and names it.
    ///
    /// Without a store, and for work that is neither a process nor remote, it is as `hold`. If the
    /// store is in trouble, the work begins all the same, and [`RunRef::stored`] says so. Of more
    /// than [`STORE_HOLDS_MAX`] of a run at once the last one that is stored stands for all that
    /// are too many.
    ///
    /// # Errors
    ///
    /// Fails when the run is to stop, also while this waits: the work must not start.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has begun nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, RunSpec, Work};
    ///
    /// let config = EngineConfig::new().store(Arc::new(MemoryStore::new()));
    /// let engine = Engine::with_config(config);
    /// let run = engine.submit(RunSpec::step("import"), async |ctx| {
    ///     let hold = ctx.hold_durably(Work::Remote, "import, job 7").await?;
    ///     // … ask the service, and wait for its answer …
    ///     drop(hold);
    ///     Ok(())
    /// });
    /// run.unwrap().await.unwrap();
    /// # });
    /// ```
    ///
    /// [`RunRef::stored`]: crate::RunRef::stored
    /// [`STORE_HOLDS_MAX`]: crate::limits::STORE_HOLDS_MAX
    #[track_caller]
    pub fn hold_durably(
        &self,
        what: Work,
        name: impl Into<Arc<str>>,
    ) -> impl Future<Output = Result<Hold, Stopped>> {
        hold(self, what, name.into(), Location::caller())
    }
}

async fn hold(ctx: &RunContext, what: Work, name: Arc<str>, site: Site) -> Result<Hold, Stopped> {
    let node = ctx.node();
    node.listen();
    let outlives = matches!(what, Work::Process | Work::Remote);
    if node.shared.journal.is_none() || !outlives {
        return Hold::new(node, what, name, site);
    }
    let hold = Hold::kept(node, what, name, site)?;
    let is_shielded = shield::is_active(node.id);
    Wait::until(node, |state: &State| {
        // A stop does not wait for a disk.
        let cause = state.cause_to_give_way().filter(|_| !is_shielded);
        if let Some(cause) = cause {
            return Some(Err(Stopped { cause }));
        }
        // It begins whether the store works or not: what waits for the run is told of that.
        node.stored(state).map(|_| Ok(()))
    })
    .await?;
    Ok(hold)
}
