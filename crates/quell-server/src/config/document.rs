//! [`Document`]: the text of a configuration file, in which every fault has its place.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use quell_flow::{LineIndex, PlanError, is_braced, is_plain, toml_words, unquoted};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, de};

use super::masked::masked;
use super::masked_lines::masked_lines;
use super::mistaken;
use super::sieve::sifted;
use crate::small_file;

/// A configuration file: its text, and what it says, with the places.
#[derive(Clone, Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
    /// The text as messages show it: without what may be a secret.
    shown: String,
    /// The lines of that, once there is a fault.
    lines: OnceLock<LineIndex>,
    /// The places of all values, but for those that were taken out when the text was read.
    places: Places,
    /// The keys that lead to each of what is not there because of a fault.
    lost: Vec<Vec<String>>,
    /// The keys at the top, each with those of its table, also of what was taken out.
    keys: BTreeMap<String, Vec<String>>,
}

impl Document {
    /// Reads a file as TOML. A syntax error is the only fault.
    pub(super) fn load(path: &Path) -> Result<Self, PlanError> {
        let text = text_of(path).map_err(|error| {
            let words = match error.kind() {
                io::ErrorKind::NotFound => mistaken::no_file(path),
                _ => error.to_string(),
            };
            PlanError::new(words).in_file(path)
        })?;
        let shown = masked_lines(&text);
        let path = path.to_owned();
        let (places, lost, keys) = (Places::default(), Vec::new(), BTreeMap::new());
        let lines = OnceLock::new();
        let mut document = Self { path, text, shown, lines, places, lost, keys };
        let root = DeTable::parse(&document.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let hint = if is_braced(&document.text, at) {
                NO_TEMPLATES.to_owned()
            } else {
                mistaken::hint_of_format(&document.path, &document.text)
            };
            document.at(at, toml_words(error.message()) + &hint)
        })?;
        if let Some(words) = mistaken::plan(&document.path, root.get_ref()) {
            return Err(PlanError::new(words).in_file(&document.path));
        }
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
        (document.shown, document.lines) = (shown, OnceLock::new());
        (document.places, document.keys) = (places, keys);
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

    /// Tells whether what has these keys is not there because it has a fault, or because its key
    /// is misspelt.
    pub(super) fn is_lost(&self, keys: &[&str]) -> bool {
        self.lost.iter().any(|lost| lost == keys)
    }

    /// Tells whether something was taken out of what has these keys.
    pub(super) fn is_torn(&self, keys: &[&str]) -> bool {
        let is_below = |lost: &[String]| lost.iter().zip(keys).all(|(lost, key)| lost == key);
        self.lost.iter().any(|lost| lost.len() > keys.len() && is_below(lost))
    }

    /// Tells whether the text has this key at the top.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Tells whether the text has something with these keys.
    pub(super) fn has_all(&self, keys: &[&str]) -> bool {
        let mut keys = keys.iter();
        let first = keys.next().and_then(|key| self.places.below(key));
        keys.try_fold(first, |place, key| Some(place?.below(key))).flatten().is_some()
    }

    /// Reads a value that has the shape of the whole text, and every fault of that shape. What has
    /// a fault is left out of the value. If there are too many, there is no value.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> (Option<T>, Vec<PlanError>) {
        let mut root = DeTable::parse(&self.text).map(Spanned::into_inner).unwrap_or_default();
        let (whole, found) = sifted(&mut root, self.text.len());
        self.places = Places::of_table(0, &root);
        self.lost = found.lost;
        (whole, found.faults.into_iter().map(|(at, words)| self.at(at, words)).collect())
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

    /// Yields the header of the table with these keys, as messages may show it, if it has one.
    pub(super) fn header_of(&self, keys: &[&str]) -> Option<String> {
        let (first, rest) = keys.split_first()?;
        let table =
            rest.iter().try_fold(self.places.below(first)?, |place, key| place.below(key))?;
        let (header, _) = self.shown.get(table.at..)?.strip_prefix('[')?.split_once(']')?;
        Some(format!("[{header}]"))
    }

    fn at(&self, offset: usize, message: String) -> PlanError {
        let lines = self.lines.get_or_init(|| LineIndex::new(&self.shown));
        // Such a text may begin with another line than what stands first.
        let is_of_lines = QUOTES
            .iter()
            .any(|quotes| self.text.get(offset..).is_some_and(|text| text.starts_with(quotes)));
        let message = if is_of_lines { unquoted(&message, is_plain) } else { message };
        PlanError::new(message).in_file(&self.path).in_lines(&self.shown, lines, offset)
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

/// The quotes of texts of several lines.
const QUOTES: [&str; 2] = ["\"\"\"", "'''"];

/// Reads a file, which must be UTF-8.
pub(super) fn text_of(path: &Path) -> io::Result<String> {
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

/// The end of the message about a template without quotes.
const NO_TEMPLATES: &str = "; texts stand in quotes, and templates are for plans: a program of a \
                            configuration reads its input from stdin";

/// The largest configuration, in bytes: some 400 for each of the most components. What has a fault
/// is read part by part.
const FILE_BYTES_MAX: u64 = 4 << 20;
