//! What may still execute of a tree whose process is gone: programs and services outlive it.

use std::collections::{HashMap, HashSet};

use quell_core::store::{EndedTree, RunRecord, Store, StoreError};
use quell_core::{Abandoned, Counts, RunId, RunRow, Work, limits};

use crate::engine::left_behind::{Fate, LeftTree};
use crate::engine::left_log::LeftLog;
use crate::engine::lost;

/// Yields the trees of those of some roots that had ended of which nothing executes any more.
pub(super) async fn over(
    store: &dyn Store,
    roots: Vec<RunRecord>,
) -> Result<Vec<EndedTree>, StoreError> {
    let mut over = Vec::new();
    for root in roots {
        if !is_left(store, &root).await? {
            let at = root.accepted.at;
            over.push(EndedTree::new(root.run(), root.epoch, at, at));
        }
    }
    Ok(over)
}

/// Tells whether something of a tree that had ended may execute although its process is gone.
async fn is_left(store: &dyn Store, root: &RunRecord) -> Result<bool, StoreError> {
    let of_node = |left: &Abandoned| left.what == Work::Node;
    let names_node = root.report.as_ref().is_some_and(|it| it.abandoned.iter().any(of_node));
    if names_node || !root.holds.is_empty() {
        return Ok(true);
    }
    let log = LeftLog::of(store, root).await?;
    let tree = LeftTree::staying(root.clone(), Fate::Ends);
    Ok(!tree.ended_before(store, &log).await?.open.is_empty())
}

impl LeftTree {
    /// Yields what may still execute of a tree whose root goes on, or is paused: all work that the
    /// store has of it, whichever attempt began it. At most [`limits::REPORT_ROWS_MAX`] are named.
    pub(super) fn lost(&self) -> Vec<Abandoned> {
        let run = self.root.run();
        let own = self.root.holds.iter().map(|hold| hold.abandoned(run));
        let now = self.ends.iter().flat_map(|(_, row)| row.abandoned.iter().cloned());
        let lost = own.chain(self.left.iter().cloned()).chain(now);
        lost.take(limits::REPORT_ROWS_MAX).collect()
    }

    /// Has no run be quiescent that has one below it that is not. A parent comes before its
    /// children.
    pub(super) fn raise_doubt(&mut self, before: &EndedBefore, log: &LeftLog) {
        let parents: HashMap<_, _> =
            before.rows.iter().filter_map(|row| Some((row.run, row.parent?))).collect();
        // Not all that had ended has a row.
        let above = |run| parents.get(&run).copied().or_else(|| log.parent_of(run));
        let mut in_doubt = HashSet::new();
        for run in &before.open {
            // Also if nothing tells any more what is between the two.
            in_doubt.insert(self.root.run());
            let mut above_it = above(*run);
            while let Some(run) = above_it.filter(|run| in_doubt.insert(*run)) {
                above_it = above(run);
            }
        }
        for (_, row) in self.ends.iter_mut().rev() {
            if in_doubt.contains(&row.run) {
                lost::not_quiescent(row);
            }
            in_doubt.extend(row.parent.filter(|_| !row.quiescent));
        }
        // A report has no rows of these, so its root names what they have left.
        let rows_max = self.ends.len().min(limits::REPORT_ROWS_MAX);
        let (with_rows, without) = self.ends.split_at_mut(rows_max);
        if let Some((_, root)) = with_rows.first_mut().filter(|_| matches!(self.fate, Fate::Ends)) {
            let now = without.iter().flat_map(|(_, row)| &row.abandoned);
            let left = before.left.iter().chain(now).take(limits::REPORT_ROWS_MAX);
            root.abandoned.extend(left.cloned());
            Abandoned::name_nodes_once(&mut root.abandoned);
        }
    }
}

/// What of a tree had ended before its process did.
#[derive(Debug, Default)]
pub(super) struct EndedBefore {
    pub(super) rows: Vec<RunRow>,
    /// Those that have no row.
    pub(super) omitted: Counts,
    /// Those that have left something behind that may still execute.
    pub(super) open: Vec<RunId>,
    /// What those of them have left that have no row, at most [`limits::REPORT_ROWS_MAX`].
    pub(super) left: Vec<Abandoned>,
    /// Those of whose end the log does not tell; a parent comes before its children.
    pub(super) unsaid: Vec<RunRecord>,
}
