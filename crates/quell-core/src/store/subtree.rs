//! [`Subtree`]: which events of a tree are of one run in it.

use std::collections::HashSet;

use crate::{EventKind, RunEvent, RunId};

/// A run and those below it, as far as the events of their tree have told of them.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::store::Subtree;
/// use quell_core::{EventKind, RunEvent, RunId};
///
/// let (root, run, at) = (RunId::from_text("w"), RunId::from_text("s"), SystemTime::now());
/// let mut subtree = Subtree::new(run);
/// assert!(subtree.has(&RunEvent::new(7, root, run, at, EventKind::Started)));
/// assert!(!subtree.has(&RunEvent::new(8, root, root, at, EventKind::Started)));
/// ```
#[derive(Clone, Debug)]
pub struct Subtree {
    /// The run.
    run: RunId,
    /// Those below it that events have told of.
    below: HashSet<RunId>,
}

impl Subtree {
    /// Begins with the run alone.
    pub fn new(run: RunId) -> Self {
        Self { run, below: HashSet::new() }
    }

    /// Tells whether an event is of one of them. Events are to be asked for in their order, from
    /// the first one on. Gaps are of all.
    pub fn has(&mut self, event: &RunEvent) -> bool {
        if event.root == self.run || event.run == self.run {
            return true;
        }
        if let EventKind::Queued { parent: Some(parent), .. } = event.kind
            && (parent == self.run || self.below.contains(&parent))
        {
            self.below.insert(event.run);
        }
        matches!(event.kind, EventKind::Lagged { .. }) || self.below.contains(&event.run)
    }
}
