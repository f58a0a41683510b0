//! [`Ring`] holds the newest entries of a sequence, bounded by their number and their bytes, and
//! the wakers of the readers that wait for the next one.

use crate::sync::waiters::{Key, Offer, Waiters, Wakers};

/// The newest entries of a sequence, and the readers that wait for the next.
#[derive(Debug)]
pub(crate) struct Ring<E> {
    /// The places, a circle in which the entries begin at `oldest`. A place is free only after its
    /// entry has left because of its bytes.
    places: Vec<Place<E>>,
    oldest: usize,
    len: usize,
    next: u64,
    bytes: usize,
    bounds: Bounds,
    waiters: Waiters,
    /// The number of readers, waiting or not.
    readers: usize,
}

/// A place, free or taken.
#[derive(Clone, Debug)]
pub(super) struct Place<E> {
    pub(super) entry: Option<E>,
    /// The bytes of the entry; zero without one. It is stored, since measuring the entry again when
    /// it leaves would touch its texts (bench `events`).
    pub(super) cost: usize,
}

/// The most that a ring holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// What a place in the ring holds.
pub(crate) enum Read<E> {
    /// This entry.
    Entry(E),
    /// Its entry has left: the first entry held has this number.
    Gone { first: u64 },
    /// No entry yet.
    Nothing,
}

impl<E: Clone> Ring<E> {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        let waiters = Waiters::new();
        let places = Vec::new();
        Self { places, oldest: 0, len: 0, next: 1, bytes: 0, bounds, waiters, readers: 0 }
    }

    /// Has an empty ring begin with a number.
    pub(crate) const fn begin_at(&mut self, seq: u64) {
        self.next = seq;
    }

    /// Appends an entry of `bytes` bytes besides its place. If the ring is full, the oldest entry
    /// leaves. Yields whether the ring holds too many bytes: then the caller makes room, or raises
    /// the bound.
    ///
    /// The entry is made in its place. As an argument it would be copied by loads that are wider
    /// than the stores that made it, and each of these loads waits (bench `events`).
    #[inline]
    #[must_use]
    pub(crate) fn push(
        &mut self,
        bytes: usize,
        make: impl FnOnce() -> E,
        wakers: &mut Wakers,
    ) -> bool {
        self.next += 1;
        self.waiters.drain_into(wakers);
        if self.bounds.entries == 0 {
            return false;
        }
        let is_full = self.is_full();
        // In a full ring the newest entry takes the place of the oldest, which is dropped there.
        let at = if is_full { self.oldest } else { self.free_place() };
        let place = &mut self.places[at];
        place.entry = Some(make());
        let left = std::mem::replace(&mut place.cost, PLACE_BYTES + bytes);
        self.bytes = self.bytes + PLACE_BYTES + bytes - left;
        if is_full {
            self.oldest = self.place_of(1);
        } else {
            self.len += 1;
        }
        self.bytes > self.bounds.bytes
    }

    /// Sets the most that the ring may hold: no fewer entries than it holds.
    pub(super) const fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Yields how many places it has memory for.
    #[cfg(test)]
    pub(super) const fn places_held(&self) -> usize {
        self.places.capacity()
    }

    /// Tells whether the oldest entry leaves for the next one.
    pub(super) const fn is_full(&self) -> bool {
        self.len == self.bounds.entries
    }

    /// Takes out so many of the oldest entries, and gives memory back of which little is used.
    pub(super) fn take(&mut self, count: usize) -> Vec<Place<E>> {
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count.min(self.len) {
            let free = Place { entry: None, cost: 0 };
            let place = std::mem::replace(&mut self.places[self.oldest], free);
            self.bytes -= place.cost;
            self.oldest = self.place_of(1);
            self.len -= 1;
            taken.push(place);
        }
        let wanted = (2 * self.len.max(2)).next_power_of_two();
        if self.places.capacity() > wanted {
            self.places.rotate_left(self.oldest);
            self.oldest = 0;
            self.places.truncate(self.len);
            self.places.shrink_to(wanted);
        }
        taken
    }

    /// Removes the oldest entries until the bytes are within the bound.
    #[cold]
    pub(crate) fn make_room(&mut self) {
        while self.bytes > self.bounds.bytes && self.len > 0 {
            let place = &mut self.places[self.oldest];
            self.bytes -= place.cost;
            *place = Place { entry: None, cost: 0 };
            self.oldest = self.place_of(1);
            self.len -= 1;
        }
    }

    /// Yields the place of the next entry, and makes one if there is none.
    #[inline]
    fn free_place(&mut self) -> usize {
        if self.len == self.places.len() {
            // A new place goes to the end, so the circle is rotated until the oldest is at 0.
            if self.oldest > 0 {
                self.places.rotate_left(self.oldest);
                self.oldest = 0;
            }
            if self.places.len() == self.places.capacity() {
                self.grow();
            }
            self.places.push(Place { entry: None, cost: 0 });
        }
        self.place_of(self.len)
    }

    /// Makes room for further places: what a run needs that says nothing, then the next power of
    /// two each time, and none beyond the bound. To double three until 4,000 events fit took half
    /// as much memory again (bench `parallel`).
    #[cold]
    fn grow(&mut self) {
        let places = self.places.len();
        let wanted = if places == 0 { PLACES_AT_FIRST } else { (places + 1).next_power_of_two() };
        self.places.reserve_exact(wanted.min(self.bounds.entries) - places);
    }

    /// Yields the place of an entry, counted from the oldest.
    const fn place_of(&self, entry: usize) -> usize {
        let place = self.oldest + entry;
        if place < self.places.len() { place } else { place - self.places.len() }
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn first(&self) -> u64 {
        self.next - self.len as u64
    }

    /// Yields the bytes of the entries.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn read(&self, seq: u64) -> Read<E> {
        let first = self.first();
        if seq < first {
            return Read::Gone { first };
        }
        let entry = usize::try_from(seq - first).unwrap_or(usize::MAX);
        let held =
            if entry < self.len { self.places[self.place_of(entry)].entry.clone() } else { None };
        held.map_or(Read::Nothing, Read::Entry)
    }

    /// Reads an entry as [`Ring::read`] does, and some of those after it, the newest first. Their
    /// number and bytes are bounded, because the reader holds them after they have left the ring.
    pub(crate) fn read_some(&self, seq: u64, to: &mut Vec<E>) -> Read<()> {
        let first = self.first();
        if seq < first {
            return Read::Gone { first };
        }
        let from = usize::try_from(seq - first).unwrap_or(usize::MAX);
        if from >= self.len {
            return Read::Nothing;
        }
        let (mut until, mut bytes) = (from + 1, 0);
        let until_max = self.len.min(until + AHEAD_MAX);
        while until < until_max {
            bytes += self.places[self.place_of(until)].cost;
            if bytes > AHEAD_BYTES_MAX {
                break;
            }
            until += 1;
        }
        for entry in (from..until).rev() {
            if let Some(entry) = &self.places[self.place_of(entry)].entry {
                to.push(entry.clone());
            }
        }
        Read::Entry(())
    }

    /// Lists the places of the entries in their order.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Place<E>> {
        (0..self.len).map(|entry| &self.places[self.place_of(entry)])
    }

    /// Lists the entries in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.taken().filter_map(|place| place.entry.as_ref())
    }

    /// Registers a reader that has read every entry; see [`Waiters::register`].
    #[must_use]
    pub(crate) fn wait(&mut self, key: &mut Key, offer: &mut Offer<'_>) -> bool {
        self.waiters.register(key, offer)
    }

    /// Takes out the waker of a reader; the caller drops it when it holds no lock.
    #[must_use]
    pub(crate) fn forget(&mut self, key: &mut Key) -> Option<std::task::Waker> {
        self.waiters.remove(key)
    }

    /// Adds a reader.
    pub(crate) const fn join(&mut self) {
        self.readers += 1;
    }

    /// Removes a reader, and takes out its waker; see [`forget`](Self::forget).
    #[must_use]
    pub(crate) fn leave(&mut self, key: &mut Key) -> Option<std::task::Waker> {
        self.readers = self.readers.saturating_sub(1);
        self.forget(key)
    }

    /// Tells whether every reader has read every entry, and waits for more.
    pub(crate) fn is_read(&self) -> bool {
        self.readers <= self.waiters.len()
    }

    pub(crate) fn drain_waiters(&mut self, wakers: &mut Wakers) {
        self.waiters.drain_into(wakers);
    }
}

