//! Those who wait for something to happen to a run.
//!
//! A set of wakers that lives under a lock of its owner. Invariants:
//!
//! 1. A waiter checks its condition and registers under the same lock, so no wake-up is lost.
//! 2. Wakers are taken out under the lock and woken after it is released: waking is foreign code.
//! 3. Taking them out begins a new round, in which no key of an older round points anywhere: a
//!    waiter that was woken registers anew and can never overwrite another.
//! 4. One waiter costs no allocation, any number costs constant time each.

use std::task::Waker;

/// A set of wakers, each known by a key.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    round: u32,
    /// The first free place in `more`; its length if there is none.
    free: usize,
    first: Option<Waker>,
    more: Vec<Place>,
}

#[derive(Debug)]
enum Place {
    Taken(Waker),
    /// The next free place.
    Free(usize),
}

/// Where a waker is kept: round and place. Its owner gives it back with [`Waiters::remove`].
pub(crate) type Key = Option<(u32, usize)>;

impl Waiters {
    /// Registers a waker, or replaces the one under the same key.
    pub(crate) fn register(&mut self, key: &mut Key, waker: &Waker) {
        let known =
            key.filter(|(round, _)| *round == self.round).and_then(|(_, place)| {
                match place.checked_sub(1) {
                    None => self.first.as_mut(),
                    Some(index) => match self.more.get_mut(index) {
                        Some(Place::Taken(waker)) => Some(waker),
                        _ => None,
                    },
                }
            });
        match known {
            Some(known) if known.will_wake(waker) => {}
            Some(known) => known.clone_from(waker),
            None => *key = Some((self.round, self.insert(waker.clone()))),
        }
    }

    /// Forgets a waker.
    pub(crate) fn remove(&mut self, key: &mut Key) {
        let Some((_, place)) = key.take().filter(|(round, _)| *round == self.round) else { return };
        let Some(index) = place.checked_sub(1) else {
            self.first = None;
            return;
        };
        if let Some(place @ Place::Taken(_)) = self.more.get_mut(index) {
            *place = Place::Free(self.free);
            self.free = index;
        }
    }

    /// Moves every waker out.
    pub(crate) fn drain_into(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.first.take());
        wakers.extend(self.more.drain(..).filter_map(|place| match place {
            Place::Taken(waker) => Some(waker),
            Place::Free(_) => None,
        }));
        self.free = 0;
        self.round = self.round.wrapping_add(1);
    }

    fn insert(&mut self, waker: Waker) -> usize {
        if self.first.is_none() {
            self.first = Some(waker);
            return 0;
        }
        let index = self.free;
        if let Some(place) = self.more.get_mut(index) {
            if let Place::Free(next) = std::mem::replace(place, Place::Taken(waker)) {
                self.free = next;
            }
        } else {
            self.more.push(Place::Taken(waker));
            self.free = self.more.len();
        }
        index + 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn a_woken_waiter_that_registers_again_overwrites_nobody() {
        let ((a_count, a), (b_count, b)) = (counted(), counted());
        let (mut waiters, mut wakers) = (Waiters::default(), Vec::new());
        let (mut a_key, mut b_key) = (None, None);
        waiters.register(&mut a_key, &a);
        waiters.drain_into(&mut wakers);
        waiters.register(&mut b_key, &b);
        waiters.register(&mut a_key, &a);
        waiters.drain_into(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(a_count.0.load(Ordering::Relaxed), 2);
        assert_eq!(b_count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn places_given_back_are_used_again() {
        let (_, waker) = counted();
        let mut waiters = Waiters::default();
        let mut keys = vec![None; 100];
        for _ in 0..10 {
            for key in &mut keys {
                waiters.register(key, &waker);
            }
            for key in keys.iter_mut().rev() {
                waiters.remove(key);
            }
        }
        assert_eq!(waiters.more.len(), 99);
        let mut wakers = Vec::new();
        waiters.drain_into(&mut wakers);
        assert!(wakers.is_empty());
    }
}
