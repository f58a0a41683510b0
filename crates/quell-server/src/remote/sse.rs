//! [`Sse`]: server-sent events, cut into the lines that they stand for.

use quell::limits;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Reads `text/event-stream`, of which it keeps at most one event of a bounded size.
///
/// The data of an event becomes a line. If it is an object without the key `event`, the name of the
/// event becomes that key. Data that is too long goes on as it is, for the reader of the lines to
/// split; other fields, and comments, are left out.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    /// The line that has no end yet.
    line: Vec<u8>,
    /// What the line is that is too long to be kept; its rest is still to come.
    long: Option<Long>,
    /// How many lines have ended.
    lines: u64,
    /// The last byte was a carriage return: a newline after it is no other end.
    after_return: bool,
    name: String,
    data: Vec<u8>,
    /// Whether there was data since the last event, which may be empty.
    has_data: bool,
    /// Part of the data was handed out already.
    is_cut: bool,
}

#[derive(Clone, Copy, Debug)]
enum Long {
    Data,
    Other,
}

impl Sse {
    /// Takes what was read; hands out the lines that are complete with it, each with its newline,
    /// and pieces of those that are too long.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if std::mem::take(&mut self.after_return) && part == b"\n" {
                continue;
            }
            let text = part.strip_suffix(b"\n").or_else(|| part.strip_suffix(b"\r"));
            self.after_return = part.ends_with(b"\r");
            self.extend(text.unwrap_or(part), &mut each);
            if text.is_some() {
                self.end_line(&mut each);
            }
        }
    }

    /// Hands out the last event, if no empty line followed it: a program's last line needs no
    /// newline either.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end_line(&mut each);
        }
        self.end_event(&mut each);
    }

    fn extend(&mut self, text: &[u8], each: &mut impl FnMut(&[u8])) {
        match self.long {
            Some(Long::Data) => return self.add(text, each),
            Some(Long::Other) => return,
            None => self.line.extend_from_slice(text),
        }
        if self.line.len() > LINE_BYTES_MAX {
            let line = std::mem::take(&mut self.line);
            self.long = Some(match field(self.unmarked(&line)) {
                ("data", value) => {
                    self.begin_data(each);
                    self.add(value, each);
                    Long::Data
                }
                _ => Long::Other,
            });
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        let text = self.unmarked(&line);
        self.lines += 1;
        if self.long.take().is_some() {
            return;
        }
        if text.is_empty() {
            return self.end_event(each);
        }
        match field(text) {
            ("data", value) => {
                self.begin_data(each);
                self.add(value, each);
            }
            ("event", value) if value.len() <= limits::TOOL_NAME_BYTES_MAX => {
                self.name = String::from_utf8_lossy(value).into_owned();
            }
            _ => {}
        }
        // Kept for the next line, which is most often as long.
        self.line = line;
        self.line.clear();
    }

    /// Yields the line without the mark before it, if it is the first one.
    fn unmarked<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.lines == 0 { line.strip_prefix(MARK).unwrap_or(line) } else { line }
    }

    /// Begins another line of data.
    fn begin_data(&mut self, each: &mut impl FnMut(&[u8])) {
        if std::mem::replace(&mut self.has_data, true) {
            // Between the tokens of JSON it is a space, so that the event stays one line.
            let is_object = self.data.trim_ascii_start().starts_with(b"{");
            self.add(if is_object { b" " } else { b"\n" }, each);
        }
    }

    fn add(&mut self, value: &[u8], each: &mut impl FnMut(&[u8])) {
        self.data.extend_from_slice(value);
        if self.data.len() > limits::EVENT_BYTES_MAX {
            each(&self.data);
            self.data.clear();
            self.is_cut = true;
        }
    }

    fn end_event(&mut self, each: &mut impl FnMut(&[u8])) {
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.has_data) {
            let is_whole = !std::mem::take(&mut self.is_cut);
            if is_whole && !name.is_empty() {
                self.data = named(&name, std::mem::take(&mut self.data));
            }
            self.data.push(b'\n');
            each(&self.data);
            self.data.clear();
        }
    }
}

