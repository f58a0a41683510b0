//! [`check_json`]: checks that a text is JSON which common parsers accept, without parsing its
//! numbers.
//!
//! The text itself is kept and passed on, so numbers may have any length and size.

use serde::de::IgnoredAny;

/// Checks that a text is JSON, nested at most `levels_max` deep, and without lone surrogates.
/// Numbers may have any length and size: a caller that parses one into a Rust type has to check it.
///
/// # Errors
///
/// Fails if the text is not as described.
///
/// # Examples
///
/// ```
/// use quell_core::{JSON_LEVELS_MAX, JsonError, check_json};
///
/// assert_eq!(check_json("[1e400]", JSON_LEVELS_MAX), Ok(()));
/// assert_eq!(check_json("[[1]]", 1), Err(JsonError::TooDeep(1)));
/// ```
pub fn check_json(text: &str, levels_max: usize) -> Result<(), JsonError> {
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| JsonError::NotJson(error.to_string()))?;
    let (mut levels, mut is_text, mut rest) = (0, false, text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => rest = after_escape(after)?,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => levels += 1,
            b']' | b'}' if !is_text => levels -= 1,
            _ => {}
        }
        if levels > levels_max {
            return Err(JsonError::TooDeep(levels_max));
        }
    }
    Ok(())
}

/// The nesting depth that `serde_json` accepts.
pub const JSON_LEVELS_MAX: usize = 127;

/// Why [`check_json`] refuses a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("{0}")]
    NotJson(String),
    /// The text is nested deeper than this many levels.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// A string of the text has a lone surrogate.
    #[error("a text has half of a character")]
    HalfCharacter,
}

/// Skips an escape, whose backslash is read already. A high surrogate is skipped together with the
/// low one that has to follow it.
fn after_escape(rest: &[u8]) -> Result<&[u8], JsonError> {
    match unit(rest) {
        None => Ok(rest.get(1..).unwrap_or_default()),
        Some((0xd800..=0xdbff, rest)) => match rest.strip_prefix(b"\\").and_then(unit) {
            Some((0xdc00..=0xdfff, rest)) => Ok(rest),
            _ => Err(JsonError::HalfCharacter),
        },
        Some((0xdc00..=0xdfff, _)) => Err(JsonError::HalfCharacter),
        Some((_, rest)) => Ok(rest),
    }
}

/// Reads `u` and four hexadecimal digits; yields the code unit and the rest.
fn unit(rest: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = rest.strip_prefix(b"u")?.split_at_checked(4)?;
    Some((u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(text: &str) -> Result<(), JsonError> {
        check_json(text, JSON_LEVELS_MAX)
    }

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn but_for_numbers_it_takes_what_the_usual_reader_takes() {
        let table = [
            "",
            "1 2",
            "nul",
            "[1,]",
            "{1:2}",
            "01",
            "1.",
            "1e",
            "-",
            r#"{"a":[1,-1,1.5,1e300,true,null,"\ud83d\ude00"]}"#,
            r#""\ud800""#,
            r#""\ud800\n""#,
            r#""\ud800\u0041""#,
            r#""\ud800\ud800""#,
            r#""\uDBFF\uDfFf\uD800""#,
            r#"{"\ud800":1}"#,
            r#"[["\udc00x"]]"#,
            r#""\\ud800""#,
            r#""\"\\\"[[[\u005b""#,
            r#""\ud8""#,
            r#""\x""#,
            "\"a\nb\"",
            " [] ",
            &nested(127),
            &nested(128),
            &nested(100_000),
            &format!(r#"["{}"]"#, "[{".repeat(1_000)),
            &format!("[{}1]", "[],".repeat(1_000)),
        ];
        for text in table {
            let usual = serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(check(text).is_ok(), usual, "{text}");
        }
        assert_eq!(check(&nested(128)), Err(JsonError::TooDeep(127)));
        assert_eq!(check(r#""\ud800""#), Err(JsonError::HalfCharacter));
    }

    #[test]
    fn a_number_may_be_of_any_length_and_size() {
        let long = "1".repeat(1_000);
        for number in ["1e400", "-1E+999", "1e-999", &long, &format!("-{long}.{long}e{long}")] {
            assert_eq!(check(&format!(r#"{{"a":[{number}]}}"#)), Ok(()), "{number}");
        }
    }
}
