//! [`excerpt`] quotes a text in a message, [`path_text`] a path, [`listed`] names, [`Line`] a line
//! of it below one; [`unquoted`] leaves what it quotes out of a message, [`toml_words`] has
//! the messages of a parser.

use std::path::Path;

use unicode_width::UnicodeWidthStr as _;

/// Quotes a text in a message: the first characters of its first line, with control characters
/// escaped, `'` for a backquote, and `…` for the rest.
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
    // It would end the quotes of the message.
    first_line(text).replace('`', "'")
}

/// As [`excerpt`], of a text that stands in no quotes and may have some.
pub(crate) fn first_line(text: &str) -> String {
    let end = text.trim_end_matches(LINE_ENDS);
    let line = end.split(LINE_ENDS).next().unwrap_or_default();
    let mut short: String = line.chars().take(QUOTED_CHARS_MAX).map(readable).collect();
    if line.len() < end.len() || line.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Yields a path as messages name it: whole, with control characters escaped, so that it neither
/// steers a terminal nor begins a line.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::path_text("plans/a\nb.toml"), r"plans/a\nb.toml");
/// ```
pub fn path_text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().chars().map(readable).collect()
}

/// Leaves out of a message what it quotes, which may be a secret: behind the keys that it begins
/// with, `key: …`, all that is in backquotes or double quotes. What stands around it stays.
///
/// # Examples
///
/// ```
/// use quell_flow::unquoted;
///
/// let message = "`idle`: invalid time `hush`; expected one such as \"30s\"";
/// let says = "`idle`: invalid time `…`; expected one such as \"30s\"";
/// assert_eq!(unquoted(message, |key| key == "idle"), says);
/// ```
pub fn unquoted(message: &str, is_key: impl Fn(&str) -> bool) -> String {
    without_quoted(message, is_key, |_| false)
}

/// As [`unquoted`], with what is quoted if each word of it is one of our own.
pub(crate) fn without_quoted(
    message: &str,
    is_key: impl Fn(&str) -> bool,
    is_ours: impl Fn(&str) -> bool,
) -> String {
    let mut begin = 0;
    let key_of = |rest: &str| {
        let (key, _) = rest.strip_prefix('`')?.split_once("`: ")?;
        is_key(key).then_some(key.len() + 4)
    };
    while let Some(len) = key_of(&message[begin..]) {
        begin += len;
    }
    let (said, mut rest) = message.split_at(begin);
    let mut said = said.to_owned();
    while let Some(at) = rest.find(['`', '"']) {
        let (before, from) = rest.split_at(at);
        let quote = &from[..1];
        said.push_str(before);
        let Some(inside) = inside_quotes(from) else {
            // Nobody can tell where it ends.
            said.push_str(quote);
            said.push('…');
            said.push_str(quote);
            return said;
        };
        let is_said = words(inside).all(|word| SAMPLES.contains(&word) || is_ours(word));
        said.push_str(quote);
        said.push_str(if is_said { inside } else { "…" });
        said.push_str(quote);
        rest = &from[inside.len() + 2..];
    }
    said.push_str(rest);
    said.replace(NO_GUESS, "")
}

/// Yields what is between the quotes that a text begins with, if a word does not follow at once.
fn inside_quotes(text: &str) -> Option<&str> {
    let (quote, rest) = text.split_at_checked(1)?;
    let is_escape = |before: &str| quote == "\"" && before.ends_with('\\');
    let (end, _) = rest.match_indices(quote).find(|(at, _)| !is_escape(&rest[..*at]))?;
    let after = rest[end + 1..].chars().next();
    after.is_none_or(|char| !char.is_alphanumeric()).then_some(&rest[..end])
}

/// Lists the words of a text: letters, digits and `_`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// Writes a message of the parser of TOML as other messages are written: on one line, and without
/// the names that it has for parts of a number.
///
/// # Examples
///
/// ```
/// use quell_flow::toml_words;
///
/// assert_eq!(toml_words("invalid mantissa\nexpected digits"), "this is no number");
/// assert_eq!(toml_words("unclosed array\nexpected `]`"), "unclosed array, expected `]`");
/// ```
pub fn toml_words(message: &str) -> String {
    let words = message.replace('\n', ", ");
    let is_of_number = OF_NUMBERS.iter().any(|begin| words.starts_with(begin));
    if is_of_number {
        return "this is no number".to_owned();
    }
    if words.starts_with("string values must be quoted") {
        return "this is no value; a text stands in quotes".to_owned();
    }
    words.trim_end_matches(", expected nothing").to_owned()
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

/// How messages of the parser of TOML about numbers begin.
const OF_NUMBERS: [&str; 6] = [
    "invalid float",
    "invalid mantissa",
    "invalid fraction",
    "invalid exponent",
    "unexpected leading zero",
    "`_` may only go between digits",
];

/// What is left of a guess that is not said.
const NO_GUESS: &str = "; did you mean `…`?";

/// Values that are examples in messages.
pub(crate) const SAMPLES: [&str; 8] = ["30s", "500ms", "5s", "3", "true", "false", "NAME", "value"];

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