/// The places of a ring at first: a run that says nothing has an event when it is queued, when it
/// starts, and when it ends or is paused.
const PLACES_AT_FIRST: usize = 3;

/// The most entries that a reader copies beyond the one that it wants.
pub(super) const AHEAD_MAX: usize = 15;

/// The most bytes of these entries.
pub(super) const AHEAD_BYTES_MAX: usize = 64 << 10;

/// The bytes of an entry besides its texts, about.
pub(super) const PLACE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(entries: usize, bytes: usize) -> Bounds {
        Bounds { entries, bytes }
    }

    #[test]
    fn a_full_ring_holds_the_newest_in_order_and_says_what_is_gone() {
        for entries in 0..=4 {
            let (mut ring, mut wakers) = (Ring::new(bounds(entries, 100_000)), Wakers::new());
            for seq in 1..=10_u64 {
                assert!(!ring.push(0, || seq, &mut wakers));
                let first = ring.first();
                assert_eq!(ring.next() - first, seq.min(entries as u64));
                for old in 1..first {
                    assert!(matches!(ring.read(old), Read::Gone { first: now } if now == first));
                }
                for held in first..=seq {
                    assert!(matches!(ring.read(held), Read::Entry(entry) if entry == held));
                }
                assert!(matches!(ring.read(seq + 1), Read::Nothing));
            }
        }
    }

    #[test]
    fn a_ring_has_no_places_that_it_may_not_fill() {
        for entries in [1, 2, 3, 4, 100] {
            let mut ring = Ring::new(bounds(entries, 100_000));
            for seq in 0..300_u64 {
                let _ = ring.push(0, || seq, &mut Wakers::new());
                assert!(ring.places.capacity() <= entries, "{entries}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_ring_never_holds_more_bytes_than_it_may(
            sizes in proptest::collection::vec(0..12 * PLACE_BYTES, 0..200),
        ) {
            let mut wakers = Wakers::new();
            let mut ring = Ring::new(bounds(100, 10 * PLACE_BYTES));
            for size in sizes {
                if ring.push(size, || size, &mut wakers) {
                    ring.make_room();
                }
                let held = ring.iter().map(|entry| PLACE_BYTES + entry).sum::<usize>();
                assert_eq!(held, ring.bytes());
                assert!(held <= 10 * PLACE_BYTES, "{held}");
                let fits = PLACE_BYTES + size <= 10 * PLACE_BYTES;
                let newest = matches!(ring.read(ring.next() - 1), Read::Entry(at) if at == size);
                assert_eq!(newest, fits, "the newest is held if it fits");
            }
        }
    }
}
