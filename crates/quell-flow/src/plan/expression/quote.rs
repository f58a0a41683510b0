//! [`quote`] makes a value one word of a POSIX shell, and [`is_quoted`] tells whether an expression
//! ends with it.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::token;
use super::work;

/// Yields the text of a value, as a template writes it, in single quotes, which a POSIX shell reads
/// as this text.
pub(super) fn quote(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::Invalid => return Ok(value),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => {}
        kind => {
            let words = format!("`quote` takes a text, a number, `true` or `false`, got {kind}");
            return Err(Error::new(ErrorKind::InvalidOperation, words));
        }
    }
    // The language would write `True`; a template writes JSON.
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(&value)
            .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?,
    };
    let quotes = text.bytes().filter(|byte| *byte == b'\'').count();
    work::spend((text.len() + ESCAPED.len() * quotes) as u64)?;
    Ok(format!("'{}'", text.replace('\'', ESCAPED)).into())
}

/// Tells whether the filter `quote` is the last thing that is done to the value of an expression.
pub(super) fn is_quoted(expression: &str) -> bool {
    let bytes = expression.as_bytes();
    let (mut at, mut depth, mut before, mut is_quoted) = (0, 0_usize, "", false);
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let len = token::len(&bytes[at..], before == ".");
        let token = &expression[at..at + len];
        at += len;
        match token {
            "(" | "[" | "{" => {
                // The brackets of a call of the filter.
                is_quoted &= depth > 0 || (before == QUOTE && token == "(");
                depth += 1;
            }
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            // Of `a ~ b | quote` only `b` is quoted.
            _ if before != "." && before != "|" && OPERATORS.contains(&token) => return false,
            _ => is_quoted = before == "|" && token == QUOTE,
        }
        if depth == 0 || token == "(" {
            before = token;
        }
    }
    is_quoted
}

/// The name of the filter.
pub(super) const QUOTE: &str = "quote";

/// A quote within single quotes: the text ends, a quote follows, and the text begins again.
const ESCAPED: &str = r"'\''";

/// What stands between operands, or before one.
const OPERATORS: [&str; 20] = [
    "+", "-", "*", "/", "//", "%", "**", "~", "<", ">", "==", "!=", "<=", ">=", "and", "or", "not",
    "if", "in", "is",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_quoted_if_the_filter_takes_all_of_it() {
        for yes in [
            "a | quote",
            "a.b|trim|quote",
            "(a ~ b) | quote",
            "a['x-y'] | quote()",
            "a.if | quote",
            "a | default('-') | quote",
        ] {
            assert!(is_quoted(yes), "{yes}");
        }
        for no in [
            "a",
            "quote",
            "a.quote",
            "a | quote | trim",
            "a ~ b | quote",
            "a | quote if b else c",
            "a | trim(b | quote)",
            "'| quote'",
            "a | quote[1:]",
            "not a | quote",
        ] {
            assert!(!is_quoted(no), "{no}");
        }
    }

    #[test]
    fn a_quoted_text_is_one_word_of_a_shell() {
        for text in ["", "plain", "a b", "it's", "''", "$(x) `y` \\ \"z\" !\n;|&", "ä"] {
            let quoted = quote(Value::from(text)).expect("a text").to_string();
            let script = format!("printf %s {quoted}");
            let output = std::process::Command::new("sh").args(["-c", &script]).output();
            let output = output.expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{quoted}");
        }
    }
}
