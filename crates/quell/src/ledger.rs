//! Bytes that live runs hold, in all and by owner.
//!
//! Charged are texts that callers and bodies bring: inputs, labels, names, outputs, and logs as
//! they grow. What is charged when it comes is released when it leaves the tree, at the latest
//! when the tree has ended; from there on retention bounds it ([`crate::retention`]).
//!
//! Invariant: `total` and the sum of an owner are what was charged and not released. The lock is a
//! leaf.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Limits;
use crate::sync::{AtomicUsize, Mutex, Ordering};

#[derive(Debug)]
pub(crate) struct Ledger {
    max: usize,
    /// What one owner may hold of it.
    share: usize,
    total: AtomicUsize,
    owners: Mutex<HashMap<Arc<str>, usize>>,
}

/// Which bound a charge would exceed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    All(usize),
    Share(usize),
}

impl Ledger {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max = limits.live_bytes_max;
        Self {
            max,
            share: limits.share_of(max),
            total: AtomicUsize::new(0),
            owners: Mutex::default(),
        }
    }

    /// Charges bytes to an owner, or to nobody in particular.
    pub(crate) fn charge(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<(), Full> {
        if bytes == 0 {
            return Ok(());
        }
        let within = |sum: usize, max: usize| sum.checked_add(bytes).filter(|sum| *sum <= max);
        let added = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| within(total, self.max));
        added.map_err(|_| Full::All(self.max))?;
        let Some(owner) = owner else { return Ok(()) };
        let mut owners = self.owners.lock();
        let held = owners.get(owner).copied().unwrap_or_default();
        if let Some(sum) = within(held, self.share) {
            owners.insert(Arc::clone(owner), sum);
            return Ok(());
        }
        drop(owners);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
        Err(Full::Share(self.share))
    }

    /// Gives back what was charged.
    pub(crate) fn release(&self, owner: Option<&Arc<str>>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.total.fetch_sub(bytes, Ordering::Relaxed);
        let Some(owner) = owner else { return };
        let mut owners = self.owners.lock();
        if let Some(held) = owners.get_mut(owner) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                owners.remove(owner);
            }
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_owner_has_a_share_and_nobody_has_more_than_all() {
        let limits = Limits { live_bytes_max: 1_000, owner_share_percent: 25, ..Limits::default() };
        let ledger = Ledger::new(&limits);
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        assert_eq!(ledger.charge(Some(&ada), 250), Ok(()));
        assert_eq!(ledger.charge(Some(&ada), 1), Err(Full::Share(250)));
        assert_eq!(ledger.charge(Some(&ben), 200), Ok(()), "another owner's state stays");
        assert_eq!(ledger.charge(None, 551), Err(Full::All(1_000)));
        assert_eq!(ledger.charge(None, 550), Ok(()), "a refused charge leaves nothing behind");
        ledger.release(Some(&ada), 250);
        ledger.release(Some(&ben), 200);
        ledger.release(None, 550);
        assert_eq!((ledger.total(), ledger.owners.lock().len()), (0, 0));
    }
}
