//! [`EndedTree`]: a tree that may leave a store.

use std::time::SystemTime;

use crate::RunId;
use crate::store::Epoch;

/// A tree of which nothing executes, and which nothing needs that does.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::RunId;
/// use quell_core::store::{EndedTree, Epoch};
///
/// let at = SystemTime::now();
/// let tree = EndedTree::new(RunId::from_text("order-7"), Epoch::new(1, 1), at, at);
/// assert_eq!(tree.rows, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedTree {
    /// Its root.
    pub root: RunId,
    /// The epoch of the root: one who forgets it names this one.
    pub epoch: Epoch,
    /// When the root was accepted.
    pub accepted_at: SystemTime,
    /// When nothing of it executed any more; when it was accepted, if that is not stored.
    pub quiesced_at: SystemTime,
    /// How many runs and events it has, about: what it costs to take it away.
    pub rows: u64,
}

impl EndedTree {
    /// Names a tree of one run.
    pub const fn new(
        root: RunId,
        epoch: Epoch,
        accepted_at: SystemTime,
        quiesced_at: SystemTime,
    ) -> Self {
        Self { root, epoch, accepted_at, quiesced_at, rows: 1 }
    }
}
