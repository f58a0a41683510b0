//! [`Engine::recover`] decides the runs that an earlier process has left behind (T13).

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{Page, Record, RunRecord, Store, StoreError, Unreadable};
use quell_core::{Cause, Counts, EventKind, RunEvent, RunId, RunReport, RunRow, limits};

use crate::body::context::RunContext;
use crate::body::driver;
use crate::engine::Engine;
use crate::engine::lost;
use crate::failure::{Failure, SubmitError};
use crate::journal::{Journal, Recorded};
use crate::run::RunRef;
use crate::spec::{Again, RunSpec};

/// What is to become of a root that an earlier process has left behind, and that was not stopped.
#[derive(Debug)]
#[must_use = "it does nothing until it is given to `Engine::recover`"]
#[non_exhaustive]
pub enum Recovery {
    /// It ends `Failed`: its worker was lost.
    Fail,
    /// It goes on as its next attempt.
    Resume(Box<Resumed>),
}

/// A run that goes on, and how.
pub struct Resumed {
    spec: RunSpec,
    body: Body,
}

type Body =
    Box<dyn FnOnce(RunContext) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send>;

impl Recovery {
    /// Lets the run go on as its next attempt: the same run, with this body. Its id, owner, labels
    /// and annotations are those that are stored, and so is its input if the spec has none; the
    /// rest is the spec's, and its timeout goes on from the first start.
    pub fn resume<F, Fut>(spec: RunSpec, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self::Resume(Box::new(Resumed { spec, body: Box::new(|ctx| Box::pin(body(ctx))) }))
    }
}

impl fmt::Debug for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumed").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// What became of the runs that an earlier process had left behind.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Runs that have ended now, with those below roots, by how they ended.
    pub ended: Counts,
    /// Roots that go on.
    pub resumed: Vec<RunRef>,
    /// Roots that were to go on, and have failed, because the engine has refused them.
    pub refused: Vec<(RunId, SubmitError)>,
    /// What could not be read, and is as it was.
    pub unreadable: Vec<Unreadable>,
}

impl Engine {
    /// Decides every run of the store that an earlier process has left behind: before the first
    /// submit, once. A root that was stopped ends with the cause of that stop, whatever else (I34);
    /// of the others `decide` says what is to become of them. What ran below a root ends in any
    /// case: a root that goes on starts it anew. Without a store there is nothing to decide.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. What was decided stays so, and a further call goes on
    /// with the rest.
    ///
    /// # Cancel safety
    ///
    /// As an error: what was decided stays so.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, Recovery, RunSpec};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store));
    /// let recovered = engine
    ///     .recover(|run| match &*run.accepted.name {
    ///         "report" => Recovery::resume(RunSpec::agent("report"), async |_| Ok(())),
    ///         _ => Recovery::Fail,
    ///     })
    ///     .await
    ///     .unwrap();
    /// assert_eq!(recovered.ended.total(), 0);
    /// # });
    /// ```
    pub async fn recover(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let Some(journal) = &self.shared().journal else { return Ok(recovered) };
        let store = &*journal.store;
        let is_here = |record: &RunRecord| {
            record.epoch.boot() == journal.boot() || self.get(record.accepted.root).is_some()
        };
        let mut left = LeftBehind::new(decide);
        let mut page = Page::first(limits::STORE_PAGE_MAX);
        loop {
            let read = store.recover(page).await?;
            for record in read.items {
                match record {
                    // What this engine runs is not left behind.
                    Ok(record) if is_here(&record) => {}
                    Ok(record) => left.add(record),
                    Err(unreadable) => recovered.unreadable.push(unreadable),
                }
            }
            let Some(next) = read.next else { break };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
        let (ends, resumed) = left.into_ends();
        let mut ends = ends.flat_map(|end| {
            recovered.ended.add(end.rows[0].status);
            end.into_records(journal)
        });
        loop {
            let batch: Vec<_> = ends.by_ref().take(BATCH_MAX).collect();
            if batch.is_empty() {
                break;
            }
            store.append(batch).await?;
        }
        for (record, resumed) in resumed {
            let last = last_seq(store, record.run()).await?;
            match self.go_on(&record, last, resumed) {
                Ok(run) => recovered.resumed.push(run),
                Err(error) => {
                    let end = End::refused(&record, &error);
                    recovered.ended.add(end.rows[0].status);
                    store.append(end.into_records(journal).collect()).await?;
                    recovered.refused.push((record.run(), error));
                }
            }
        }
        Ok(recovered)
    }

    /// Starts the next attempt of a run.
    fn go_on(
        &self,
        record: &RunRecord,
        last_seq: u64,
        resumed: Resumed,
    ) -> Result<RunRef, SubmitError> {
        let Resumed { mut spec, body } = resumed;
        let accepted = &record.accepted;
        spec = spec.id(accepted.run);
        spec.input = spec.input.or_else(|| accepted.input.clone());
        let about = spec.about.get_or_insert_default();
        about.owner.clone_from(&accepted.owner);
        about.labels.clone_from(&accepted.labels);
        about.annotations.clone_from(&accepted.annotations);
        let attempt = record.epoch.attempt().saturating_add(1);
        spec.again = Some(Again { attempt, first_seq: last_seq.saturating_add(1) });
        if let (Some(timeout), Some(started)) = (spec.timeout, record.started_at) {
            let passed = SystemTime::now().duration_since(started).unwrap_or_default();
            spec.timeout = Some(timeout.saturating_sub(passed));
        }
        let (node, _) = self.shared().accept_root(spec)?;
        driver::spawn(&node, body);
        Ok(RunRef::new(node))
    }
}

/// The runs that an earlier process has left behind, as they are to end or to go on.
struct LeftBehind<D> {
    decide: D,
    at: SystemTime,
    /// Roots that end, and their places by their ids.
    roots: Vec<End>,
    places: HashMap<RunId, usize>,
    /// How deep runs are, and why they end, if they were stopped.
    above: HashMap<RunId, (u32, Option<Arc<Cause>>)>,
    /// What was below roots.
    below: Vec<End>,
    resumed: Vec<(RunRecord, Resumed)>,
}

/// How a run ends.
struct End {
    attempt: u32,
    rollback: bool,
    /// Its own row first.
    rows: Vec<RunRow>,
    omitted: Counts,
}

impl<D: FnMut(&RunRecord) -> Recovery> LeftBehind<D> {
    fn new(decide: D) -> Self {
        let (roots, places, above) = (Vec::new(), HashMap::new(), HashMap::new());
        let (below, resumed) = (Vec::new(), Vec::new());
        Self { decide, at: SystemTime::now(), roots, places, above, below, resumed }
    }

