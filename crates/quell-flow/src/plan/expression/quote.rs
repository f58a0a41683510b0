//! [`quote`] makes a value one word of a POSIX shell. [`is_quoted`] and [`is_number`] tell whether
//! an expression ends with it, or with a filter that yields a number.

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
    ends_with(expression, QUOTE)
}

/// Tells whether an expression yields a number, by a filter at its end: no shell takes one for
/// anything else.
pub(super) fn is_number(expression: &str) -> bool {
    // In brackets there may be another value.
    !expression.trim_end().ends_with(')')
        && NUMBERS.iter().any(|filter| ends_with(expression, filter))
}

/// Tells whether a filter is the last thing that is done to the value of an expression.
fn ends_with(expression: &str, filter: &str) -> bool {
    let bytes = expression.as_bytes();
    let (mut at, mut depth, mut before, mut is_last) = (0, 0_usize, "", false);
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
                is_last &= depth > 0 || (before == filter && token == "(");
                depth += 1;
            }
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            // Of `a ~ b | quote` only `b` is quoted.
            _ if before != "." && before != "|" && OPERATORS.contains(&token) => return false,
            _ => is_last = before == "|" && token == filter,
        }
        if depth == 0 || token == "(" {
            before = token;
        }
    }
    is_last
}

/// The name of the filter.
pub(super) const QUOTE: &str = "quote";

/// The filters that yield whole numbers.
const NUMBERS: [&str; 2] = ["int", "length"];

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
    fn an_expression_is_a_number_if_a_filter_at_its_end_makes_it_one() {
        for yes in ["a | int", "a.b|length", "(a ~ b) | int"] {
            assert!(is_number(yes), "{yes}");
        }
        for no in ["a", "int", "a ~ b | int", "a | int ~ b", "a | int(b)", "a | int | string"] {
            assert!(!is_number(no), "{no}");
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
