//! [`MemoryStore`]: a store that keeps everything in memory.
//!
//! One lock guards all tables. It is held for one append or one read, never across an await, and no
//! code of an embedder runs under it: records are measured before, and what leaves is dropped as
//! plain values.

#[cfg(feature = "test-util")]
use std::collections::HashSet;
use std::future::ready;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "test-util")]
use quell_core::cluster::AskedStop;
use quell_core::store::{
    BoxFuture, Checkpoint, Claim, Cursor, EndedTree, Page, Pages, Record, RunRecord, Store,
    StoreError, Stored, TreeAsk, TreeNow,
};
#[cfg(feature = "test-util")]
use quell_core::store::{Epoch, StoredHold};
use quell_core::{RunEvent, RunFilter, RunId, limits};
#[cfg(feature = "test-util")]
use quell_core::{RunStatus, Work};

use crate::store::admit::Admission;
use crate::store::tables::{StoredRun, Tables};
use crate::sync::Mutex;

/// Keeps records in memory, and nothing beyond the process: for tests, and as the measure of what a
/// store has to do.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::SystemTime;
/// use quell::store::{Accepted, Epoch, MemoryStore, Record, Store};
/// use quell::{RunId, RunKind, RunStatus};
///
/// let store = MemoryStore::new();
/// let (run, epoch) = (RunId::from_text("order-7"), Epoch::new(store.boot(), 1));
/// let at = SystemTime::now();
/// let accepted = Accepted::new(run, RunKind::Agent, "order".into(), epoch, at);
/// store.append(vec![Record::Accepted(accepted.into())]).await?;
/// assert_eq!(store.get(run).await?.unwrap().status, RunStatus::Queued);
/// # Ok::<(), quell::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    /// None once it was closed.
    tables: Mutex<Option<Tables>>,
    /// Bytes that it keeps, about.
    bytes_max: usize,
}

impl MemoryStore {
    /// Makes an empty store that keeps at most [`limits::ENDED_BYTES_MAX`] bytes.
    pub fn new() -> Self {
        Self::with_bytes_max(limits::ENDED_BYTES_MAX)
    }

