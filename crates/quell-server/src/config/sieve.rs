//! [`sifted`]: reads a table, and finds every fault of its shape.

use std::mem;
use std::ops::Range;

use quell_flow::limits;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{self, DeArray, DeString, DeTable, DeValue, Deserializer};

use super::harmless::shows_key;
use super::words::{HIDDEN, MISSING, in_words, meant, named};

/// What was found wrong in a table.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The faults: where each begins in the text, and its message.
    pub(super) faults: Vec<(usize, String)>,
    /// The keys that lead to each value that is not there because of a fault: it had one, or its
    /// key was misspelt. An item of a list has its number as its key.
    pub(super) lost: Vec<Vec<String>>,
}

/// Reads a value that has the shape of a table, and every fault of that shape, up to the bound.
/// What has a fault is taken out of the table. If there are too many, there is no value.
///
/// The reader stops at the first fault. So what has one is read once more without what is beside
/// it, and so is each value in it: the work grows with how deep the faults are, and not with their
/// number.
pub(super) fn sifted<T: DeserializeOwned>(
    root: &mut DeTable<'_>,
    text_len: usize,
) -> (Option<T>, Found) {
    // What is put around a value is where nothing of the text is.
    let outside = text_len..text_len;
    let read = |table| T::deserialize(Deserializer::from(Spanned::new(outside.clone(), table)));
    if let Ok(value) = read(root.clone()) {
        return (Some(value), Found::default());
    }
    let mut sieve = Sieve {
        error: &|table| read(table).err(),
        outside: outside.clone(),
        path: Vec::new(),
        found: Found::default(),
    };
    sieve.sift_table(root);
    let mut found = sieve.found;
    if found.is_full() {
        return (None, found);
    }
    match read(root.clone()) {
        Ok(value) => (Some(value), found),
        // No part alone has it.
        Err(error) => {
            found.faults.push((0, in_words(&error)));
            (None, found)
        }
    }
}

impl Found {
    fn is_full(&self) -> bool {
        self.faults.len() >= limits::PLAN_FAULTS_MAX
    }
}

/// Finds faults, and takes out what has them.
struct Sieve<'a, 'i> {
    /// Reads a whole table.
    error: &'a dyn Fn(DeTable<'i>) -> Option<de::Error>,
    /// The place of what is around a value that is read alone.
    outside: Range<usize>,
    /// What leads to the value that is looked at.
    path: Vec<Step<'i>>,
    found: Found,
}

/// A step from a value to one in it.
#[derive(Clone)]
enum Step<'i> {
    Key(Spanned<DeString<'i>>),
    /// The number of an item among those that stay.
    Item(usize),
}

