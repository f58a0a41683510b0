//! [`Aged`] is a table whose entries grow old: bounded by number, bytes and time, and for each
//! owner by a share.
//!
//! Invariants:
//!
//! 1. `ages` names every entry exactly once, the oldest first, and that of an owner every entry of
//!    the owner.
//! 2. `bytes` is the sum of the entries' bytes; so is that of an owner. An owner without entries
//!    has no share.
//! 3. `ends` names every entry by the end of its time. What is over leaves before anything that is
//!    not, whoever comes next: one that puts something in, or asks for something.
//!
//! The table has no lock: its owner has one. Entries are the engine's own values, so that they may
//! be dropped under it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use quell_core::limits::share_of;

use crate::sync::RandomState;

/// A table whose entries grow old.
#[derive(Debug)]
pub(crate) struct Aged<K, V> {
    /// What all entries may have together.
    max: Amount,
    /// What the entries of one owner may have.
    share: Amount,
    entries: HashMap<K, Entry<V>, RandomState>,
    ages: BTreeMap<u64, K>,
    ends: BTreeSet<(Instant, u64)>,
    owners: HashMap<Arc<str>, Share, RandomState>,
    bytes: usize,
    /// The age of the entry that was put in last.
    made: u64,
}

/// Entries and their bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    /// When its time is over: from then on it is as if it were not there.
    until: Instant,
    age: u64,
    owner: Option<Arc<str>>,
}

/// What one owner has.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    ages: BTreeSet<u64>,
}

impl<K: Clone + Eq + Hash, V> Aged<K, V> {
    /// Makes a table: its bounds, and the share of one owner in percent.
    pub(crate) fn new(max: Amount, share_percent: u8) -> Self {
        let share = |max| share_of(max, share_percent);
        Self {
            max,
            share: Amount { entries: share(max.entries), bytes: share(max.bytes) },
            entries: HashMap::default(),
            ages: BTreeMap::new(),
            ends: BTreeSet::new(),
            owners: HashMap::default(),
            bytes: 0,
            made: 0,
        }
    }

    /// Puts an entry in as the youngest one, in place of one with the same key. Those that have to
    /// leave for it are dropped: what is over, then the oldest of its owner, then of all.
    pub(crate) fn put(
        &mut self,
        key: K,
        value: V,
        (owner, bytes): (Option<Arc<str>>, usize),
        (now, until): (Instant, Instant),
    ) {
        self.expire(now);
        self.take(&key);
        self.made += 1;
        let age = self.made;
        self.bytes += bytes;
        if let Some(owner) = &owner {
            let share = self.owners.entry(Arc::clone(owner)).or_default();
            share.bytes += bytes;
            share.ages.insert(age);
        }
        self.ages.insert(age, key.clone());
        self.ends.insert((until, age));
        self.entries.insert(key, Entry { value, bytes, until, age, owner: owner.clone() });
        self.make_room(owner.as_ref());
    }

    /// Yields an entry whose time is not over.
    pub(crate) fn get(&mut self, key: &K, now: Instant) -> Option<&V> {
        self.expire(now);
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Keeps an entry until an instant, if that is later, and yields it. None if there is no such
    /// entry, or its time is over.
    pub(crate) fn extend(&mut self, key: &K, now: Instant, until: Instant) -> Option<&mut V> {
        self.expire(now);
        let entry = self.entries.get_mut(key)?;
        if until > entry.until {
            self.ends.remove(&(entry.until, entry.age));
            self.ends.insert((until, entry.age));
            entry.until = until;
        }
        Some(&mut entry.value)
    }

    /// Yields when the time of an entry is over, if there is one.
    pub(crate) fn until(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).map(|entry| entry.until)
    }

    /// Removes an entry. If its time is not over, yields it with its age: a number that is lower
    /// the older it is.
    pub(crate) fn remove(&mut self, key: &K, now: Instant) -> Option<(u64, V)> {
        self.expire(now);
        let entry = self.take(key)?;
        Some((entry.age, entry.value))
    }

    /// How many entries there are, those included whose time is over and nobody has asked since.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops what is over. Each entry leaves once: over time this costs no more than to put it in.
    fn expire(&mut self, now: Instant) {
        while let Some((until, age)) = self.ends.first().copied()
            && until <= now
        {
            self.drop_aged(age);
        }
    }

    fn make_room(&mut self, owner: Option<&Arc<str>>) {
        while let Some(share) = owner.and_then(|owner| self.owners.get(owner))
            && (share.ages.len() > self.share.entries || share.bytes > self.share.bytes)
            && let Some(oldest) = share.ages.first().copied()
        {
            self.drop_aged(oldest);
        }
        while (self.entries.len() > self.max.entries || self.bytes > self.max.bytes)
            && let Some((oldest, _)) = self.ages.first_key_value()
        {
            let oldest = *oldest;
            self.drop_aged(oldest);
        }
    }

