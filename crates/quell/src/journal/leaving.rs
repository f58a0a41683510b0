//! [`Leaving`] counts what is under way that takes roots out of the store.

use std::collections::HashMap;
use std::sync::Arc;

use quell_core::RunId;

use crate::sync::RandomState;

/// Roots that were forgotten, and that the store may still have. Each is counted: a further run
/// with the id of one may be forgotten before the first has left.
///
/// A copy shares the ids. They are copied once if they change while somebody has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<HashMap<RunId, usize, RandomState>>);

impl Leaving {
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
