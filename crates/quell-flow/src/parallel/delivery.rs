//! [`Delivery`]: how the outcome of a parallel step reaches the caller, and [`Undelivered`]: the
//! outcome on its way.

use std::mem;
use std::sync::Arc;

use quell::Failure;

use super::settled::Settled;
use crate::foreign::ForeignVec;

/// How the outcome of a step reaches the caller.
pub(super) enum Delivery<T> {
    /// `drive` yields it when the step is settled.
    AtEnd,
    /// This function gets it at the decision.
    AtDecision(OnDecided<T>),
    /// The function got it.
    Done,
}

/// Gets the outcome of a step that is decided and not settled.
pub(crate) type OnDecided<T> = Box<dyn FnOnce(Result<Settled<T>, Failure>) + Send>;

/// A settled step that the caller has yet to read. If nobody does, its values are dropped one by
/// one: the destructors of several may panic.
pub(super) struct Undelivered<T>(Settled<T>);

impl<T> Undelivered<T> {
    pub(super) const fn new(settled: Settled<T>) -> Self {
        Self(settled)
    }

    pub(super) fn deliver(mut self) -> Settled<T> {
        let Settled { values, policy, decided_at, settled_at, decided_by, rows } = &mut self.0;
        Settled {
            values: mem::take(values),
            policy: Arc::clone(policy),
            decided_at: *decided_at,
            settled_at: *settled_at,
            decided_by: *decided_by,
            rows: Arc::clone(rows),
        }
    }
}

impl<T> Drop for Undelivered<T> {
    fn drop(&mut self) {
        drop(ForeignVec::new(mem::take(&mut self.0.values)));
    }
}
