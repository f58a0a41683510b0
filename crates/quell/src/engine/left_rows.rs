//! The rows of a tree whose process is gone, and what its runs have used: of what had ended before,
//! and of what ends with it. A root that ends has them in its report, and one that goes on, or is
//! paused still, as what it has of its earlier attempts.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use futures::stream::{self, StreamExt};
use quell_core::store::{RunRecord, Store, StoreError};
use quell_core::{Abandoned, Counts, RunId, RunReport, RunRow, Usage, limits};

use crate::engine::doubt::EndedBefore;
use crate::engine::left_behind::{Fate, LeftTree, read};
use crate::engine::left_log::LeftLog;
use crate::journal;
use crate::node::earlier::Earlier;

/// What a root that goes on, or is paused still, has of what an earlier process has left.
#[derive(Debug)]
pub(super) struct Left {
    /// What may still execute of it.
    pub(super) lost: Vec<Abandoned>,
    /// What it has used and what has ended below it.
    pub(super) earlier: Earlier,
    /// When the last event of its log was.
    pub(super) last_at: SystemTime,
}

impl LeftTree {
    /// Finds the runs of the tree that had ended before, as far as the log tells of them. At most
    /// as many are read as a report has rows, and those that may have left work.
    pub(super) async fn ended_before(
        &self,
        store: &dyn Store,
        log: &LeftLog,
    ) -> Result<EndedBefore, StoreError> {
        let mut found = EndedBefore::default();
        let live: HashSet<_> = self.ends.iter().map(|(record, _)| record.run()).collect();
        let ends_root = matches!(self.fate, Fate::Ends);
        // That of the root is one of those that end, or comes when it has ended.
        let rows_max = limits::REPORT_ROWS_MAX.saturating_sub(live.len() + usize::from(!ends_root));
        let below = log.below().into_iter().filter(|(run, _)| !live.contains(run));
        let reads = stream::iter(below.enumerate()).map(async |(nth, (run, status))| {
            let has_row = nth < rows_max;
            let is_sure = !has_row && status.is_some() && !log.may_have_left(run);
            let record = if is_sure { Ok(None) } else { read(store, run).await };
            (run, status, has_row, record)
        });
        let mut reads = std::pin::pin!(reads.buffered(READS_AHEAD));
        while let Some((run, status, has_row, record)) = reads.next().await {
            let record = record?;
            match record {
                // One that has left the tree is in the report of another root.
                Some(record) if record.accepted.root != self.root.run() => {}
                Some(RunRecord { report: Some(ref report), ref holds, .. }) => {
                    found.open.extend((!holds.is_empty()).then_some(run));
                    if has_row {
                        found.rows.push(report.own_row().clone());
                    } else {
                        found.omitted.add(report.status);
                    }
                    // A root that does not end names it when it does.
                    if !(has_row && ends_root) {
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

    /// Puts into the rows of those that end what they have used. Yields what the root has.
    pub(super) fn take_usage(&mut self, log: &LeftLog) -> Usage {
        let (mut used, root) = (log.used(), self.root.run());
        // The log may have a gap in its place.
        let of_root = used.get(&root).copied().unwrap_or_default();
        used.insert(root, of_root.at_least(log.least_used(&self.root)));
        for (record, row) in &mut self.ends {
            row.usage = used.get(&record.run()).copied().unwrap_or_default();
        }
        used.get(&root).copied().unwrap_or_default()
    }

    /// Makes the report of a root that ends, or else keeps what it has of its earlier attempts.
    pub(super) fn whole(
        &mut self,
        used: Usage,
        (before, mut omitted): (Vec<RunRow>, Counts),
        log: &LeftLog,
    ) -> Option<RunReport> {
        if !matches!(self.fate, Fate::Ends) {
            self.earlier = self.of_earlier(used, (before, omitted), log);
            return None;
        }
        let rows = self.rows(None, before, &mut omitted, log);
        Some(journal::to_record(RunReport::new(rows, omitted)))
    }

    /// Makes what a root that does not end has of its earlier attempts.
    fn of_earlier(
        &self,
        used: Usage,
        (before, mut omitted): (Vec<RunRow>, Counts),
        log: &LeftLog,
    ) -> Earlier {
        if self.ends.is_empty() && before.is_empty() {
            return Earlier { used, omitted, ..Earlier::default() };
        }
        let mut rows = self.rows(Some(self.root.row()), before, &mut omitted, log);
        // Its own is made when somebody asks.
        rows.remove(0);
        let lost = self.lost();
        let of_root: HashSet<_> = lost.iter().map(|it| (it.run, it.what, &it.name)).collect();
        for row in &mut rows {
            // What the root names is named once.
            row.abandoned.retain(|it| !of_root.contains(&(it.run, it.what, &it.name)));
        }
        Earlier { used, rows, omitted, ..Earlier::default() }
    }

    /// Puts the rows of the tree in order: that of its root, unless it is among those that end,
    /// those of the runs that end, and of those that had ended before.
    fn rows(
        &self,
        own: Option<RunRow>,
        before: Vec<RunRow>,
        omitted: &mut Counts,
        log: &LeftLog,
    ) -> Vec<RunRow> {
        let rows_max = limits::REPORT_ROWS_MAX - usize::from(own.is_some());
        let (kept, left) = self.ends.split_at(self.ends.len().min(rows_max));
        for (_, row) in left {
            omitted.add(row.status);
        }
        let kept = kept.iter().map(|(_, row)| row.clone());
        in_pre_order(own.into_iter().chain(kept).chain(before).collect(), |run| log.place(run))
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

/// How many records are read at once.
const READS_AHEAD: usize = 64;
