//! [`KeptHolds`] numbers the work of a run that the store keeps: what outlives the process.

use std::sync::Arc;

use quell_core::limits;
use quell_core::store::{StoreError, StoredHold};

use crate::journal::Entry;
use crate::node::stored::UNSTORED_MAX;
use crate::node::{Node, State};
use crate::sync::Ordering;

/// Numbers the work of a run that the store keeps. Of more than [`limits::STORE_HOLDS_MAX`] at once
/// the last one stands for all that are too many, and ends with the last of those.
#[derive(Debug, Default)]
pub(crate) struct KeptHolds {
    /// The next number.
    next: u32,
    /// How many are kept by themselves.
    own: usize,
    /// Those that are too many.
    further: usize,
    /// The number that stands for them.
    further_nr: u32,
}

/// How the store keeps a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// By itself, under this number.
    Own(u32),
    /// With others.
    Further,
}

impl KeptHolds {
    /// Goes on behind the numbers that earlier attempts have given.
    pub(crate) fn after(nr: Option<u32>) -> Self {
        Self { next: nr.map_or(0, |nr| nr.wrapping_add(1)), ..Self::default() }
    }

    /// Takes a hold. Yields the number under which one is to be stored now, if one is.
    pub(crate) fn begin(&mut self) -> (Kept, Option<u32>) {
        let nr = self.next;
        if self.own + 1 < limits::STORE_HOLDS_MAX {
            (self.own, self.next) = (self.own + 1, nr.wrapping_add(1));
            return (Kept::Own(nr), Some(nr));
        }
        self.further += 1;
        if self.further > 1 {
            return (Kept::Further, None);
        }
        (self.further_nr, self.next) = (nr, nr.wrapping_add(1));
        (Kept::Further, Some(nr))
    }

    /// Lets go of a hold. Yields the number that the store need not keep any longer, if there is
    /// one.
    pub(crate) fn end(&mut self, kept: Kept) -> Option<u32> {
        if let Kept::Own(nr) = kept {
            self.own -= 1;
            return Some(nr);
        }
        self.further -= 1;
        (self.further == 0).then_some(self.further_nr)
    }
}

impl Node {
    /// Leaves work that begins for the store, if there is one. What is too much for a store in
    /// trouble is not stored. Called under the lock.
    pub(crate) fn journal_hold(
        self: &Arc<Self>,
        state: &mut State,
        make: impl FnOnce(u32) -> StoredHold,
    ) -> Option<Kept> {
        let journal = self.shared.journal.as_ref()?;
        let is_full = self.unstored.load(Ordering::Relaxed) >= UNSTORED_MAX;
        let full = || StoreError::Full { what: format!("{UNSTORED_MAX} entries of the run") };
        if let Some(error) = journal.refusal(0).or_else(|| is_full.then(full)) {
            state.extra().not_stored.get_or_insert(error);
            return None;
        }
        let (kept, to_store) = state.extra().kept_holds.get_or_insert_default().begin();
        if let Some(nr) = to_store {
            self.journal(|node| Entry::HoldBegan(node, make(nr)));
        }
        Some(kept)
    }

    /// Leaves the end of work for the store. Called under the lock.
    pub(crate) fn journal_hold_end(self: &Arc<Self>, state: &mut State, kept: Kept) {
        let to_store = state.extra().kept_holds.as_mut().and_then(|holds| holds.end(kept));
        if let Some(nr) = to_store {
            self.journal(|node| Entry::HoldEnded(node, nr));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_stands_for_all_that_are_too_many_until_the_last_of_them_has_ended() {
        let mut holds = KeptHolds::after(Some(6));
        let own = limits::STORE_HOLDS_MAX - 1;
        let kept: Vec<_> = (0..own).map(|_| holds.begin()).collect();
        assert_eq!(kept[0], (Kept::Own(7), Some(7)), "earlier attempts gave those before");
        let last = 7 + u32::try_from(own).unwrap();
        assert_eq!(holds.begin(), (Kept::Further, Some(last)));
        assert_eq!(holds.begin(), (Kept::Further, None));
        assert_eq!(holds.end(Kept::Own(8)), Some(8));
        assert_eq!(holds.end(Kept::Further), None, "another one is there");
        assert_eq!(holds.begin(), (Kept::Own(last + 1), Some(last + 1)), "there is room");
        assert_eq!(holds.end(Kept::Further), Some(last));
        assert_eq!(holds.begin(), (Kept::Further, Some(last + 2)));
    }
}
