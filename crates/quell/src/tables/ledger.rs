//! The [`Ledger`] counts the bytes that live runs hold, in all and by owner, and the runs of each
//! owner.
//!
//! Texts that callers and bodies bring are charged: inputs, labels, names, outputs, and logs as
//! they grow. A text is released when it leaves the tree, at the latest when the tree has ended;
//! from there on retention bounds it ([`crate::tables::retention`]).
//!
//! Invariants, under the lock where there is an owner:
//!
//! 1. `total` and the bytes of an owner are what was charged and not released.
//! 2. The runs of an owner are those of its trees that were accepted and are not terminal.
//! 3. An owner without bytes and runs has no entry.
//!
//! The lock is a leaf.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Limits;
use crate::sync::{AtomicUsize, Mutex, Ordering};

#[derive(Debug)]
pub(crate) struct Ledger {
    /// How many bytes live runs may hold.
    max: usize,
    /// What one owner may hold of it.
    share: usize,
    /// How many live runs one owner may have.
    runs_share: usize,
    /// How many bytes live runs hold.
    total: AtomicUsize,
    /// What each owner has.
    owners: Mutex<HashMap<Arc<str>, Held>>,
}

/// What one owner has.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: usize,
    runs: usize,
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
            runs_share: limits.share_of(limits.runs_max),
            total: AtomicUsize::new(0),
            owners: Mutex::default(),
        }
    }

    /// Charges bytes, to an owner if there is one.
    #[inline]
    pub(crate) fn charge(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<(), Full> {
        if bytes == 0 { Ok(()) } else { self.add(owner, bytes) }
    }

    fn add(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<(), Full> {
        let within = |sum: usize, max: usize| sum.checked_add(bytes).filter(|sum| *sum <= max);
        let added = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| within(total, self.max));
        added.map_err(|_| Full::All(self.max))?;
        let Some(owner) = owner else { return Ok(()) };
        let mut owners = self.owners.lock();
        let held = owners.get(owner).copied().unwrap_or_default();
        if let Some(bytes) = within(held.bytes, self.share) {
            owners.insert(Arc::clone(owner), Held { bytes, ..held });
            return Ok(());
        }
        // Refused by the owner's share: take back what the total was charged above.
        drop(owners);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
        Err(Full::Share(self.share))
    }

    /// Gives back what was charged.
    pub(crate) fn release(&self, owner: Option<&Arc<str>>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.total.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes} bytes are released of {before} that were charged");
        if let Some(owner) = owner {
            self.take(owner, Held { bytes, runs: 0 });
        }
    }

    /// Counts a run of an owner in. Fails with the bound if the owner has its share of them.
    #[inline]
    pub(crate) fn count_in(&self, owner: Option<&Arc<str>>) -> Result<(), usize> {
        owner.map_or(Ok(()), |owner| self.add_run(owner))
    }

    fn add_run(&self, owner: &Arc<str>) -> Result<(), usize> {
        let mut owners = self.owners.lock();
        let held = owners.get(owner).copied().unwrap_or_default();
        if held.runs >= self.runs_share {
            return Err(self.runs_share);
        }
        owners.insert(Arc::clone(owner), Held { runs: held.runs + 1, ..held });
        Ok(())
    }

    /// Counts a run of an owner out.
    #[inline]
    pub(crate) fn count_out(&self, owner: Option<&Arc<str>>) {
        if let Some(owner) = owner {
            self.take(owner, Held { bytes: 0, runs: 1 });
        }
    }

    fn take(&self, owner: &Arc<str>, less: Held) {
        let mut owners = self.owners.lock();
        if let Some(held) = owners.get_mut(owner) {
            held.bytes = held.bytes.saturating_sub(less.bytes);
            held.runs = held.runs.saturating_sub(less.runs);
            if held.bytes == 0 && held.runs == 0 {
                owners.remove(owner);
            }
        }
    }

    /// Yields how many bytes live runs hold.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_owner_has_a_share_of_the_runs() {
        let ledger = Ledger::new(&Limits { runs_max: 8, ..Limits::default() });
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        for _ in 0..2 {
            assert_eq!(ledger.count_in(Some(&ada)), Ok(()));
        }
        assert_eq!(ledger.count_in(Some(&ada)), Err(2));
        assert_eq!(ledger.count_in(Some(&ben)), Ok(()), "another owner's state stays");
        assert_eq!(ledger.count_in(None), Ok(()));
        ledger.count_out(Some(&ada));
        assert_eq!(ledger.count_in(Some(&ada)), Ok(()));
        for owner in [&ada, &ada, &ben] {
            ledger.count_out(Some(owner));
        }
        assert_eq!(ledger.owners.lock().len(), 0);
    }

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
