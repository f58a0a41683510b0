//! Lines of a stream, and the events that they become.

use std::borrow::Cow;

use quell::{Payload, limits};
use serde::{Deserialize, Serialize};

/// Cuts a stream into lines, and long lines into pieces.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
    /// Whether pieces of the pending line were handed out already.
    is_split: bool,
}

impl Lines {
    /// Takes what was read; hands out the lines that are complete with it, without their newline.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n");
            self.pending.extend_from_slice(text.unwrap_or(part));
            while self.pending.len() > LINE_BYTES_MAX {
                let end = boundary(&self.pending[..LINE_BYTES_MAX]);
                let bytes = &self.pending[..end];
                each(Line { bytes, goes_on: true, is_whole: false });
                self.pending.drain(..end);
                self.is_split = true;
            }
            if text.is_some() {
                self.hand_out(&mut each);
            }
        }
    }

    /// Hands out the last line if no newline followed it.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.pending.is_empty() {
            self.hand_out(&mut each);
        }
    }

    fn hand_out(&mut self, each: &mut impl FnMut(Line<'_>)) {
        each(Line { bytes: &self.pending, goes_on: false, is_whole: !self.is_split });
        self.pending.clear();
        self.is_split = false;
    }
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    bytes: &'a [u8],
    /// Whether more pieces of the same line follow.
    goes_on: bool,
    /// Whether it is no piece.
    is_whole: bool,
}

impl<'a> Line<'a> {
    /// Makes one of lines that were joined, the last without its newline.
    pub(crate) fn joined(lines: &'a [u8]) -> Self {
        let bytes = lines.strip_suffix(b"\n").unwrap_or(lines);
        Self { bytes, goes_on: false, is_whole: false }
    }
}

impl Line<'_> {
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether it may be joined with others: it is whole, and no structured event.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_whole && structured(self.bytes).is_none()
    }

    pub(crate) fn join_to(&self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(self.bytes);
        lines.push(b'\n');
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes)
    }

    /// Hands out the payloads to emit: one, but for a line that is too long when escaped.
    pub(crate) fn emit(self, stream: &str, emit: &mut impl FnMut(Payload)) {
        if self.is_whole
            && let Some(event) = structured(self.bytes)
        {
            return emit(event);
        }
        let line = self.text();
        let lossy = matches!(line, Cow::Owned(_));
        let event = LineEvent { stream, line, split: self.goes_on, lossy };
        let Ok(payload) = Payload::json(&event) else { return };
        let half = boundary(&self.bytes[..self.bytes.len() / 2]);
        if payload.len() <= limits::EVENT_BYTES_MAX || half == 0 {
            return emit(payload);
        }
        let (first, second) = self.bytes.split_at(half);
        Self { bytes: first, goes_on: true, is_whole: false }.emit(stream, emit);
        Self { bytes: second, is_whole: false, ..self }.emit(stream, emit);
    }
}

/// Tells whether there are so many lines in what was read at once that they are joined.
pub(crate) fn is_many(read: &[u8]) -> bool {
    read.split(|byte| *byte == b'\n').nth(LINES_APART_MAX + 1).is_some()
}

/// A line as an event.
#[derive(Serialize)]
struct LineEvent<'a> {
    stream: &'a str,
    line: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_false")]
    split: bool,
    #[serde(skip_serializing_if = "is_false")]
    lossy: bool,
}

/// What a structured event has at least.
#[derive(Deserialize)]
struct Structured {
    #[serde(rename = "event")]
    _event: serde::de::IgnoredAny,
}

fn structured(line: &[u8]) -> Option<Payload> {
    // A struct may be read from an array too; an event is an object.
    if !line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let text = str::from_utf8(line).ok()?;
    serde_json::from_str::<Structured>(text).ok()?;
    Payload::from_json_text(text).ok()
}

