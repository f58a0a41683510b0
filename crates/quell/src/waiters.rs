//! Those who wait for something to happen to a run.
//!
//! A set of wakers that lives under a lock of its owner. Invariants:
//!
//! 1. A waiter checks its condition and registers under the same lock, so no wake-up is lost.
//! 2. Wakers are taken out under the lock and woken after it is released: waking is foreign code.
//! 3. One waiter costs no allocation; that is the common case.

use std::task::Waker;

/// A set of wakers, each known by a key.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    first: Option<Waker>,
    more: Vec<Option<Waker>>,
}

/// Where a waker is kept. Its owner gives it back with [`Waiters::remove`].
pub(crate) type Key = Option<usize>;

impl Waiters {
    /// Registers a waker, or replaces the one under the same key.
    pub(crate) fn register(&mut self, key: &mut Key, waker: &Waker) {
        let slot = match *key {
            Some(0) => &mut self.first,
            Some(index) if index <= self.more.len() => &mut self.more[index - 1],
            _ if self.first.is_none() => {
                *key = Some(0);
                &mut self.first
            }
            _ => {
                let free = self.more.iter().position(Option::is_none);
                let index = free.unwrap_or_else(|| {
                    self.more.push(None);
                    self.more.len() - 1
                });
                *key = Some(index + 1);
                &mut self.more[index]
            }
        };
        match slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// Forgets a waker.
    pub(crate) fn remove(&mut self, key: &mut Key) {
        match key.take() {
            Some(0) => self.first = None,
            Some(index) if index <= self.more.len() => self.more[index - 1] = None,
            _ => {}
        }
    }

    /// Moves every waker out. Keys stay valid: they point to empty slots.
    pub(crate) fn drain_into(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.first.take());
        wakers.extend(self.more.iter_mut().filter_map(Option::take));
    }
}
