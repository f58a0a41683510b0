//! [`LeftBehind`] collects what an earlier process has left behind, tree by tree, and
//! [`LeftTree::write`] writes how a tree ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{Record, RunRecord, Store, StoreError};
use quell_core::{Abandoned, Cause, Counts, EventKind, RunId, RunReport, RunRow, limits};

use crate::engine::doubt::EndedBefore;
use crate::engine::left_log::{Lacks, LeftLog};
use crate::engine::recover::{Recovery, Resumed};
use crate::engine::writes::Writes;
use crate::engine::{left_paused, lost};
use crate::failure::SubmitError;
use crate::journal::{self, Journal, Recorded};

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
        Self { root, fate: Fate::Ends, ends, left: Vec::new() }
    }

    pub(super) const fn staying(root: RunRecord, fate: Fate) -> Self {
        Self { root, fate, ends: Vec::new(), left: Vec::new() }
    }

    /// Makes the tree of a root that was to go on, and ends.
    pub(super) fn refused(root: RunRecord, error: &SubmitError) -> Self {
        let mut tree = Self::ending(root, SystemTime::now());
        for (_, row) in &mut tree.ends {
            row.error =
                Some(format!("{}, and it may not go on: {error}", lost::WORKER_LOST).into());
        }
        tree
    }

    /// Writes how the tree ends, its log included, which tells so far. Yields the number of the
    /// last event.
    pub(super) async fn write<R: Recorded>(
        &mut self,
        mut log: LeftLog,
        writes: &mut Writes<'_, R>,
    ) -> Result<u64, StoreError> {
        let store = writes.store;
        for (record, row) in &mut self.ends {
            // A stop that came from above is stored there, and one because of a failure is not.
            if let Some(cause) = log.cause_of(record.run()).filter(|_| row.cause.is_none()) {
                lost::stop(row, Arc::clone(cause));
            }
        }
        let before = self.ended_before(store, &log).await?;
        self.raise_doubt(&before, &log);
        self.left = before.left;
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
        let mut whole = ends_root.then(|| self.report(before.rows, before.omitted, &log));
        let mut closed = Vec::new();
        closed.extend((!ends_root).then(|| (self.root.clone(), None)));
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

    /// Finds the runs of the tree that had ended before, as far as the log tells of them.
    pub(super) async fn ended_before(
        &self,
        store: &dyn Store,
        log: &LeftLog,
    ) -> Result<EndedBefore, StoreError> {
        let mut found = EndedBefore::default();
        let live: HashSet<_> = self.ends.iter().map(|(record, _)| record.run()).collect();
        // A root that goes on makes a report of its own, of what its next attempt does.
        let rows_max = match self.fate {
            Fate::Ends => limits::REPORT_ROWS_MAX.saturating_sub(live.len()),
            Fate::GoesOn(_) | Fate::StaysPaused(_) => 0,
        };
        for (run, status) in log.below() {
            if live.contains(&run) {
                continue;
            }
            let has_row = found.rows.len() < rows_max;
            let is_sure = !has_row && !log.may_have_left(run);
            if let Some(status) = status.filter(|_| is_sure) {
                found.omitted.add(status);
                continue;
            }
            let record = match store.get(run).await {
                Ok(record) => record,
                Err(StoreError::Unreadable(_)) => None,
                Err(error) => return Err(error),
            };
            match record {
                // One that has left the tree is in the report of another root.
                Some(record) if record.accepted.root != self.root.run() => {}
                Some(RunRecord { report: Some(ref report), ref holds, .. }) => {
                    found.open.extend((!holds.is_empty()).then_some(run));
                    if has_row {
                        found.rows.push(report.own_row().clone());
                    } else {
                        found.omitted.add(report.status);
                        let room = limits::REPORT_ROWS_MAX.saturating_sub(found.left.len());
                        found.left.extend(holds.iter().take(room).map(|hold| hold.abandoned(run)));
                    }
                    found.unsaid.extend(record.filter(|_| status.is_none()));
                }
                _ => status.into_iter().for_each(|status| found.omitted.add(status)),
            }
        }
        Ok(found)
    }

    /// Makes the report of the root.
    fn report(&self, before: Vec<RunRow>, mut omitted: Counts, log: &LeftLog) -> RunReport {
        let (kept, left) = self.ends.split_at(self.ends.len().min(limits::REPORT_ROWS_MAX));
        for (_, row) in left {
            omitted.add(row.status);
        }
        let rows = kept.iter().map(|(_, row)| row.clone()).chain(before).collect();
        let report = RunReport::new(in_pre_order(rows, |run| log.place(run)), omitted);
        journal::to_record(report)
    }
}

/// Puts the rows of a tree, of which the first is the root's, in the order of the tree. Siblings
/// are in the order of their places. One whose parent has no row is below the root.
fn in_pre_order(rows: Vec<RunRow>, place: impl Fn(RunId) -> usize) -> Vec<RunRow> {
    let known: HashSet<_> = rows.iter().map(|row| row.run).collect();
    let mut ordered = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    let Some(root) = rows.next() else { return ordered };
    let mut below: HashMap<RunId, Vec<RunRow>> = HashMap::new();
    for row in rows {
        let parent = row.parent.filter(|parent| known.contains(parent)).unwrap_or(root.run);
        below.entry(parent).or_default().push(row);
    }
    let mut stack = vec![(root, 0)];
    while let Some((mut row, depth)) = stack.pop() {
        row.depth = depth;
        let mut children = below.remove(&row.run).unwrap_or_default();
        children.sort_by_key(|child| place(child.run));
        stack.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
        ordered.push(row);
    }
    ordered
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
