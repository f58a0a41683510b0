//! [`Ids`] makes ids for runs that bring none.
//!
//! UUIDs of version 7: 48 bits of wall time in milliseconds, 20 bits of nanoseconds within (RFC
//! 9562, section 6.2, method 3), and 54 bits that nobody can guess. An engine never uses an instant
//! twice, so that its ids are different, and ordered by creation, also on a clock that stands
//! still.

use std::hash::{BuildHasher, Hasher};

use quell_core::RunId;
use uuid::Uuid;

use crate::sync::{AtomicU64, Ordering, RandomState};

/// Makes ids.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// Keys of a pseudo-random function, made by the system for this process.
    secret: RandomState,
    /// The instant that was used last.
    last: AtomicU64,
}

impl Ids {
    /// Makes an id at an instant of the wall clock, in nanoseconds since 1970.
    pub(crate) fn next(&self, wall_nanos: u64) -> RunId {
        let unused = |last: u64| wall_nanos.max(last.saturating_add(1));
        let last =
            self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(unused(last)));
        let at = last.map_or(wall_nanos, unused);
        let (millis, within) = (at / NANOS_PER_MILLI, at % NANOS_PER_MILLI);
        let high = millis << 16 | 0x7 << 12 | within >> 8;
        let low = 0b10 << 62 | (within & 0xff) << 54 | self.secret.hash_one(at) >> 10;
        RunId::from_uuid(Uuid::from_u64_pair(high, low))
    }
}

/// Hashes ids: two multiplications under two secrets, as in foldhash and its kin. An id is 16 bytes
/// that are mostly random already, but an embedder's may be anything.
#[derive(Clone, Debug)]
pub(crate) struct IdHash {
    secrets: [u64; 2],
}

impl Default for IdHash {
    fn default() -> Self {
        let source = RandomState::new();
        Self { secrets: [source.hash_one(0_u8), source.hash_one(1_u8)] }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { secrets: self.secrets, hash: 0 }
    }
}

/// One hash in the making.
#[derive(Debug)]
pub(crate) struct IdHasher {
    secrets: [u64; 2],
    hash: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..half.len()].copy_from_slice(half);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.hash = fold(self.hash ^ word ^ self.secrets[0], self.secrets[1]);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// Multiplies, and lets the upper half of the product into the lower.
#[expect(clippy::cast_possible_truncation, reason = "one half of the product at a time")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use uuid::{Variant, Version};

    use super::*;

    #[test]
    fn ids_of_one_instant_are_different_and_in_order() {
        let (ids, wall) = (Ids::default(), 1_700_000_000_123_456_789);
        let made: Vec<_> = (0..1_000_000).map(|_| ids.next(wall)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7_that_tells_its_time() {
        let wall = 1_700_000_000_123_456_789;
        let uuid = Ids::default().next(wall).as_uuid();
        assert_eq!(
            (uuid.get_version(), uuid.get_variant()),
            (Some(Version::SortRand), Variant::RFC4122)
        );
        assert_eq!(u64::try_from(uuid.as_u128() >> 80).unwrap(), wall / NANOS_PER_MILLI);
    }

    #[test]
    fn two_engines_make_different_ids_at_the_same_instant() {
        let (one, other) = (Ids::default(), Ids::default());
        assert_ne!(one.next(1), other.next(1));
    }
}
