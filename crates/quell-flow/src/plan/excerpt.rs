//! Quotes texts in messages.

/// Keeps a message readable whatever the text: its first characters, control characters escaped.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).map(readable).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Yields a character as it is; what no line of a message can hold, as an escape.
fn readable(c: char) -> String {
    match c {
        // They are no danger, and an expression is full of them.
        '\'' | '"' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    }
}

/// Characters of a text that a message quotes; the rest is left out and marked.
const QUOTED_CHARS_MAX: usize = 80;
