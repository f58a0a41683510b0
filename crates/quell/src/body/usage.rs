//! [`count`] adds what a body used to its run and every run above it, and compares it with their
//! budgets.
//!
//! Only runs that use something pay: the sum is in [`RareState`](crate::node::RareState). The walk
//! goes upwards and holds one lock at a time, so that no order of locks matters; each run has the
//! exact sum when the call returns. The stops come last, when no lock is held.

use std::sync::{Arc, Weak};

use quell_core::{CancelRequest, CauseKind, EventKind, Usage};

use crate::node::write::Written;
use crate::node::{Node, State};
use crate::sync::waiters::Wakers;

/// Counts what the body of a run used. What comes after the end of its run counts for the nearest
/// run above that has not ended.
pub(crate) fn count(of: &Arc<Node>, used: Usage) -> Written {
    let now = of.shared.clock.now();
    let (mut wakers, mut spent) = (Wakers::new(), Vec::new());
    let (mut written, mut is_told) = (Written::Recorded, false);
    let mut next = Some(Arc::clone(of));
    while let Some(node) = next.take() {
        let mut state = node.lock();
        if state.times.ended.is_none() {
            // One event for the whole way up, at the first run that has not ended.
            if !is_told {
                node.write(&mut state, now, EventKind::Used(used), &mut wakers);
                is_told = true;
            }
            spent.extend(node.spend(&mut state, used).map(|words| (Arc::clone(&node), words)));
        } else if Arc::ptr_eq(&node, of) {
            node.note_late(&mut state, 1);
            written = Written::Late;
        }
        next = state.parent.as_ref().and_then(Weak::upgrade);
    }
    crate::foreign::wake(&of.shared.couriers, wakers);
    for (node, words) in spent {
        node.cancel(&CancelRequest::because(words).kind(CauseKind::BudgetExceeded));
    }
    written
}

impl Node {
    /// Adds to the sum of a run. Yields the reason of the stop if this call first exceeds its
    /// budget.
    fn spend(&self, state: &mut State, used: Usage) -> Option<String> {
        let sum = &mut state.extra().used;
        let before = *sum;
        sum.add(used);
        let budget = self.about()?.budget.as_ref()?;
        let words = budget.exceeded_by(sum)?;
        budget.exceeded_by(&before).is_none().then_some(words)
    }

    /// Stops a run that was taken in if it had used more than its budget before: the process that
    /// had it may have ended before that stop was stored.
    pub(crate) fn stop_if_spent(self: &Arc<Self>) {
        let Some(budget) = self.about().and_then(|about| about.budget) else { return };
        let used = self.lock().extra.as_ref().map_or_else(Usage::default, |extra| extra.used);
        if let Some(words) = budget.exceeded_by(&used) {
            self.cancel(&CancelRequest::because(words).kind(CauseKind::BudgetExceeded));
        }
    }
}
