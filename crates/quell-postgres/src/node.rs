//! [`PostgresNode`]: the store and the cluster of one engine among several.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell_core::cluster::{
    ActAnswer, Answer, Asked, AskedStop, Cluster, ForgottenWork, LogWatch, OpenStops, Placed,
    RunMeant, SlotsAsked, SlotsHeld, StopToCome, TakenOver, TurnAsk,
};
use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored, TreeAsk, TreeNow,
};
use quell_core::{CancelRequest, Disposition, Payload, RunEvent, RunFilter, RunId};
use quell_durable::Committed;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::fault::in_time;
use crate::listener::listen;
use crate::member::Member;
use crate::node_record::{self, LostNode, NodeRecord};
use crate::open_stops::open_stops;
use crate::options::PostgresOptions;
use crate::store::{Opened, PostgresStore};
use crate::text::kept;
use crate::watching::{Reads, say};

/// A member of a cluster whose store is one schema of a database: the store and the cluster of one
/// engine, under the name [`PostgresOptions::node`].
///
/// It is a [`PostgresStore`] with a lease, and has up to seven sessions more: one that listens, one
/// for the lease, three for stops, one for turns in lanes, and one for as long as it takes over.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), quell_core::store::StoreError> {
/// use std::sync::Arc;
///
/// use quell::{Engine, EngineConfig};
/// use quell_postgres::{PostgresNode, PostgresOptions};
///
/// let mut options = PostgresOptions::new("postgres://quell@db.example/runs");
/// options.node = Some("node-1".into());
/// let node = Arc::new(PostgresNode::open(options).await?);
/// let engine = Engine::with_config(EngineConfig::new().node(node));
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
pub struct PostgresNode {
    store: PostgresStore,
    member: Arc<Member>,
    joined_at: Instant,
    handle: Handle,
    /// It listens until this is dropped.
    #[expect(dead_code, reason = "it is dropped with this")]
    listener: AbortOnDropHandle<()>,
    /// It tells others what is read and what is new until this is dropped.
    #[expect(dead_code, reason = "it is dropped with this")]
    says: AbortOnDropHandle<()>,
}

impl fmt::Debug for PostgresNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresNode").field(&self.store).finish()
    }
}

impl PostgresNode {
    /// Joins under the name of the options. What a process had that was here under this name
    /// before, or a store that was alone, belongs to this one: the engine recovers it. A lease does
    /// not matter to that, but a process that is alive does: while one has the name, this one is
    /// refused.
    ///
    /// # Errors
    ///
    /// Fails if there is no name, a live process has it, a store that is alone has the schema, and
    /// as [`PostgresStore::open`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the name is free again. The member may have joined; its lease runs out.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        if options.node.is_none() {
            let what = "a node has a name: set `options.node`, or open a `PostgresStore`";
            return Err(StoreError::Options { what: what.into() });
        }
        let Opened { store, joined_at, handle } = PostgresStore::start(options).await?;
        let (target, seat) = (Arc::clone(&store.target), store.seat.clone());
        let shared = (Arc::clone(&store.watches), Arc::clone(&store.decided));
        let member = Arc::new(Member::new(target, seat, handle.clone(), shared)?);
        let listener = AbortOnDropHandle::new(handle.spawn(listen(Arc::clone(&member))));
        let says = AbortOnDropHandle::new(handle.spawn(say(Arc::clone(&member))));
        Ok(Self { store, member, joined_at, handle, listener, says })
    }

    /// Yields what was committed since it was opened, beside its lease and stops.
    pub fn committed(&self) -> Committed {
        self.store.committed()
    }

    /// Reads the members, this one included, as
    /// [`PostgresReader::nodes`](crate::PostgresReader::nodes) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn nodes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>, StoreError> {
        let schema = &self.member.target.options.schema;
        node_record::nodes(self.store.readers(), schema, after, limit).await
    }

    /// Reads which members were lost and have left work of which nobody knows whether it executes
    /// still, as [`PostgresReader::lost_nodes`](crate::PostgresReader::lost_nodes) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost_nodes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LostNode>, StoreError> {
        let schema = &self.member.target.options.schema;
        node_record::lost(self.store.readers(), schema, after, limit).await
    }

    /// Does work on the threads of the store. When this is dropped, the work is too.
    fn on_threads<T: Send + 'static, W>(
        &self,
        work: impl FnOnce(Arc<Member>) -> W + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>
    where
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            let task = self.handle.spawn(work(Arc::clone(&self.member)));
            // It ends without an answer when the store has closed.
            AbortOnDropHandle::new(task).await.unwrap_or(Err(StoreError::Closed))
        })
    }

    /// How long one call may take that waits for nobody.
    fn limit(&self) -> Duration {
        self.member.target.options.connect_timeout
    }
}

