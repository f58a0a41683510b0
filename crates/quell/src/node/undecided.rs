//! [`Node::is_undecided`] tells a run that may be none: the store is to say whether it takes it.

use crate::node::{Node, flags};

impl Node {
    /// Tells whether the store has not taken a root yet: it is to say so, or has refused it, and
    /// the root is about to leave. It may be a repeat of a run that another node has, or that this
    /// one is about to take in: what is asked of that is none of its business.
    pub(crate) fn is_undecided(&self) -> bool {
        if self.shared.journal.is_none() {
            return false;
        }
        // One that is being submitted is whole behind that.
        let _whole = self.lock();
        let bits = self.flags();
        bits & flags::ACCEPTANCE_STORED == 0 && bits & (flags::AWAITS_STORE | flags::REFUSED) != 0
    }
}
