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

use crate::few::Few;

/// A set of wakers, each known by a key.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    round: u32,
    first: Option<Waker>,
    more: Option<Box<More>>,
}

/// The places after the first.
#[derive(Debug, Default)]
struct More {
    places: Vec<Place>,
    /// The first free place; their number if there is none.
    free: u32,
}

#[derive(Debug)]
enum Place {
    Taken(Waker),
    /// The next free place.
    Free(u32),
}

/// Wakers on their way out of a lock.
pub(crate) type Wakers = Few<Waker>;

/// Where a waker is kept: round and place. Its owner gives it back with [`Waiters::remove`].
pub(crate) type Key = Option<(u32, u32)>;

impl Waiters {
    /// Registers a waker, or replaces the one under the same key.
    pub(crate) fn register(&mut self, key: &mut Key, waker: &Waker) {
        let known = match *key {
            Some((round, 0)) if round == self.round => self.first.as_mut(),
            Some((round, place)) if round == self.round => match self.place(place - 1) {
                Some(Place::Taken(waker)) => Some(waker),
                _ => None,
            },
            _ => None,
        };
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
        let Some(more) = &mut self.more else { return };
        if let Some(place @ Place::Taken(_)) = more.places.get_mut(index as usize) {
            *place = Place::Free(more.free);
            more.free = index;
        }
    }

    /// Moves every waker out.
    #[inline]
    pub(crate) fn drain_into(&mut self, wakers: &mut Wakers) {
        // Without a waker no key points anywhere: the round may go on.
        if self.first.is_some() || self.more.is_some() {
            self.drain_all_into(wakers);
        }
    }

    fn drain_all_into(&mut self, wakers: &mut Wakers) {
        self.round = self.round.wrapping_add(1);
        if let Some(first) = self.first.take() {
            wakers.push(first);
        }
        if let Some(more) = &mut self.more {
            more.free = 0;
            wakers.extend(more.places.drain(..).filter_map(|place| match place {
                Place::Taken(waker) => Some(waker),
                Place::Free(_) => None,
            }));
        }
    }

    fn place(&mut self, index: u32) -> Option<&mut Place> {
        self.more.as_mut()?.places.get_mut(index as usize)
    }

    fn insert(&mut self, waker: Waker) -> u32 {
        if self.first.is_none() {
            self.first = Some(waker);
            return 0;
        }
        let more = self.more.get_or_insert_default();
        let index = more.free;
        if let Some(place) = more.places.get_mut(index as usize) {
            if let Place::Free(next) = std::mem::replace(place, Place::Taken(waker)) {
                more.free = next;
            }
        } else {
            more.places.push(Place::Taken(waker));
            more.free += 1;
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
        let (mut waiters, mut wakers) = (Waiters::default(), Wakers::new());
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
        assert_eq!(waiters.more.as_ref().map_or(0, |more| more.places.len()), 99);
        let mut wakers = Wakers::new();
        waiters.drain_into(&mut wakers);
        assert!(wakers.is_empty());
    }
}
