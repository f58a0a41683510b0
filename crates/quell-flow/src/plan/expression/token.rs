//! [`len`] finds the tokens of an expression, [`Between`] and [`Last`] say what they are.

use crate::excerpt::excerpt;

/// What is between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// It takes numbers only: `*`.
    Numbers,
    /// It reads or copies both: `+`, `~`, comparisons.
    Values,
    /// It fails unless its operands are numbers: `-`, `/`, `//`, `%`, `**`.
    Sums,
    /// It neither reads nor copies them: `and`, `or`, `if`, `else`.
    Logic,
    /// It ends an item: `,`, `:`.
    Item,
}

/// What the previous token was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing that an operator could follow.
    Nothing,
    /// The end of an operand.
    Operand,
    /// A `.`: a name follows, even if it is a word of the language.
    Dot,
    /// A `|` or an `is`: a name follows as well.
    Name,
}

/// Yields the length of the first token, in bytes; at least 1.
pub(super) fn len(rest: &[u8], after_dot: bool) -> usize {
    match rest[0] {
        quote @ (b'"' | b'\'') => string_len(rest, quote),
        b'0'..=b'9' => number_len(rest, after_dot),
        byte if is_word(byte) => rest.iter().take_while(|byte| is_word(**byte)).count(),
        // Characters that are not ASCII are no token. They are taken together, so that none is cut.
        byte if !byte.is_ascii() => rest.iter().take_while(|byte| !byte.is_ascii()).count(),
        _ => match rest.get(..2) {
            Some(b"//" | b"**" | b"==" | b"!=" | b">=" | b"<=") => 2,
            _ => 1,
        },
    }
}

/// Refuses a token that cannot stand behind a text.
///
/// The parser of the language (minijinja 3.0.5) takes a text for the end of the expression if it
/// cannot read what comes next: `'a' == 'b' && c` would be `'a' == 'b'`. So only what it can read
/// for certain may come next: words, operators and brackets.
///
/// # Errors
///
/// Yields the message.
pub(super) fn check_behind_text(token: &[u8]) -> Result<(), String> {
    match token {
        b"//" | b"**" | b"==" | b"!=" | b">=" | b"<=" => Ok(()),
        [byte, ..] if is_word(*byte) && !byte.is_ascii_digit() => Ok(()),
        [byte] if b"+-*/%.,:~|=><()[]{}".contains(byte) => Ok(()),
        // A value may be a secret.
        [b'"' | b'\'', ..] => Err("unexpected text behind a text".to_owned()),
        [b'0'..=b'9', ..] => Err("unexpected number behind a text".to_owned()),
        _ => {
            let found = excerpt(&String::from_utf8_lossy(token));
            Err(format!("unexpected `{found}` behind a text"))
        }
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn string_len(rest: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate().skip(1) {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The part of a number that has been read last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `0b`, `0o` or `0x`, and digits.
    Radix,
    Integer,
    Fraction,
    /// The letter of an exponent: a sign may follow.
    Exponent,
    /// The sign or a digit of an exponent.
    Power,
}

/// Yields the length of a number. It ends where the language ends it: `3in` is `3` and `in`. It may
/// have a fraction, unless it is an index behind a dot, and an exponent with a sign.
fn number_len(rest: &[u8], after_dot: bool) -> usize {
    let is_hex = matches!(rest.get(..2), Some(b"0x" | b"0X"));
    let has_radix = is_hex || matches!(rest.get(..2), Some(b"0b" | b"0B" | b"0o" | b"0O"));
    let (mut part, mut len) = if has_radix { (Part::Radix, 2) } else { (Part::Integer, 1) };
    while let Some(byte) = rest.get(len) {
        part = match (byte, part) {
            (b'.', Part::Integer) if !after_dot && !is_attribute(&rest[len + 1..]) => {
                Part::Fraction
            }
            (b'e' | b'E', Part::Integer | Part::Fraction) => Part::Exponent,
            (b'+' | b'-' | b'0'..=b'9', Part::Exponent) => Part::Power,
            (b'0'..=b'9' | b'_', _) => part,
            (b'a'..=b'f' | b'A'..=b'F', Part::Radix) if is_hex => part,
            _ => break,
        };
        len += 1;
    }
    len
}

/// Tells whether a name follows the dot behind an integer. An exponent is none: `1.e5` is a number.
fn is_attribute(rest: &[u8]) -> bool {
    let is_exponent = matches!(rest, [b'e' | b'E', b'+' | b'-' | b'0'..=b'9', ..]);
    !is_exponent && rest.first().is_some_and(|byte| is_word(*byte) && !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_text_stands_what_the_language_can_read() {
        let next =
            |text: &'static str| check_behind_text(&text.as_bytes()[..len(text.as_bytes(), false)]);
        for text in ["and", "or x", "== 1", "~", "|trim", "[0]", ")", "}", ", 1", "_x", "// 2"] {
            assert_eq!(next(text), Ok(()), "{text}");
        }
        for (text, what) in [("0x", "number"), ("1", "number"), ("'b'", "text"), ("\"b\"", "text")]
        {
            assert_eq!(next(text), Err(format!("unexpected {what} behind a text")));
        }
        for text in ["&& a", "! a", ";", "#", "$x", "?", "@", "ü", "\\"] {
            let words = next(text).expect_err(text);
            assert!(
                words.starts_with("unexpected `") && words.contains("behind a text"),
                "{words}"
            );
        }
    }

    #[test]
    fn a_number_ends_where_the_language_ends_it() {
        for (text, number) in [
            ("3in", "3"),
            ("3and4", "3"),
            ("1e5if", "1e5"),
            ("1e-5-a", "1e-5"),
            ("1.5.b", "1.5"),
            ("1.e5", "1.e5"),
            ("1.e", "1"),
            ("1..", "1."),
            ("1_000x", "1_000"),
            ("0xfg", "0xf"),
            ("0b1f", "0b1"),
            ("0o7-1", "0o7"),
            ("0a", "0"),
        ] {
            assert_eq!(&text[..len(text.as_bytes(), false)], number, "{text}");
        }
        assert_eq!(len(b"0.5", true), 1);
    }
}
