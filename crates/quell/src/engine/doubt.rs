//! What may still execute of a tree whose process is gone: programs and services outlive it.

use std::collections::{HashMap, HashSet};

use quell_core::Abandoned;

use crate::engine::left_behind::{EndedBefore, LeftTree};
use crate::engine::lost;

impl LeftTree {
    /// Yields what may still execute of a tree whose root goes on.
    pub(super) fn lost(&self) -> Vec<Abandoned> {
        let run = self.root.run();
        let own = self.root.holds.iter().map(|hold| hold.abandoned(run));
        own.chain(self.ends.iter().flat_map(|(_, row)| row.abandoned.iter().cloned())).collect()
    }

    /// Has no run be quiescent that has one below it that is not. A parent comes before its
    /// children.
    pub(super) fn raise_doubt(&mut self, before: &EndedBefore) {
        let parents: HashMap<_, _> =
            before.rows.iter().filter_map(|row| Some((row.run, row.parent?))).collect();
        let mut in_doubt = HashSet::new();
        for run in &before.open {
            let mut above = parents.get(run);
            while let Some(run) = above.filter(|run| in_doubt.insert(**run)) {
                above = parents.get(run);
            }
        }
        for (_, row) in self.ends.iter_mut().rev() {
            if in_doubt.contains(&row.run) {
                lost::not_quiescent(row);
            }
            in_doubt.extend(row.parent.filter(|_| !row.quiescent));
        }
    }
}
