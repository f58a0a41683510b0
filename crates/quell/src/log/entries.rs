//! [`Entries`] holds the newest entries of a log: those of late as they are, in a ring, and those
//! that are older packed.
//!
//! Only a log that grows slowly packs: what it costs is nothing beside a second, and much beside
//! an event of a log that is written without a pause (bench `events`). Both bounds hold for all
//! entries together, and a packed one counts as much as before: how many of them are held does not
//! depend on how well they compress.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::log::Entry;
use crate::log::packed::{Packed, fitting};
use crate::log::ring::{AHEAD_BYTES_MAX, AHEAD_MAX, Bounds, Place, Read, Ring};
use crate::sync::waiters::{Key, Offer, Wakers};

/// The newest entries of a log, and the readers that wait for the next.
#[derive(Debug)]
pub(crate) struct Entries {
    /// Those before the ones in the ring.
    packed: Packed,
    /// Its bounds are what the packed ones leave.
    ring: Ring<Entry>,
    bounds: Bounds,
    /// Nothing is old enough before.
    pack_at: Instant,
}

impl Entries {
    /// Makes one without entries, at a time before any entry's.
    pub(crate) fn new(bounds: Bounds, beginning: Instant) -> Self {
        let (packed, ring) = (Packed::default(), Ring::new(bounds));
        Self { packed, ring, bounds, pack_at: beginning }
    }

    /// Has an empty log begin with a number.
    pub(crate) const fn begin_at(&mut self, seq: u64) {
        self.ring.begin_at(seq);
    }

    /// Appends an entry; see [`Ring::push`].
    #[inline]
    #[must_use]
    pub(crate) fn push(
        &mut self,
        bytes: usize,
        make: impl FnOnce() -> Entry,
        wakers: &mut Wakers,
    ) -> bool {
        if self.packed.len() > 0 && self.ring.is_full() {
            self.drop_packed();
        }
        self.ring.push(bytes, make, wakers)
    }

    /// Packs the older entries if they are old enough by now.
    #[inline]
    pub(crate) fn pack_if_due(&mut self, now: Instant) {
        if now >= self.pack_at && self.ring.len() >= PACK_FROM {
            self.pack(now);
        }
    }

    /// Packs the older three quarters of the ring once all of them are old, a block at a time.
    #[cold]
    fn pack(&mut self, now: Instant) {
        let count = self.ring.len() * 3 / 4;
        let newest = self.ring.iter().nth(count - 1);
        // Later entries are no older: until then it need not be asked again.
        self.pack_at = newest.map_or(now, |newest| newest.at) + PACK_AGE;
        if now >= self.pack_at {
            let count = fitting(self.ring.taken().take(count));
            self.packed.append(self.ring.take(count));
            self.bound();
        }
    }

    /// Sets the most bytes that may be held.
    pub(crate) const fn set_bytes_max(&mut self, bytes: usize) {
        self.bounds.bytes = bytes;
        self.bound();
    }

    /// Removes the oldest entries until the bytes are within the bound.
    #[cold]
    pub(crate) fn make_room(&mut self) {
        while self.packed.len() > 0 && self.bytes() > self.bounds.bytes {
            self.drop_packed();
        }
        self.ring.make_room();
    }

    #[cold]
    fn drop_packed(&mut self) {
        self.packed.drop_oldest();
        self.bound();
    }

    /// Gives the ring what the packed entries leave of the bounds.
    const fn bound(&mut self) {
        let Bounds { entries, bytes } = self.bounds;
        self.ring.set_bounds(Bounds {
            entries: entries - self.packed.len(),
            bytes: bytes.saturating_sub(self.packed.bytes()),
        });
    }

    pub(crate) const fn next(&self) -> u64 {
        self.ring.next()
    }

    pub(crate) fn first(&self) -> u64 {
        self.ring.first() - self.packed.len() as u64
    }

    /// Yields the bytes of the entries, packed or not.
    pub(crate) const fn bytes(&self) -> usize {
        self.packed.bytes() + self.ring.bytes()
    }

    pub(crate) fn read(&self, seq: u64) -> Read<Entry> {
        let mut one = Vec::new();
        match self.read_packed(seq, 1, &mut one) {
            None => self.ring.read(seq),
            Some(Read::Gone { first }) => Read::Gone { first },
            Some(_) => one.pop().map_or(Read::Nothing, Read::Entry),
        }
    }

