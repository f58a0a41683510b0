//! [`Ledger`]: bounds the bytes that are held for callers, in total and for each owner.
//!
//! Invariant: `total`, and the sum of each owner, equal the sum of their charges that are not
//! dropped.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use quell::limits::share_of;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A bound on the bytes that are held for all callers, and a share of it for each. Cheap to clone.
///
/// Callers without a name, that is with open access, have the whole bound as their share.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use quell_http::Ledger;
///
/// let ledger = Ledger::new("request bodies", 1_000, 25);
/// let ada: Arc<str> = "ada".into();
/// let charge = ledger.charge(Some(&ada), 250).unwrap();
/// assert!(ledger.charge(Some(&ada), 1).is_err());
/// drop(charge);
/// assert_eq!(ledger.total(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Book>);

#[derive(Debug)]
struct Book {
    what: &'static str,
    is_bytes: bool,
    max: usize,
    share: usize,
    sums: Mutex<Sums>,
    /// Notified whenever bytes are given back.
    released: Notify,
}

#[derive(Debug, Default)]
struct Sums {
    total: usize,
    owners: HashMap<Arc<str>, usize>,
}

/// Bytes that are charged to an owner. Dropping it gives them back.
#[must_use = "dropped at once, it holds nothing"]
pub struct Charge {
    ledger: Ledger,
    owner: Option<Arc<str>>,
    bytes: usize,
}

/// A charge would exceed the bound of all callers, or the share of one. There may be room later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {} would exceed the limit of {max}{}", whose(*is_share), unit(*is_bytes))]
#[non_exhaustive]
pub struct Overdrawn {
    /// What the ledger counts.
    pub what: &'static str,
    /// The bound.
    pub max: usize,
    /// Whether the bound is in bytes. Otherwise it is a count.
    pub is_bytes: bool,
    /// Whether the bound is one caller's share.
    pub is_share: bool,
}

const fn whose(is_share: bool) -> &'static str {
    if is_share { "one caller" } else { "all callers" }
}

const fn unit(is_bytes: bool) -> &'static str {
    if is_bytes { " bytes" } else { "" }
}

impl Ledger {
    /// Makes a ledger: what it counts, its bound in bytes, and the share of one owner in percent.
    pub fn new(what: &'static str, max: usize, share_percent: u8) -> Self {
        Self::made(what, true, max, share_percent)
    }

    /// As [`Ledger::new`], with a count as the bound.
    pub fn counting(what: &'static str, max: usize, share_percent: u8) -> Self {
        Self::made(what, false, max, share_percent)
    }

    fn made(what: &'static str, is_bytes: bool, max: usize, share_percent: u8) -> Self {
        let (share, sums) = (share_of(max, share_percent), Mutex::default());
        Self(Arc::new(Book { what, is_bytes, max, share, sums, released: Notify::new() }))
    }

