//! [`Document`]: the text of a configuration file, in which every fault has its place.

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
    /// The places of what has a fault, and was taken out when the text was read.
    cuts: Vec<Range<usize>>,
    /// The keys that lead to each of them.
    cut_paths: Vec<Vec<String>>,
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
        let (path, cuts, cut_paths) = (path.to_owned(), Vec::new(), Vec::new());
        let mut document = Self { path, text, shown, cuts, cut_paths };
        let root = document.root().map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            document.at(at, error.message().replace('\n', ", "))
        })?;
        document.shown = masked(&document.text, &root);
        Ok(document)
    }

    /// Parses the text, without what was taken out.
    fn root(&self) -> Result<DeTable<'_>, de::Error> {
        let mut root = DeTable::parse(&self.text)?.into_inner();
        for span in &self.cuts {
            cut(&mut root, span);
        }
        Ok(root)
    }

    /// Yields the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Yields the keys of a table at the top, with those that were taken out.
    pub(super) fn keys_of(&self, table: &str) -> Vec<String> {
        let root = DeTable::parse(&self.text).map(Spanned::into_inner).unwrap_or_default();
        let table = root.get(table).and_then(|table| table.get_ref().as_table());
        let keys = table.into_iter().flat_map(DeTable::keys);
        keys.map(|key| key.get_ref().to_string()).collect()
    }

    /// Tells whether something was taken out of what has these keys.
    pub(super) fn is_torn(&self, keys: &[&str]) -> bool {
        self.cut_paths.iter().any(|path| {
            path.len() > keys.len() && path.iter().zip(keys).all(|(found, key)| found == key)
        })
    }

    /// Tells whether the text has this key at the top.
    pub(super) fn has(&self, key: &str) -> bool {
        DeTable::parse(&self.text).is_ok_and(|root| root.get_ref().contains_key(key))
    }

    /// Reads a value that has the shape of the whole text, and every fault of that shape. What has
    /// a fault is left out of the value. If there are too many, there is no value.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> (Option<T>, Vec<PlanError>) {
        let mut faults = Vec::new();
        // The tables of which something was left out.
        let mut torn: Vec<usize> = Vec::new();
        let (mut cuts, mut cut_paths, mut whole) = (Vec::new(), Vec::new(), None);
        let mut root = self.root().unwrap_or_default();
        // The reader stops at the first fault. So take what it complains of out, and read again.
        while faults.len() < limits::PLAN_FAULTS_MAX {
            let left = Spanned::new(0..self.text.len(), root.clone());
            let error = match T::deserialize(Deserializer::from(left)) {
                Ok(value) => {
                    whole = Some(value);
                    break;
                }
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let cut = cut(&mut root, &span);
            // A key that is missing because it had a fault is no other fault.
            if !(error.message().starts_with(MISSING) && torn.contains(&span.start)) {
                let key = cut.as_ref().and_then(|cut| cut.key.as_deref());
                let words = named(key, &in_words(&error));
                faults.push(self.at(span.start, words));
            }
            let Some(cut) = cut else { break };
            torn.extend(cut.outside);
            cut_paths.push(cut.path);
            cuts.push(span);
        }
        (self.cuts, self.cut_paths) = (cuts, cut_paths);
        (whole, faults)
    }

    /// Makes the fault of what has these keys; an item of a list has its number as its key. The
    /// place is that of the nearest value around it that is in the text.
    pub(super) fn fault(&self, keys: &[&str], message: String) -> PlanError {
        let root = self.root().unwrap_or_default();
        let mut at = None;
        let mut found = keys.first().and_then(|key| root.get(*key));
        let mut keys = keys.iter().skip(1);
        while let Some(value) = found {
            at = Some(value.span().start);
            found = keys.next().and_then(|key| match value.get_ref() {
                DeValue::Table(table) => table.get(*key),
                DeValue::Array(items) => key.parse().ok().and_then(|at: usize| items.get(at)),
                _ => None,
            });
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

/// The largest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
