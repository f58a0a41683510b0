//! [`Shares`]: a table with a bound, of which every owner has a share.
//!
//! Invariants:
//!
//! 1. `ages` of the table and of its owners name every entry exactly once, oldest first.
//! 2. `bytes` is the sum of the entries' bytes; so is that of an owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use quell::limits::share_of;

/// A table of what callers leave, each entry for a while.
///
/// When it is full the oldest entry leaves; when its owner is beyond their share, the oldest of
/// that owner. Callers without a name share what is there.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use quell_http::Shares;
///
/// let mut table = Shares::new(4, 1_000, 25);
/// let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
/// let until = Instant::now() + Duration::from_mins(1);
/// table.put(Some(&ben), "precious", 1, 10, until);
/// for key in ["a", "b", "c"] {
///     table.put(Some(&ada), key, 2, 10, until);
/// }
/// assert_eq!(table.get(Some(&ben), &"precious"), Some(&1));
/// assert_eq!(table.get(Some(&ada), &"b"), None);
/// ```
#[derive(Debug)]
pub struct Shares<K, V> {
    most: Amount,
    share: Amount,
    entries: HashMap<Address<K>, Entry<V>>,
    ages: BTreeMap<u64, Address<K>>,
    /// Those without a name, too: they have no share, but ages.
    owners: HashMap<Option<Arc<str>>, Owned>,
    bytes: usize,
    next: u64,
    /// The youngest entry stays, whatever its bytes.
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

/// What one owner has.
#[derive(Debug, Default)]
struct Owned {
    ages: BTreeSet<u64>,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, V> Shares<K, V> {
    /// Bounds the entries, their bytes, and what one owner may have of both, in percent.
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
    /// is larger than the share has no place.
    #[must_use]
    pub const fn keeping_last(mut self) -> Self {
        self.keeps_last = true;
        self
    }

    /// Puts an entry in, as the youngest, in the place of one with the same key.
    pub fn put(
        &mut self,
        owner: Option<&Arc<str>>,
        key: K,
        value: V,
        bytes: usize,
        until: Instant,
    ) {
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
        self.make_room(owner);
        self.expire();
    }

    /// Yields an entry whose time is not over.
    pub fn get(&self, owner: Option<&Arc<str>>, key: &K) -> Option<&V> {
        let entry = self.entries.get(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some(&entry.value)
    }

    /// As [`Shares::get`], whoever it is of. It looks at every owner.
    pub fn find(&self, key: &K) -> Option<&V> {
        self.owners.keys().find_map(|owner| self.get(owner.as_ref(), key))
    }

    /// As [`Shares::get`], to change it.
    pub fn get_mut(&mut self, owner: Option<&Arc<str>>, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some(&mut entry.value)
    }

    /// Lets an entry stay at least so long.
    pub fn extend(&mut self, owner: Option<&Arc<str>>, key: &K, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&(owner.cloned(), key.clone())) {
            entry.until = entry.until.max(until);
        }
    }

    /// Takes an entry out; yields it, and until when it was to stay, if its time is not over.
    pub fn remove(&mut self, owner: Option<&Arc<str>>, key: &K) -> Option<(V, Instant)> {
        let entry = self.take(&(owner.cloned(), key.clone()))?;
        (Instant::now() < entry.until).then_some((entry.value, entry.until))
    }

    /// Takes the oldest entry of an owner out; none if they have none.
    pub fn pop_oldest(&mut self, owner: Option<&Arc<str>>) -> Option<V> {
        let oldest = *self.owners.get(&owner.cloned())?.ages.first()?;
        let address = self.ages.get(&oldest)?.clone();
        self.take(&address).map(|entry| entry.value)
    }

    /// Yields how many entries there are, those included whose time is over.
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

    fn make_room(&mut self, owner: Option<&Arc<str>>) {
        let least = usize::from(self.keeps_last);
        while let Some(owner) = owner
            && let Some(theirs) = self.owners.get(&Some(Arc::clone(owner)))
            && theirs.ages.len() > least
            && (theirs.ages.len() > self.share.entries || theirs.bytes > self.share.bytes)
        {
            self.pop_oldest(Some(owner));
        }
        while self.entries.len() > least
            && (self.entries.len() > self.most.entries || self.bytes > self.most.bytes)
        {
            let Some((&oldest, _)) = self.ages.first_key_value() else { break };
            self.drop_aged(oldest);
        }
    }

    /// Forgets the oldest, as far as their time is over. [`Shares::put`] does, too.
    pub fn expire(&mut self) {
        let now = Instant::now();
        while let Some((&oldest, address)) = self.ages.first_key_value()
            && self.entries.get(address).is_none_or(|entry| entry.until <= now)
        {
            self.drop_aged(oldest);
        }
    }

    fn drop_aged(&mut self, age: u64) {
        if let Some(address) = self.ages.get(&age).cloned() {
            drop(self.take(&address));
        }
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
        let mut table = Shares::new(100, 1_000, 25);
        table.put(Some(&ben), 0, 'b', 1, later());
        for key in 0..1_000 {
            table.put(Some(&ada), key, 'a', 1, later());
        }
        assert_eq!((table.len(), table.bytes()), (26, 26));
        assert_eq!(table.get(Some(&ben), &0), Some(&'b'));
        assert_eq!((table.get(Some(&ada), &974), table.get(Some(&ada), &975)), (None, Some(&'a')));
        table.put(Some(&ada), 7, 'a', 240, later());
        assert_eq!((table.len(), table.bytes()), (12, 251), "ten of one byte, and the large one");
        table.put(Some(&ada), 8, 'a', 251, later());
        assert_eq!(
            (table.len(), table.bytes()),
            (1, 1),
            "what is larger than the share has no place"
        );
    }

    #[test]
    fn of_all_together_the_oldest_leave_and_nothing_is_left_behind() {
        let mut table = Shares::new(10, 1_000, 25);
        for key in 0..20 {
            table.put(None, key, (), 60, later());
        }
        assert_eq!((table.len(), table.get(None, &9), table.get(None, &10)), (10, None, Some(&())));
        for key in 0..20 {
            table.remove(None, &key);
        }
        assert!(table.is_empty() && table.ages.is_empty() && table.owners.is_empty());
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn an_entry_whose_time_is_over_is_none() {
        let ada = name("ada");
        let mut table = Shares::new(10, 1_000, 100);
        table.put(Some(&ada), 1, 'x', 1, Instant::now());
        assert_eq!(table.get(Some(&ada), &1), None);
        table.put(Some(&ada), 2, 'y', 1, Instant::now() + Duration::from_hours(1));
        assert_eq!(table.len(), 1, "the first one has left");
    }

    #[test]
    fn the_last_one_stays_however_large_and_the_oldest_of_an_owner_can_be_taken() {
        let (ada, ben) = (name("ada"), name("ben"));
        let mut table = Shares::new(10, 1_000, 25).keeping_last();
        table.put(Some(&ben), 0, 'b', 10, later());
        table.put(None, 1, 'n', 10, later());
        for key in 2..5 {
            table.put(Some(&ada), key, 'a', 300, later());
        }
        assert_eq!((table.len(), table.bytes()), (3, 320), "hers is larger than a share");
        assert_eq!(
            (table.find(&4), table.find(&3), table.find(&1)),
            (Some(&'a'), None, Some(&'n'))
        );
        table.put(Some(&ada), 5, 'a', 100, later());
        table.put(Some(&ada), 6, 'a', 100, later());
        assert_eq!(table.pop_oldest(Some(&ada)), Some('a'));
        assert_eq!((table.find(&5), table.find(&6)), (None, Some(&'a')));
        assert_eq!((table.pop_oldest(None), table.pop_oldest(None)), (Some('n'), None));
        table.put(None, 7, 'n', 5_000, later());
        assert_eq!((table.len(), table.bytes(), table.owners.len()), (1, 5_000, 1));
    }
}
