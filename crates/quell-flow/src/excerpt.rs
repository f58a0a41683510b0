//! [`excerpt`] quotes a text in a message, [`listed`] names, [`Line`] a line of it below one;
//! [`unquoted`] leaves what it quotes out of a message.

use unicode_width::UnicodeWidthStr as _;

/// Quotes a text in a message: the first characters of its first line, with control characters
/// escaped, and `…` for the rest.
///
/// What a file has in the lines behind may be no part of the text: quotes that are not closed
/// take them in, and secrets in them.
///
/// # Examples
///
/// ```
/// use quell_flow::excerpt;
///
/// assert_eq!(excerpt("make\tall"), r"make\tall");
/// assert_eq!(excerpt("5s\nAPI_KEY = x"), "5s…");
/// ```
pub fn excerpt(text: &str) -> String {
    let end = text.trim_end_matches(LINE_ENDS);
    let line = end.split(LINE_ENDS).next().unwrap_or_default();
    let mut short: String = line.chars().take(QUOTED_CHARS_MAX).map(readable).collect();
    if line.len() < end.len() || line.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Leaves out of a message what it quotes, which may be a secret: it ends at the first quotes
/// behind the keys that it begins with, `key: …`.
///
/// # Examples
///
/// ```
/// use quell_flow::unquoted;
///
/// let message = "`idle`: invalid time `hush`; expected one such as \"30s\"".to_owned();
/// assert_eq!(unquoted(message, |key| key == "idle"), "`idle`: invalid time `…`");
/// ```
pub fn unquoted(mut message: String, is_key: impl Fn(&str) -> bool) -> String {
    let mut begin = 0;
    let key_of = |rest: &str| {
        let (key, _) = rest.strip_prefix('`')?.split_once("`: ")?;
        is_key(key).then_some(key.len() + 4)
    };
    while let Some(len) = key_of(&message[begin..]) {
        begin += len;
    }
    if let Some(quote) = message[begin..].find('`') {
        message.truncate(begin + quote);
        message.push_str("`…`");
    }
    message
}

/// Tells whether the braces of a template, `{{`, stand at a place of a text, or just before it.
///
/// # Examples
///
/// ```
/// use quell_flow::is_braced;
///
/// let text = "name = {{ input }}";
/// assert!(is_braced(text, 7) && is_braced(text, 8) && !is_braced(text, 0));
/// ```
pub fn is_braced(text: &str, at: usize) -> bool {
    let near = at.saturating_sub(2)..at.saturating_add(2).min(text.len());
    text.as_bytes().get(near).is_some_and(|near| near.windows(2).any(|two| two == b"{{"))
}

/// Lists the first few names in alphabetical order.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let shown: Vec<String> =
        names.iter().take(NAMES_SHOWN).map(|name| format!("`{}`", excerpt(name))).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A line of a text, or the part of a long one around a place.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: Box<str>,
    /// The columns that its characters before the place take in a terminal.
    pub(crate) before: usize,
}

impl Line {
    /// Yields the line of a byte. An offset beyond the end is the end.
    pub(crate) fn of(text: &str, at: usize) -> Self {
        Self::shown_by(text, at, str::to_owned)
    }

    /// As [`of`](Self::of), with what a function makes of the parts before and after the byte.
    pub(crate) fn shown_by(text: &str, at: usize, show: fn(&str) -> String) -> Self {
        let (before, after) = around(text, text.floor_char_boundary(at));
        let before = before.rsplit(LINE_ENDS).next().unwrap_or_default();
        let after = after.split(LINE_ENDS).next().unwrap_or_default();
        let cut = before.char_indices().rev().nth(BEFORE_CHARS_MAX);
        let before = &before[cut.map_or(0, |(last, c)| last + c.len_utf8())..];
        let mut shown = String::from(if cut.is_some() { "…" } else { "" });
        shown.extend(show(before).chars().map(visible));
        let before = shown.width();
        let cut = after.char_indices().nth(AFTER_CHARS_MAX).map(|(at, _)| at);
        shown.extend(show(&after[..cut.unwrap_or(after.len())]).chars().map(visible));
        if cut.is_some() {
            shown.push('…');
        }
        Self { text: shown.into(), before }
    }
}

/// Yields what a line may show of a text before and after a place. No more is searched: in a text
/// of one long line there may be thousands of places.
fn around(text: &str, at: usize) -> (&str, &str) {
    let (before, after) = text.split_at(at);
    // With the character that shows that there is more; after the place also with its line end.
    let begin = before.char_indices().nth_back(BEFORE_CHARS_MAX).map_or(0, |(at, _)| at);
    let end = after.char_indices().nth(AFTER_CHARS_MAX + 2).map_or(after.len(), |(at, _)| at);
    (&before[begin..], &after[..end])
}

/// Yields a character, or a stand-in if a terminal would not print it, or not in its place.
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

/// What ends a line, alone or both together.
pub(crate) const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// The number of characters that a message quotes. The rest is left out and marked with `…`.
const QUOTED_CHARS_MAX: usize = 80;

/// The number of names that a message lists.
const NAMES_SHOWN: usize = 12;

/// The characters of a line that are shown before a place.
const BEFORE_CHARS_MAX: usize = 60;

/// The characters of a line that are shown from a place on.
const AFTER_CHARS_MAX: usize = 60;
