//! [`excerpt`] quotes a text in a message.

/// Yields the first characters of a text, with control characters escaped.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).map(readable).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Yields a character, or its escape if it would break the line of a message.
fn readable(c: char) -> String {
    match c {
        // These are harmless and frequent in expressions.
        '\'' | '"' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    }
}

/// The number of characters that a message quotes. The rest is left out and marked with `…`.
const QUOTED_CHARS_MAX: usize = 80;
