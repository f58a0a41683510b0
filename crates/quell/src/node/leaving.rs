//! [`Node::leave_memory`] has a tree that is over leave memory, as the store has it by then.

use std::sync::Arc;

use crate::node::Node;

impl Node {
    /// Lets a tree leave memory when its time comes: its end is stored. `has_quiesced` says that
    /// this was its last entry, not its end.
    pub(super) fn leave_memory(self: &Arc<Self>, has_quiesced: bool) {
        if !self.is_root() {
            return;
        }
        let (is_last, is_taken_back) = {
            let mut state = self.lock();
            let is_last = self.ended_non_quiescent() == has_quiesced;
            if !is_last && !has_quiesced {
                state.extra().stays = true;
            }
            // One that a lost node may execute stays in the store until somebody knows.
            (is_last, state.is_rollback() && !state.is_in_doubt())
        };
        if is_last {
            self.shared.retire_or_forget(self, is_taken_back, self.shared.clock.now());
        } else if has_quiesced && is_taken_back {
            // It has left before. It is a root, and quiescent: nothing refuses that.
            let _ = self.shared.forget_root(self);
        }
    }

    /// Lets a tree leave memory whose end was stored before nothing of it executed here any more,
    /// and of which earlier attempts have left something that may.
    pub(crate) fn leave_if_it_stays(self: &Arc<Self>) {
        if self.lock().extra.as_ref().is_some_and(|extra| extra.stays) {
            self.leave_memory(false);
        }
    }
}
