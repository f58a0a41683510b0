//! [`LeftBehind`] collects what an earlier process has left behind, tree by tree, and
//! [`LeftTree::write`] writes how a tree ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::cluster::AskedStop;
use quell_core::store::{Accepted, Record, RunRecord, Store, StoreError, Unreadable};
use quell_core::{Abandoned, Cause, Counts, EventKind, RunId, RunReport, RunRow};

use crate::engine::left_log::{Lacks, LeftLog};
use crate::engine::recover::{Recovery, Resumed};
use crate::engine::writes::Writes;
use crate::engine::{left_paused, lost};
use crate::failure::SubmitError;
use crate::journal::{Journal, Recorded};
use crate::node::earlier::Earlier;

/// The runs that an earlier process has left behind, as they are to end or to go on.
pub(super) struct LeftBehind<D> {
    decide: D,
    at: SystemTime,
    pub(super) trees: Vec<LeftTree>,
    /// The places of the trees by the ids of their roots.
    places: HashMap<RunId, usize>,
    /// Why runs end, if they were stopped.
    above: HashMap<RunId, Option<Arc<Cause>>>,
    /// Runs below roots that are not among those that were left behind.
    pub(super) strays: Vec<RunRecord>,
}

/// What becomes of a root.
pub(super) enum Fate {
    Ends,
    /// It goes on as its next attempt.
    GoesOn(Resumed),
    /// It is paused still, and goes on so when it has its answer, if that is known.
    StaysPaused(Option<Resumed>),
}

/// A tree, as it is to end, or to go on without what was below its root.
pub(super) struct LeftTree {
    pub(super) root: RunRecord,
    pub(super) fate: Fate,
    /// How the runs end, each with its record; a parent comes before its children. That of the
    /// root, if it ends, is the first.
    pub(super) ends: Vec<(RunRecord, RunRow)>,
    /// What runs that had ended before have left, as far as no row of a report names it.
    pub(super) left: Vec<Abandoned>,
    /// What a root that does not end has of its earlier attempts. Known when the tree is written.
    pub(super) earlier: Earlier,
}

impl<D: FnMut(&RunRecord) -> Recovery> LeftBehind<D> {
    pub(super) fn new(decide: D) -> Self {
        let (places, above) = (HashMap::new(), HashMap::new());
        let (trees, strays) = (Vec::new(), Vec::new());
        Self { decide, at: SystemTime::now(), trees, places, above, strays }
    }

    /// Takes a run. A root comes before what is below it: it was accepted first.
    pub(super) fn add(&mut self, record: RunRecord) {
        if record.accepted.parent.is_some() {
            return match self.places.get(&record.accepted.root).copied() {
                Some(place) => self.add_below(place, record),
                None => self.strays.push(record),
            };
        }
        let tree = if lost::stop_of(&record).is_some() {
            LeftTree::ending(record, self.at)
        } else {
            match (left_paused::is_paused(&record), (self.decide)(&record)) {
                (true, Recovery::Resume(how)) => {
                    LeftTree::staying(record, Fate::StaysPaused(Some(*how)))
                }
                // No worker of it is lost.
                (true, Recovery::Fail) => LeftTree::staying(record, Fate::StaysPaused(None)),
                (false, Recovery::Resume(how)) => LeftTree::staying(record, Fate::GoesOn(*how)),
                (false, Recovery::Fail) => LeftTree::ending(record, self.at),
            }
        };
        let cause = tree.ends.first().and_then(|(_, row)| row.cause.clone());
        self.above.insert(tree.root.run(), cause);
        self.places.insert(tree.root.run(), self.trees.len());
        self.trees.push(tree);
    }

    fn add_below(&mut self, place: usize, record: RunRecord) {
        let row = self.row_below(&record);
        if let Some(tree) = self.trees.get_mut(place) {
            tree.ends.push((record, row));
        }
    }

    /// Yields how a run below a root ends. A parent was asked about before its children.
    fn row_below(&mut self, record: &RunRecord) -> RunRow {
        let above = record.accepted.parent.and_then(|parent| self.above.get(&parent));
        let row = lost::row(record, above.and_then(Option::as_ref), self.at);
        self.above.insert(record.run(), row.cause.clone());
        row
    }

