//! [`Waiters`] is a set of wakers: of the tasks that wait for something to happen to a run.
//!
//! It lives under a lock of its owner. Invariants:
//!
//! 1. A waiter checks its condition and registers under the same lock, so no wake-up is lost.
//! 2. Everything that a waker does is foreign code: it is cloned before the lock is taken, and
//!    woken or dropped after the lock is released ([`Offer`], [`Wakers`]).
//! 3. Taking wakers out begins a new round, in which no key of an older round points anywhere: a
//!    waiter that was woken registers anew and can never overwrite another.
//! 4. One waiter costs no allocation, any number costs constant time each.

use std::task::Waker;

use crate::few::Few;

/// A set of wakers, each known by a key.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// How often the wakers were taken out. A key of another round is void.
    round: u32,
    /// The first place, kept inline: most sets have one waiter.
    first: Option<Waker>,
    /// The other places, once there are any.
    more: Option<Box<More>>,
}

/// The places after the first.
#[derive(Debug, Default)]
struct More {
    places: Vec<Place>,
    /// The head of the list of free places; the number of places if there is none.
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

/// The waker that a waiter brings to a lock, and the one that it takes away from there.
///
/// Made before the lock is taken and dropped after it is released. A waiter that is registered
/// already most often brings the same waker again: then none is cloned.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    waker: &'a Waker,
    clone: Option<Waker>,
    replaced: Option<Waker>,
}

impl<'a> Offer<'a> {
    /// Clones the waker if the clone is likely to be needed: not if the waiter has registered
    /// before, nor if what it waits for is there.
    #[inline]
    pub(crate) fn new(waker: &'a Waker, key: &Key, is_there: bool) -> Self {
        let is_needed = key.is_none() && !is_there;
        Self { waker, clone: is_needed.then(|| waker.clone()), replaced: None }
    }

    /// Clones the waker after all. The caller holds no lock.
    pub(crate) fn renew(&mut self) {
        self.clone = Some(self.waker.clone());
    }
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self { round: 0, first: None, more: None }
    }

    /// Registers a waker, or replaces the one under the same key. False if a clone is needed for
    /// that and there is none: the caller releases its lock, calls [`Offer::renew`], and looks at
    /// its condition again.
    #[must_use]
    pub(crate) fn register(&mut self, key: &mut Key, offer: &mut Offer<'_>) -> bool {
        let known = self.find(*key);
        if known.as_ref().is_some_and(|known| known.will_wake(offer.waker)) {
            return true;
        }
        let Some(clone) = offer.clone.take() else { return false };
        match known {
            Some(known) => offer.replaced = Some(std::mem::replace(known, clone)),
            None => *key = Some((self.round, self.insert(clone))),
        }
        true
    }

    /// Takes a waker out. The caller drops it when it holds no lock.
    #[must_use]
    pub(crate) fn remove(&mut self, key: &mut Key) -> Option<Waker> {
        let (_, place) = key.take().filter(|(round, _)| *round == self.round)?;
        let Some(index) = place.checked_sub(1) else { return self.first.take() };
        let more = self.more.as_mut()?;
        let place = more.places.get_mut(index as usize)?;
        if matches!(place, Place::Free(_)) {
            return None;
        }
        let taken = std::mem::replace(place, Place::Free(more.free));
        more.free = index;
        match taken {
            Place::Taken(waker) => Some(waker),
            Place::Free(_) => None,
        }
    }

    /// Counts the wakers.
    pub(crate) fn len(&self) -> usize {
        let more = self.more.iter().flat_map(|more| &more.places);
        let taken = more.filter(|place| matches!(place, Place::Taken(_))).count();
        usize::from(self.first.is_some()) + taken
    }

    /// Moves every waker out.
    #[inline]
    pub(crate) fn drain_into(&mut self, wakers: &mut Wakers) {
        // Without a waker every key is void already: no new round is needed.
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

    fn find(&mut self, key: Key) -> Option<&mut Waker> {
        let (_, place) = key.filter(|(round, _)| *round == self.round)?;
        let Some(index) = place.checked_sub(1) else { return self.first.as_mut() };
        match self.more.as_mut()?.places.get_mut(index as usize)? {
            Place::Taken(waker) => Some(waker),
            Place::Free(_) => None,
        }
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

    fn register(waiters: &mut Waiters, key: &mut Key, waker: &Waker) {
        let mut offer = Offer::new(waker, key, false);
        if !waiters.register(key, &mut offer) {
            offer.renew();
            assert!(waiters.register(key, &mut offer));
        }
    }

    #[test]
    fn a_woken_waiter_that_registers_again_overwrites_nobody() {
        let ((a_count, a), (b_count, b)) = (counted(), counted());
        let (mut waiters, mut wakers) = (Waiters::default(), Wakers::new());
        let (mut a_key, mut b_key) = (None, None);
        register(&mut waiters, &mut a_key, &a);
        waiters.drain_into(&mut wakers);
        register(&mut waiters, &mut b_key, &b);
        register(&mut waiters, &mut a_key, &a);
        waiters.drain_into(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(a_count.0.load(Ordering::Relaxed), 2);
        assert_eq!(b_count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_waker_is_cloned_once_and_leaves_whole_when_it_is_replaced_or_removed() {
        let ((a_count, a), (b_count, b)) = (counted(), counted());
        let (mut waiters, mut key) = (Waiters::default(), None);
        let references = |count: &Arc<Count>| Arc::strong_count(count);
        register(&mut waiters, &mut key, &a);
        register(&mut waiters, &mut key, &a);
        assert_eq!(references(&a_count), 3, "the test, its waker, the registered one");
        {
            let mut offer = Offer::new(&b, &key, false);
            assert!(!waiters.register(&mut key, &mut offer), "it has no clone yet");
            offer.renew();
            assert!(waiters.register(&mut key, &mut offer));
            assert_eq!(references(&a_count), 3, "the offer holds what it replaced");
        }
        assert_eq!((references(&a_count), references(&b_count)), (2, 3));
        let removed = waiters.remove(&mut key);
        assert_eq!((references(&b_count), key), (3, None));
        drop(removed);
        assert_eq!(references(&b_count), 2);
    }

    #[test]
    fn places_given_back_are_used_again() {
        let (_, waker) = counted();
        let mut waiters = Waiters::default();
        let mut keys = vec![None; 100];
        for _ in 0..10 {
            for key in &mut keys {
                register(&mut waiters, key, &waker);
            }
            for key in keys.iter_mut().rev() {
                assert!(waiters.remove(key).is_some());
            }
        }
        assert_eq!(waiters.more.as_ref().map_or(0, |more| more.places.len()), 99);
        let mut wakers = Wakers::new();
        waiters.drain_into(&mut wakers);
        assert!(wakers.is_empty());
    }
}