    fn drop_aged(&mut self, age: u64) {
        if let Some(key) = self.ages.get(&age).cloned() {
            self.take(&key);
        }
    }

    fn take(&mut self, key: &K) -> Option<Entry<V>> {
        let entry = self.entries.remove(key)?;
        self.ages.remove(&entry.age);
        self.ends.remove(&(entry.until, entry.age));
        self.bytes -= entry.bytes;
        if let Some(owner) = &entry.owner
            && let Some(share) = self.owners.get_mut(owner)
        {
            share.bytes -= entry.bytes;
            share.ages.remove(&entry.age);
            if share.ages.is_empty() {
                self.owners.remove(owner);
            }
        }
        Some(entry)
    }
}

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn table(entries: usize, bytes: usize) -> Aged<u32, char> {
        Aged::new(Amount { entries, bytes }, 25)
    }

    #[test]
    fn an_owner_beyond_the_share_loses_its_own_oldest_and_nobody_elses() {
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        let (mut table, now) = (table(100, 1_000), Instant::now());
        table.put(0, 'b', (Some(Arc::clone(&ben)), 1), (now, now + DAY));
        for key in 1..1_000 {
            table.put(key, 'a', (Some(Arc::clone(&ada)), 1), (now, now + DAY));
        }
        assert_eq!((table.len(), table.bytes, table.owners[&ada].bytes), (26, 26, 25));
        assert_eq!(table.get(&0, now), Some(&'b'));
        assert_eq!(table.get(&974, now), None);
        assert_eq!(table.get(&975, now), Some(&'a'));
        table.put(2_000, 'a', (Some(Arc::clone(&ada)), 250), (now, now + DAY));
        assert_eq!((table.len(), table.bytes), (2, 251), "a quarter of the bytes");
        table.put(2_001, 'a', (Some(ada), 251), (now, now + DAY));
        assert_eq!((table.len(), table.bytes), (1, 1), "what is larger than the share is not kept");
    }

    #[test]
    fn beyond_the_bounds_of_all_the_oldest_leave() {
        let (mut table, now) = (table(10, 100), Instant::now());
        for key in 0..20 {
            table.put(key, 'x', (None, 1), (now, now + DAY));
        }
        assert_eq!((table.len(), table.get(&9, now)), (10, None));
        assert_eq!(table.get(&10, now), Some(&'x'));
        table.put(20, 'x', (None, 95), (now, now + DAY));
        assert_eq!((table.len(), table.bytes), (6, 100));
        for key in 0..21 {
            table.remove(&key, now);
        }
        assert_eq!((table.len(), table.bytes, table.ages.len(), table.owners.len()), (0, 0, 0, 0));
    }

    #[test]
    fn an_entry_whose_time_is_over_is_none_and_makes_room() {
        let (mut table, now) = (table(10, 100), Instant::now());
        table.put(1, 'x', (None, 1), (now, now + DAY));
        assert!(table.extend(&1, now, now + 2 * DAY).is_some());
        assert!(table.extend(&1, now, now).is_some());
        assert_eq!(table.get(&1, now + DAY), Some(&'x'), "it is never shortened");
        assert!(table.extend(&1, now + 2 * DAY, now + 3 * DAY).is_none());
        assert_eq!(table.get(&1, now + 2 * DAY), None);
        table.put(1, 'x', (None, 1), (now, now + DAY));
        table.put(2, 'y', (None, 1), (now + 2 * DAY, now + 3 * DAY));
        assert_eq!(table.len(), 1, "the first one has left");
        assert_eq!(table.remove(&2, now + 3 * DAY), None);
        table.put(3, 'a', (None, 1), (now, now + DAY));
        table.put(3, 'b', (None, 1), (now, now + DAY));
        assert_eq!((table.len(), table.remove(&3, now)), (1, Some((5, 'b'))));
    }

    #[test]
    fn what_is_over_leaves_before_what_is_not_whoever_comes_next() {
        let ada: Arc<str> = "ada".into();
        let (mut table, now) = (table(40, 1_000), Instant::now());
        let put = |table: &mut Aged<u32, char>, key, days| {
            let until = now + days * DAY;
            table.put(key, 'a', (Some(Arc::clone(&ada)), 1), (now, until));
        };
        put(&mut table, 0, 9);
        for key in 1..10 {
            put(&mut table, key, 1);
        }
        // The share is ten: the oldest has time left, and all the younger ones have not.
        table.put(10, 'a', (Some(Arc::clone(&ada)), 1), (now + 2 * DAY, now + 9 * DAY));
        assert_eq!((table.len(), table.get(&0, now + 2 * DAY)), (2, Some(&'a')));
        assert_eq!(table.get(&3, now + 9 * DAY), None);
        assert_eq!(table.len(), 0, "a question is enough");
        assert_eq!((table.ages.len(), table.ends.len(), table.bytes), (0, 0, 0));
        assert!(table.owners.is_empty());
    }
}