    /// Makes an empty store that keeps at most so many bytes, about. More is refused with
    /// [`StoreError::Full`]. Zero keeps nothing.
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self { tables: Mutex::new(Some(Tables::default())), bytes_max }
    }

    /// Has the runs of trees be those of another owner: what the former one writes is refused. If
    /// that is named, it may execute them still, but for those that are paused, and if it has given
    /// them up for those that have ended alone. What it has given up has never started if it is
    /// queued, and `is_sure` of it. Yields what of them has not ended, as far as is stored.
    #[cfg(feature = "test-util")]
    pub(crate) fn take_over(
        &self,
        roots: &HashSet<RunId>,
        boot: u32,
        doubt: Option<&Arc<str>>,
        (is_given_up, is_sure): (bool, impl Fn(&RunId) -> bool),
    ) -> Vec<(RunId, StoredHold)> {
        let mut open = Vec::new();
        let mut tables = self.tables.lock();
        let runs = tables.iter_mut().flat_map(|tables| tables.runs.values_mut());
        let records = runs.map(|run| &mut run.record);
        let of_roots = records.filter(|record| roots.contains(&record.accepted.root));
        for record in of_roots {
            let is_live = !record.status.is_terminal();
            let never_began = record.status == RunStatus::Queued && record.started_at.is_none();
            let is_sure = is_given_up && is_sure(&record.accepted.root);
            record.is_unstarted = is_sure && never_began;
            if is_live {
                record.epoch = Epoch::new(boot, record.epoch.attempt());
            }
            // One that was rolled back leaves when nothing of it executes.
            let is_known = record.accepted.due.is_some() && record.started_at.is_none();
            let waits = record.status == RunStatus::Paused || is_known;
            let may_execute =
                is_live && !waits && !is_given_up || record.is_rolled_back() && !record.quiescent;
            if let Some(name) = doubt.filter(|_| may_execute) {
                let nr = record.holds.iter().map(|hold| hold.nr).max();
                let nr = nr.map_or(0, |nr| nr.saturating_add(1));
                record.holds.push(StoredHold::new(nr, Work::Node, Arc::clone(name)));
            }
            open.extend(record.holds.iter().map(|hold| (record.run(), hold.clone())));
        }
        open
    }

    /// Yields the root of a run, and the numbers of its work that has not ended; none if it is not
    /// stored.
    #[cfg(feature = "test-util")]
    pub(crate) fn open(&self, run: RunId) -> Result<Option<(RunId, Vec<u32>)>, StoreError> {
        self.read(|tables| {
            let record = &tables.run(run)?.record;
            Some((record.accepted.root, record.holds.iter().map(|hold| hold.nr).collect()))
        })
    }

    /// Takes a stop that the former owner of a run was asked for, with a boot.
    #[cfg(feature = "test-util")]
    pub(crate) fn accept_stop(&self, stop: &AskedStop, boot: u32) -> Result<(), StoreError> {
        let run = self.read(|tables| {
            let record = &tables.run(stop.run)?.record;
            Some((record.epoch, record.accepted.at))
        })?;
        let Some((epoch, _)) = run.filter(|(_, at)| stop.means(*at)) else { return Ok(()) };
        let epoch = Epoch::new(boot, epoch.attempt());
        self.write(vec![Record::StopAccepted(Box::new(stop.accepted(epoch)))])
    }

    /// Tells when a run was accepted that is stored.
    #[cfg(feature = "test-util")]
    pub(crate) fn accepted_at(&self, run: RunId) -> Result<Option<SystemTime>, StoreError> {
        self.read(|tables| tables.run(run).map(|run| run.record.accepted.at))
    }

    /// Yields the epoch of a run that is stored.
    #[cfg(feature = "test-util")]
    pub(crate) fn epoch(&self, run: RunId) -> Result<Option<Epoch>, StoreError> {
        self.read(|tables| tables.run(run).map(|run| run.record.epoch))
    }

    pub(crate) fn write(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let mut bytes = 0;
        for record in &batch {
            let (of_record, bytes_max) = (record.bytes(), limits::STORE_RECORD_BYTES_MAX);
            if of_record > bytes_max {
                let what = "a record";
                return Err(StoreError::TooLarge { what, bytes: of_record, bytes_max });
            }
            bytes += of_record;
        }
        let mut tables = self.tables.lock();
        let tables = tables.as_mut().ok_or(StoreError::Closed)?;
        Admission::check(tables, &batch)?;
        // What frees room, or ends a run, is never refused for want of it.
        let grows = batch.iter().any(|record| {
            !matches!(record, Record::Ended { .. } | Record::Quiesced { .. })
                && !matches!(record, Record::StopAccepted(_) | Record::Forgotten { .. })
                && !matches!(record, Record::HoldEnded { .. })
        });
        if grows && tables.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(StoreError::Full { what: format!("{} bytes in memory", self.bytes_max) });
        }
        for record in batch {
            tables.apply(record);
        }
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        self.tables.lock().as_ref().map(read).ok_or(StoreError::Closed)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn boot(&self) -> u32 {
        1
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.write(batch) })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        let record = |tables: &Tables| tables.run(run).map(|stored| stored.record.clone());
        Box::pin(ready(self.read(record)))
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let claim = tables.claim(&(owner, key), at)?;
            let (run, payload) = (claim.run, claim.payload);
            Some(Claim { run, payload, is_forgotten: claim.forgotten_at.is_some() })
        })))
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let before = page.begin().map_or(u64::MAX, Cursor::as_u64);
            let runs = tables.runs.range(..before).rev();
            let meant = runs.filter(|(_, it)| filter.matches(&it.record.facts()));
            let sized = meant.map(|run| {
                let (place, bytes, mut record) = sized(run);
                let left_out = page.omitted().take_out(&mut record.accepted);
                (place, bytes.saturating_sub(left_out), record)
            });
            paged(page, sized)
        })))
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let Some((stored, from)) = tables.run(root).zip(after.checked_add(1)) else {
                return Vec::new();
            };
            let events = stored.events.range(from..).map(|(seq, event)| {
                let epoch = stored.record.epoch;
                let bytes = Record::Event { epoch, event: event.clone() }.bytes();
                (*seq, bytes, event.clone())
            });
            paged(Page::first(limit), events).items
        })))
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let before = page.begin().map_or(u64::MAX, Cursor::as_u64);
            let of_lane = tables.checkpoints.range(..before).rev();
            let of_lane = of_lane.filter(|(_, stored)| *stored.lane == *lane);
            let sized = of_lane.map(|(place, stored)| {
                (*place, stored.checkpoint.state.len(), stored.checkpoint.clone())
            });
            paged(page, sized)
        })))
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let after = page.begin().map_or(Bound::Unbounded, |it| Bound::Excluded(it.as_u64()));
            let runs = tables.runs.range((after, Bound::Unbounded));
            let is_left = |it: &RunRecord| !it.status.is_terminal() || it.is_rolled_back();
            paged(page, runs.filter(|(_, it)| is_left(&it.record)).map(sized))
        })))
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let after = page.begin().map_or(Bound::Unbounded, |it| Bound::Excluded(it.as_u64()));
            let lanes = tables.live_lanes();
            let runs = tables.runs.range((after, Bound::Unbounded));
            let ended = runs.filter_map(|(place, it)| Some((place, tables.ended(it, &lanes)?)));
            paged(page, ended.map(|(place, tree)| (*place, size_of::<EndedTree>(), tree)))
        })))
    }

    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        Box::pin(ready(self.read(|tables| {
            let now = |ask: &TreeAsk| {
                let all = tables.runs.values().map(|run| &run.record);
                TreeNow::of(
                    ask,
                    all.filter(|it| it.accepted.root == ask.root && it.run() != ask.root),
                )
            };
            asked.iter().map(now).collect()
        })))
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(ready(self.read(|tables| tables.bytes as u64)))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let closed = self.tables.lock().take();
        drop(closed);
        Box::pin(ready(Ok(())))
    }
}

/// Yields a run with its place and its bytes.
fn sized((place, stored): (&u64, &StoredRun)) -> (u64, usize, RunRecord) {
    (*place, stored.bytes(), stored.record.clone())
}

/// Takes as much of a list as a page has room for.
fn paged<T>(page: Page, all: impl Iterator<Item = (u64, usize, T)>) -> Pages<Stored<T>> {
    let (mut items, mut ends, mut sum) = (Vec::new(), Vec::new(), 0_usize);
    for (place, bytes, item) in all {
        sum = sum.saturating_add(bytes);
        let is_full = items.len() == page.limit() || sum > limits::STORE_PAGE_BYTES_MAX;
        if is_full && !items.is_empty() {
            let next = ends.last().copied();
            return Pages { items, ends, next };
        }
        items.push(Ok(item));
        ends.push(Cursor::from_u64(place));
    }
    Pages { items, ends, next: None }
}
