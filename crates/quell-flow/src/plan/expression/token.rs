//! Tokens of an expression: how long each is.

/// Yields the length of the token that begins here; at least 1.
pub(super) fn len(rest: &[u8], after_dot: bool) -> usize {
    match rest[0] {
        quote @ (b'"' | b'\'') => string_len(rest, quote),
        b'0'..=b'9' => number_len(rest, after_dot),
        byte if is_word(byte) => rest.iter().take_while(|byte| is_word(**byte)).count(),
        // A character that is not ASCII is no token, and is not cut.
        byte if !byte.is_ascii() => rest.iter().take_while(|byte| !byte.is_ascii()).count(),
        _ => match rest.get(..2) {
            Some(b"//" | b"**" | b"==" | b"!=" | b">=" | b"<=") => 2,
            _ => 1,
        },
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

/// A number may have a fraction, unless it is an index behind a dot, and an exponent with a sign.
fn number_len(rest: &[u8], after_dot: bool) -> usize {
    let has_radix = rest[0] == b'0' && rest.get(1).is_some_and(u8::is_ascii_alphabetic);
    let (mut len, mut has_point) = (1, after_dot || has_radix);
    while let Some(byte) = rest.get(len).copied() {
        let is_sign = matches!(byte, b'+' | b'-')
            && !has_radix
            && matches!(rest[len - 1], b'e' | b'E')
            && rest.get(len + 1).is_some_and(u8::is_ascii_digit);
        let is_point = byte == b'.'
            && !has_point
            && !rest.get(len + 1).is_some_and(|next| next.is_ascii_alphabetic() || *next == b'_');
        if !(is_word(byte) || is_sign || is_point) {
            break;
        }
        has_point |= is_point;
        len += 1;
    }
    len
}
