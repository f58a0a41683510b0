//! What a thread holds, and is charged for: its values, and those of its ended runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::Engine;
use quell_http::{Ledger, Overdrawn};

use crate::threads::thread::Thread;

impl Thread {
    /// Yields what its values take, and those of its ended runs.
    pub(crate) fn held(&self, engine: &Engine) -> usize {
        let mut state = self.state.lock();
        state.settle(engine);
        let left = state.ended.iter().map(|tracked| tracked.left_bytes.load(Ordering::SeqCst));
        state.values_bytes + left.sum::<usize>()
    }

    /// Charges to its owner what it holds by now.
    ///
    /// # Errors
    ///
    /// Fails if there is no room; what was charged before stays charged.
    pub(crate) fn hold(&self, engine: &Engine, kept: &Ledger) -> Result<(), Overdrawn> {
        let held = self.held(engine);
        let mut charge = self.values_charge.lock();
        if let Some(charge) = &mut *charge {
            charge.shrink_to(held);
            return charge.grow(held.saturating_sub(charge.bytes()));
        }
        let owner = self.owner.as_deref().map(Arc::from);
        *charge = Some(kept.charge(owner.as_ref(), held)?);
        Ok(())
    }

    /// Gives back what is charged beyond what it holds.
    pub(crate) fn shrink(&self, engine: &Engine) {
        let held = self.held(engine);
        if let Some(charge) = &mut *self.values_charge.lock() {
            charge.shrink_to(held);
        }
    }

    /// Tells whether something is charged for its values.
    pub(crate) fn is_charged(&self) -> bool {
        self.values_charge.lock().as_ref().is_some_and(|charge| charge.bytes() > 0)
    }

    /// Gives back what is charged for its values.
    pub(crate) fn give_back(&self) {
        drop(self.values_charge.lock().take());
    }
}
