//! Lines of a stream, and the events that they become.

use std::borrow::Cow;

use quell::{Payload, limits};
use serde::Serialize;

use crate::event::{Event, begins_result};

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
            if self.pending.len() > self.bytes_max() {
                while self.pending.len() > LINE_BYTES_MAX {
                    let end = boundary(&self.pending[..LINE_BYTES_MAX]);
                    each(self.line(&self.pending[..end], Rest::More));
                    self.pending.drain(..end);
                    self.is_split = true;
                }
            }
            if text.is_some() {
                self.hand_out(Rest::Newline, &mut each);
            }
        }
    }

    /// Hands out the last line if no newline followed it.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.pending.is_empty() {
            self.hand_out(Rest::End, &mut each);
        }
    }

    /// Yields the line that has no end yet, or what is left of it.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Yields how long the pending line may become before it is split: one that may be an event is
    /// longer.
    fn bytes_max(&self) -> usize {
        let begin = &self.pending[..self.pending.len().min(LINE_BYTES_MAX)];
        let may_be_event = !self.is_split && begin.trim_ascii_start().starts_with(b"{");
        if may_be_event { limits::EVENT_BYTES_MAX } else { LINE_BYTES_MAX }
    }

    fn hand_out(&mut self, rest: Rest, each: &mut impl FnMut(Line<'_>)) {
        each(self.line(&self.pending, rest));
        self.pending.clear();
        self.is_split = false;
    }

    const fn line<'a>(&self, bytes: &'a [u8], rest: Rest) -> Line<'a> {
        Line { bytes, rest, is_begin: !self.is_split }
    }
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    bytes: &'a [u8],
    rest: Rest,
    /// Whether it is the begin of a line.
    is_begin: bool,
}

/// What follows a piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// More pieces of the same line.
    More,
    Newline,
    /// The end of the stream.
    End,
}

impl<'a> Line<'a> {
    /// Makes one of lines that were joined, the last without its newline.
    pub(crate) fn joined(lines: &'a [u8]) -> Self {
        let bytes = lines.strip_suffix(b"\n").unwrap_or(lines);
        Self { bytes, rest: Rest::Newline, is_begin: true }
    }

    /// Hands it out in pieces that are as long as those of a line that cannot be an event.
    pub(crate) fn pieces(self, mut each: impl FnMut(Self)) {
        let mut left = self;
        while left.bytes.len() > LINE_BYTES_MAX {
            let (first, last) = left.split_at(boundary(&left.bytes[..LINE_BYTES_MAX]));
            each(first);
            left = last;
        }
        each(left);
    }

    fn split_at(self, end: usize) -> (Self, Self) {
        let (first, last) = self.bytes.split_at(end);
        let first = Self { bytes: first, rest: Rest::More, ..self };
        (first, Self { bytes: last, is_begin: false, ..self })
    }
}

impl Line<'_> {
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether it is no piece.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_begin && self.rest != Rest::More
    }

    /// Reads the event that it is. None if it is none; a fault if it lacks fields of its kind.
    pub(crate) fn event(&self) -> Option<Result<Event, String>> {
        if self.is_whole() { Event::read(self.bytes) } else { None }
    }

    /// Tells whether it is the begin of a `result` that is too long.
    pub(crate) fn is_cut_result(&self) -> bool {
        self.is_begin && self.rest == Rest::More && begins_result(self.bytes)
    }

    pub(crate) fn join_to(&self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(self.bytes);
        lines.push(b'\n');
    }

    /// Hands out the bytes as they were written, with the newline if there was one.
    pub(crate) fn written(&self, mut each: impl FnMut(&[u8])) {
        each(self.bytes);
        if self.rest == Rest::Newline {
            each(b"\n");
        }
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes)
    }

    /// Hands out the payloads to emit: one, but for a line that is too long when escaped.
    pub(crate) fn emit(self, stream: &str, fault: Option<&str>, emit: &mut impl FnMut(Payload)) {
        let line = self.text();
        let lossy = matches!(line, Cow::Owned(_));
        let event = LineEvent { stream, line, split: self.rest == Rest::More, lossy, fault };
        let Ok(payload) = Payload::json(&event) else { return };
        let half = boundary(&self.bytes[..self.bytes.len() / 2]);
        if payload.len() <= limits::EVENT_BYTES_MAX || half == 0 {
            return emit(payload);
        }
        let (first, second) = self.split_at(half);
        first.emit(stream, fault, emit);
        second.emit(stream, fault, emit);
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
    /// Why it is not the event that it says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
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

/// A line that is longer is split, unless it may be an event.
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
        let mut each = |line: Line<'_>| {
            all.push((line.bytes.to_vec(), line.rest == Rest::More, line.is_whole()));
        };
        stream.chunks(chunk).for_each(|part| lines.push(part, &mut each));
        lines.finish(&mut each);
        all
    }

    fn events(line: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        let line = Line { bytes: line, rest: Rest::Newline, is_begin: true };
        line.emit("stdout", None, &mut |payload: Payload| all.push(payload.to_string()));
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
    fn a_line_that_may_be_an_event_is_whole_up_to_the_bound_of_events() {
        for chunk in [1_000, 8_192, 1 << 20] {
            let line = format!(" {{{}", "x".repeat(limits::EVENT_BYTES_MAX - 2));
            assert_eq!(cut(line.as_bytes(), chunk), [(line.clone().into_bytes(), false, true)]);
            let pieces = cut(format!("{line}y\nz").as_bytes(), chunk);
            assert_eq!(pieces.len(), 6);
            assert!(pieces[..4].iter().all(|(bytes, ..)| bytes.len() == LINE_BYTES_MAX));
            let blank = format!("{}{{", " ".repeat(LINE_BYTES_MAX));
            assert_eq!(cut(blank.as_bytes(), chunk).len(), 2, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_line_that_was_no_event_is_in_pieces_like_every_other() {
        let long = format!("{{{}", "ü".repeat(LINE_BYTES_MAX)).into_bytes();
        let line = Line { bytes: &long, rest: Rest::End, is_begin: true };
        let mut pieces = Vec::new();
        line.pieces(|piece| pieces.push((piece.bytes.to_vec(), piece.rest, piece.is_begin)));
        let ends: Vec<_> = pieces.iter().map(|(_, rest, begin)| (*rest, *begin)).collect();
        assert_eq!(ends, [(Rest::More, true), (Rest::More, false), (Rest::End, false)]);
        assert!(pieces.iter().all(|(bytes, ..)| str::from_utf8(bytes).is_ok()));
        let joined: Vec<u8> = pieces.into_iter().flat_map(|(bytes, ..)| bytes).collect();
        assert_eq!(joined, long);
    }

    #[test]
    fn a_line_that_grows_over_the_bound_when_escaped_is_split() {
        let all = events(&vec![1; LINE_BYTES_MAX]);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|event| event.len() <= limits::EVENT_BYTES_MAX));
        assert!(all[0].contains(r#""split":true"#) && !all[1].contains("split"));
    }
}
