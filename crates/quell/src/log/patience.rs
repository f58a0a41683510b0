//! [`Patience`]: the readers of a log that wait until there is more to read.
//!
//! It lives under the lock of the log, and its invariants are those of [`Waiters`]. One more:
//!
//! 1. While somebody waits here, `left` is at most what may still come before the first of them has
//!    missed an entry, and more than nothing.

use std::task::Waker;

use crate::log::ring::Bounds;
use crate::sync::waiters::{Key, Offer, Waiters, Wakers};

/// The readers of a log that wait until there is more to read, and how much that is.
#[derive(Debug)]
pub(super) struct Patience {
    waiters: Waiters,
    /// What may still come before they are woken.
    left: Bounds,
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self { waiters: Waiters::new(), left: NOTHING }
    }

    /// Counts an entry of so many bytes, and takes out the wakers of those for whom it is enough.
    #[inline]
    pub(super) fn count(&mut self, bytes: usize, wakers: &mut Wakers) {
        self.left.entries = self.left.entries.saturating_sub(1);
        self.left.bytes = self.left.bytes.saturating_sub(bytes);
        if self.left.entries == 0 || self.left.bytes == 0 {
            self.waiters.drain_into(wakers);
        }
    }

    /// Registers a reader that has yet to read as much of a log with these bounds; see
    /// [`Waiters::register`]. None if that is enough.
    #[must_use]
    pub(super) fn wait(
        &mut self,
        (unread, bounds): (Bounds, Bounds),
        key: &mut Key,
        offer: &mut Offer<'_>,
    ) -> Option<bool> {
        // Long before an entry leaves that it has not read.
        let entries = UNREAD_MAX.min(bounds.entries / 2).saturating_sub(unread.entries);
        let bytes = UNREAD_BYTES_MAX.min(bounds.bytes / 2).saturating_sub(unread.bytes);
        if entries == 0 || bytes == 0 {
            return None;
        }
        let is_first = self.waiters.len() == 0;
        let is_registered = self.waiters.register(key, offer);
        if is_registered {
            let left = if is_first { Bounds { entries, bytes } } else { self.left };
            self.left = Bounds { entries: entries.min(left.entries), bytes: bytes.min(left.bytes) };
        }
        Some(is_registered)
    }

    /// Takes a waker out. The caller drops it when it holds no lock.
    #[must_use]
    pub(super) fn remove(&mut self, key: &mut Key) -> Option<Waker> {
        self.waiters.remove(key)
    }

    /// Counts the readers that wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Takes out every waker.
    pub(super) fn drain_into(&mut self, wakers: &mut Wakers) {
        self.waiters.drain_into(wakers);
    }
}

const NOTHING: Bounds = Bounds { entries: 0, bytes: 0 };

/// So many entries are enough: what a short run says, and no more than a reader copies at a time
/// ([`Ring::read_some`](crate::log::ring::Ring::read_some)).
const UNREAD_MAX: usize = 15;

/// So many bytes are, less than a log may always hold.
const UNREAD_BYTES_MAX: usize = 4 << 10;
