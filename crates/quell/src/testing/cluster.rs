//! [`Nodes`]: a cluster in one process, on one store in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::cluster::{AskedStop, Cluster, TakenOver};
use quell_core::store::{
    BoxFuture, Checkpoint, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError, Stored,
};
use quell_core::{CancelRequest, Disposition, RunEvent, RunFilter, RunId, limits};

use crate::store::MemoryStore;
use crate::sync::{self, Mutex, Notify};

/// Nodes of a cluster in one process, for tests of what several engines do: each
/// [`Node`] is the store and the cluster of one engine. They live as long as this, and leases are
/// by the clock of tokio, so that a test may pause it.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use std::time::Duration;
/// use quell::testing::cluster::Nodes;
/// use quell::{CancelRequest, Disposition, Engine, EngineConfig, RunSpec, RunStatus};
///
/// let nodes = Nodes::new(Duration::from_secs(15));
/// let engine = |name: &str| {
///     let node = nodes.join(name);
///     Engine::with_config(EngineConfig::new().store(node.clone()).cluster(node))
/// };
/// let (a, b) = (engine("a"), engine("b"));
/// let body = async |ctx: quell::RunContext| Ok(_ = ctx.stopped().await);
/// let run = a.submit_durably(RunSpec::agent("far"), body).await.unwrap().into_ref();
/// let answer = b.cancel_anywhere(run.id(), CancelRequest::because("enough")).await.unwrap();
/// assert!(matches!(answer, Disposition::Accepted { .. }));
/// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: MemoryStore,
    lease: Duration,
    table: Mutex<Table>,
    /// Something was asked, answered, or decided.
    news: Notify,
}

/// What members decide together. The lock is held for one call, and the store is asked within it.
#[derive(Debug, Default)]
struct Table {
    /// The newest boot that was given.
    boot: u32,
    /// The members, by the boot with which they joined.
    members: BTreeMap<u32, Seat>,
    /// Who has the roots, by that.
    owners: HashMap<RunId, u32>,
    stops: BTreeMap<u64, Asked>,
    next_stop: u64,
}

#[derive(Debug)]
struct Seat {
    name: Arc<str>,
    until: Instant,
    /// Another has taken over, or it has left.
    is_gone: bool,
}

#[derive(Debug)]
struct Asked {
    stop: AskedStop,
    owner: u32,
    answer: Option<Disposition>,
}

impl Nodes {
    /// Makes a cluster whose leases last so long.
    pub fn new(lease: Duration) -> Self {
        let (store, table, news) = (MemoryStore::new(), Mutex::default(), Notify::new());
        Self(Arc::new(Shared { store, lease, table, news }))
    }

    /// Joins under a name. Whoever had the name before is gone, and what it had belongs to this
    /// one: [`Engine::recover`](crate::Engine::recover) decides it.
    pub fn join(&self, name: &str) -> Arc<Node> {
        let (shared, joined_at) = (Arc::clone(&self.0), sync::now());
        let mut table = shared.table.lock();
        let former: Vec<_> = table.members.iter().filter(|(_, seat)| &*seat.name == name).collect();
        let former: Vec<_> = former.into_iter().map(|(boot, _)| *boot).collect();
        table.boot += 1;
        let given = table.boot;
        table.boot += 1;
        let boot = table.boot;
        let seat = Seat { name: name.into(), until: joined_at + shared.lease, is_gone: false };
        table.members.insert(boot, seat);
        for before in former {
            table.give(&shared.store, before, boot, given);
        }
        drop(table);
        Arc::new(Node { shared, name: name.into(), boot, joined_at, is_cut_off: Mutex::new(false) })
    }

    /// Reads what the store has of a run, whoever has it.
    pub async fn read(&self, run: RunId) -> Option<RunRecord> {
        self.0.store.get(run).await.ok().flatten()
    }
}

impl Table {
    /// Yields the stops that a member has not answered.
    fn asked_of(&self, owner: u32) -> Vec<AskedStop> {
        let of_owner = self.stops.values().filter(|it| it.owner == owner && it.answer.is_none());
        of_owner.map(|asked| asked.stop.clone()).collect()
    }

    /// Gives all that one member has to another, with epochs of their own. A stop that was asked
    /// for is that of its run.
    fn give(&mut self, store: &MemoryStore, from: u32, to: u32, given: u32) {
        if let Some(seat) = self.members.get_mut(&from) {
            seat.is_gone = true;
        }
        let mut roots = HashSet::new();
        for (root, owner) in &mut self.owners {
            if *owner == from {
                *owner = to;
                roots.insert(*root);
            }
        }
        store.raise_epochs(&roots, given);
        let asked = self.stops.values_mut().filter(|asked| asked.owner == from);
        for asked in asked.filter(|asked| asked.answer.is_none()) {
            asked.owner = to;
            // It has ended meanwhile, perhaps: then its new owner says so.
            _ = store.accept_stop(&asked.stop, given);
        }
    }
}

/// One node of [`Nodes`]: the store and the cluster of one engine.
pub struct Node {
    shared: Arc<Shared>,
    name: Arc<str>,
    boot: u32,
    joined_at: Instant,
    is_cut_off: Mutex<bool>,
}

impl Node {
    /// Has every further call fail, or no more: the node cannot reach the store.
    pub fn cut_off(&self, is_cut_off: bool) {
        *self.is_cut_off.lock() = is_cut_off;
    }

    fn reach(&self) -> Result<&Shared, StoreError> {
        if *self.is_cut_off.lock() {
            return Err(StoreError::Io { what: "this node is cut off".into() });
        }
        Ok(&self.shared)
    }

    fn lost(&self) -> StoreError {
        StoreError::LeaseLost { node: Arc::clone(&self.name) }
    }

