//! [`Counted`] counts what is read of a store, and holds up what is written, or read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored, TreeAsk, TreeNow,
};
use quell::{RunEvent, RunFilter, RunId};
use tokio::sync::watch;

/// A store whose reads are counted, but for those of a recovery, and whose appends, lists or events
/// wait for as long as a test says.
#[derive(Debug)]
pub struct Counted {
    store: Arc<dyn Store>,
    reads: AtomicUsize,
    is_held: watch::Sender<bool>,
    holds_lists: watch::Sender<bool>,
    catches: watch::Sender<Option<Catch>>,
    caught: AtomicUsize,
    let_go: watch::Sender<u64>,
    holds_events: watch::Sender<bool>,
}

/// Where a read of a single run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are")]
pub enum Catch {
    /// Before the store is read.
    Asked,
    /// With what it has read.
    Answered,
}

impl Counted {
    /// Counts the reads of a store.
    pub fn of(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            reads: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
            holds_lists: watch::Sender::new(false),
            catches: watch::Sender::new(None),
            caught: AtomicUsize::new(0),
            let_go: watch::Sender::new(0),
            holds_events: watch::Sender::new(false),
        })
    }

    /// Has appends wait that begin from now on, or lets all go on.
    pub fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Has lists wait that are asked for from now on, or lets all go on.
    pub fn hold_lists(&self, is_held: bool) {
        self.holds_lists.send_replace(is_held);
    }

    /// Has reads of single runs wait that are asked for from now on, or none of these.
    pub fn catch_gets(&self, at: impl Into<Option<Catch>>) {
        self.catches.send_replace(at.into());
    }

    /// Yields how many reads of single runs have waited.
    pub fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }

    /// Lets the reads of single runs go on that wait.
    pub fn let_gets_go(&self) {
        self.let_go.send_modify(|times| *times += 1);
    }

    /// Has events that are asked for from now on come late, as they are when they are asked for, or
    /// lets all go on.
    pub fn hold_events(&self, is_held: bool) {
        self.holds_events.send_replace(is_held);
    }

    /// Yields how often it was read.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn read(&self) -> &dyn Store {
        self.reads.fetch_add(1, Ordering::SeqCst);
        &*self.store
    }
}

impl Store for Counted {
    fn boot(&self) -> u32 {
        self.store.boot()
    }

    fn member(&self) -> Option<&str> {
        self.store.member()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // Its sender is there as long as the store.
            let _ = self.is_held.subscribe().wait_for(|is_held| !is_held).await;
            self.store.append(batch).await
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        let (at, mut let_go) = (*self.catches.borrow(), self.let_go.subscribe());
        Box::pin(async move {
            let mut wait = async |here| {
                if at == Some(here) {
                    self.caught.fetch_add(1, Ordering::SeqCst);
                    // Its sender is there as long as the store.
                    let _ = let_go.changed().await;
                }
            };
            wait(Catch::Asked).await;
            let read = self.read().get(run).await;
            wait(Catch::Answered).await;
            read
        })
    }

    fn accepted_at(
        &self,
        runs: Vec<RunId>,
    ) -> BoxFuture<'_, Result<Vec<(RunId, SystemTime)>, StoreError>> {
        self.read().accepted_at(runs)
    }

    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        self.read().trees_now(asked)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.read().claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            // Its sender is there as long as the store.
            let _ = self.holds_lists.subscribe().wait_for(|is_held| !is_held).await;
            self.read().list(filter, page).await
        })
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(async move {
            let events = self.read().events(root, after, limit).await;
            // Its sender is there as long as the store.
            let _ = self.holds_events.subscribe().wait_for(|is_held| !is_held).await;
            events
        })
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.read().checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.store.recover(page)
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.store.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.close()
    }
}
