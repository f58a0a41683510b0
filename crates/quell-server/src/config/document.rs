//! [`Document`]: the text of a configuration file, in which every fault has its place.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quell_flow::{PlanError, limits};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, de};

use super::masked::{masked, masked_lines};
use super::words::{MISSING, in_words, named};
use crate::small_file;

/// A configuration file: its text, and what it says, with the places.
#[derive(Clone, Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
    /// The text as messages show it: without what may be a secret.
    shown: String,
    /// The places of all values, but for those that were taken out when the text was read.
    places: Places,
    /// The keys that lead to each of what was taken out because it has a fault.
    cut_paths: Vec<Vec<String>>,
    /// The keys at the top, each with those of its table, also of what was taken out.
    keys: BTreeMap<String, Vec<String>>,
}

impl Document {
    /// Reads a file as TOML. A syntax error is the only fault.
    pub(super) fn load(path: &Path) -> Result<Self, PlanError> {
        let text = text_of(path).map_err(|error| {
            let words = match error.kind() {
                // The words of the system would say the same again.
                io::ErrorKind::NotFound => "no such file".to_owned(),
                _ => error.to_string(),
            };
            PlanError::new(words).in_file(path)
        })?;
        let shown = masked_lines(&text);
        let path = path.to_owned();
        let (places, cut_paths, keys) = (Places::default(), Vec::new(), BTreeMap::new());
        let mut document = Self { path, text, shown, places, cut_paths, keys };
        let root = DeTable::parse(&document.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            document.at(at, error.message().replace('\n', ", "))
        })?;
        let shown = masked(&document.text, root.get_ref());
        let places = Places::of_table(0, root.get_ref());
        let keys = root.get_ref().iter().map(|(key, value)| {
            let inner = value.get_ref().as_table().into_iter().flat_map(DeTable::keys);
            let inner = inner.map(|key| key.get_ref().to_string()).collect();
            (key.get_ref().to_string(), inner)
        });
        let keys = keys.collect();
        let count: usize =
            LISTS.iter().filter_map(|name| Some(len(root.get_ref().get(*name)?))).sum();
        if count > ENTRIES_MAX {
            let words = format!(
                "has {count} components, keys and issuers of tokens; expected at most {ENTRIES_MAX}"
            );
            return Err(PlanError::new(words).in_file(&document.path));
        }
        (document.shown, document.places, document.keys) = (shown, places, keys);
        Ok(document)
    }

    /// Yields the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Yields the keys of a table at the top, with those that were taken out.
    pub(super) fn keys_of(&self, table: &str) -> Vec<String> {
        self.keys.get(table).cloned().unwrap_or_default()
    }

    /// Tells whether something was taken out of what has these keys.
    pub(super) fn is_torn(&self, keys: &[&str]) -> bool {
        self.cut_paths.iter().any(|path| {
            path.len() > keys.len() && path.iter().zip(keys).all(|(found, key)| found == key)
        })
    }

    /// Tells whether the text has this key at the top.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Reads a value that has the shape of the whole text, and every fault of that shape. What has
    /// a fault is left out of the value. If there are too many, there is no value.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> (Option<T>, Vec<PlanError>) {
        let mut root = DeTable::parse(&self.text).map(Spanned::into_inner).unwrap_or_default();
        let mut found = Found::default();
        // Each component alone: with each fault only its component is read again.
        for name in COMPONENTS {
            let Some(table) = root.get_mut(name) else { continue };
            let (span, end) = (table.span(), self.text.len());
            let DeValue::Table(entries) = table.get_mut() else { continue };
            let ids: Vec<_> = entries.keys().cloned().collect();
            for id in ids {
                let Some(entry) = entries.remove(&id) else { continue };
                let one = DeTable::from_iter([(id.clone(), entry)]);
                let one = Spanned::new(span.clone(), DeValue::Table(one));
                let mut one = DeTable::from_iter([(Spanned::new(end..end, name.into()), one)]);
                self.sift::<T>(&mut one, &mut found);
                let left = one.get_mut(name).and_then(|one| match one.get_mut() {
                    DeValue::Table(one) => one.remove(&id),
                    _ => None,
                });
                entries.extend(left.map(|entry| (id, entry)));
            }
        }
        let whole = self.sift(&mut root, &mut found);
        self.places = Places::of_table(0, &root);
        self.cut_paths = found.cut_paths;
        (whole, found.faults)
    }

    /// Reads a value, and takes out of the table what has a fault.
    fn sift<T: DeserializeOwned>(&self, root: &mut DeTable<'_>, found: &mut Found) -> Option<T> {
        // The tables of which something was left out.
        let mut torn: Vec<usize> = Vec::new();
        // The reader stops at the first fault. So take what it complains of out, and read again.
        while found.faults.len() < limits::PLAN_FAULTS_MAX {
            let left = Spanned::new(0..self.text.len(), root.clone());
            let error = match T::deserialize(Deserializer::from(left)) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let cut = cut(root, &span);
            // A key that is missing because it had a fault is no other fault.
            if !(error.message().starts_with(MISSING) && torn.contains(&span.start)) {
                let key = cut.as_ref().and_then(|cut| cut.key.as_deref());
                let words = named(key, &in_words(&error));
                found.faults.push(self.at(span.start, words));
            }
            let cut = cut?;
            torn.extend(cut.outside);
            found.cut_paths.push(cut.path);
        }
        None
    }

    /// Makes the fault of what has these keys; an item of a list has its number as its key. The
    /// place is that of the nearest value around it that is in the text.
    pub(super) fn fault(&self, keys: &[&str], message: String) -> PlanError {
        let mut at = None;
        let mut found = keys.first().and_then(|key| self.places.below(key));
        let mut keys = keys.iter().skip(1);
        while let Some(place) = found {
            at = Some(place.at);
            found = keys.next().and_then(|key| place.below(key));
        }
        match at {
            Some(at) => self.at(at, message),
            None => PlanError::new(message).in_file(&self.path),
        }
    }

    fn at(&self, offset: usize, message: String) -> PlanError {
        PlanError::new(message).in_file(&self.path).in_text(&self.shown, offset)
    }
}

