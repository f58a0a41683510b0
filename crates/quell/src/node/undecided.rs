//! [`Node::is_undecided`] tells a run that may be none: the store is to say whether it takes it.
//! [`Node::is_namesake`] tells one that has the id of another.

use quell_core::store::StoreError;

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

    /// Tells whether the store has another run of its id, and has refused this one for that. One
    /// below a root has begun by then, and goes on: what is asked of the id is asked of the other.
    pub(crate) fn is_namesake(&self) -> bool {
        if self.shared.journal.is_none() || self.flags() & flags::ACCEPTANCE_STORED != 0 {
            return false;
        }
        let state = self.lock();
        let not_stored = state.extra.as_ref().and_then(|extra| extra.not_stored.as_ref());
        matches!(not_stored, Some(StoreError::Exists { run }) if *run == self.id)
    }
}
