//! [`Node`] is a value of a parsed text with its place, the same for every format.

use quell::Payload;
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

/// A value and the offset of its first byte in the text.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    /// The offset behind its last byte. That of a table or a list may be `at`.
    pub(crate) end: usize,
    pub(crate) value: Value,
}

/// A key of a table and the offset of its first byte in the text.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: usize,
    pub(crate) name: String,
}

/// A value of any format. The keys of a table are unique and in the order of the text.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

impl Value {
    /// Names the type of the value, for a message.
    pub(crate) const fn sort(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    pub(crate) const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn to_payload(&self) -> Result<Payload, quell::PayloadError> {
        Payload::json(self)
    }
}

/// Written as JSON, in the order of the text. The parser has bounded the depth of the tree.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => to.serialize_unit(),
            Value::Bool(bool) => to.serialize_bool(*bool),
            Value::Number(number) => number.serialize(to),
            Value::Text(text) => to.serialize_str(text),
            Value::List(items) => to.collect_seq(items),
            Value::Table(entries) => {
                to.collect_map(entries.iter().map(|(key, node)| (&key.name, node)))
            }
        }
    }
}