    /// Looks whether this one is still a member.
    fn seat<'a>(&self, table: &'a mut Table) -> Result<&'a mut Seat, StoreError> {
        let seat = table.members.get_mut(&self.boot).filter(|seat| !seat.is_gone);
        seat.ok_or_else(|| self.lost())
    }

    fn write(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let shared = self.reach()?;
        let mut table = shared.table.lock();
        self.seat(&mut table)?;
        let roots: Vec<_> = batch.iter().filter_map(root_of).collect();
        shared.store.write(batch)?;
        table.owners.extend(roots.into_iter().map(|root| (root, self.boot)));
        Ok(())
    }

    fn owns(&self, record: &Stored<RunRecord>) -> bool {
        let root = record.as_ref().map(|record| record.accepted.root);
        root.is_ok_and(|root| self.shared.table.lock().owners.get(&root) == Some(&self.boot))
    }

    async fn asked(&self, run: RunId, request: CancelRequest) -> Result<Disposition, StoreError> {
        let shared = self.reach()?;
        let Some(record) = shared.store.get(run).await? else { return Ok(Disposition::Unknown) };
        if record.status.is_terminal() {
            return Ok(Disposition::AlreadyTerminal { status: record.status });
        }
        let nr = {
            let mut table = shared.table.lock();
            self.seat(&mut table)?;
            let owner = table.owners.get(&record.accepted.root).copied();
            let Some(owner) = owner else { return Ok(Disposition::Unknown) };
            table.next_stop += 1;
            let nr = table.next_stop;
            let stop = AskedStop { nr, run, request, at: sync::wall() };
            table.stops.insert(nr, Asked { stop, owner, answer: None });
            nr
        };
        shared.news.notify_waiters();
        let answered = tokio::time::timeout(limits::ASKED_STOP_WAIT, async {
            loop {
                let news = shared.news.notified();
                let answer = shared.table.lock().stops.get(&nr).and_then(|it| it.answer.clone());
                if let Some(answer) = answer {
                    return answer;
                }
                news.await;
            }
        });
        Ok(answered.await.unwrap_or_else(|_| shared.recorded(nr)))
    }
}

impl Shared {
    fn recorded(&self, nr: u64) -> Disposition {
        let table = self.table.lock();
        let seat = table.stops.get(&nr).and_then(|asked| table.members.get(&asked.owner));
        let Some(seat) = seat else { return Disposition::Unknown };
        let left = seat.until.saturating_duration_since(sync::now());
        Disposition::Recorded { owner: Arc::clone(&seat.name), lease_until: sync::wall() + left }
    }
}

fn root_of(record: &Record) -> Option<RunId> {
    match record {
        Record::Accepted(accepted) if accepted.root == accepted.run => Some(accepted.run),
        Record::Event { event, .. } => match event.kind {
            quell_core::EventKind::Detached { .. } => Some(event.run),
            _ => None,
        },
        _ => None,
    }
}

impl Cluster for Node {
    fn name(&self) -> &str {
        &self.name
    }

    fn lease(&self) -> Duration {
        self.shared.lease
    }

    fn joined_at(&self) -> Instant {
        self.joined_at
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let shared = self.reach()?;
            self.seat(&mut shared.table.lock())?.until = sync::now() + shared.lease;
            Ok(())
        })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>> {
        Box::pin(async {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            self.seat(&mut table)?;
            let now = sync::now();
            let is_over = |(boot, seat): &(&u32, &Seat)| {
                **boot != self.boot && !seat.is_gone && seat.until <= now
            };
            let found = table.members.iter().find(is_over);
            let Some((from, name)) = found.map(|(boot, seat)| (*boot, Arc::clone(&seat.name)))
            else {
                return Ok(None);
            };
            table.boot += 1;
            let given = table.boot;
            table.give(&shared.store, from, self.boot, given);
            table.boot += 1;
            Ok(Some(TakenOver { from: name, boot: table.boot }))
        })
    }

    fn ask(
        &self,
        run: RunId,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>> {
        Box::pin(self.asked(run, request))
    }

    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<AskedStop>, StoreError>> {
        Box::pin(async move {
            loop {
                let news = self.shared.news.notified();
                let stops = self.reach()?.table.lock().asked_of(self.boot);
                if stops.iter().any(|stop| !known.contains(&stop.nr)) {
                    return Ok(stops.into_iter().take(limits::ASKED_STOPS_MAX).collect());
                }
                news.await;
            }
        })
    }

    fn answer(&self, stop: u64, answer: Disposition) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            let own = table.stops.get_mut(&stop).filter(|asked| asked.owner == self.boot);
            if let Some(asked) = own {
                asked.answer.get_or_insert(answer);
            }
            drop(table);
            shared.news.notify_waiters();
            Ok(())
        })
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let shared = self.reach()?;
            self.seat(&mut shared.table.lock())?.until = sync::now();
            Ok(())
        })
    }
}

impl Store for Node {
    fn boot(&self) -> u32 {
        self.boot
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.write(batch) })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(async move { self.reach()?.store.get(run).await })
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move { self.reach()?.store.list(filter, page).await })
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(async move { self.reach()?.store.events(root, after, limit).await })
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(async move { self.reach()?.store.checkpoints(lane, page).await })
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            let Pages { items, ends, next } = self.reach()?.store.recover(page).await?;
            let own = items.into_iter().zip(ends).filter(|(record, _)| self.owns(record));
            let (items, ends) = own.unzip();
            Ok(Pages { items, ends, next })
        })
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        Box::pin(async move { self.reach()?.store.ended(page).await })
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { self.reach()?.store.bytes().await })
    }

    /// Closes this node alone.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Node");
        text.field("name", &self.name).field("boot", &self.boot).finish_non_exhaustive()
    }
}
