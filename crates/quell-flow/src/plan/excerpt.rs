//! [`excerpt`] quotes a text in a message, [`Line`] a line of it below one.

/// Yields the first characters of a text, with control characters escaped.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).map(readable).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A line of a text, or the part of a long one around a place.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: Box<str>,
    /// The number of its characters before the place.
    pub(crate) before: usize,
}

impl Line {
    /// Yields the line of a byte. An offset beyond the end is the end.
    pub(crate) fn of(text: &str, at: usize) -> Self {
        let at = text.floor_char_boundary(at);
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let (before, after) = (&text[start..at], text[at..].lines().next().unwrap_or_default());
        let cut = before.char_indices().rev().nth(BEFORE_CHARS_MAX);
        let before = &before[cut.map_or(0, |(last, c)| last + c.len_utf8())..];
        let mut shown = String::from(if cut.is_some() { "…" } else { "" });
        shown.extend(before.chars().map(visible));
        let before = shown.chars().count();
        shown.extend(after.chars().take(AFTER_CHARS_MAX).map(visible));
        if after.chars().nth(AFTER_CHARS_MAX).is_some() {
            shown.push('…');
        }
        Self { text: shown.into(), before }
    }
}

/// Yields a character, or a stand-in if a terminal would not print it in one column.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if readable(c).chars().eq([c]) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
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

/// The characters of a line that are shown before a place.
const BEFORE_CHARS_MAX: usize = 60;

/// The characters of a line that are shown from a place on.
const AFTER_CHARS_MAX: usize = 60;
