//! [`Leaving`] counts what is under way that takes roots out of the store.

use std::collections::HashMap;
use std::sync::Arc;

use quell_core::RunId;
use quell_core::store::RunRecord;

use crate::sync::RandomState;

/// Roots that were forgotten, and that the store may still have. Each is counted: a further run
/// with the id of one may be forgotten before the first has left.
///
/// Another run may have the id in the store: one that another node has made since that one was
/// deleted elsewhere, or which the store had before a root was refused. It is hidden from nobody.
///
/// A copy shares the ids. They are copied once if they change while somebody has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<HashMap<RunId, usize, RandomState>>);

impl Leaving {
    /// Tells whether a run is of a root that is leaving; `is_own` says whether this engine writes
    /// with a boot, or has: that of whoever has the run now.
    pub(crate) fn hides(&self, record: &RunRecord, is_own: impl FnOnce(u32) -> bool) -> bool {
        self.contains(record.accepted.root) && is_own(record.epoch.boot())
    }

    /// Tells whether a root is leaving, or was refused and may be.
    pub(crate) fn contains(&self, root: RunId) -> bool {
        self.0.contains_key(&root)
    }

    pub(super) fn add(&mut self, root: RunId) {
        *Arc::make_mut(&mut self.0).entry(root).or_default() += 1;
    }

    /// Counts out one of those that were added.
    pub(super) fn remove(&mut self, root: RunId) {
        let roots = Arc::make_mut(&mut self.0);
        if let Some(count) = roots.get_mut(&root) {
            *count -= 1;
            if *count == 0 {
                roots.remove(&root);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_leaves_twice_is_leaving_until_both_have_left() {
        let (mut leaving, root) = (Leaving::default(), RunId::from_text("r"));
        leaving.add(root);
        leaving.add(root);
        leaving.remove(root);
        assert!(leaving.contains(root));
        let before = leaving.clone();
        leaving.remove(root);
        assert!(!leaving.contains(root));
        assert!(before.contains(root), "a copy is of its time");
    }
}