    /// Reads an entry as [`Entries::read`] does, and some of those after it; see
    /// [`Ring::read_some`].
    pub(crate) fn read_some(&self, seq: u64, to: &mut Vec<Entry>) -> Read<()> {
        let read = self.read_packed(seq, 1 + AHEAD_MAX, to);
        read.unwrap_or_else(|| self.ring.read_some(seq, to))
    }

    /// Reads packed entries; none if the ring says what is there.
    #[inline]
    fn read_packed(&self, seq: u64, count: usize, to: &mut Vec<Entry>) -> Option<Read<()>> {
        if seq >= self.ring.first() || self.packed.len() == 0 {
            return None;
        }
        let first = self.first();
        if seq < first {
            return Some(Read::Gone { first });
        }
        let from = usize::try_from(seq - first).unwrap_or(usize::MAX);
        let mut read = self.packed.read(from, count);
        let mut bytes = 0;
        let fits = |place: &&Place<Entry>| {
            bytes += place.cost;
            bytes <= AHEAD_BYTES_MAX
        };
        let ahead = read.iter().skip(1).take_while(fits).count();
        read.truncate(1 + ahead);
        to.extend(read.into_iter().rev().filter_map(|place| place.entry));
        Some(Read::Entry(()))
    }

    /// Calls a function with every entry, in their order.
    pub(crate) fn each(&self, mut look: impl FnMut(&Entry)) {
        self.packed.each(&mut look);
        self.ring.iter().for_each(look);
    }

    /// Registers a reader that has read every entry; see [`Ring::wait`].
    #[must_use]
    pub(crate) fn wait(&mut self, key: &mut Key, offer: &mut Offer<'_>) -> bool {
        self.ring.wait(key, offer)
    }

    /// Adds a reader.
    pub(crate) const fn join(&mut self) {
        self.ring.join();
    }

    /// Removes a reader, and takes out its waker; see [`Ring::forget`].
    #[must_use]
    pub(crate) fn leave(&mut self, key: &mut Key) -> Option<Waker> {
        self.ring.leave(key)
    }

    /// Tells whether every reader has read every entry, and waits for more.
    pub(crate) fn is_read(&self) -> bool {
        self.ring.is_read()
    }

    pub(crate) fn drain_waiters(&mut self, wakers: &mut Wakers) {
        self.ring.drain_waiters(wakers);
    }
}

/// So many entries are held as they are at least before some are packed.
const PACK_FROM: usize = 4;