/// Yields where to cut: at the end, or before a character that would be cut in two.
fn boundary(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(CHAR_BYTES_MAX);
    // A character begins within the last four bytes if the text is UTF-8.
    let last = bytes[start..].iter().rposition(|byte| byte & 0xc0 != 0x80);
    let Some(begin) = last.map(|nth| start + nth) else { return bytes.len() };
    match str::from_utf8(&bytes[begin..]) {
        Err(error) if error.error_len().is_none() && begin > 0 => begin,
        _ => bytes.len(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Lines that are read at once and become an event each. More are joined.
const LINES_APART_MAX: usize = 16;

/// A line that is longer is split.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The longest character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts a stream that is read in chunks, and yields the pieces.
    fn cut(stream: &[u8], chunk: usize) -> Vec<(Vec<u8>, bool, bool)> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let mut each =
            |line: Line<'_>| all.push((line.bytes.to_vec(), line.goes_on, line.is_whole));
        stream.chunks(chunk).for_each(|part| lines.push(part, &mut each));
        lines.finish(&mut each);
        all
    }

    fn events(line: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        let line = Line { bytes: line, goes_on: false, is_whole: true };
        line.emit("stdout", &mut |payload: Payload| all.push(payload.to_string()));
        all
    }

    #[test]
    fn lines_do_not_depend_on_how_they_are_read() {
        for chunk in [1, 2, 3, 7, 100] {
            let lines = cut(b"one\n\ntwo\r\nthree", chunk);
            let lines: Vec<_> = lines.iter().map(|(bytes, ..)| bytes.as_slice()).collect();
            assert_eq!(lines, [&b"one"[..], b"", b"two\r", b"three"], "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_line_as_long_as_the_bound_is_whole() {
        let line = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(cut(&line, 8_192), [(line.clone(), false, true)]);
    }

    #[test]
    fn a_longer_line_is_split_between_characters() {
        let line = format!("x{}\nnext", "ü".repeat(LINE_BYTES_MAX));
        let pieces = cut(line.as_bytes(), 8_192);
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|(bytes, ..)| str::from_utf8(bytes).is_ok()));
        let flags: Vec<_> =
            pieces.iter().map(|(_, goes_on, is_whole)| (*goes_on, *is_whole)).collect();
        assert_eq!(flags, [(true, false), (true, false), (false, false), (false, true)]);
        let joined: Vec<u8> = pieces[..3].iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
        assert_eq!(joined, line.as_bytes()[..line.len() - 5]);
    }

    #[test]
    fn a_line_of_garbage_is_split_without_loss() {
        for byte in [0x80, 0xff, 0xf0, 0xc3] {
            let line = vec![byte; 3 * LINE_BYTES_MAX + 5];
            let joined: Vec<u8> =
                cut(&line, 8_192).into_iter().flat_map(|(bytes, ..)| bytes).collect();
            assert_eq!(joined, line);
        }
    }

    #[test]
    fn a_line_becomes_an_event() {
        assert_eq!(events(b"hi \"you\""), [r#"{"stream":"stdout","line":"hi \"you\""}"#]);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced_and_marked() {
        let event = "{\"stream\":\"stdout\",\"line\":\"a\u{fffd}\",\"lossy\":true}";
        assert_eq!(events(b"a\xff"), [event]);
    }

    #[test]
    fn a_json_object_with_an_event_is_emitted_as_it_is() {
        let line = r#" {"event":"saved","n":[1,2]} "#;
        assert_eq!(events(line.as_bytes()), [line.trim()]);
    }

    #[test]
    fn other_json_is_a_line() {
        for line in [r#"{"events":1}"#, r#"["event"]"#, "{", "{}", r#"{"event":1}x"#, "null"] {
            assert!(events(line.as_bytes())[0].starts_with(r#"{"stream":"stdout""#), "{line}");
        }
    }

    #[test]
    fn a_line_that_grows_over_the_bound_when_escaped_is_split() {
        let all = events(&vec![1; LINE_BYTES_MAX]);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|event| event.len() <= limits::EVENT_BYTES_MAX));
        assert!(all[0].contains(r#""split":true"#) && !all[1].contains("split"));
    }

    #[test]
    fn nesting_without_end_is_no_event() {
        let line = format!("{{\"event\":{}", "[".repeat(LINE_BYTES_MAX - 20));
        assert_eq!(events(line.as_bytes()).len(), 1);
    }
}
