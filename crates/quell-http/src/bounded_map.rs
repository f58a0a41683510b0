//! [`BoundedMap`]: a bounded map whose entries expire, with a share for every owner.
//!
//! Invariants:
//!
//! 1. `ages` of the map and of its owners name every entry exactly once, oldest first.
//! 2. `bytes` is the sum of the entries' bytes; so is that of an owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use quell::limits::share_of;

/// A bounded map whose entries expire, with a share for every owner.
///
/// When the map is full, its oldest entry is dropped; when an owner exceeds their share, their
/// own oldest entry is. Callers without a name have no share: they use the map together.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use quell_http::BoundedMap;
///
/// let mut map = BoundedMap::new(4, 1_000, 25);
/// let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
/// let until = Instant::now() + Duration::from_mins(1);
/// map.put(Some(&ben), "precious", 1, 10, until);
/// for key in ["a", "b", "c"] {
///     map.put(Some(&ada), key, 2, 10, until);
/// }
/// assert_eq!(map.get(Some(&ben), &"precious"), Some(&1));
/// assert_eq!(map.get(Some(&ada), &"b"), None);
/// ```
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    most: Amount,
    share: Amount,
    entries: HashMap<Address<K>, Entry<V>>,
    ages: BTreeMap<u64, Address<K>>,
    /// `None` is an owner here too: it has no share, but its entries have ages.
    owners: HashMap<Option<Arc<str>>, Owned>,
    bytes: usize,
    next: u64,
    /// Whether the youngest entry of an owner stays, however large it is.
    keeps_last: bool,
}

/// Entries and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    entries: usize,
    bytes: usize,
}

type Address<K> = (Option<Arc<str>>, K);

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    until: Instant,
    age: u64,
}