    /// Charges bytes to an owner, or to no owner.
    ///
    /// # Errors
    ///
    /// Fails, and charges nothing, if the bound or the owner's share would be exceeded.
    pub fn charge(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<Charge, Overdrawn> {
        let mut charge = Charge { ledger: self.clone(), owner: owner.cloned(), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }

    /// As [`Ledger::charge`], but waits for room until an instant. The queue is not fair: a smaller
    /// charge may overtake.
    ///
    /// # Errors
    ///
    /// Fails if there is no room by then, and at once if the bytes alone exceed a bound.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it has charged nothing.
    pub(crate) async fn charge_until(
        &self,
        owner: Option<&Arc<str>>,
        bytes: usize,
        until: Instant,
    ) -> Result<Charge, Overdrawn> {
        loop {
            let mut released = pin!(self.0.released.notified());
            // Register before the attempt: bytes given back in between would not wake this task.
            released.as_mut().enable();
            let error = match self.charge(owner, bytes) {
                Ok(charge) => return Ok(charge),
                Err(error) => error,
            };
            if bytes > error.max || timeout_at(until, released).await.is_err() {
                return Err(error);
            }
        }
    }

    /// Yields the bytes that are charged.
    pub fn total(&self) -> usize {
        self.0.sums.lock().total
    }

    /// Yields the bound, in bytes.
    pub fn max(&self) -> usize {
        self.0.max
    }

    fn add(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<(), Overdrawn> {
        let Book { what, is_bytes, max, share, sums, .. } = &*self.0;
        let (what, is_bytes, mut sums) = (*what, *is_bytes, sums.lock());
        let within = |sum: usize, max: usize| sum.checked_add(bytes).filter(|sum| *sum <= max);
        let refused = |max, is_share| Overdrawn { what, max, is_bytes, is_share };
        let total = within(sums.total, *max).ok_or_else(|| refused(*max, false))?;
        if let Some(owner) = owner {
            let held = sums.owners.get(owner).copied().unwrap_or_default();
            let held = within(held, *share).ok_or_else(|| refused(*share, true))?;
            sums.owners.insert(Arc::clone(owner), held);
        }
        sums.total = total;
        Ok(())
    }

    fn release(&self, owner: Option<&Arc<str>>, bytes: usize) {
        let mut sums = self.0.sums.lock();
        sums.total -= bytes;
        if let Some(owner) = owner
            && let Some(held) = sums.owners.get_mut(owner)
        {
            *held -= bytes;
            if *held == 0 {
                sums.owners.remove(owner);
            }
        }
        drop(sums);
        self.0.released.notify_waiters();
    }
}

impl Charge {
    /// Charges more to the same owner.
    ///
    /// # Errors
    ///
    /// Fails, and leaves the charge as it is, if a bound would be exceeded.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Overdrawn> {
        if bytes > 0 {
            self.ledger.add(self.owner.as_ref(), bytes)?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Gives back the bytes beyond this number.
    pub fn shrink_to(&mut self, bytes: usize) {
        let beyond = self.bytes.saturating_sub(bytes);
        if beyond > 0 {
            self.ledger.release(self.owner.as_ref(), beyond);
            self.bytes -= beyond;
        }
    }

    /// Grows or shrinks the charge to this number of bytes.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Overdrawn> {
        self.grow(bytes.saturating_sub(self.bytes))?;
        self.shrink_to(bytes);
        Ok(())
    }

    /// Splits off this number of bytes, or all of them if there are fewer. The ledger does not see
    /// it: another caller cannot take them in between.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { ledger: self.ledger.clone(), owner: self.owner.clone(), bytes }
    }

    /// Yields the bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_owner_has_a_share_and_nobody_has_more_than_all() {
        let ledger = Ledger::new("bytes", 1_000, 25);
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        let mut held = ledger.charge(Some(&ada), 100).unwrap();
        held.grow(150).unwrap();
        let error = held.grow(1).unwrap_err();
        assert_eq!(error.to_string(), "bytes of one caller would exceed the limit of 250 bytes");
        let of_ben = ledger.charge(Some(&ben), 200).unwrap();
        let error = ledger.charge(None, 551).unwrap_err();
        assert_eq!(error.to_string(), "bytes of all callers would exceed the limit of 1000 bytes");
        let all = ledger.charge(None, 550).unwrap();
        assert_eq!(ledger.total(), 1_000);
        held.shrink_to(50);
        assert_eq!((held.bytes(), ledger.total()), (50, 800));
        drop((held, all, of_ben));
        let sums = ledger.0.sums.lock();
        assert_eq!((sums.total, sums.owners.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_gets_what_is_given_back_and_no_more_than_there_can_be() {
        let ledger = Ledger::new("bytes", 1_000, 25);
        let ada: Arc<str> = "ada".into();
        let within = Duration::from_secs(5);
        let wait = |owner, bytes| ledger.charge_until(owner, bytes, Instant::now() + within);
        let mut held = ledger.charge(Some(&ada), 200).unwrap();
        let start = Instant::now();
        let give_back = async {
            tokio::time::sleep(within / 2).await;
            held.shrink_to(150);
        };
        let (charged, ()) = tokio::join!(wait(Some(&ada), 100), give_back);
        assert_eq!((charged.unwrap().bytes(), start.elapsed()), (100, within / 2));
        assert_eq!(wait(Some(&ada), 251).await.unwrap_err().max, 250);
        assert_eq!(wait(None, 1_001).await.unwrap_err().max, 1_000);
        assert_eq!(start.elapsed(), within / 2, "there can be no room");
        assert_eq!(wait(Some(&ada), 101).await.unwrap_err().max, 250);
        assert_eq!((start.elapsed(), ledger.total()), (within * 3 / 2, 150));
    }
}