/// The place of a value, and those of the values in it.
#[derive(Clone, Debug, Default)]
struct Places {
    at: usize,
    table: BTreeMap<String, Self>,
    items: Vec<Self>,
}

impl Places {
    fn of_table(at: usize, table: &DeTable<'_>) -> Self {
        let inner = |(key, value): (&Spanned<de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
            (key.get_ref().to_string(), Self::of(value))
        };
        Self { at, table: table.iter().map(inner).collect(), items: Vec::new() }
    }

    /// Recurses as deep as the parser allows.
    fn of(value: &Spanned<DeValue<'_>>) -> Self {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(table) => Self::of_table(at, table),
            DeValue::Array(items) => {
                let items = items.iter().map(Self::of).collect();
                Self { at, table: BTreeMap::new(), items }
            }
            _ => Self { at, ..Self::default() },
        }
    }

    /// Finds the value with a key, or the item with a number.
    fn below(&self, key: &str) -> Option<&Self> {
        self.table.get(key).or_else(|| self.items.get(key.parse::<usize>().ok()?))
    }
}

/// What was found wrong while a text was read, and the keys that lead to what was taken out.
#[derive(Default)]
struct Found {
    faults: Vec<PlanError>,
    cut_paths: Vec<Vec<String>>,
}

/// What was taken out of a table or a list.
struct Cut {
    /// The key of the value with the fault; none if the key is the fault.
    key: Option<String>,
    /// Where the table begins in which it was; none for the whole text.
    outside: Option<usize>,
    /// The keys that lead to it, but for numbers of items.
    path: Vec<String>,
}

/// Takes out the key or the value that has this place. A table and the first value in it may have
/// the same place: the reader complains of the inner one first.
fn cut(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Cut> {
    for (key, value) in table.iter_mut() {
        if let Some(mut cut) = cut_inside(value, key.get_ref(), span) {
            cut.path.insert(0, key.get_ref().to_string());
            return Some(cut);
        }
    }
    let (key, _) = table.iter().find(|(key, value)| [key.span(), value.span()].contains(span))?;
    let (is_key, name) = (key.span() == *span, key.get_ref().to_string());
    table.remove(name.as_str());
    let path = vec![name.clone()];
    Some(Cut { key: (!is_key).then_some(name), outside: None, path })
}

/// As [`cut`], for what is in a value. Recurses as deep as the parser allows.
fn cut_inside(value: &mut Spanned<DeValue<'_>>, key: &str, span: &Range<usize>) -> Option<Cut> {
    let start = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => {
            let cut = cut(table, span)?;
            Some(Cut { outside: cut.outside.or(Some(start)), ..cut })
        }
        DeValue::Array(items) => {
            if let Some(cut) = items.iter_mut().find_map(|item| cut_inside(item, key, span)) {
                return Some(cut);
            }
            items.iter().find(|item| item.span() == *span)?;
            *items = items.iter().filter(|item| item.span() != *span).cloned().collect();
            Some(Cut { key: Some(key.to_owned()), outside: None, path: Vec::new() })
        }
        _ => None,
    }
}

/// Reads a file, which must be UTF-8.
fn text_of(path: &Path) -> io::Result<String> {
    let bytes = small_file::read(path, FILE_BYTES_MAX)?;
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "is no text in UTF-8");
    String::from_utf8(bytes).map_err(no_text)
}

/// Yields how many entries a table or a list has.
fn len(value: &Spanned<DeValue<'_>>) -> usize {
    match value.get_ref() {
        DeValue::Table(table) => table.len(),
        DeValue::Array(items) => items.len(),
        _ => 0,
    }
}

/// What is counted, and how many there may be.
const LISTS: [&str; 5] = ["agents", "teams", "workflows", "keys", "tokens"];
const ENTRIES_MAX: usize = 10_000;

/// Tables whose entries are read one by one.
const COMPONENTS: [&str; 3] = ["agents", "teams", "workflows"];

/// The largest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
