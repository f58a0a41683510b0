//! Runs that a contract has deleted: the engine still keeps them, and nobody sees them.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use quell::{Engine, RunId};

/// The roots that are deleted. Bounded by what the engine keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<Mutex<Roots>>);

#[derive(Debug, Default)]
struct Roots {
    ids: HashSet<RunId>,
    /// How many there may be before those are looked for that the engine keeps no longer.
    sweep_at: usize,
}

impl Gone {
    pub(crate) fn add(&self, root: RunId, engine: &Engine) {
        let mut roots = self.0.lock();
        roots.ids.insert(root);
        if roots.ids.len() >= roots.sweep_at.max(SWEEP_MIN) {
            let ids: Vec<_> = roots.ids.iter().copied().collect();
            drop(roots);
            let over: HashSet<_> = ids.into_iter().filter(|id| engine.get(*id).is_none()).collect();
            let mut roots = self.0.lock();
            roots.ids.retain(|id| !over.contains(id));
            roots.sweep_at = roots.ids.len() * 2;
        }
    }

    pub(crate) fn has(&self, root: RunId) -> bool {
        self.0.lock().ids.contains(&root)
    }
}

/// Below this nothing is looked for.
const SWEEP_MIN: usize = 1_024;
