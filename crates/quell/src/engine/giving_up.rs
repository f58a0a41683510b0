//! Which roots an engine that ends gives up to other nodes.

use std::cmp::Reverse;
use std::sync::Arc;

use quell_core::RunStatus;

use crate::node::{Node, Shared};

impl Shared {
    /// Gives up roots that were left to the next process. Others have them at once, and need not
    /// wait until what executes here has ended: not even those whose lane has a run that does, for
    /// the store says to whoever has them when it is their turn.
    ///
    /// Those that are paused, and have their lanes, come first, then the others, the oldest first.
    pub(super) fn give_up(&self, mut left: Vec<Arc<Node>>) {
        let Some(member) = &self.member else { return };
        // The last is the first.
        left.sort_by_key(|node| (node.status() == RunStatus::Paused, Reverse(node.id)));
        member.release(left.into_iter().map(|node| node.id).collect());
    }
}
