//! [`View::below`]: reads the runs below a stored one, as they were accepted and as they stand.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use quell::store::Accepted;
use quell::{Annotations, RunId, RunReport, RunRow};

use crate::counted::{given_bytes, row_bytes};
use crate::fold::Fold;
use crate::ledger::Charge;
use crate::run_view::StoredRun;
use crate::service::view::View;
use crate::stored_events::read;

/// The runs below a stored one, as they were accepted; empty if they were not asked for.
#[derive(Debug, Default)]
pub(super) struct Below {
    pub(super) runs: HashMap<RunId, Accepted>,
    /// What they were given.
    pub(super) bytes: usize,
    charge: Option<Charge>,
}

impl View {
    /// Reads the runs below a stored one, and yields its report with their rows. What they were
    /// given counts as under way for the principal, and so do rows that are read one by one; what
    /// there is no room for is left out, and marked so in the fold.
    ///
    /// The rows of a tree are in the report of its root, which comes with the end of that. Until
    /// then each run is stored for itself, and the events of the tree, which the fold has taken in,
    /// tell which are below.
    pub(super) async fn below(
        &self,
        run: &StoredRun,
        fold: &Mutex<Fold>,
    ) -> (Arc<RunReport>, Below) {
        let (engine, report) = (self.service().engine(), run.report());
        let charge = self.service().shared().requests.charge(self.principal().owner(), 0).ok();
        let (mut below, mut is_cut) = (Below { charge, ..Below::default() }, false);
        let is_whole = run.has_whole_report();
        let ids: Vec<_> = if is_whole {
            report.rows.iter().skip(1).map(|row| (row.run, row.depth)).collect()
        } else {
            let all = &fold.lock().runs;
            descent(run.accepted().run, all.iter().map(|said| (said.run, said.parent)))
        };
        let mut rows = vec![report.own_row().clone()];
        let reads =
            stream::iter(ids).map(async |(id, depth)| (depth, read(engine.stored_run(id)).await));
        let mut reads = std::pin::pin!(reads.buffered(READS_AHEAD));
        while let Some((depth, record)) = reads.next().await {
            match record {
                // One that was detached has left.
                Ok(Some(record)) if is_whole || record.accepted.root == run.root().run => {
                    let mut row = (!is_whole).then(|| record.row());
                    if let Some(row) = &mut row {
                        row.depth = depth;
                    }
                    is_cut |= !below.add(record.accepted, row.as_mut());
                    rows.extend(row);
                }
                // One that is gone, or cannot be read, is shown by its row, if the report has that.
                Err(_) => is_cut |= !is_whole,
                Ok(_) => {}
            }
        }
        fold.lock().is_lossy |= is_cut;
        if is_whole {
            return (Arc::clone(report), below);
        }
        (RunReport::new(rows, report.omitted).into(), below)
    }
}

impl View {
    /// Reads what these runs were given, of which only the store knows that. It counts as in
    /// [`View::below`]. Tells besides whether something was left out: there was no room, or the
    /// store did not answer.
    pub(super) async fn given(&self, runs: Vec<RunId>) -> (Below, bool) {
        let engine = self.service().engine();
        let charge = self.service().shared().requests.charge(self.principal().owner(), 0).ok();
        let (mut below, mut is_cut) = (Below { charge, ..Below::default() }, false);
        let reads = stream::iter(runs).map(async |id| read(engine.stored_run(id)).await);
        let mut reads = std::pin::pin!(reads.buffered(READS_AHEAD));
        while let Some(record) = reads.next().await {
            match record {
                Ok(Some(record)) => is_cut |= !below.add(record.accepted, None),
                Ok(None) => {}
                Err(_) => is_cut = true,
            }
        }
        (below, is_cut)
    }
}

impl Below {
    /// Adds a run, with its row if that counts as well. Without room it is added without its
    /// values, and this is false.
    fn add(&mut self, mut accepted: Accepted, row: Option<&mut RunRow>) -> bool {
        accepted.annotations = Annotations::default();
        let given = given_bytes(&accepted);
        let bytes = given + row.as_deref().map_or(0, row_bytes);
        let has_room = self.charge.as_mut().is_none_or(|charge| charge.grow(bytes).is_ok());
        if has_room {
            self.bytes += given;
        } else {
            accepted.input = None;
            if let Some(row) = row {
                (row.output, row.partial, row.error) = (None, None, None);
            }
        }
        self.runs.insert(accepted.run, accepted);
        has_room
    }
}

/// Yields the runs that descend from one, in pre-order, siblings in the order of their start, each
/// with its depth. All are named with their parents, in the order of their start.
fn descent(run: RunId, all: impl Iterator<Item = (RunId, Option<RunId>)>) -> Vec<(RunId, u32)> {
    // A parent comes before its children: nothing is kept of runs that do not descend from it.
    let mut children = HashMap::from([(run, Vec::new())]);
    for (child, parent) in all {
        if let Some(siblings) = parent.and_then(|parent| children.get_mut(&parent)) {
            siblings.push(child);
            children.insert(child, Vec::new());
        }
    }
    let (mut found, mut stack) = (Vec::new(), vec![(run, 0_u32)]);
    while let Some((run, depth)) = stack.pop() {
        if depth > 0 {
            found.push((run, depth));
        }
        // Each has one parent, so none comes twice.
        let below = children.remove(&run).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (child, depth.saturating_add(1))));
    }
    found
}

/// Runs that are read at once.
const READS_AHEAD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_below_come_in_pre_order_and_nobody_else() {
        let id = RunId::from_text;
        let of = |child: &str, parent: &str| (id(child), Some(id(parent)));
        let all = [
            (id("root"), None),
            of("a", "root"),
            of("b", "root"),
            of("a1", "a"),
            of("b1", "b"),
            of("a2", "a"),
            of("a11", "a1"),
        ];
        let names = |run: &str, wanted: &[(&str, u32)]| {
            let wanted: Vec<_> = wanted.iter().map(|(run, depth)| (id(run), *depth)).collect();
            assert_eq!(descent(id(run), all.into_iter()), wanted, "{run}");
        };
        names("root", &[("a", 1), ("a1", 2), ("a11", 3), ("a2", 2), ("b", 1), ("b1", 2)]);
        names("a", &[("a1", 1), ("a11", 2), ("a2", 1)]);
        names("b1", &[]);
    }
}
