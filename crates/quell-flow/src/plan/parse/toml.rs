//! [`parse`] reads TOML into a [`Node`].

use std::ops::Range;

use serde_json::Number;
use toml::Spanned;
use toml::de::{self, DeTable, DeValue};

use super::fault::Fault;
use super::tree::{Key, Node, Value};
use crate::excerpt::{is_braced, toml_words};
use crate::limits;

/// Parses the text.
///
/// The parser bounds its own recursion. This module recurses too, and has a bound of its own.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let table = DeTable::parse(text).map_err(|error| fault(text, &error))?;
    Ok(Node { at: 0, end: 0, value: to_table(table.get_ref(), 1)? })
}

fn fault(text: &str, error: &de::Error) -> Fault {
    match error.span() {
        Some(span) if error.message().contains("recurse") => too_deep(span.start),
        Some(span) => {
            let hint = if is_braced(text, span.start) { TEMPLATE_HINT } else { "" };
            Fault::new(span.start, toml_words(error.message()) + hint)
        }
        None if is_long_key(error) => too_deep(line_of_long_key(text)),
        None => Fault::new(0, toml_words(error.message())),
    }
}

/// Tells whether a key has too many dots. The error of the parser then has no place.
fn is_long_key(error: &de::Error) -> bool {
    error.message() == "recursion limit"
}

/// Finds the line of the first such key: bisects for the shortest text with the error.
fn line_of_long_key(text: &str) -> usize {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let starts: Vec<usize> = lines
        .iter()
        .scan(0, |next, line| Some(std::mem::replace(next, *next + line.len())))
        .collect();
    let has_long_key =
        |end: usize| DeTable::parse_recoverable(&text[..end]).1.iter().any(is_long_key);
    let before = starts.partition_point(|start| !has_long_key(*start));
    before.checked_sub(1).map_or(0, |line| starts[line])
}

fn to_table(table: &DeTable<'_>, depth: usize) -> Result<Value, Fault> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let key = Key { at: key.span().start, name: key.get_ref().to_string() };
        entries.push((key, to_node(value, depth)?));
    }
    entries.sort_by_key(|(key, _)| key.at);
    Ok(Value::Table(entries))
}

fn to_node(value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
    let Range { start: at, end } = value.span();
    if depth > limits::PLAN_NESTING_MAX {
        return Err(too_deep(at));
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let integer = i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| Fault::new(at, "number out of range; expected a 64-bit integer"))?;
            Value::Number(integer.into())
        }
        DeValue::Float(float) => {
            let float = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(float.ok_or_else(|| Fault::new(at, "expected a finite number"))?)
        }
        DeValue::Boolean(bool) => Value::Bool(*bool),
        DeValue::Datetime(datetime) => Value::Text(datetime.to_string()),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| to_node(item, depth + 1)).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => to_table(table, depth + 1)?,
    };
    Ok(Node { at, end, value })
}

pub(super) fn too_deep(at: usize) -> Fault {
    let max = limits::PLAN_NESTING_MAX;
    Fault::new(at, format!("tables and lists nest too deep; expected at most {max} levels"))
}

/// The end of the message about a template without quotes.
const TEMPLATE_HINT: &str = "; a template stands in quotes: \"{{ input }}\"";