    /// Ends runs whose roots have ended: their records, children first.
    pub(super) fn end_strays<R: Recorded>(
        &mut self,
        strays: Vec<RunRecord>,
        journal: &Journal<R>,
    ) -> Vec<Record> {
        let mut records: Vec<_> = strays
            .into_iter()
            .map(|record| {
                let report = RunReport::new(vec![self.row_below(&record)], Counts::default());
                end_of(&record, report, journal)
            })
            .collect();
        records.reverse();
        records
    }
}

impl LeftTree {
    fn ending(root: RunRecord, at: SystemTime) -> Self {
        let ends = vec![(root.clone(), lost::row(&root, None, at))];
        Self { root, fate: Fate::Ends, ends, left: Vec::new(), earlier: Earlier::default() }
    }

    pub(super) fn staying(root: RunRecord, fate: Fate) -> Self {
        let (ends, left, earlier) = (Vec::new(), Vec::new(), Earlier::default());
        Self { root, fate, ends, left, earlier }
    }

    /// Writes how a root ends that was to go on, and may not: by a stop, if one was asked for since
    /// it was read.
    pub(super) async fn end_refused<R: Recorded>(
        root: RunRecord,
        error: &SubmitError,
        asked: impl Fn(&Accepted) -> Vec<AskedStop>,
        writes: &mut Writes<'_, R>,
    ) -> Result<(), StoreError> {
        let log = LeftLog::read(writes.store, root.run()).await?;
        let mut tree = Self::ending(root, SystemTime::now());
        for (_, row) in &mut tree.ends {
            row.error =
                Some(format!("{}, and it may not go on: {error}", lost::WORKER_LOST).into());
        }
        tree.take_stops(asked);
        tree.write(log, writes).await.map(drop)
    }

    /// Takes in stops that were asked for since the runs were read, and that nobody has answered:
    /// one that is recorded ends its run with the cause of the first (I34).
    pub(super) fn take_stops(&mut self, asked: impl Fn(&Accepted) -> Vec<AskedStop>) {
        let mut has_any = false;
        let own = std::iter::once(&mut self.root);
        for record in own.chain(self.ends.iter_mut().map(|(record, _)| record)) {
            for stop in asked(&record.accepted) {
                record.apply(&Record::StopAccepted(stop.accepted(record.epoch).into()));
                has_any = true;
            }
        }
        if !has_any {
            return;
        }
        let at = SystemTime::now();
        if lost::stop_of(&self.root).is_some() && !matches!(self.fate, Fate::Ends) {
            self.fate = Fate::Ends;
            self.ends.insert(0, (self.root.clone(), lost::row(&self.root, None, at)));
        }
        let mut causes: HashMap<RunId, Option<Arc<Cause>>> = HashMap::new();
        for (record, row) in &mut self.ends {
            let above = record.accepted.parent.and_then(|parent| causes.get(&parent));
            *row = lost::row(record, above.and_then(Option::as_ref), at);
            causes.insert(record.run(), row.cause.clone());
        }
    }

    /// Takes in why runs stop, and the last time, as the log tells.
    fn take_told(&mut self, log: &LeftLog) {
        for (record, row) in &mut self.ends {
            // A stop that came from above is stored there, and one because of a failure is not.
            if let Some(cause) = log.cause_of(record.run()).filter(|_| row.cause.is_none()) {
                lost::stop(row, Arc::clone(cause));
            }
            lost::not_before(row, log.last_at());
        }
    }