    /// Takes a run. A root comes before what is below it: it was accepted first.
    fn add(&mut self, record: RunRecord) {
        if record.accepted.parent.is_some() {
            return self.add_below(&record);
        }
        if lost::stop_of(&record).is_none()
            && let Recovery::Resume(resumed) = (self.decide)(&record)
        {
            self.resumed.push((record, *resumed));
            return;
        }
        let row = lost::row(&record, None, self.at);
        self.places.insert(record.run(), self.roots.len());
        self.above.insert(record.run(), (0, row.cause.clone()));
        self.roots.push(End::new(&record, row));
    }

    /// A parent comes before its children, too.
    fn add_below(&mut self, record: &RunRecord) {
        let above = record.accepted.parent.and_then(|parent| self.above.get(&parent));
        let (depth, cause) = above.cloned().unwrap_or_default();
        let mut row = lost::row(record, cause.as_ref(), self.at);
        row.depth = depth + 1;
        self.above.insert(record.run(), (row.depth, row.cause.clone()));
        let place = self.places.get(&record.accepted.root);
        if let Some(root) = place.and_then(|place| self.roots.get_mut(*place)) {
            if root.rows.len() < limits::REPORT_ROWS_MAX {
                root.rows.push(row.clone());
            } else {
                root.omitted.add(row.status);
            }
        }
        row.depth = 0;
        self.below.push(End::new(record, row));
    }

    /// Yields the ends, those of children before those of roots (I1), and what goes on.
    fn into_ends(self) -> (impl Iterator<Item = End>, Vec<(RunRecord, Resumed)>) {
        (self.below.into_iter().rev().chain(self.roots), self.resumed)
    }
}

impl End {
    fn new(record: &RunRecord, row: RunRow) -> Self {
        let rollback = record.stop.as_ref().is_some_and(|stop| stop.rollback);
        let (attempt, omitted) = (record.epoch.attempt(), Counts::default());
        Self { attempt, rollback, rows: vec![row], omitted }
    }

    /// Ends a run that was to go on.
    fn refused(record: &RunRecord, error: &SubmitError) -> Self {
        let mut row = lost::row(record, None, SystemTime::now());
        row.error = Some(format!("{}, and it may not go on: {error}", lost::WORKER_LOST).into());
        Self::new(record, row)
    }

    /// Makes the records: what is rolled back is forgotten as well.
    fn into_records<R: Recorded>(self, journal: &Journal<R>) -> impl Iterator<Item = Record> {
        let (epoch, report) =
            (journal.epoch(self.attempt), RunReport::new(self.rows, self.omitted));
        let (run, rollback, at) = (report.run, self.rollback, report.rows[0].ended_at);
        let forgotten = at.filter(|_| rollback).map(|at| Record::Forgotten { run, epoch, at });
        let ended = Record::Ended { run, epoch, report: report.into(), rollback };
        std::iter::once(ended).chain(forgotten)
    }
}

/// Yields the number of the last event that is stored of a run.
async fn last_seq(store: &dyn Store, root: RunId) -> Result<u64, StoreError> {
    let mut last = 0;
    loop {
        let events = store.events(root, last, limits::STORE_PAGE_MAX).await?;
        let seqs = events.iter().map(|event| match event {
            Ok(RunEvent { kind: EventKind::Lagged { to, .. }, .. }) => *to,
            Ok(event) => event.seq,
            Err(unreadable) => unreadable.seq.unwrap_or(0),
        });
        match seqs.max() {
            Some(seq) if seq > last => last = seq,
            _ => return Ok(last),
        }
    }
}

/// Ends of one append.
const BATCH_MAX: usize = 1_000;