/// The entries of one owner.
#[derive(Debug, Default)]
struct Owned {
    ages: BTreeSet<u64>,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, V> BoundedMap<K, V> {
    /// Makes a map: bounds of its entries and their bytes, and the share of one owner in percent.
    pub fn new(entries_max: usize, bytes_max: usize, share_percent: u8) -> Self {
        Self {
            most: Amount { entries: entries_max, bytes: bytes_max },
            share: Amount {
                entries: share_of(entries_max, share_percent),
                bytes: share_of(bytes_max, share_percent),
            },
            entries: HashMap::new(),
            ages: BTreeMap::new(),
            owners: HashMap::new(),
            bytes: 0,
            next: 0,
            keeps_last: false,
        }
    }

    /// Lets the youngest entry of an owner stay, however large it is. Without this, an entry that
    /// is larger than the share does not stay.
    #[must_use]
    pub const fn keeping_last(mut self) -> Self {
        self.keeps_last = true;
        self
    }

    /// Inserts an entry as the youngest one. It replaces an entry with the same key. Yields those
    /// that have left, to make room, or since they have expired.
    pub fn put(
        &mut self,
        owner: Option<&Arc<str>>,
        key: K,
        value: V,
        bytes: usize,
        until: Instant,
    ) -> Vec<V> {
        let address = (owner.cloned(), key);
        self.take(&address);
        let age = self.next;
        self.next += 1;
        self.bytes += bytes;
        let theirs = self.owners.entry(owner.cloned()).or_default();
        theirs.ages.insert(age);
        theirs.bytes += bytes;
        self.ages.insert(age, address.clone());
        self.entries.insert(address, Entry { value, bytes, until, age });
        let mut left = self.make_room(owner);
        left.extend(self.expire());
        left
    }

    /// Yields an entry that has not expired.
    pub fn get(&self, owner: Option<&Arc<str>>, key: &K) -> Option<&V> {
        let entry = self.entries.get(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some(&entry.value)
    }

    /// As [`BoundedMap::get`], of any owner. It takes time for each owner.
    pub fn find(&self, key: &K) -> Option<&V> {
        self.owners.keys().find_map(|owner| self.get(owner.as_ref(), key))
    }

    /// As [`BoundedMap::get`], to change it.
    pub fn get_mut(&mut self, owner: Option<&Arc<str>>, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some(&mut entry.value)
    }

    /// Extends the time of an entry to this instant, if it is later.
    pub fn extend(&mut self, owner: Option<&Arc<str>>, key: &K, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&(owner.cloned(), key.clone())) {
            entry.until = entry.until.max(until);
        }
    }

    /// Removes an entry; yields it with the instant of its expiry, if it has not expired.
    pub fn remove(&mut self, owner: Option<&Arc<str>>, key: &K) -> Option<(V, Instant)> {
        let entry = self.take(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some((entry.value, entry.until))
    }

    /// Removes the oldest entry of an owner; `None` if there is none.
    pub fn pop_oldest(&mut self, owner: Option<&Arc<str>>) -> Option<V> {
        let oldest = *self.owners.get(&owner.cloned())?.ages.first()?;
        let address = self.ages.get(&oldest)?.clone();
        self.take(&address).map(|entry| entry.value)
    }

    /// Yields the number of entries, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Yields the bytes of all entries.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Yields the instant at which the oldest entry expires; `None` if there is none.
    pub fn expires_at(&self) -> Option<Instant> {
        let (_, oldest) = self.ages.first_key_value()?;
        self.entries.get(oldest).map(|entry| entry.until)
    }

    fn make_room(&mut self, owner: Option<&Arc<str>>) -> Vec<V> {
        let mut left = Vec::new();
        let least = usize::from(self.keeps_last);
        while let Some(owner) = owner
            && let Some(theirs) = self.owners.get(&Some(Arc::clone(owner)))
            && theirs.ages.len() > least
            && (theirs.ages.len() > self.share.entries || theirs.bytes > self.share.bytes)
        {
            left.extend(self.pop_oldest(Some(owner)));
        }
        while self.entries.len() > least
            && (self.entries.len() > self.most.entries || self.bytes > self.most.bytes)
        {
            let Some((&oldest, _)) = self.ages.first_key_value() else { break };
            left.extend(self.take_aged(oldest));
        }
        left
    }

    /// Removes the oldest entries that have expired, and yields them. [`BoundedMap::put`] does so,
    /// too.
    pub fn expire(&mut self) -> Vec<V> {
        let (now, mut left) = (Instant::now(), Vec::new());
        while let Some((&oldest, address)) = self.ages.first_key_value()
            && self.entries.get(address).is_none_or(|entry| entry.until <= now)
        {
            left.extend(self.take_aged(oldest));
        }
        left
    }

    fn take_aged(&mut self, age: u64) -> Option<V> {
        let address = self.ages.get(&age)?.clone();
        self.take(&address).map(|entry| entry.value)
    }

    fn take(&mut self, address: &Address<K>) -> Option<Entry<V>> {
        let entry = self.entries.remove(address)?;
        self.ages.remove(&entry.age);
        self.bytes -= entry.bytes;
        if let Some(theirs) = self.owners.get_mut(&address.0) {
            theirs.ages.remove(&entry.age);
            theirs.bytes -= entry.bytes;
            if theirs.ages.is_empty() {
                self.owners.remove(&address.0);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    #[test]
    fn an_owner_beyond_their_share_loses_their_own_oldest() {
        let (ada, ben) = (name("ada"), name("ben"));
        let mut map = BoundedMap::new(100, 1_000, 25);
        map.put(Some(&ben), 0, 'b', 1, later());
        for key in 0..1_000 {
            map.put(Some(&ada), key, 'a', 1, later());
        }
        assert_eq!((map.len(), map.bytes()), (26, 26));
        assert_eq!(map.get(Some(&ben), &0), Some(&'b'));
        assert_eq!((map.get(Some(&ada), &974), map.get(Some(&ada), &975)), (None, Some(&'a')));
        map.put(Some(&ada), 7, 'a', 240, later());
        assert_eq!((map.len(), map.bytes()), (12, 251), "ten of one byte, and the large one");
        map.put(Some(&ada), 8, 'a', 251, later());
        assert_eq!((map.len(), map.bytes()), (1, 1), "what is larger than the share does not stay");
    }

    #[test]
    fn of_all_together_the_oldest_leave_and_nothing_is_left_behind() {
        let mut map = BoundedMap::new(10, 1_000, 25);
        for key in 0..20 {
            map.put(None, key, (), 60, later());
        }
        assert_eq!((map.len(), map.get(None, &9), map.get(None, &10)), (10, None, Some(&())));
        for key in 0..20 {
            map.remove(None, &key);
        }
        assert!(map.is_empty() && map.ages.is_empty() && map.owners.is_empty());
        assert_eq!(map.bytes(), 0);
    }

    #[test]
    fn an_entry_whose_time_is_over_is_none() {
        let ada = name("ada");
        let mut map = BoundedMap::new(10, 1_000, 100);
        let now = Instant::now();
        map.put(Some(&ada), 1, 'x', 1, now + Duration::from_secs(1));
        assert_eq!(map.expires_at(), Some(now + Duration::from_secs(1)));
        assert!(map.put(Some(&ada), 1, 'x', 1, now).contains(&'x'));
        assert_eq!((map.get(Some(&ada), &1), map.expires_at()), (None, None));
        map.put(Some(&ada), 2, 'y', 1, now + Duration::from_hours(1));
        assert_eq!(map.len(), 1, "the first one has left");
        assert_eq!(map.put(Some(&ada), 3, 'z', 1 << 20, later()), ['y', 'z'], "there is no room");
    }

    #[test]
    fn the_last_one_stays_however_large_and_the_oldest_of_an_owner_can_be_taken() {
        let (ada, ben) = (name("ada"), name("ben"));
        let mut map = BoundedMap::new(10, 1_000, 25).keeping_last();
        map.put(Some(&ben), 0, 'b', 10, later());
        map.put(None, 1, 'n', 10, later());
        for key in 2..5 {
            map.put(Some(&ada), key, 'a', 300, later());
        }
        assert_eq!((map.len(), map.bytes()), (3, 320), "hers is larger than a share");
        assert_eq!((map.find(&4), map.find(&3), map.find(&1)), (Some(&'a'), None, Some(&'n')));
        map.put(Some(&ada), 5, 'a', 100, later());
        map.put(Some(&ada), 6, 'a', 100, later());
        assert_eq!(map.pop_oldest(Some(&ada)), Some('a'));
        assert_eq!((map.find(&5), map.find(&6)), (None, Some(&'a')));
        assert_eq!((map.pop_oldest(None), map.pop_oldest(None)), (Some('n'), None));
        map.put(None, 7, 'n', 5_000, later());
        assert_eq!((map.len(), map.bytes(), map.owners.len()), (1, 5_000, 1));
    }
}