    /// Writes how the tree ends, its log included, which tells so far. Yields the number of the
    /// last event.
    pub(super) async fn write<R: Recorded>(
        &mut self,
        mut log: LeftLog,
        writes: &mut Writes<'_, R>,
    ) -> Result<u64, StoreError> {
        let store = writes.store;
        self.take_told(&log);
        let before = self.ended_before(store, &log).await?;
        self.raise_doubt(&before, &log);
        self.left = before.left;
        let used = self.take_usage(&log);
        let emitted = self.take_emitted(store, &log).await?;
        let ends_root = matches!(self.fate, Fate::Ends);
        // Of a root that never had a log, all events follow from its record, unless it goes on:
        // then its next attempt has the numbers behind them.
        let is_in_doubt = self.ends.iter().any(|(_, row)| !row.abandoned.is_empty());
        let goes_on = !ends_root && self.root.started_at.is_some();
        let has_more = self.ends.len() > usize::from(ends_root)
            || self.root.paused.is_some()
            || is_in_doubt
            || goes_on;
        let is_logged = log.has_any() || has_more;
        writes.freed.extend(self.root.accepted.lane.clone().filter(|_| ends_root));
        let mut whole = self.whole(used, (before.rows, before.omitted), &log);
        self.earlier.emitted = emitted;
        let mut closed = Vec::from_iter((!ends_root).then(|| (self.root.clone(), None)));
        for (record, row) in &self.ends {
            let own = || RunReport::new(vec![row.clone()], Counts::default());
            let report = whole.take().unwrap_or_else(own);
            let end = end_of(record, report, writes.journal);
            let mut ended = record.clone();
            ended.apply(&end);
            closed.push((ended, Some(end)));
        }
        closed.extend(before.unsaid.into_iter().map(|record| (record, None)));
        let lacks = |(record, end): (RunRecord, _)| {
            let lacks = if is_logged { log.lacks(&record) } else { Lacks::default() };
            (record.run(), lacks, end)
        };
        let mut closed: Vec<_> = closed.into_iter().map(lacks).collect();
        for (run, lacks, _) in &mut closed {
            self.write_events(writes, &mut log, *run, std::mem::take(&mut lacks.beginning)).await?;
        }
        if !ends_root {
            let of_pause = log.lacks_of_pause(&self.root);
            self.write_events(writes, &mut log, self.root.run(), of_pause).await?;
        }
        // No child begins after a stop of its parent (I8).
        for (run, lacks, _) in &mut closed {
            self.write_events(writes, &mut log, *run, std::mem::take(&mut lacks.stop)).await?;
        }
        // Children end before their parents (I1).
        for (run, lacks, end) in closed.into_iter().rev() {
            self.write_events(writes, &mut log, run, lacks.end).await?;
            let Some(end) = end else { continue };
            // In one append: a run that was taken back is not found between the two.
            let forgotten = forgotten(&end);
            writes.add(end);
            if let Some(forgotten) = forgotten {
                writes.add(forgotten);
            }
            writes.flush_if_full().await?;
        }
        Ok(log.last_seq())
    }

    async fn write_events<R: Recorded>(
        &self,
        writes: &mut Writes<'_, R>,
        log: &mut LeftLog,
        run: RunId,
        events: Vec<(SystemTime, EventKind)>,
    ) -> Result<(), StoreError> {
        // As the root left it: if this fails half-way, a further call still finds it left behind.
        let epoch = self.root.epoch;
        for event in events {
            let event = log.next(run, event);
            writes.push(Record::Event { epoch, event }).await?;
        }
        Ok(())
    }
}

/// Makes the record of an end.
fn end_of<R: Recorded>(record: &RunRecord, report: RunReport, journal: &Journal<R>) -> Record {
    let epoch = journal.epoch(record.epoch.attempt());
    let rollback = record.stop.as_ref().is_some_and(|stop| stop.rollback);
    Record::Ended { run: record.run(), epoch, report: report.into(), rollback }
}

/// What is rolled back is forgotten as well, if nothing of it may execute any more.
fn forgotten(end: &Record) -> Option<Record> {
    let Record::Ended { run, epoch, report, rollback: true } = end else { return None };
    let at = report.own_row().ended_at.filter(|_| report.own_row().quiescent)?;
    Some(Record::Forgotten { run: *run, epoch: *epoch, at })
}

/// Reads a run. One that cannot be read counts as none: what is left of it nobody can tell.
pub(super) async fn read(store: &dyn Store, run: RunId) -> Result<Option<RunRecord>, StoreError> {
    match store.get(run).await {
        Err(StoreError::Unreadable(_)) => Ok(None),
        read => read,
    }
}

/// Takes the runs below roots that can be read. The others are left as they are, and named: what
/// becomes of them is the root's.
pub(super) async fn readable(
    store: &dyn Store,
    strays: &mut Vec<RunRecord>,
    unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<RunRecord>, StoreError> {
    let (mut faults, mut kept) = (HashMap::new(), Vec::new());
    for record in std::mem::take(strays) {
        let root = record.accepted.root;
        let fault = match faults.entry(root) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(match store.get(root).await {
                Ok(_) => None,
                Err(StoreError::Unreadable(root)) => Some(root),
                Err(error) => return Err(error),
            }),
        };
        match fault {
            None => kept.push(record),
            Some(root) => {
                let run = Some(record.run());
                unreadable.push(Unreadable::new(run, "root", &root.fault));
            }
        }
    }
    Ok(kept)
}
