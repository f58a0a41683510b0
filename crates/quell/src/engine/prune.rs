//! [`Engine::prune_stored`] takes trees that are over out of the store.

use std::time::{Duration, SystemTime};

use quell_core::limits;
use quell_core::store::{Cursor, EndedTree, Page, Record, Store, StoreError};

use crate::engine::Engine;

/// How much of what is over a store keeps. Each bound counts by itself; without any nothing leaves.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::StoreRetention;
///
/// let month = Duration::from_hours(30 * 24);
/// let retention = StoreRetention::new().ttl(month).bytes_max(10 << 30);
/// assert_eq!((retention.ttl, retention.trees_max), (Some(month), None));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct StoreRetention {
    /// How long a tree is kept from when nothing of it executes any more; of one that an earlier
    /// process has left non-quiescent, from its end. Defaults to no bound. Zero keeps none.
    pub ttl: Option<Duration>,
    /// Trees that are kept, of those that may leave: the ones that were accepted last. Defaults to
    /// no bound. Zero keeps none.
    pub trees_max: Option<u64>,
    /// Bytes of everything that is stored, live runs included, as
    /// [`Store::bytes`](crate::store::Store::bytes) counts them. While there are more, trees leave
    /// that were accepted first. Defaults to no bound. Zero keeps none.
    pub bytes_max: Option<u64>,
}

impl StoreRetention {
    /// Keeps everything.
    pub const fn new() -> Self {
        Self { ttl: None, trees_max: None, bytes_max: None }
    }

    /// Sets [`ttl`](field@Self::ttl).
    pub const fn ttl(mut self, time: Duration) -> Self {
        self.ttl = Some(time);
        self
    }

    /// Sets [`trees_max`](field@Self::trees_max).
    pub const fn trees_max(mut self, max: u64) -> Self {
        self.trees_max = Some(max);
        self
    }

    /// Sets [`bytes_max`](field@Self::bytes_max).
    pub const fn bytes_max(mut self, max: u64) -> Self {
        self.bytes_max = Some(max);
        self
    }

    /// Tells whether nothing ever leaves.
    pub fn keeps_all(&self) -> bool {
        *self == Self::new()
    }
}

impl Engine {
    /// Takes trees out of the store that are over a bound, the ones that were accepted first first.
    /// Yields how many have left. Nothing calls this by itself: an embedder does, after
    /// [`recover`](Self::recover) and then now and then.
    ///
    /// A tree leaves as a whole, with its events and the states that it has saved, as by
    /// [`forget_stored`](Self::forget_stored). One of which something is live, paused or queued
    /// stays, as does one that is in memory still, or whose lane a live run has: one that is
    /// stored. One of another node counts as in memory there for
    /// [`ended_trees_ttl`](field@crate::Limits::ended_trees_ttl) of this one. One that is not
    /// quiescent is in memory for as long as its end may be told: what an earlier process has left
    /// leaves as others do, and counts from its end. A run that is submitted at the same moment
    /// finds its lane as if it came later.
    ///
    /// Appends are small and one at a time, of about 250 runs and events, more only if one tree has
    /// more: a stop never waits for two of them. A bound of bytes is looked at between them, so a
    /// few trees more may leave than had to.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. What has left stays away, and a further call goes on
    /// with the rest.
    ///
    /// # Cancel safety
    ///
    /// As an error: a tree is gone or whole.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, RunSpec, StoreRetention};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let limits = quell::Limits::default().ended_trees_max(0);
    /// let engine = Engine::with_config(EngineConfig::new().store(store).limits(limits));
    /// let run = engine.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap().into_ref();
    /// run.quiescent().await;
    /// run.stored().await.unwrap();
    /// // What is in memory stays in the store, too.
    /// while engine.get(run.id()).is_some() {
    ///     tokio::task::yield_now().await;
    /// }
    /// let none = StoreRetention::new().ttl(Duration::ZERO);
    /// assert_eq!(engine.prune_stored(&none).await, Ok(1));
    /// assert_eq!(engine.stored_run(run.id()).await, Ok(None));
    /// # });
    /// ```
    pub async fn prune_stored(&self, retention: &StoreRetention) -> Result<u64, StoreError> {
        let Some(journal) = &self.shared().journal else { return Ok(0) };
        if retention.keeps_all() {
            return Ok(0);
        }
        let store = &*journal.store;
        let mut bounds = Bounds::find(store, *retention).await?;
        let (mut left, mut page) = (0, Page::first(limits::STORE_PAGE_MAX));
        let mut batch = Batch::default();
        loop {
            let read = store.ended(page).await?;
            for (place, tree) in read.ends.iter().zip(read.items) {
                let Ok(tree) = tree else { continue };
                if bounds.keep_from(&tree, *place) {
                    return Ok(left + batch.append(store).await?);
                }
                if !bounds.is_over(&tree, *place)
                    || self.get(tree.root).is_some()
                    || self.may_have_elsewhere(&tree, bounds.now)
                    || journal.is_leaving(tree.root)
                {
                    continue;
                }
                if batch.add(&tree) {
                    left += batch.append(store).await?;
                    bounds.look_again(store).await?;
                }
            }
            // What was read may be out of date by the next page, which takes its time.
            left += batch.append(store).await?;
            let Some(next) = read.next else { return Ok(left) };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
    }

    /// Tells whether another node may have a tree in memory: it takes it out of the store itself,
    /// when it has it no longer. So no run gets an id that one in memory has.
    fn may_have_elsewhere(&self, tree: &EndedTree, now: SystemTime) -> bool {
        let shared = self.shared();
        let EndedTree { epoch, quiesced_at, .. } = tree;
        let is_own = shared.journal.as_ref().is_some_and(|it| it.is_own(epoch.boot()));
        let passed = now.duration_since(*quiesced_at).unwrap_or_default();
        shared.member.is_some() && !is_own && passed < shared.config.limits.ended_trees_ttl
    }
}

/// Takes trees that have ended out of the store, each by itself. One that it has no longer is left
/// alone, and so is one of which something is live.
///
/// # Errors
///
/// Fails with the trouble of the store.
pub(super) async fn forget(
    store: &dyn Store,
    trees: impl IntoIterator<Item = EndedTree>,
) -> Result<(), StoreError> {
    for tree in trees {
        let mut batch = Batch::default();
        batch.add(&tree);
        batch.append(store).await?;
    }
    Ok(())
}

/// The bounds of one pass, as they stand.
struct Bounds {
    retention: StoreRetention,
    now: SystemTime,
    /// The place of the last tree that is too many, if there is one. It is no number: where other
    /// nodes prune as well, what has left meanwhile would be counted twice.
    too_many: Option<Cursor>,
    /// Whether there are too many bytes.
    is_large: bool,
}

impl Bounds {
    async fn find(store: &dyn Store, retention: StoreRetention) -> Result<Self, StoreError> {
        let now = SystemTime::now();
        let mut bounds = Self { retention, now, too_many: None, is_large: false };
        if let Some(max) = retention.trees_max {
            bounds.too_many = last_of_too_many(store, max).await?;
        }
        bounds.look_again(store).await?;
        Ok(bounds)
    }

