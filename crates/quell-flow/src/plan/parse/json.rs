//! [`parse`] reads JSON into a [`Node`].
//!
//! `serde_json` yields the place of a syntax error, but not that of a value. It does yield the text
//! of a value as a slice of the input ([`RawValue`]), and the offset of the slice is the place of
//! the value. So each level is parsed into raw values, and each of these is parsed again.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::Fault;
use super::toml::too_deep;
use super::tree::{Key, Node, Value};
use super::unread::duplicate;
use crate::limits;

/// Parses the text.
///
/// The depth is checked before, without recursion, so that a hostile text costs one pass.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    check_depth(text)?;
    let reader = Reader { text };
    let raw = reader.parse::<&RawValue>(text)?;
    reader.node(raw)
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    /// Makes a node of a value. Recurses once per level; `check_depth` has bounded the levels.
    fn node(&self, raw: &'a RawValue) -> Result<Node, Fault> {
        let text = raw.get();
        let value = match text.as_bytes().first() {
            Some(b'{') => Value::Table(self.entries(text)?),
            Some(b'[') => {
                let items = self.parse::<Vec<&RawValue>>(text)?;
                Value::List(
                    items.into_iter().map(|item| self.node(item)).collect::<Result<_, _>>()?,
                )
            }
            Some(b'"') => Value::Text(self.parse(text)?),
            Some(b't' | b'f') => Value::Bool(self.parse(text)?),
            Some(b'n') => Value::Null,
            _ => Value::Number(self.parse(text)?),
        };
        let at = self.offset(text);
        Ok(Node { at, end: at + text.len(), value })
    }

    fn entries(&self, text: &'a str) -> Result<Vec<(Key, Node)>, Fault> {
        let Entries(raw) = self.parse(text)?;
        let mut entries = Vec::with_capacity(raw.len());
        let mut names = HashSet::with_capacity(raw.len());
        for (key, value) in raw {
            let key = Key { at: self.offset(key.get()), name: self.parse(key.get())? };
            if !names.insert(key.name.clone()) {
                return Err(duplicate(&key));
            }
            entries.push((key, self.node(value)?));
        }
        Ok(entries)
    }

    fn parse<T: Deserialize<'a>>(&self, part: &'a str) -> Result<T, Fault> {
        serde_json::from_str(part).map_err(|error| {
            // Its line and column count from 1 within the part; a column of 0 is the line's start.
            let mut lines = part.split_inclusive('\n');
            let before: usize = lines.by_ref().take(error.line().max(1) - 1).map(str::len).sum();
            let within = before + error.column().saturating_sub(1);
            let words = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let words = words.strip_suffix(&place).unwrap_or(&words);
            let words = words.replace("EOF while parsing a value", "the text ends before a value");
            let words = words.replace("EOF while parsing", "the text ends within");
            let at = self.offset(part) + within;
            Fault::new(at, words + hint(self.text, at))
        })
    }

    /// Yields the offset of a part, which is a slice of the text.
    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }
}

/// Says what is right instead of what other languages have at a place.
fn hint(text: &str, at: usize) -> &'static str {
    let rest = text.get(at..).unwrap_or_default();
    // The place of a comma before a bracket is that of the bracket.
    let before = text.get(..at).unwrap_or_default().trim_end();
    match rest.chars().next() {
        Some('/' | '#') => "; JSON has no comments",
        Some('\'') => "; texts of JSON stand in double quotes",
        Some('}' | ']') if before.ends_with(',') => "; the last entry has no comma behind it",
        _ => "",
    }
}

/// The entries of an object in their order, including duplicates.
struct Entries<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Bounds the brackets outside of strings. A text that is no JSON is left to the parser.
fn check_depth(text: &str) -> Result<(), Fault> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limits::PLAN_NESTING_MAX {
                    return Err(too_deep(at));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