impl Cluster for PostgresNode {
    fn name(&self) -> &str {
        &self.member.seat.name
    }

    fn lease(&self) -> Duration {
        self.member.target.options.lease
    }

    fn joined_at(&self) -> Instant {
        self.joined_at
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.renew()).await })
    }

    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>> {
        let statement = Duration::from_millis(self.member.target.statement_ms());
        let limit = self.limit().saturating_add(statement);
        self.on_threads(move |member| async move { in_time(limit, member.take_over()).await })
    }

    fn next_lease_end(&self) -> Option<Instant> {
        self.member.next_lease_end()
    }

    fn ask(
        &self,
        run: RunMeant,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>> {
        self.on_threads(move |member| async move { member.ask(run, request).await })
    }

    fn remember(&self, stop: StopToCome) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.on_threads(move |member| async move { member.remember(stop).await })
    }

    fn take_remembered(&self) -> Vec<AskedStop> {
        self.member.decided.stops.take()
    }

    fn take_placed(&self) -> Vec<Placed> {
        self.member.decided.places.take()
    }

    fn turns(&self, asks: Vec<TurnAsk>) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.take_turns(asks)).await })
    }

    fn turn_heard(&self) -> BoxFuture<'_, Vec<Arc<str>>> {
        Box::pin(self.member.turns.next())
    }

    fn owner(&self, run: RunId) -> BoxFuture<'_, Result<Option<Arc<str>>, StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.owner(run)).await })
    }

    fn open_stops(&self, owner: Option<Arc<str>>) -> BoxFuture<'_, Result<OpenStops, StoreError>> {
        let owner = owner.map(|owner| kept(&owner).into_owned());
        Box::pin(open_stops(self.store.readers(), owner))
    }

    fn act(&self, run: RunMeant, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>> {
        self.on_threads(move |member| async move { member.act(run, &words).await })
    }

    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>> {
        self.on_threads(move |member| async move { member.inbox(known).await })
    }

    fn take(&self, act: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.take(act)).await })
    }

    fn answer(&self, nr: u64, answer: Answer) -> BoxFuture<'_, Result<(), StoreError>> {
        let limit = self.limit();
        self.on_threads(
            move |member| async move { in_time(limit, member.answer(nr, &answer)).await },
        )
    }

    fn watch(&self, root: RunId) -> Option<Box<dyn LogWatch>> {
        Some(Box::new(Reads::begin(&self.member, root)))
    }

    fn release(&self, roots: Vec<RunId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let statement = Duration::from_millis(self.member.target.statement_ms());
        let limit = self.limit().saturating_add(statement);
        self.on_threads(move |member| async move { in_time(limit, member.release(&roots)).await })
    }

    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        self.on_threads(move |member| async move { member.forgotten().await })
    }

    fn programs_before(
        &self,
        have_ended: bool,
    ) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        let statement = Duration::from_millis(self.member.target.statement_ms());
        let limit = self.limit().saturating_add(statement);
        self.on_threads(
            move |member| async move { member.programs_before(have_ended, limit).await },
        )
    }

    fn slots(&self, asked: Vec<SlotsAsked>) -> BoxFuture<'_, Result<Vec<SlotsHeld>, StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.slots(asked)).await })
    }

    fn slots_moved(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        self.on_threads(move |member| async move { member.slots_moved().await })
    }

    fn leave(&self, is_drained: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        let limit = self.limit();
        self.on_threads(move |member| async move { in_time(limit, member.leave(is_drained)).await })
    }
}

impl Store for PostgresNode {
    fn boot(&self) -> u32 {
        self.store.boot()
    }

    fn member(&self) -> Option<&str> {
        Some(self.name())
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.append(batch)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.ready()
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.store.get(run)
    }

    fn accepted_at(
        &self,
        runs: Vec<RunId>,
    ) -> BoxFuture<'_, Result<Vec<(RunId, SystemTime)>, StoreError>> {
        self.store.accepted_at(runs)
    }

    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        self.store.trees_now(asked)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.store.claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.store.list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.store.events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.store.checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        let limit = self.limit();
        Box::pin(async move {
            let mut pages = self.store.recover(page).await?;
            let asked =
                self.on_threads(move |member| async move { in_time(limit, member.asked()).await });
            let asked = asked.await?;
            let records = pages.items.iter_mut().flatten();
            for record in records.filter(|record| !record.status.is_terminal()) {
                for stop in asked.get(&record.run()).into_iter().flatten() {
                    record.apply(&Record::StopAccepted(stop.accepted(record.epoch).into()));
                }
            }
            Ok(pages)
        })
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.store.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.bytes()
    }

    /// Closes this member: its name is free. What it still owns waits for the end of its lease, or
    /// for whoever joins under its name.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.close()
    }
}
