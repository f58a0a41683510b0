//! A store that kills its process at a point of an append of one kind.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored,
};
use quell_core::{RunEvent, RunFilter, RunId};
use quell_sqlite::SqliteStore;

use crate::death;
use crate::fixture::beside;

/// Records of each kind, by what a child says when one is acknowledged.
pub(crate) const KINDS: [(char, &str); 8] = [
    ('a', "an accepted run"),
    ('s', "a stop"),
    ('k', "a saved state"),
    ('p', "a pause"),
    ('r', "an answer"),
    ('e', "an end"),
    ('u', "an end with rollback"),
    ('f', "a forgotten tree"),
];

/// When the process of an engine dies.
pub(crate) const POINTS: [&str; 4] = [
    "before its append",
    "within a COMMIT",
    "after COMMIT and before the engine knows",
    "after it is acknowledged",
];

/// Which one of the appends of a kind is the last one, and where. Written as two indices and a
/// count for the child.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) kind: usize,
    pub(crate) point: usize,
    left: AtomicUsize,
}

/// A store in whose process [`Death`] comes.
#[derive(Debug)]
pub(crate) struct Dying(pub(crate) SqliteStore);

/// What was ordered.
static DEATH: OnceLock<Death> = OnceLock::new();

impl Death {
    pub(crate) const fn new(kind: usize, point: usize, left: usize) -> Self {
        Self { kind, point, left: AtomicUsize::new(left) }
    }

    fn read(how: &str) -> Option<Self> {
        let numbers: Vec<usize> = how.split(' ').filter_map(|it| it.parse().ok()).collect();
        let [kind, point, left] = numbers[..] else { return None };
        Some(Self::new(kind, point, left))
    }

    /// Has the process die as it is told to; never if it is told nothing.
    pub(crate) fn order(how: &str) {
        if let Some(death) = Self::read(how) {
            DEATH.set(death).unwrap();
        }
    }

    fn is_now(&self, kind: char) -> bool {
        KINDS[self.kind].0 == kind && self.left.fetch_sub(1, Ordering::SeqCst) == 0
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.point, self.left.load(Ordering::SeqCst))
    }
}

/// Tells the death of this process that something was acknowledged, and said.
pub(crate) fn said(what: &str) {
    if let (Some(death), Some(kind)) = (DEATH.get(), what.chars().next())
        && death.point == 3
        && death.is_now(kind)
    {
        death::now();
    }
}

fn kind_of(record: &Record) -> Option<char> {
    match record {
        Record::Accepted(accepted) if accepted.parent.is_none() => Some('a'),
        Record::StopAccepted(_) => Some('s'),
        Record::Checkpoint { .. } => Some('k'),
        Record::Paused { .. } => Some('p'),
        Record::Resumed { .. } => Some('r'),
        Record::Ended { rollback: true, .. } => Some('u'),
        Record::Ended { .. } => Some('e'),
        Record::Forgotten { .. } => Some('f'),
        _ => None,
    }
}

impl Store for Dying {
    fn boot(&self) -> u32 {
        self.0.boot()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        let last = DEATH.get().filter(|death| {
            let mut kinds = batch.iter().filter_map(kind_of);
            death.point < 3 && kinds.any(|kind| death.is_now(kind))
        });
        match last.map(|death| death.point) {
            Some(0) => death::now(),
            Some(1) => {
                let log = beside(self.0.path(), "-wal");
                death::beyond(log.metadata().map_or(0, |log| log.len()));
            }
            _ => {}
        }
        Box::pin(async move {
            let answer = self.0.append(batch).await;
            if last.is_some_and(|death| death.point == 2) {
                death::now();
            }
            answer
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.0.get(run)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.0.claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.0.list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.0.events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.0.checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.0.recover(page)
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.0.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.close()
    }
}
