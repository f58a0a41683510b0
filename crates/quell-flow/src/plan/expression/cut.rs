//! [`guarded`] makes unreadable what a command wrote if some of it was not kept.
//!
//! The output of a command is an object with `stdout`, `stdout_bytes` and `stdout_truncated`. If
//! the last one is true, its `stdout` is an error, which fails what reads it. `stdout_head` is what
//! was kept, cut or not: who reads that says that the beginning is enough. As base64 it may be
//! longer than a template may make; then it is the part that is not.
//!
//! An output without `content` has `content_bytes` if there were such texts. Its `content` is then
//! an error as well, so that nobody takes them for none; the output as a whole says so itself.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use crate::limits::TEMPLATE_BYTES_MAX;

/// Tells whether the JSON of a value may hold the output of a command.
pub(super) fn may_be_cut(json: &str) -> bool {
    json.contains(TRUNCATED)
}

/// Guards every output of a command in a value, of which an expression reads `path`. Recurses as
/// deep as JSON may nest.
pub(super) fn guarded(value: Value, path: &str) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq => {
            let items = value.try_iter()?.enumerate();
            let items = items.map(|(at, item)| guarded(item, &format!("{path}[{at}]")));
            items.collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        ValueKind::Map => {
            if let Some(output) = CommandOutput::of(&value, path)? {
                return Ok(Value::from_object(output));
            }
            let entries = value.try_iter()?.map(|key| {
                let path = match key.as_str() {
                    Some(name) => below(path, name),
                    None => format!("{path}[{key:?}]"),
                };
                let item = guarded(value.get_item(&key)?, &path)?;
                Ok((key, item))
            });
            entries.collect::<Result<Vec<(Value, Value)>, Error>>().map(Value::from_pairs)
        }
        _ => Ok(value),
    }
}

/// Writes the path of an entry: `a.b`, or `a["b c"]` if its key is no word.
pub(crate) fn below(path: &str, key: &str) -> String {
    if is_word(key) {
        return format!("{path}.{key}");
    }
    format!("{path}[{}]", serde_json::Value::from(key))
}

/// Tells whether a key may follow a dot.
pub(crate) fn is_word(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| is_letter(c) && !c.is_ascii_digit()) && name.chars().all(is_letter)
}

/// The output of a command.
#[derive(Debug)]
struct CommandOutput {
    /// The entries as they were written.
    all: Value,
    /// The entry `stdout`, or the error of one that was cut.
    stdout: Value,
    /// The entry `content`, if there is one, or the error of one that was left out.
    content: Value,
}

impl CommandOutput {
    fn of(value: &Value, path: &str) -> Result<Option<Self>, Error> {
        let (stdout, truncated) = (value.get_attr("stdout")?, value.get_attr(TRUNCATED)?);
        let (Some(text), ValueKind::Bool) = (stdout.as_str(), truncated.kind()) else {
            return Ok(None);
        };
        let stdout = if truncated.is_true() { stdout_error(value, text, path)? } else { stdout };
        let (content, bytes) = (value.get_attr("content")?, value.get_attr("content_bytes")?);
        let is_left_out = content.is_undefined() && bytes.is_number();
        let content = if is_left_out { content_error(&bytes, path) } else { content };
        Ok(Some(Self { all: value.clone(), stdout, content }))
    }
}

/// Says that `stdout` is cut, and what to do.
fn stdout_error(output: &Value, text: &str, path: &str) -> Result<Value, Error> {
    let kept = match output.get_attr("encoding")?.as_str() {
        Some("base64") => text.trim_end_matches('=').len() * 3 / 4,
        _ => text.len(),
    };
    let bytes = output.get_attr("stdout_bytes")?;
    let words = format!(
        "`{path}.stdout` is cut: the step wrote {bytes} bytes on stdout, of which the first {kept} \
         are kept; read `{path}.stdout_head` if these are enough, or let the step write less, or \
         into a file"
    );
    Ok(Error::new(ErrorKind::InvalidOperation, words).into())
}

/// Says that there is no `content`, although the command had some.
fn content_error(bytes: &Value, path: &str) -> Value {
    let words = format!(
        "`{path}.content` is not kept: the events `content` of the step have {bytes} bytes of \
         text, which is more than fits; let the step say less, or write it into a file"
    );
    Error::new(ErrorKind::InvalidOperation, words).into()
}

impl Object for CommandOutput {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "stdout" => Some(self.stdout.clone()),
            "content" => Some(self.content.clone()).filter(|content| !content.is_undefined()),
            "stdout_head" => self.all.get_attr("stdout").ok().map(head),
            _ => self.all.get_item(key).ok().filter(|item| !item.is_undefined()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.all.try_iter() {
            Ok(keys) => Enumerator::Values(keys.collect()),
            Err(_) => Enumerator::NonEnumerable,
        }
    }
}

/// Yields the beginning of a text that a template may make.
fn head(text: Value) -> Value {
    match text.as_str() {
        // Four characters of base64 are three bytes, and the limit is a multiple of four.
        Some(long) if long.len() > TEMPLATE_BYTES_MAX => {
            Value::from(&long[..long.floor_char_boundary(TEMPLATE_BYTES_MAX)])
        }
        _ => text,
    }
}

/// The key that says whether the stdout of a command is whole.
const TRUNCATED: &str = "stdout_truncated";