    /// Asks whether there are still too many bytes.
    async fn look_again(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if let Some(max) = self.retention.bytes_max {
            self.is_large = store.bytes().await? > max || max == 0;
        }
        Ok(())
    }

    /// Tells whether a tree at a place is over a bound.
    fn is_over(&self, tree: &EndedTree, place: Cursor) -> bool {
        let is_old = self.retention.ttl.is_some_and(|ttl| self.is_past(tree.quiesced_at, ttl));
        is_old || self.is_too_many(place) || self.is_large
    }

    /// Tells whether neither a tree nor any behind it is over a bound: it ended after it was
    /// accepted, and that was not long enough ago.
    fn keep_from(&self, tree: &EndedTree, place: Cursor) -> bool {
        let is_young = |ttl| !self.is_past(tree.accepted_at, ttl);
        !self.is_too_many(place) && !self.is_large && self.retention.ttl.is_none_or(is_young)
    }

    fn is_too_many(&self, place: Cursor) -> bool {
        self.too_many.is_some_and(|last| place <= last)
    }

    fn is_past(&self, at: SystemTime, ttl: Duration) -> bool {
        // What is of the future, since the clock was set back, is not old, unless nothing is kept.
        ttl.is_zero() || self.now.duration_since(at).is_ok_and(|passed| passed >= ttl)
    }
}

/// Trees that leave with one append.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    /// The runs and events that they have.
    rows: u64,
}

impl Batch {
    /// Takes a tree. Tells whether there are enough.
    fn add(&mut self, tree: &EndedTree) -> bool {
        let (run, epoch, at) = (tree.root, tree.epoch, SystemTime::now());
        self.records.push(Record::Forgotten { run, epoch, at });
        self.rows = self.rows.saturating_add(tree.rows);
        self.rows >= ROWS_MAX
    }

    /// Stores them. Yields how many have left.
    async fn append(&mut self, store: &dyn Store) -> Result<u64, StoreError> {
        let Self { records, .. } = std::mem::take(self);
        if records.is_empty() {
            return Ok(0);
        }
        let all = records.len() as u64;
        match store.append(records.clone()).await {
            Ok(()) => return Ok(all),
            Err(error) if !error.is_refusal() => return Err(error),
            Err(_) => {}
        }
        // One of them was forgotten or began again since it was read: it is left alone.
        let mut left = 0;
        for record in records {
            match store.append(vec![record]).await {
                Ok(()) => left += 1,
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }
}

/// Finds the place of the last tree that may leave and has at least so many behind it; none if
/// there are no more than that.
async fn last_of_too_many(store: &dyn Store, max: u64) -> Result<Option<Cursor>, StoreError> {
    // Of each page how many trees it had, and where it ended.
    let (mut page, mut pages) = (Page::first(limits::STORE_PAGE_MAX), Vec::new());
    loop {
        let read = store.ended(page).await?;
        pages.extend(read.ends.last().map(|end| (read.ends.len() as u64, *end)));
        let Some(next) = read.next else { break };
        page = Page::first(limits::STORE_PAGE_MAX).after(next);
    }
    let mut stay = max;
    while let Some((count, end)) = pages.pop() {
        if count <= stay {
            stay -= count;
            continue;
        }
        // The last ones of this page stay. It is read again, for what it has now.
        let before = pages.last().map(|(_, end)| *end);
        let page = Page::first(limits::STORE_PAGE_MAX);
        let read = store.ended(before.map_or(page, |end| page.after(end))).await?;
        let ends: Vec<_> = read.ends.into_iter().filter(|place| *place <= end).collect();
        let too_many = ends.len().saturating_sub(usize::try_from(stay).unwrap_or(usize::MAX));
        return Ok(too_many.checked_sub(1).map(|last| ends[last]).or(before));
    }
    Ok(None)
}

/// Runs and events of one append, unless one tree has more.
const ROWS_MAX: u64 = 256;
