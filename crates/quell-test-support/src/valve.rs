//! [`Valve`]: a store whose appends wait, or fail, for as long as a test says.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, MemoryStore, Page, Pages, Record, RunRecord, Store,
    StoreError, Stored, Unreadable,
};
use quell::{RunEvent, RunFilter, RunId};
use tokio::sync::watch;

/// How a [`Valve`] stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are")]
pub enum Flow {
    /// What comes is stored.
    Open,
    /// What comes waits. A stop that is appended alone waits, too, if this says so.
    Shut {
        /// Whether stops wait.
        stops: bool,
    },
    /// What forgets a run waits, and what is appended with it or after it.
    Keeping,
    /// Stops wait that are appended alone.
    KeepingStops,
    /// What comes fails.
    Failing(StoreError),
    /// What comes is stored, and fails all the same.
    Doubtful(StoreError),
    /// What comes fails, and is stored before what comes next, or when the test says so.
    Late(StoreError),
}

/// A store in memory behind a valve, which remembers what it has stored.
#[derive(Debug)]
pub struct Valve {
    store: Arc<MemoryStore>,
    boot: u32,
    flow: watch::Sender<Flow>,
    turns: tokio::sync::Mutex<()>,
    stored: Mutex<Vec<Vec<Record>>>,
    late: Mutex<Vec<Vec<Record>>>,
    reads: Mutex<Reads>,
    gets_let: watch::Sender<usize>,
    hangs: watch::Sender<bool>,
}

/// How reads of a [`Valve`] go.
#[derive(Debug, Default)]
struct Reads {
    trouble: Option<StoreError>,
    damaged: HashSet<RunId>,
    pages: usize,
    listed: usize,
    gets: usize,
}

impl Valve {
    /// Makes an empty store.
    pub fn new(flow: Flow) -> Arc<Self> {
        Self::of(Arc::default(), 1, flow)
    }

    /// Opens a store again, as a later process does: with so many boots, this one included.
    pub fn reopened(store: &Arc<MemoryStore>, boot: u32) -> Arc<Self> {
        Self::of(Arc::clone(store), boot, Flow::Open)
    }

    fn of(store: Arc<MemoryStore>, boot: u32, flow: Flow) -> Arc<Self> {
        let (flow, turns) = (watch::Sender::new(flow), tokio::sync::Mutex::default());
        let (stored, late, reads) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (gets_let, hangs) = (watch::Sender::new(usize::MAX), watch::Sender::new(false));
        Arc::new(Self { store, boot, flow, turns, stored, late, reads, gets_let, hangs })
    }

    /// Sets how it stands.
    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// Lets reads fail from now on, or not.
    pub fn fail_reads(&self, trouble: impl Into<Option<StoreError>>) {
        self.reads().trouble = trouble.into();
    }

    /// Has reads wait from now on, for as long as this says.
    pub fn hang_reads(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// Lets so many reads of single runs pass, those before included. Those behind wait.
    pub fn let_gets(&self, count: usize) {
        self.gets_let.send_replace(count);
    }

    /// Stores what is late.
    pub async fn land(&self) {
        let late = std::mem::take(&mut *self.late.lock().expect("nobody panics here"));
        for batch in late {
            if self.store.append(batch.clone()).await.is_ok() {
                self.stored.lock().expect("nobody panics here").push(batch);
            }
        }
    }

    /// Yields how many reads of single runs were asked for.
    pub fn gets(&self) -> usize {
        self.reads().gets
    }

    /// Makes what is stored of a run one that cannot be read.
    pub fn damage(&self, run: RunId) {
        self.reads().damaged.insert(run);
    }

    /// Yields how many pages of lists and events were read.
    pub fn pages(&self) -> usize {
        self.reads().pages
    }

    /// Yields how many runs its lists have yielded.
    pub fn listed(&self) -> usize {
        self.reads().listed
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().expect("nobody panics here")
    }

    /// Tells why a read fails, if it does; of a page it counts it.
    async fn read(&self, pages: usize) -> Result<(), StoreError> {
        let mut hangs = self.hangs.subscribe();
        hangs.wait_for(|hangs| !hangs).await.expect("nobody panics here");
        let mut reads = self.reads();
        reads.pages += pages;
        reads.trouble.clone().map_or(Ok(()), Err)
    }

    /// Yields what is wrong with a run, if it is damaged.
    fn fault(&self, run: RunId) -> Option<Unreadable> {
        let fault = || Unreadable::new(Some(run), "kind", "unknown: swarm");
        self.reads().damaged.contains(&run).then(fault)
    }

    /// Has runs be unreadable that are damaged.
    fn with_faults(&self, mut pages: Pages<Stored<RunRecord>>) -> Pages<Stored<RunRecord>> {
        for item in &mut pages.items {
            let fault = item.as_ref().ok().and_then(|run| self.fault(run.run()));
            if let Some(fault) = fault {
                *item = Err(fault);
            }
        }
        pages
    }

    /// Yields what was stored, in its order.
    pub fn stored(&self) -> Vec<Record> {
        self.stored.lock().expect("nobody panics here").concat()
    }

    /// Yields how many records each append had.
    pub fn appends(&self) -> Vec<usize> {
        self.stored.lock().expect("nobody panics here").iter().map(Vec::len).collect()
    }
}

impl Store for Valve {
    fn boot(&self) -> u32 {
        self.boot
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let is_stop = batch.iter().all(|record| matches!(record, Record::StopAccepted(_)));
            let is_beside = |flow: &Flow| match flow {
                Flow::Shut { stops } => !stops,
                Flow::KeepingStops => true,
                _ => false,
            };
            let overtakes = is_stop && is_beside(&self.flow.borrow());
            // First come, first served: they take effect in the order of their first polls.
            let _turn = if overtakes { None } else { Some(self.turns.lock().await) };
            let mut flow = self.flow.subscribe();
            let forgets = batch.iter().any(|record| matches!(record, Record::Forgotten { .. }));
            let waits = |flow: &Flow| match flow {
                Flow::Shut { .. } => !overtakes,
                Flow::Keeping => forgets,
                Flow::KeepingStops => is_stop,
                _ => false,
            };
            let passes = |flow: &Flow| !waits(flow);
            let state = flow.wait_for(passes).await.expect("nobody panics here").clone();
            if let Flow::Failing(error) = state {
                return Err(error);
            }
            if let Flow::Late(error) = state {
                self.late.lock().expect("nobody panics here").push(batch);
                return Err(error);
            }
            self.land().await;
            self.store.append(batch.clone()).await?;
            if let Flow::Doubtful(error) = state {
                return Err(error);
            }
            self.stored.lock().expect("nobody panics here").push(batch);
            Ok(())
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(async move {
            let nr = {
                let mut reads = self.reads();
                reads.gets += 1;
                reads.gets
            };
            let mut gets_let = self.gets_let.subscribe();
            gets_let.wait_for(|count| nr <= *count).await.expect("nobody panics here");
            self.read(0).await?;
            self.fault(run).map_or(Ok(()), Err)?;
            self.store.get(run).await
        })
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        Box::pin(async move {
            self.read(0).await?;
            self.store.claim(owner, key, at).await
        })
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            self.read(1).await?;
            let pages = self.store.list(filter, page).await?;
            self.reads().listed += pages.items.len();
            Ok(self.with_faults(pages))
        })
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(async move {
            self.read(1).await?;
            self.store.events(root, after, limit).await
        })
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(async move {
            self.read(1).await?;
            self.store.checkpoints(lane, page).await
        })
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move { Ok(self.with_faults(self.store.recover(page).await?)) })
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
