//! [`Node`]: the store and the cluster of one engine, and how it stores.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell_core::cluster::{AskedStop, Placed};
use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored, TreeAsk, TreeNow,
};
use quell_core::{RunEvent, RunFilter, RunId};

use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::testing::cluster::lanes::TurnWords;
use crate::testing::cluster::nodes::{Seat, Shared, Table, root_of};
use crate::testing::cluster::reserved::{accepted, never};

/// One node of [`Nodes`](super::Nodes): the store and the cluster of one engine.
pub struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) name: Arc<str>,
    pub(super) boot: u32,
    pub(super) joined_at: Instant,
    /// Stops that were remembered for runs that were accepted here, until the engine has heard.
    pub(super) remembered: Mutex<Vec<AskedStop>>,
    /// What appends have decided of lanes, until the engine has heard.
    pub(super) placed: Mutex<Vec<Placed>>,
    /// Lanes in which it may be the turn of roots of this node.
    pub(super) turns: Arc<TurnWords>,
    pub(super) trouble: Mutex<Trouble>,
    pub(super) renewals: AtomicUsize,
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
        let (remembered, placed, turns) = (Mutex::default(), Mutex::default(), Arc::default());
        let shared_turns = Arc::clone(&turns);
        shared.table.lock().lanes.words.insert(boot, shared_turns);
        Self { shared, name, boot, joined_at, remembered, placed, turns, trouble, renewals }
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
        let (come, never) = (accepted(&table, &batch), never(&shared.store, &batch)?);
        let ended = batch.iter().filter_map(|record| match record {
            Record::HoldEnded { run, nr, .. } => Some((*run, *nr)),
            _ => None,
        });
        let ended = ended.collect::<Vec<_>>();
        for record in &batch {
            if let Record::Forgotten { run, epoch, .. } = record
                && shared.store.epoch(*run)?.is_some_and(|stored| stored < *epoch)
                && table.owners.get(run).is_some_and(|owner| *owner != self.boot)
            {
                // One that this node had before it has left, and another one has its id.
                return Err(StoreError::Unknown { run: *run });
            }
        }
        let placing = table.place(self.boot, &batch)?;
        shared.store.write(batch)?;
        if let Some((lanes, placed)) = placing {
            table.lanes = lanes;
            self.placed.lock().extend(placed);
        }
        table.give_back_reserved(&never);
        self.take_reserved(&mut table, &come);
        for (run, nr) in ended {
            table.forgotten.end(run, nr);
        }
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

    /// Tells of the stops that were asked of a run and not answered.
    fn asked_of(&self, record: Stored<RunRecord>) -> Stored<RunRecord> {
        record.map(|mut record| {
            let asked = self.shared.table.lock().asked_of(self.boot);
            let (run, is_live) = (record.run(), !record.status.is_terminal());
            let accepted_at = record.accepted.at;
            let of_run = |stop: &&AskedStop| stop.run == run && stop.means(accepted_at);
            for stop in asked.iter().filter(|stop| is_live && of_run(stop)) {
                record.apply(&Record::StopAccepted(stop.accepted(record.epoch).into()));
            }
            record
        })
    }

    fn owns_root(&self, root: RunId) -> bool {
        self.shared.table.lock().owners.get(&root) == Some(&self.boot)
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

    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        Box::pin(async move { self.reach()?.store.trees_now(asked).await })
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