/// Splits a line into the name of its field and the value.
fn field(line: &[u8]) -> (&str, &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon.map_or((line, &[][..]), |at| (&line[..at], &line[at + 1..]));
    (str::from_utf8(name).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
}

/// Puts the name of an event into its data, if that is an object that has none.
fn named(name: &str, data: Vec<u8>) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Named {
        event: Option<IgnoredAny>,
    }
    let Some(rest) = data.trim_ascii_start().strip_prefix(b"{") else { return data };
    if !matches!(serde_json::from_slice(&data), Ok(Named { event: None })) {
        return data;
    }
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let key = serde_json::Value::from(name);
    [format!("{{\"event\":{key}{comma}").as_bytes(), rest].concat()
}

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is longer is not kept: the longest event, with the name of its field.
const LINE_BYTES_MAX: usize = limits::EVENT_BYTES_MAX + 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text in chunks, and yields the lines, and whether the last one has its end.
    fn lines(text: &[u8], chunk: usize) -> String {
        let (mut sse, mut all) = (Sse::default(), Vec::new());
        for part in text.chunks(chunk) {
            sse.push(part, |piece| all.extend_from_slice(piece));
            assert!(sse.line.len() + sse.data.len() <= 2 * LINE_BYTES_MAX + chunk);
        }
        sse.finish(|piece| all.extend_from_slice(piece));
        String::from_utf8(all).expect("text")
    }

    #[test]
    fn the_data_of_an_event_is_a_line() {
        for (text, right) in [
            ("data: a\n\ndata:b\n\n", "a\nb\n"),
            ("data: a\r\n\r\ndata: b\r\rdata: c", "a\nb\nc\n"),
            (": hi\nid: 7\nretry: 1\ndata: a\n: hi\n\n\n\n", "a\n"),
            ("data: a\ndata: b\n\n", "a\nb\n"),
            ("data: {\"event\":\ndata: \"x\"}\n\n", "{\"event\": \"x\"}\n"),
            (
                "event: content\ndata: {\"text\":\"a\"}\n\n",
                "{\"event\":\"content\",\"text\":\"a\"}\n",
            ),
            ("event: x\ndata: {}\n\n", "{\"event\":\"x\"}\n"),
            ("event: x\ndata: {\"event\":\"y\"}\n\n", "{\"event\":\"y\"}\n"),
            ("event: x\ndata: text\n\ndata: {\"a\":1}\n\n", "text\n{\"a\":1}\n"),
            ("event: x\n\ndata: {\"a\":1}\n\n", "{\"a\":1}\n"),
            ("data\n\n", "\n"),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", "a\n"),
            ("\u{feff}\n\ndata: \u{feff}a\n\n", "\u{feff}a\n"),
            ("\u{feff}\u{feff}data: a\n\ndata: b\n\n", "b\n"),
            ("", ""),
        ] {
            for chunk in [1, 3, 1_000] {
                assert_eq!(lines(text.as_bytes(), chunk), right, "{text:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_data_goes_on_in_pieces() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let data = format!("event: content\ndata: {{\"text\":\"{long}\"}}\n\ndata: b\n\n");
        let other = format!("id: {long}\n:{long}\ndata: b\n\n");
        let many = format!("{}\ndata: b\n\n", "data: 1234567\n".repeat(LINE_BYTES_MAX / 4));
        for chunk in [8_192, 1 << 20] {
            let read = lines(data.as_bytes(), chunk);
            assert!(read == format!("{{\"text\":\"{long}\"}}\nb\n"), "in chunks of {chunk}");
            assert_eq!(lines(other.as_bytes(), chunk), "b\n");
            let read = lines(many.as_bytes(), chunk);
            assert!(read == format!("{}b\n", "1234567\n".repeat(LINE_BYTES_MAX / 4)));
        }
    }
}
