//! [`parse`] reads YAML into a [`Node`].
//!
//! A text is one document of plain mappings, lists and scalars in the core schema. Tags are
//! refused, and so are anchors, whose repetition could be a thousand times the text.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::Number;

use super::fault::Fault;
use super::toml::too_deep;
use super::tree::{Key, Node, Value};
use super::unread::{duplicate, shown};
use crate::excerpt::{LINE_ENDS, excerpt};
use crate::limits;

/// Parses the text.
///
/// The parser does not recurse. This module does, and has a bound of its own.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let (events, chars) = (Parser::new_from_str(text), Chars::of(text));
    let mut reader = Reader { text, events, chars, end: 0 };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, at) => {
                return Err(Fault::new(at, "empty document; expected a table"));
            }
            (event, at) => {
                let root = reader.node(event, at, 1)?;
                reader.end()?;
                return Ok(root);
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    chars: Chars,
    /// The offset behind what was read last.
    end: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.events.next_event() {
            Some(Ok((event, Span { start, end }))) => {
                self.end = self.chars.byte(end.index());
                Ok((event, self.chars.byte(start.index())))
            }
            Some(Err(error)) => Err(self.fault(&error)),
            None => Ok((Event::StreamEnd, self.chars.len)),
        }
    }

    fn fault(&self, error: &ScanError) -> Fault {
        let at = self.chars.byte(error.marker().index());
        if error.info().contains("recursion") {
            return too_deep(at);
        }
        let mut message = error.info().replace('\n', ", ");
        let hint = HINTS.iter().find(|(words, _)| message.contains(words));
        message.push_str(hint.map_or("", |(_, hint)| hint));
        Fault::new(at, message)
    }

    fn node(&mut self, event: Event<'a>, at: usize, depth: usize) -> Result<Node, Fault> {
        let end = self.end;
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some(), at)?;
                scalar(text, style, at)?
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some(), at)?;
                self.list(at, depth)?
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some(), at)?;
                self.table(at, depth)?
            }
            Event::Alias(_) => return Err(Fault::new(at, "alias; expected the value itself")),
            _ => return Err(Fault::new(at, "unexpected end; expected a value")),
        };
        Ok(Node { at, end, value })
    }

    fn list(&mut self, at: usize, depth: usize) -> Result<Value, Fault> {
        check_depth(at, depth)?;
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn table(&mut self, at: usize, depth: usize) -> Result<Value, Fault> {
        check_depth(at, depth)?;
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Table(entries)),
                (Event::Scalar(text, _, anchor, tag), at) => {
                    plain(anchor, tag.is_some(), at)?;
                    Key { at, name: text.into_owned() }
                }
                (event, at) => return Err(self.strange_key(&event, at)),
            };
            if !names.insert(key.name.clone()) {
                return Err(duplicate(&key));
            }
            let (event, at) = self.next()?;
            entries.push((key, self.node(event, at, depth + 1)?));
        }
    }

    /// Makes the fault of a key that is no text. Unquoted braces of a template begin two tables.
    fn strange_key(&self, event: &Event<'_>, at: usize) -> Fault {
        let line = self.text[at..].split(LINE_ENDS).next().unwrap_or_default();
        if self.text[..at].ends_with('{')
            && let Some((inside, _)) = line.strip_prefix('{').and_then(|rest| rest.split_once("}}"))
        {
            let inside = shown(inside);
            let template = excerpt(&format!("{{{{{inside}}}}}"));
            let quote = if inside.contains('"') { '\'' } else { '"' };
            let right = format!("expected quotes around it: `{quote}{template}{quote}`");
            return Fault::new(at - 1, format!("`{template}` is a table in YAML; {right}"));
        }
        let sort = match event {
            Event::SequenceStart(..) => "a list",
            Event::MappingStart(..) => "a table",
            _ => "an alias",
        };
        Fault::new(at, format!("a key is {sort}; expected a text"))
    }

    /// Makes sure that nothing follows.
    fn end(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd, _) => {}
                (_, at) => return Err(Fault::new(at, "second document; expected one")),
            }
        }
    }
}

fn plain(anchor: usize, has_tag: bool, at: usize) -> Result<(), Fault> {
    if anchor != 0 {
        return Err(Fault::new(at, "anchor; expected the value without one"));
    }
    if has_tag {
        return Err(Fault::new(at, "tag; expected the value without one"));
    }
    Ok(())
}

fn check_depth(at: usize, depth: usize) -> Result<(), Fault> {
    if depth > limits::PLAN_NESTING_MAX { Err(too_deep(at)) } else { Ok(()) }
}

/// Reads a scalar of the core schema. A quoted one, and a block, is a text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, at: usize) -> Result<Value, Fault> {
    if style != ScalarStyle::Plain {
        return Ok(Value::Text(text.into_owned()));
    }
    Ok(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(to_number(number, at)?),
        _ => Value::Text(text.into_owned()),
    })
}

/// Tells whether a plain scalar is a number.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let starts = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    starts && (radix(text).is_some() || text.parse::<f64>().is_ok())
        || matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

fn radix(text: &str) -> Option<i64> {
    let octal = text.strip_prefix("0o").and_then(|digits| i64::from_str_radix(digits, 8).ok());
    octal.or_else(|| i64::from_str_radix(text.strip_prefix("0x")?, 16).ok())
}

fn to_number(text: &str, at: usize) -> Result<Number, Fault> {
    if let Some(whole) = radix(text).or_else(|| text.parse().ok()) {
        return Ok(whole.into());
    }
    if !text.contains(['.', 'e', 'E']) {
        return Err(Fault::new(at, "number out of range; expected a 64-bit integer"));
    }
    let float = text.parse().ok().and_then(Number::from_f64);
    float.ok_or_else(|| Fault::new(at, "expected a finite number"))
}

/// Words of the parser, and what to do.
const HINTS: [(&str, &str); 13] = [
    ("mapping values", "; check the indentation; a text with `: ` needs quotes"),
    ("tabs disallowed", NO_TABS),
    ("tab cannot be used", NO_TABS),
    ("found a tab", NO_TABS),
    ("invalid indentation in quoted scalar", NO_QUOTES),
    ("found unexpected end of stream", NO_QUOTES),
    ("invalid indentation in flow construct", NO_BRACKET),
    ("illegal placement of ':' indicator", NO_BRACKET),
    ("misplaced bracket", "; a bracket that closes may be too many"),
    ("expected '-' indicator", "; check the indentation: the keys of an item begin in one column"),
    ("did not find expected ',' or '}'", "; a comma, quotes or `}` may be missing before this"),
    ("expected ',' or ']'", "; a comma, quotes or `]` may be missing before this"),
    ("did not find expected key", "; check the indentation, and the quotes of what stands before"),
];

const NO_QUOTES: &str = "; the quotes at the end of a text may be missing";

const NO_BRACKET: &str = "; a bracket, `]` or `}`, may be missing before this";

const NO_TABS: &str = "; YAML is indented with spaces, not tabs";

/// Finds the byte at which a character begins, because the parser counts characters.
struct Chars {
    /// The byte of each character; empty if every character is one byte.
    starts: Vec<usize>,
    len: usize,
}

impl Chars {
    fn of(text: &str) -> Self {
        let starts = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self { starts, len: text.len() }
    }

    fn byte(&self, index: usize) -> usize {
        if self.starts.is_empty() {
            return index.min(self.len);
        }
        self.starts.get(index).copied().unwrap_or(self.len)
    }
}
