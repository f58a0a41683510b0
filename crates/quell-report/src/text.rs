//! How durations, sizes and foreign text are written for people.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use quell::Work;

/// Yields text that cannot steer a terminal: control characters, and those that change the
/// direction of what follows, are written as escapes.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_report::text::printable("a\u{7}b"), "a\\u{7}b");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_steering) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => plain.push(' '),
            c if is_steering(c) => plain.extend(c.escape_default()),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Says of abandoned work that it executes, as far as that is known: of a program nobody has waited
/// for its end, and that of a process that was killed is ended by its guardian.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_report::text::still_executes(quell::Work::Body), "still executes");
/// ```
pub fn still_executes(what: Work) -> &'static str {
    // Of what is elsewhere nobody knows.
    match what {
        Work::Process | Work::Remote | Work::Node => "may still execute",
        _ => "still executes",
    }
}

/// Yields the last line that has something in it, printable and cut to [`LINE_CHARS_MAX`].
///
/// # Examples
///
/// ```
/// assert_eq!(quell_report::text::last_line("one\ntwo\n\n").as_deref(), Some("two"));
/// ```
pub fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(cut(&printable(line.trim()), LINE_CHARS_MAX))
}

/// Cuts text to so many characters and marks the cut with `…`.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_report::text::cut("abcdef", 4), "abc…");
/// ```
pub fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Writes a duration with the precision that matters: `7 ms`, `1.25 s`, `2 min 5 s`, `3 h 2 min`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(quell_report::text::span(Duration::from_millis(1_250)), "1.25 s");
/// ```
pub fn span(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Writes a number of bytes: `512 bytes`, `1.5 KiB`, `16.0 MiB`.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_report::text::size(1_536), "1.5 KiB");
/// ```
pub fn size(bytes: usize) -> String {
    let mut text = String::new();
    let (unit, name) = match bytes {
        1 => return "1 byte".into(),
        0..1_024 => return format!("{bytes} bytes"),
        1_024..1_048_576 => (1_024, "KiB"),
        _ => (1_048_576, "MiB"),
    };
    let _ = write!(text, "{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
    text
}

/// Counts the columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// The widest that the column of names becomes.
pub(crate) const NAME_COLUMNS_MAX: usize = 48;

/// The most characters of a program's line that a view shows.
pub const LINE_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let spans = [0, 7, 999, 1_000, 1_259, 59_999, 60_000, 125_000, 3_600_000, 10_920_000]
            .map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans[..5], ["0 ms", "7 ms", "999 ms", "1.00 s", "1.25 s"]);
        assert_eq!(spans[5..], ["59.99 s", "1 min 0 s", "2 min 5 s", "1 h 0 min", "3 h 2 min"]);
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        let sizes = [0, 1, 1_023, 1_024, 1_536, 1_048_575, 16 << 20].map(size);
        assert_eq!(sizes[..4], ["0 bytes", "1 byte", "1023 bytes", "1.0 KiB"]);
        assert_eq!(sizes[4..], ["1.5 KiB", "1023.9 KiB", "16.0 MiB"]);
    }

    #[test]
    fn the_last_line_is_the_last_with_something_in_it() {
        assert_eq!(last_line("a\nb\n\n  \n"), Some("b".into()));
        assert_eq!(last_line("\n"), None);
        assert_eq!(last_line(&"x".repeat(500)).map(|line| line.chars().count()), Some(100));
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\u{7}"), "a\\u{1b}[2Jb\\r\\u{7}");
        assert_eq!(printable("größe\t1"), "größe 1");
        // The order of what is shown is that of what was written.
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{2069}"), "a\\u{202e}b\\u{2066}c\\u{2069}");
        assert_eq!(printable("\u{200f}א"), "\u{200f}א");
    }
}
