//! [`Store`]: the port to whatever keeps runs.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(doc)]
use crate::limits;
use crate::store::{
    Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, StoreError, Stored, TreeAsk,
    TreeNow,
};
use crate::{RunEvent, RunFilter, RunId};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps records of runs, and reads them back.
///
/// An append is all or nothing, and durable when its future yields `Ok`. Appends take effect in the
/// order in which their futures are first polled; one that holds nothing but
/// [`Record::StopAccepted`] may overtake others, but of the same run neither the acceptance, nor an
/// earlier stop, nor what another epoch has written. An append that fails takes no other with it.
/// What a read sees was appended completely: never half of a batch. A read that begins after an
/// append was acknowledged sees it.
///
/// In a list, what cannot be read is named in its place ([`Unreadable`](crate::store::Unreadable)),
/// and the rest is read.
///
/// A store is one for one engine at a time. Every write carries an [`Epoch`](crate::store::Epoch),
/// and one that was superseded is refused (I35).
///
/// `quell::testing::store` (feature `test-util`) is a suite that every store passes.
pub trait Store: Debug + Send + Sync + 'static {
    /// Yields how often the store was opened, this time included: the upper half of the epochs of
    /// this process. It is larger than any boot before.
    fn boot(&self) -> u32;

    /// Yields the name of the member of a [cluster](crate::cluster::Cluster) to which it belongs.
    /// Defaults to none: the store is alone. An engine on the store of a member that does not renew
    /// the lease of that member would have its runs taken over while it executes them; so
    /// `Engine::with_config` makes none. A store that wraps another one passes this on.
    fn member(&self) -> Option<&str> {
        None
    }

    /// Appends records, all or none, in this order. Nothing is stored for an empty batch.
    ///
    /// Waits while as much as the store takes at once is under way.
    ///
    /// # Errors
    ///
    /// Fails with the first record that is refused, or with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the records may be stored although the future was dropped.
    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Tells whether it would store what is appended now, as far as it can tell: whether the last
    /// append was stored, if the store finds that out by itself. Defaults to yes. A store that
    /// wraps another one passes this on.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing that is read.
    fn ready(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Reads a run.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>>;

    /// Reads which of these runs there are, and when each was accepted, in any order. By default it
    /// [gets](Self::get) one after the other; a store that others write to as well reads them at
    /// once, and one that wraps another one passes this on. At most 1,000 are asked for.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn accepted_at(
        &self,
        runs: Vec<RunId>,
    ) -> BoxFuture<'_, Result<Vec<(RunId, SystemTime)>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for run in runs {
                found.extend(self.get(run).await?.map(|record| (run, record.accepted.at)));
            }
            Ok(found)
        })
    }

    /// Reads which run has an idempotency key of an owner at an instant, or had it and was
    /// forgotten less than [`limits::KEYS_TTL`] before (I37). Whoever would stop others for a run
    /// asks first, since [`append`](Self::append) refuses it only later.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>>;

    /// Reads the runs that a filter means, those that were accepted last first. A run that is
    /// accepted meanwhile is in no page behind the first; one that is forgotten or changes leaves
    /// the place of the others as it is.
    ///
    /// A store bounds what it looks through at once: a page may have few, or none, and a `next`.
    /// The records lack what the page [omits](Page::omitting), which counts as nothing.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>>;

    /// Reads events of the log of a root in their order: those behind `after`, at most `limit`, and
    /// fewer if they are large. None only if there is none: a reader goes on with the number of the
    /// last one. A gap is an event of the kind `Lagged`; its last number counts.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>>;

    /// Reads the states of a lane, the newest first.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>>;

    /// Reads the runs that are not terminal, and those that are and were rolled back
    /// ([`RunRecord::is_rolled_back`]), those that were accepted first first. That is what an
    /// engine that starts has to decide: a run with a stop ends with the cause of that stop (I34),
    /// and one that was rolled back is forgotten (I36).
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>>;

    /// Reads the trees that may leave, those that were accepted first first: all of it has ended,
    /// and no run of the store that is not terminal has the lane of the root, so that nobody needs
    /// the states that would leave with it. Of one that is not quiescent the engine knows whether
    /// anybody waits for what it has left.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>>;

    /// Reads who is left of trees whose roots are stopping, in the order in which they are asked
    /// for; at most [`TreeNow::TREES_MAX`] trees are, and [`TreeNow::ROWS_MAX`] runs of each are
    /// looked at. For those who ask what a stop waits for that another member carries out. By
    /// default it yields none: nothing is known of that. A store that others write to as well reads
    /// them at once, and one that wraps another one passes this on.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        let _ = asked;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Yields how many bytes everything has that is stored, about. Room that was freed does not
    /// count. Takes no longer the more there is.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Takes no more records, and yields when all that were taken are stored or refused, and the
    /// store may be opened again. Called again it waits for the same.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the store closes although the future was dropped.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