/// How old an entry is that is packed. A log of the usual bound that is written faster than about
/// a thousand entries a second packs none.
const PACK_AGE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use quell_core::{EventKind, Payload, RunId, RunKind};

    use super::*;
    use crate::log::bytes_of;
    use crate::log::ring::PLACE_BYTES;

    /// What is written: after so many milliseconds, a text of so many characters or another event.
    type Said = (u64, Result<usize, u8>);

    /// Texts that compress well, and some that do not.
    fn kind_of(nth: usize, said: Result<usize, u8>) -> EventKind {
        match said {
            Ok(length) => {
                let noise =
                    |at: usize| char::from(b" {}azAZ09,:\"\\-_"[(nth * 31 + at * at * 7) % 15]);
                let text: String = if nth.is_multiple_of(3) {
                    (0..length).map(noise).collect()
                } else {
                    format!("{nth}: {}", "the same again ".repeat(length / 15))
                };
                EventKind::Emitted(Payload::from(text))
            }
            Err(0) => EventKind::Started,
            Err(1) => EventKind::Progress(0.5),
            Err(how) => {
                let kind = if how < 5 { RunKind::Agent } else { RunKind::Attempt };
                let parent = how.is_multiple_of(2).then(|| RunId::from_text("two"));
                let name = if how == 7 { "" } else { "ä name" }.into();
                EventKind::Queued { parent, kind, name, shielded: how.is_multiple_of(3) }
            }
        }
    }

    fn written(said: &[Said]) -> Vec<Entry> {
        let mut at = Instant::now();
        let entries = said.iter().enumerate().map(|(nth, (after, said))| {
            at += Duration::from_millis(*after) + Duration::from_nanos(nth as u64);
            let run = RunId::from_text(["one", "two", "three"][nth % 3]);
            Entry { run, at, kind: kind_of(nth, *said) }
        });
        entries.collect()
    }

    /// The same bounds, kept in the plainest way.
    struct Plain {
        all: Vec<Entry>,
        first: usize,
        bounds: Bounds,
    }

    impl Plain {
        fn bytes(&self) -> usize {
            self.all[self.first..].iter().map(|it| PLACE_BYTES + bytes_of(&it.kind)).sum()
        }

        fn push(&mut self, entry: Entry) {
            self.all.push(entry);
            while self.all.len() - self.first > self.bounds.entries
                || self.bytes() > self.bounds.bytes
            {
                self.first += 1;
            }
        }
    }

    fn is_same(one: &Entry, other: &Entry) -> bool {
        (one.run, one.at, &one.kind) == (other.run, other.at, &other.kind)
    }

    fn check(entries: &Entries, plain: &Plain) {
        let (first, next) = (plain.first as u64 + 1, plain.all.len() as u64 + 1);
        assert_eq!((entries.first(), entries.next()), (first, next));
        assert_eq!(entries.bytes(), plain.bytes());
        assert!(matches!(entries.read(next), Read::Nothing));
        let mut all = Vec::new();
        entries.each(|entry| all.push(entry.clone()));
        let held = &plain.all[plain.first..];
        assert_eq!(all.len(), held.len());
        assert!(all.iter().zip(held).all(|(read, held)| is_same(read, held)));
        for seq in 1..next {
            let mut ahead = Vec::new();
            let read = entries.read_some(seq, &mut ahead);
            if seq < first {
                assert!(matches!(read, Read::Gone { first: now } if now == first));
                assert!(ahead.is_empty());
                continue;
            }
            assert!(matches!(read, Read::Entry(())));
            assert!((1..=1 + AHEAD_MAX).contains(&ahead.len()));
            let from = &plain.all[usize::try_from(seq).unwrap() - 1..];
            assert!(ahead.iter().rev().zip(from).all(|(read, held)| is_same(read, held)));
            assert!(matches!(entries.read(seq), Read::Entry(one) if is_same(&one, &from[0])));
        }
    }

    fn said() -> impl Strategy<Value = Vec<Said>> {
        let length = prop_oneof![8 => 0_usize..300, 1 => 300_usize..20_000];
        let what = prop_oneof![6 => length.prop_map(Ok), 1 => (0_u8..8).prop_map(Err)];
        let after = prop_oneof![3 => 0_u64..400, 1 => 400_u64..3_000];
        vec((after, what), 0..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn what_is_packed_is_read_as_it_was_written_and_within_the_same_bounds(
            said in said(),
            entries in prop_oneof![0_usize..12, 12_usize..200],
            bytes in prop_oneof![1_000_usize..10_000, 10_000_usize..1_000_000],
        ) {
            let bounds = Bounds { entries, bytes };
            let mut plain = Plain { all: Vec::new(), first: 0, bounds };
            let mut held = Entries::new(bounds, Instant::now());
            for (nth, entry) in written(&said).into_iter().enumerate() {
                let at = entry.at;
                let bytes = bytes_of(&entry.kind);
                let is_over = held.push(bytes, || entry.clone(), &mut Wakers::new());
                held.pack_if_due(at);
                if is_over {
                    held.make_room();
                }
                plain.push(entry);
                if nth % 37 == 0 {
                    check(&held, &plain);
                }
            }
            check(&held, &plain);
        }
    }

    #[test]
    fn a_log_that_is_written_slowly_takes_little_memory_and_a_busy_one_packs_nothing() {
        let fill = |after| {
            let mut entries = Entries::new(Bounds { entries: 500, bytes: 1 << 20 }, Instant::now());
            for entry in written(&vec![(after, Ok(150)); 1_000]) {
                let at = entry.at;
                let _ = entries.push(bytes_of(&entry.kind), || entry, &mut Wakers::new());
                entries.pack_if_due(at);
            }
            (entries.packed.len(), entries.ring.len(), entries.ring.places_held())
        };
        let (packed, ring, places) = fill(1_000);
        assert!(
            packed == 500 - ring && ring <= PACK_FROM && places <= PACK_FROM,
            "{ring} {places}"
        );
        assert_eq!(fill(1), (0, 500, 500));
    }
}
