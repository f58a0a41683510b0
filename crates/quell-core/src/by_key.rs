//! [`ByKey`] is a small map in one piece of memory.

use std::{fmt, iter, slice, vec};

/// A few values by their keys, in the order of the keys: [`Labels`](crate::Labels), or
/// [`Annotations`](crate::Annotations).
///
/// It takes a fraction of the memory of a `BTreeMap` of as few entries, and every live run has two.
/// To look a key up takes the time of a search in a sorted list, and to insert one out of order
/// that of moving the entries behind it. A value is changed by inserting another one.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use quell_core::Labels;
///
/// // It is made of pairs, also of those of another map; of a key that comes twice the last counts.
/// let mut labels: Labels = [("team", "red"), ("shift", "late")]
///     .map(|(key, value)| (key.to_owned(), value.to_owned()))
///     .into();
/// labels.extend(BTreeMap::from([("area".to_owned(), "north".to_owned())]));
///
/// assert_eq!(labels.insert("team".to_owned(), "blue".to_owned()), Some("red".to_owned()));
/// assert_eq!(labels.remove("shift"), Some("late".to_owned()));
///
/// assert_eq!(labels.get("team").map(String::as_str), Some("blue"));
/// assert_eq!(labels.get("shift"), None);
/// let told: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
/// assert_eq!(told, ["area=north", "team=blue"]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ByKey<V>(Vec<(Box<str>, V)>);

impl<V> ByKey<V> {
    /// Makes one without entries.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Yields the number of entries.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no entries.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Yields the value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    /// Tells whether a key has a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value of a key. Yields the one before.
    pub fn insert(&mut self, key: String, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    // Two at a time: most have no more, and keep what they take for long.
                    self.0.reserve_exact((self.0.len() / 4).max(2));
                }
                self.0.insert(at, (key.into(), value));
                None
            }
        }
    }

    /// Removes the value of a key, and yields it.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.place(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Removes every entry.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives back memory that no entry needs.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Lists the entries in the order of their keys.
    pub fn iter(&self) -> Entries<'_, V> {
        Entries(self.0.iter())
    }

    /// Lists the keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Lists the values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        // Mostly they come in order.
        if self.0.last().is_none_or(|(last, _)| **last < *key) {
            return Err(self.0.len());
        }
        self.0.binary_search_by(|(known, _)| (**known).cmp(key))
    }
}

impl<V> Default for ByKey<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for ByKey<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Of a key that comes twice the later value counts.
impl<V> FromIterator<(String, V)> for ByKey<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        let mut all: Vec<(Box<str>, V)> =
            entries.into_iter().map(|(key, value)| (key.into(), value)).collect();
        // Sorted once, since from outside come many: to insert each would move the others.
        all.reverse();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        all.shrink_to_fit();
        Self(all)
    }
}

impl<V, const N: usize> From<[(String, V); N]> for ByKey<V> {
    fn from(entries: [(String, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<V> Extend<(String, V)> for ByKey<V> {
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, entries: I) {
        *self = std::mem::take(self).into_iter().chain(entries).collect();
    }
}

/// The entries of a [`ByKey`] in the order of their keys.
#[derive(Debug)]
pub struct Entries<'a, V>(slice::Iter<'a, (Box<str>, V)>);

impl<'a, V> Iterator for Entries<'a, V> {
    type Item = (&'a str, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (&**key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<V> ExactSizeIterator for Entries<'_, V> {}

impl<'a, V> IntoIterator for &'a ByKey<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = Entries<'a, V>;

    fn into_iter(self) -> Entries<'a, V> {
        self.iter()
    }
}

impl<V> IntoIterator for ByKey<V> {
    type Item = (String, V);
    type IntoIter = iter::Map<vec::IntoIter<(Box<str>, V)>, fn((Box<str>, V)) -> (String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(key, value)| (key.into(), value))
    }
}

#[cfg(feature = "serde")]
mod written {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ByKey;

    impl<V: Serialize> Serialize for ByKey<V> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map(self)
        }
    }

    impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByKey<V> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(Map(PhantomData))
        }
    }

    struct Map<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Map<V> {
        type Value = ByKey<V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ByKey<V>, M::Error> {
            let mut all: Vec<(String, V)> = Vec::new();
            while let Some(entry) = map.next_entry()? {
                all.push(entry);
            }
            Ok(all.into_iter().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_an_ordered_map(
            acts in proptest::collection::vec(("[a-f]{0,2}", any::<Option<u8>>()), 0..40),
            more in proptest::collection::vec(("[a-f]{0,2}", any::<u8>()), 0..10),
        ) {
            let (mut own, mut usual) = (ByKey::new(), BTreeMap::new());
            for (key, act) in acts {
                match act {
                    Some(value) => {
                        assert_eq!(own.insert(key.clone(), value), usual.insert(key, value));
                    }
                    None => assert_eq!(own.remove(&key), usual.remove(&key)),
                }
            }
            let is_same = |own: &ByKey<u8>, usual: &BTreeMap<String, u8>| {
                assert!(own.iter().eq(usual.iter().map(|(key, value)| (&**key, value))));
                assert_eq!((own.len(), own.is_empty()), (usual.len(), usual.is_empty()));
                for key in ["", "a", "f", "aa", "cd", "ff", "zz"] {
                    assert_eq!(own.get(key), usual.get(key));
                    assert_eq!(own.contains_key(key), usual.contains_key(key));
                }
                assert_eq!(format!("{own:?}"), format!("{usual:?}"));
            };
            is_same(&own, &usual);
            is_same(&more.iter().cloned().collect(), &more.iter().cloned().collect());
            own.extend(more.clone());
            usual.extend(more);
            is_same(&own, &usual);
            assert_eq!(own.into_iter().collect::<ByKey<u8>>(), usual.into_iter().collect());
        }
    }
}
