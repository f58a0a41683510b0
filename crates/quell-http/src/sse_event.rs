//! [`SseEvent`]: one event of a stream of server-sent events.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::ledger::Charge;

/// A piece of a stream, and the charge that was made for it.
pub(crate) type Piece = (Bytes, Option<Charge>);

/// A stream ends before its end: it holds more than there is room for, or what follows is told
/// elsewhere ([`SseEvent::cut`]).
///
/// # Examples
///
/// ```
/// assert!(quell_http::Cut.to_string().contains("before its end"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream was cut before its end")]
#[expect(clippy::exhaustive_structs, reason = "there is no more to say")]
pub struct Cut;

/// One server-sent event: `event`, `data`, `id`, in this order, every line ended by LF.
///
/// # Examples
///
/// ```
/// use quell_http::SseEvent;
///
/// let frame = SseEvent::new("RunStarted", r#"{"run_id":"r1"}"#).id("7");
/// assert_eq!(&frame.to_bytes()[..], b"event: RunStarted\ndata: {\"run_id\":\"r1\"}\nid: 7\n\n");
/// ```
#[derive(Debug)]
#[must_use = "a frame does nothing until it is sent"]
pub struct SseEvent {
    event: String,
    data: String,
    id: Option<String>,
    /// The charge that was made for it.
    room: Option<Charge>,
    /// It is no event: the stream is cut here.
    is_cut: bool,
}

impl SseEvent {
    /// Makes an event; without a name if that is empty.
    pub fn new(event: impl Into<String>, data: impl Into<String>) -> Self {
        Self { event: event.into(), data: data.into(), id: None, room: None, is_cut: false }
    }

    /// Makes an event whose data is a value as JSON, in one line; `null` if it cannot be written.
    pub fn json(event: impl Into<String>, data: &impl Serialize) -> Self {
        let json = serde_json::to_string(data).unwrap_or_else(|_| "null".into());
        // Payloads are written as they are spelt, and may have line breaks between their tokens.
        Self::new(event, one_line(json))
    }

    /// Cuts the stream in place of an event, and its connection with it: what follows is told
    /// elsewhere, and who reads has to see that this was not the end.
    pub fn cut() -> Self {
        Self { is_cut: true, ..Self::new("", "") }
    }

    /// Adds an id. Defaults to none.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Splits the bytes that it needs off a charge. The body of a stream that reads a run counts
    /// the event there. Defaults to none: then the body has to find room itself.
    pub fn in_room(mut self, room: &mut Charge) -> Self {
        self.room = Some(room.split(self.size()));
        self
    }

    /// Writes the event, and yields its charge with it.
    pub(crate) fn into_piece(self) -> Result<Piece, Cut> {
        if self.is_cut { Err(Cut) } else { Ok((self.to_bytes(), self.room)) }
    }

    /// As [`SseEvent::into_piece`], of its data alone.
    pub(crate) fn into_data(self) -> Result<Piece, Cut> {
        if self.is_cut { Err(Cut) } else { Ok((self.data.into(), self.room)) }
    }

    /// Estimates the bytes of the event when it is written.
    fn size(&self) -> usize {
        self.event.len() + self.data.len() + self.id.as_ref().map_or(0, String::len) + 24
    }

    /// Writes the event. Data of several lines becomes several `data` lines; line breaks within the
    /// name or the id are left out.
    pub fn to_bytes(&self) -> Bytes {
        let id = self.id.as_deref().unwrap_or_default();
        let mut out = BytesMut::with_capacity(self.size());
        if !self.event.is_empty() {
            field(&mut out, "event", &one_line(&*self.event));
        }
        for line in lines(&self.data) {
            field(&mut out, "data", line);
        }
        if self.id.is_some() {
            field(&mut out, "id", &one_line(id));
        }
        out.put_u8(b'\n');
        out.freeze()
    }
}

fn field(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_u8(b'\n');
}

/// Splits a text at every line break of the format: CR LF, LF, CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Removes line breaks. Searching for one character at a time is fast in a long text.
fn one_line<'a>(text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
    let text = text.into();
    let has_breaks = ['\n', '\r', '\0'].iter().any(|end| text.contains(*end));
    if has_breaks { text.replace(['\n', '\r', '\0'], "").into() } else { text }
}
