//! [`Table`] and the functions here read single values of a plan, or yield the fault of each.

use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::tree::{Key, Node, Value};
use crate::plan::excerpt::excerpt;

/// Reads a whole number of at least `min`.
pub(super) fn count(node: &Node, what: &str, min: usize) -> Result<usize, Fault> {
    let Value::Number(number) = &node.value else { return Err(wrong_type(node, "a number")) };
    let right = if min == 0 { "a whole number" } else { "a whole number above 0" };
    number
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count >= min)
        .ok_or_else(|| Fault::new(node.at, format!("{what} `{number}`; expected {right}")))
}

/// Reads one of a few words, and yields its meaning.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, Fault> {
    let text = text(node)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        unknown(node.at, "word", text, &known)
    })
}

pub(super) fn duration(node: &Node) -> Result<Duration, Fault> {
    let text = text(node)?;
    let right = "expected a time above zero such as \"30s\" or \"500ms\"";
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(Fault::new(node.at, format!("time is zero; {right}"))),
        Ok(time) => Ok(time),
        Err(_) => Err(Fault::new(node.at, format!("invalid time `{}`; {right}", excerpt(text)))),
    }
}

pub(super) fn text(node: &Node) -> Result<&str, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong_type(node, "a string")),
    }
}

/// Reads a text for the operating system: without NUL.
pub(super) fn argument(node: &Node) -> Result<&str, Fault> {
    let text = text(node)?;
    if text.contains('\0') {
        return Err(Fault::new(node.at, "text contains NUL, which no command takes"));
    }
    Ok(text)
}

pub(super) fn list(node: &Node) -> Result<&[Node], Fault> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong_type(node, "a list")),
    }
}

pub(super) fn table(node: &Node) -> Result<&[(Key, Node)], Fault> {
    match &node.value {
        Value::Table(entries) => Ok(entries),
        _ => Err(wrong_type(node, "a table")),
    }
}

pub(super) fn wrong_type(node: &Node, right: &str) -> Fault {
    Fault::new(node.at, format!("found {}; expected {right}", node.value.sort()))
}

pub(super) fn unknown(at: usize, what: &str, found: &str, known: &[&str]) -> Fault {
    let message = format!("unknown {what} `{}`; expected one of {}", excerpt(found), listed(known));
    Fault::new(at, message)
}

pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A table whose keys are all known.
pub(super) struct Table<'a> {
    pub(super) at: usize,
    entries: &'a [(Key, Node)],
}

impl<'a> Table<'a> {
    pub(super) fn of(node: &'a Node, keys: &[&str]) -> Result<Self, Fault> {
        let entries = table(node)?;
        for (key, _) in entries {
            if !keys.contains(&key.name.as_str()) {
                return Err(unknown(key.at, "key", &key.name, keys));
            }
        }
        Ok(Self { at: node.at, entries })
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'a (Key, Node)> {
        self.entries.iter().find(|(key, _)| key.name == name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|(_, node)| node)
    }

    pub(super) fn need(&self, name: &str, owner: &str) -> Result<&'a Node, Fault> {
        self.get(name).ok_or_else(|| Fault::new(self.at, format!("{owner} has no `{name}`")))
    }

    pub(super) fn name(&self, owner: &str) -> Result<Arc<str>, Fault> {
        let node = self.need("name", owner)?;
        let name = text(node)?;
        let max = quell::limits::LABEL_BYTES_MAX;
        if name.trim().is_empty() {
            return Err(Fault::new(node.at, "empty name; expected a text"));
        }
        if name.len() > max {
            let message = format!("name has {} bytes; expected at most {max}", name.len());
            return Err(Fault::new(node.at, message));
        }
        Ok(name.into())
    }

    pub(super) fn place_of(node: &Node, name: &str) -> usize {
        let entries = table(node).unwrap_or_default();
        entries.iter().find(|(key, _)| key.name == name).map_or(node.at, |(_, node)| node.at)
    }
}
