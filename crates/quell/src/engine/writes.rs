//! [`Writes`] are records on their way into the store, many in one append.

use std::sync::Arc;
use std::task::Poll;

use quell_core::Counts;
use quell_core::store::{BoxFuture, EndedTree, Record, Store, StoreError};

use crate::engine::prune;
use crate::journal::{Journal, Recorded};

/// Records on their way into the store, many in one append. The next ones are made while the store
/// writes.
pub(super) struct Writes<'a, R> {
    pub(super) store: &'a dyn Store,
    pub(super) journal: &'a Journal<R>,
    batch: Vec<Record>,
    bytes: usize,
    /// The append that the store has begun, at most one: their order stays.
    begun: Option<BoxFuture<'a, Result<(), StoreError>>>,
    /// Runs whose end is among what was written, by how they ended.
    pub(super) ended: Counts,
    /// Those of them that are roots.
    pub(super) ended_roots: Counts,
    /// Lanes that roots had, or waited for, whose end is among it.
    pub(super) freed: Vec<Arc<str>>,
    /// Trees that are forgotten when the rest is stored; none while each is forgotten with its end.
    later: Option<Vec<EndedTree>>,
}

impl<'a, R: Recorded> Writes<'a, R> {
    /// Makes an empty batch. If runs cannot be read, trees are forgotten when the rest is stored,
    /// each by itself: the store may refuse that, for such a run is left live, and would refuse
    /// all of an append with it.
    pub(super) fn new(journal: &'a Journal<R>, has_unreadable: bool) -> Self {
        let (batch, ended, ended_roots) = (Vec::new(), Counts::default(), Counts::default());
        let (store, later) = (&*journal.store, has_unreadable.then(Vec::new));
        let (begun, freed) = (None, Vec::new());
        Self { store, journal, batch, bytes: 0, begun, ended, ended_roots, freed, later }
    }

    pub(super) async fn push(&mut self, record: Record) -> Result<(), StoreError> {
        self.add(record);
        self.flush_if_full().await
    }

    /// Takes a record. What forgets a tree stays in one append with what comes before it.
    pub(super) fn add(&mut self, record: Record) {
        if let Record::Forgotten { run, epoch, at } = record
            && let Some(later) = &mut self.later
        {
            return later.push(EndedTree::new(run, epoch, at, at));
        }
        if let Record::Ended { report, .. } = &record {
            self.ended.add(report.status);
            if report.own_row().parent.is_none() {
                self.ended_roots.add(report.status);
            }
        }
        self.bytes += record.bytes();
        self.batch.push(record);
    }

    pub(super) async fn flush_if_full(&mut self) -> Result<(), StoreError> {
        if self.batch.len() < BATCH_MAX && self.bytes < BATCH_BYTES_MAX {
            return Ok(());
        }
        self.begin().await
    }

    /// Lets the store begin with what is there, when it has done what was before.
    async fn begin(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let mut append = self.store.append(batch);
        match futures::poll!(&mut append) {
            Poll::Ready(done) => done,
            Poll::Pending => {
                self.begun = Some(append);
                Ok(())
            }
        }
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some(append) = &mut self.begun else { return Ok(()) };
        let done = append.await;
        self.begun = None;
        done
    }

    /// Writes what is left, and waits until all of it is stored.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        self.begin().await?;
        self.settle().await?;
        let later = self.later.as_mut().map(std::mem::take);
        prune::forget(self.store, later.unwrap_or_default()).await
    }
}

/// Records of one append, and their bytes, about.
const BATCH_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
