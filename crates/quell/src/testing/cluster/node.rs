//! [`Node`]: the store and the cluster of one engine.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell_core::cluster::{ActAnswer, Answer, Asked, AskedStop, Cluster, LogWatch, TakenOver};
use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored,
};
use quell_core::{
    CancelRequest, Disposition, EventKind, Payload, RunEvent, RunFilter, RunId, limits,
};

use crate::sync::{self, AtomicUsize, Mutex, Notify, Ordering};
use crate::testing::cluster::acts::acted;
use crate::testing::cluster::nodes::{AskedHere, Seat, Shared, Table};

/// One node of [`Nodes`](super::Nodes): the store and the cluster of one engine.
pub struct Node {
    shared: Arc<Shared>,
    name: Arc<str>,
    boot: u32,
    joined_at: Instant,
    trouble: Mutex<Trouble>,
    renewals: AtomicUsize,
}

/// What a [`Node`] has trouble with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests name each")]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Its renewals are answered after 2 s.
    Late,
    /// Its renewals are never answered.
    Renewals,
    /// Every call fails.
    All,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>, name: &str, boot: u32, joined_at: Instant) -> Self {
        let (name, trouble, renewals) = (name.into(), Mutex::default(), AtomicUsize::new(0));
        Self { shared, name, boot, joined_at, trouble, renewals }
    }

    /// Gives the node trouble, or takes it away.
    pub fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock() = trouble;
    }

    /// Yields how often its lease was to be renewed so far.
    pub fn renewals(&self) -> usize {
        self.renewals.load(Ordering::Relaxed)
    }

    pub(super) fn reach(&self) -> Result<&Shared, StoreError> {
        if *self.trouble.lock() == Trouble::All {
            return Err(StoreError::Io { what: "this node is cut off".into() });
        }
        Ok(&self.shared)
    }

    fn lost(&self) -> StoreError {
        StoreError::LeaseLost { node: Arc::clone(&self.name) }
    }

    /// Looks whether this one is still a member.
    pub(super) fn seat<'a>(&self, table: &'a mut Table) -> Result<&'a mut Seat, StoreError> {
        let seat = table.members.get_mut(&self.boot).filter(|seat| !seat.is_gone);
        seat.ok_or_else(|| self.lost())
    }

    fn write(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let shared = self.reach()?;
        let mut table = shared.table.lock();
        self.seat(&mut table)?;
        let roots: Vec<_> = batch.iter().filter_map(root_of).collect();
        let written = batch.iter().map(Record::run).collect();
        shared.store.write(batch)?;
        table.owners.extend(roots.into_iter().map(|root| (root, self.boot)));
        let told = table.readers(&written);
        drop(table);
        for reader in told {
            reader.notify_one();
        }
        Ok(())
    }

    fn owns(&self, record: &Stored<RunRecord>) -> bool {
        record.as_ref().is_ok_and(|record| self.owns_root(record.accepted.root))
    }

    /// Tells of a stop that was asked of a run and not answered.
    fn asked_of(&self, record: Stored<RunRecord>) -> Stored<RunRecord> {
        record.map(|mut record| {
            let asked = self.shared.table.lock().asked_of(self.boot);
            let asked = asked.iter().filter(|_| !record.status.is_terminal());
            if let Some(stop) = asked.clone().find(|stop| stop.run == record.run()) {
                record.apply(&Record::StopAccepted(stop.accepted(record.epoch).into()));
            }
            record
        })
    }

    fn owns_root(&self, root: RunId) -> bool {
        self.shared.table.lock().owners.get(&root) == Some(&self.boot)
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
            table.stops.insert(nr, AskedHere { stop, owner, answer: None });
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

fn root_of(record: &Record) -> Option<RunId> {
    match record {
        Record::Accepted(accepted) if accepted.root == accepted.run => Some(accepted.run),
        Record::Event { event, .. } => match event.kind {
            EventKind::Detached { .. } => Some(event.run),
            _ => None,
        },
        _ => None,
    }
}

/// One who reads the log of a root.
#[derive(Debug)]
struct Reads(Arc<Notify>);

impl LogWatch for Reads {
    fn heard(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.notified())
    }

    fn is_told(&self) -> bool {
        true
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
            self.renewals.fetch_add(1, Ordering::Relaxed);
            let shared = self.reach()?;
            let (sent, trouble) = (sync::now(), *self.trouble.lock());
            match trouble {
                Trouble::None | Trouble::All => {}
                Trouble::Late => tokio::time::sleep(Duration::from_secs(2)).await,
                Trouble::Renewals => std::future::pending().await,
            }
            self.seat(&mut shared.table.lock())?.until = sent + shared.lease;
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
            table.give(&shared.store, (from, self.boot), given, Some(&name));
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

    fn owner(&self, run: RunId) -> BoxFuture<'_, Result<Option<Arc<str>>, StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let Some(record) = shared.store.get(run).await? else { return Ok(None) };
            let table = shared.table.lock();
            let owner = table.owners.get(&record.accepted.root);
            let seat = owner.and_then(|boot| table.members.get(boot));
            Ok(seat.map(|seat| Arc::clone(&seat.name)))
        })
    }

    fn act(&self, run: RunId, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>> {
        Box::pin(acted(self, run, words))
    }

    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>> {
        Box::pin(async move {
            loop {
                let news = self.shared.news.notified();
                let asked = {
                    let table = self.reach()?.table.lock();
                    let (mut stops, acts) =
                        (table.asked_of(self.boot), table.acts_of(self.boot, &known));
                    stops.retain(|stop| !known.contains(&stop.nr));
                    stops.truncate(limits::ASKED_STOPS_MAX);
                    let stops = stops.into_iter().map(Asked::Stop);
                    stops.chain(acts.take(limits::ASKED_ACTS_MAX)).collect::<Vec<_>>()
                };
                if !asked.is_empty() {
                    return Ok(asked);
                }
                news.await;
            }
        })
    }

    fn take(&self, act: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut table = self.reach()?.table.lock();
            self.seat(&mut table)?;
            Ok(table.take(act, self.boot))
        })
    }

    fn answer(&self, nr: u64, answer: Answer) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let shared = self.reach()?;
            let mut table = shared.table.lock();
            match answer {
                Answer::Stop(answer) => {
                    let own = table.stops.get_mut(&nr).filter(|asked| asked.owner == self.boot);
                    if let Some(asked) = own {
                        asked.answer.get_or_insert(answer);
                    }
                }
                Answer::Act(said) => table.say(nr, self.boot, said),
            }
            drop(table);
            shared.news.notify_waiters();
            Ok(())
        })
    }

    fn watch(&self, root: RunId) -> Option<Box<dyn LogWatch>> {
        let woken = Arc::new(Notify::new());
        self.shared.table.lock().watches.push((root, Arc::downgrade(&woken)));
        Some(Box::new(Reads(woken)))
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

    fn member(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.write(batch) })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(async move { self.reach()?.store.get(run).await })
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        Box::pin(async move { self.reach()?.store.claim(owner, key, at).await })
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
            let (items, ends) = own.map(|(record, end)| (self.asked_of(record), end)).unzip();
            Ok(Pages { items, ends, next })
        })
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        // What still executes is known to its owner alone.
        Box::pin(async move {
            let Pages { items, ends, next } = self.reach()?.store.ended(page).await?;
            let may_leave = |tree: &Stored<EndedTree>| {
                let Ok(tree) = tree else { return true };
                tree.quiescent || self.owns_root(tree.root)
            };
            let leaving = items.into_iter().zip(ends).filter(|(tree, _)| may_leave(tree));
            let (items, ends) = leaving.unzip();
            Ok(Pages { items, ends, next })
        })
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
