//! [`EndedTree`]: a tree that may leave a store.

use std::time::SystemTime;

use crate::RunId;
use crate::store::Epoch;

/// A tree that has ended, and that nothing needs that executes.
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
    /// Whether nothing of it executes, as far as is stored.
    pub quiescent: bool,
    /// When nothing of it executed any more, or, if that is not known, when it ended; when it was
    /// accepted, if neither is stored.
    pub quiesced_at: SystemTime,
    /// How many runs and events it has, about: what it costs to take it away.
    pub rows: u64,
}

impl EndedTree {
    /// Names a tree of one run, which is quiescent.
    pub const fn new(
        root: RunId,
        epoch: Epoch,
        accepted_at: SystemTime,
        quiesced_at: SystemTime,
    ) -> Self {
        Self { root, epoch, accepted_at, quiescent: true, quiesced_at, rows: 1 }
    }
}