impl<'i> Sieve<'_, 'i> {
    fn sift_table(&mut self, table: &mut DeTable<'i>) {
        let mut entries: Vec<_> = mem::take(table).into_iter().collect();
        // Of more faults than the bound the first ones of the text are found.
        entries.sort_unstable_by_key(|(key, _)| key.span().start);
        for (key, mut value) in entries {
            self.path.push(Step::Key(key.clone()));
            if self.stays(&mut value) {
                table.insert(key, value);
            }
            self.path.pop();
        }
    }

    fn sift_items(&mut self, items: &mut DeArray<'i>) {
        for mut item in mem::replace(items, DeArray::new()) {
            self.path.push(Step::Item(items.len()));
            if self.stays(&mut item) {
                items.push(item);
            }
            self.path.pop();
        }
    }

    /// Finds the faults of a value, and tells whether the value stays. Recurses as deep as the
    /// parser allows.
    fn stays(&mut self, value: &mut Spanned<DeValue<'i>>) -> bool {
        if self.found.is_full() {
            return true;
        }
        let Some(mut error) = self.error_of(value) else { return true };
        if !self.is_of_key(&error) {
            match value.get_mut() {
                DeValue::Table(table) => self.sift_table(table),
                DeValue::Array(items) => self.sift_items(items),
                _ => {}
            }
            match self.error_of(value) {
                Some(left) => error = left,
                None => return true,
            }
        }
        if !self.found.is_full() {
            self.take_out(&error, value.span());
        }
        false
    }

    /// Notes the fault of the value that is looked at, which is taken out.
    fn take_out(&mut self, error: &de::Error, place: Range<usize>) {
        let mut keys = self.keys();
        let missing = error.message().strip_prefix(MISSING).map(|key| key.trim_matches('`'));
        // A key that is missing because of a fault is no other fault.
        let is_told = missing.is_some_and(|key| {
            let key = [&*keys, &[key.to_owned()]].concat();
            self.found.lost.contains(&key)
        });
        // The next item has the number of one that is taken out.
        self.found.lost.retain(|lost| !lost.starts_with(&keys));
        let is_of_key = self.is_of_key(error);
        if !is_told {
            let key = self.path.iter().rev().find_map(Step::as_key).filter(|_| !is_of_key);
            let key = key.map(|key| if shows_key(&self.keys()) { key } else { HIDDEN });
            let at = error.span().map_or(place.start, |span| span.start);
            self.found.faults.push((at, named(key, &in_words(error))));
        }
        if let Some(meant) = meant(error).filter(|_| is_of_key) {
            keys.pop();
            keys.push(meant.to_owned());
        }
        self.found.lost.push(keys);
    }

    /// Reads a value alone. A fault of what is around it does not count: that lacks all else.
    fn error_of(&self, value: &Spanned<DeValue<'i>>) -> Option<de::Error> {
        let mut whole = value.clone();
        for (depth, step) in self.path.iter().rev().enumerate() {
            let around = match step {
                Step::Key(key) if depth == 0 => {
                    DeValue::Table(DeTable::from_iter([(key.clone(), whole)]))
                }
                Step::Key(key) => {
                    let key = Spanned::new(self.outside.clone(), key.get_ref().clone());
                    DeValue::Table(DeTable::from_iter([(key, whole)]))
                }
                Step::Item(_) => DeValue::Array(DeArray::from_iter([whole])),
            };
            whole = Spanned::new(self.outside.clone(), around);
        }
        let DeValue::Table(table) = whole.into_inner() else { return None };
        let error = (self.error)(table)?;
        error.span().is_none_or(|span| span != self.outside).then_some(error)
    }

    /// Tells whether an error is that of the key of the value that is looked at.
    fn is_of_key(&self, error: &de::Error) -> bool {
        let Some(Step::Key(key)) = self.path.last() else { return false };
        error.span() == Some(key.span())
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.path.iter().map(|step| match step {
            Step::Key(key) => key.get_ref().to_string(),
            Step::Item(number) => number.to_string(),
        });
        keys.collect()
    }
}

impl Step<'_> {
    fn as_key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key.get_ref()),
            Self::Item(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde::{Deserialize, Deserializer};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Shape {
        items: Vec<Item>,
        rest: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[serde(deserialize_with = "counted")]
        size: u8,
    }

    thread_local! {
        /// How many sizes were read.
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    fn counted<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
        READ.set(READ.get() + 1);
        u8::deserialize(from)
    }

    /// Yields the sizes that are left, and the faults.
    fn read(text: &str) -> (Vec<u8>, Vec<(usize, String)>) {
        let mut root = DeTable::parse(text).expect("TOML").into_inner();
        let (shape, found) = sifted::<Shape>(&mut root, text.len());
        let items = shape.expect("few faults").items;
        (items.iter().map(|item| item.size).collect(), found.faults)
    }

    #[test]
    fn what_is_read_grows_with_the_text_and_not_with_the_product_of_text_and_faults() {
        let item = |at: usize| match at % 20 {
            0 => "[[items]]\nsize = 'x'\n",
            _ => "[[items]]\nsize = 1\n",
        };
        let text: String = (0..1_000).map(item).collect();
        let (left, faults) = read(&text);
        assert_eq!((left.len(), faults.len()), (950, 50));
        assert!(READ.get() < 4_000, "{} sizes were read", READ.get());
        READ.set(0);
        read(&text.replace("'x'", "1"));
        assert_eq!(READ.get(), 1_000, "what has no fault is read once");
    }

    #[test]
    fn a_missing_key_is_a_fault_unless_it_is_lost_in_the_same_item() {
        // The first item is taken out, and the second has its number then.
        let text = "[[items]]\nsiz = 1\n[[items]]\n[[items]]\nsize = 7\n";
        let (left, faults) = read(text);
        assert_eq!(left, [7]);
        let right = [
            (10, "unknown key `siz`; did you mean `size`?".to_owned()),
            (18, "`items`: `size` is missing".to_owned()),
        ];
        assert_eq!(faults, right);
    }

    #[test]
    fn more_faults_than_the_bound_are_not_looked_for() {
        let text = "[[items]]\nsize = 'x'\n".repeat(1_000) + "rest = 1\n";
        let mut root = DeTable::parse(&text).expect("TOML").into_inner();
        let (shape, found) = sifted::<Shape>(&mut root, text.len());
        assert!(shape.is_none());
        assert_eq!(found.faults.len(), limits::PLAN_FAULTS_MAX);
    }
}
