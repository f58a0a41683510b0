//! Bodies that are written as things happen: nothing is held back, and nobody is waited for.
//!
//! The server asks for the next piece only when the socket has taken the last one, so that a slow
//! reader costs the little that the socket holds; what it reads from is told that it lags.
//!
//! What is ready at once is written at once, in one chunk; after a full one other tasks have their
//! turn, so that many readers of a busy run do not keep everybody else waiting.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body::Frame as BodyFrame;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::frame::Frame;
use crate::guard::DisconnectGuard;
use crate::readers::{Piece, Reading, State};

/// What is written when nothing else is, so that both sides see that the other is there.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_http::Heartbeat;
///
/// let agentos = Heartbeat::idle(Duration::from_secs(15), ": heartbeat\n\n");
/// let langgraph = Heartbeat::steady(Duration::from_secs(5), ": heartbeat\n");
/// # let _ = (agentos, langgraph);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it beats only in a body"]
pub struct Heartbeat {
    period: Option<Duration>,
    text: Bytes,
    is_steady: bool,
}

impl Heartbeat {
    /// Writes the text, as it is, after so long without anything else. A period of zero is none.
    pub fn idle(period: Duration, text: impl Into<String>) -> Self {
        let period = (!period.is_zero()).then_some(period);
        Self { period, text: Bytes::from(text.into()), is_steady: false }
    }

    /// Writes the text, as it is, at this pace from the first poll on, whatever else is written. A
    /// period of zero is none.
    pub fn steady(period: Duration, text: impl Into<String>) -> Self {
        Self { is_steady: true, ..Self::idle(period, text) }
    }

    /// Writes nothing.
    pub const fn none() -> Self {
        Self { period: None, text: Bytes::new(), is_steady: false }
    }
}

/// Makes a body of pieces. The guard is dropped with the stream, at its end too: a stream that ends
/// while its run is live, because its reader is too slow, leaves a run without this client.
///
/// What reads a run ([`DisconnectGuard::reading`]) is cut, and so the connection, if the engine has
/// forgotten the run and there is no room for what is held of it, or for a piece of more than 512
/// KiB.
pub fn stream_body<S>(pieces: S, heartbeat: Heartbeat, guard: Option<DisconnectGuard>) -> Body
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    body_of(pieces.map(|bytes| (bytes, None)), heartbeat, guard)
}

fn body_of<S>(pieces: S, heartbeat: Heartbeat, mut guard: Option<DisconnectGuard>) -> Body
where
    S: Stream<Item = Piece> + Send + 'static,
{
    let beat = heartbeat.period.map(|period| Beat {
        timer: None,
        period,
        text: heartbeat.text,
        is_steady: heartbeat.is_steady,
    });
    let reading = Reading::new(pieces, guard.as_mut().and_then(DisconnectGuard::take_read));
    Body::new(StreamBody { reading, beat, guard, is_others_turn: false })
}

/// Makes the response of a stream of server-sent events: 200, `text/event-stream; charset=utf-8`,
/// `cache-control: no-cache`, and the headers given.
pub fn sse_response<S>(
    frames: S,
    heartbeat: Heartbeat,
    guard: Option<DisconnectGuard>,
    headers: HeaderMap,
) -> Response
where
    S: Stream<Item = Frame> + Send + 'static,
{
    let mut response = body_of(frames.map(Frame::into_piece), heartbeat, guard).into_response();
    let all = response.headers_mut();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    all.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    all.extend(headers);
    response
}

struct StreamBody<S> {
    /// When it has ended, what it holds is given up before the guard.
    reading: Arc<Reading<S>>,
    beat: Option<Beat>,
    guard: Option<DisconnectGuard>,
    /// The last chunk was full: there is more, but others come first.
    is_others_turn: bool,
}

struct Beat {
    timer: Option<Pin<Box<Sleep>>>,
    period: Duration,
    text: Bytes,
    is_steady: bool,
}

impl Beat {
    /// Yields the text when it is time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let period = self.period;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(after(period))));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        timer.as_mut().reset(after(period));
        Poll::Ready(self.text.clone())
    }

    /// Something else was written.
    fn restart(&mut self) {
        if let Some(timer) = self.timer.as_mut().filter(|_| !self.is_steady) {
            timer.as_mut().reset(after(self.period));
        }
    }
}

fn after(period: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(period).unwrap_or(now + Duration::from_hours(24))
}

impl<S> Drop for StreamBody<S> {
    fn drop(&mut self) {
        // Before the guard gives back the place, and on this thread, whoever looks at it just now.
        self.reading.close();
    }
}

/// A stream holds more than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream was cut: there is no room for what it holds")]
struct Cut;

impl<S: Stream<Item = Piece> + Send + 'static> http_body::Body for StreamBody<S> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_others_turn) {
            // It wakes this task, once all others that are ready have had their turn.
            std::task::ready!(pin!(yield_now()).poll(cx));
        }
        if this.reading.is_over() {
            return Poll::Ready(None);
        }
        // A steady beat first, or a busy stream would drown it; an idle one only after the stream.
        if let Some(beat) = this.beat.as_mut().filter(|beat| beat.is_steady)
            && let Poll::Ready(text) = beat.poll(cx)
        {
            return Poll::Ready(Some(Ok(BodyFrame::data(text))));
        }
        let (read, held) = this.reading.polled(cx.waker(), |state| read(state, cx));
        // What a run holds may be dropped with it: not under a lock.
        drop(held);
        let (chunk, rest) = match read {
            Ok(read) => read,
            Err(cut) => {
                this.guard = None;
                return Poll::Ready(Some(Err(cut)));
            }
        };
        match rest {
            Rest::Ready => this.is_others_turn = true,
            Rest::Pending => {}
            Rest::Over => this.guard = None,
        }
        if !chunk.is_empty() {
            if let Some(beat) = &mut this.beat {
                beat.restart();
            }
            return Poll::Ready(Some(Ok(BodyFrame::data(chunk))));
        }
        if matches!(rest, Rest::Over) {
            return Poll::Ready(None);
        }
        match this.beat.as_mut().filter(|beat| !beat.is_steady) {
            Some(beat) => beat.poll(cx).map(|text| Some(Ok(BodyFrame::data(text)))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_over()
    }
}

type ReadChunk = Result<(Bytes, Rest), Cut>;

/// Reads a chunk, and yields what is given up where the stream ends or is cut.
fn read<S>(state: &mut State<S>, cx: &mut Context<'_>) -> (ReadChunk, Option<State<S>>)
where
    S: Stream<Item = Piece>,
{
    let end = |state| Some(std::mem::replace(state, State::Over));
    let open = match state {
        State::Open(open) => open,
        State::Over => return (Ok((Bytes::new(), Rest::Over)), None),
        State::Cut => return (Err(Cut), end(state)),
    };
    let (chunk, rest) = gather(open.pieces.as_mut(), cx);
    match open.counted(chunk) {
        Some(chunk) if matches!(rest, Rest::Over) => (Ok((chunk, rest)), end(state)),
        Some(chunk) => (Ok((chunk, rest)), None),
        None => (Err(Cut), end(state)),
    }
}

/// What comes after a chunk.
enum Rest {
    /// More, perhaps: nobody looked.
    Ready,
    Pending,
    Over,
}

/// Puts what is ready into one chunk, as much as a chunk holds.
fn gather<S>(mut pieces: Pin<&mut S>, cx: &mut Context<'_>) -> (Piece, Rest)
where
    S: Stream<Item = Piece>,
{
    // What is large enough to count ends its chunk: its room is that of the chunk.
    let (mut first, mut chunk, mut room) = (Bytes::new(), BytesMut::new(), None);
    for _ in 0..CHUNK_PIECES_MAX {
        let rest = match pieces.as_mut().poll_next(cx) {
            Poll::Ready(Some(piece)) if first.is_empty() => {
                (first, room) = piece;
                // What is large goes alone: put together, it would be copied.
                if first.len() < CHUNK_BYTES_MAX {
                    continue;
                }
                Rest::Ready
            }
            Poll::Ready(Some((piece, own))) => {
                room = own;
                if chunk.is_empty() {
                    chunk.extend_from_slice(&first);
                }
                chunk.extend_from_slice(&piece);
                if chunk.len() < CHUNK_BYTES_MAX {
                    continue;
                }
                Rest::Ready
            }
            Poll::Ready(None) => Rest::Over,
            Poll::Pending => Rest::Pending,
        };
        return ((if chunk.is_empty() { first } else { chunk.freeze() }, room), rest);
    }
    ((if chunk.is_empty() { first } else { chunk.freeze() }, room), Rest::Ready)
}

/// A chunk with more is full.
const CHUNK_BYTES_MAX: usize = 16 << 10;

/// As much as is made in one go, in pieces: each is rendered.
const CHUNK_PIECES_MAX: usize = 32;

impl<S> fmt::Debug for StreamBody<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody").field("guard", &self.guard).finish_non_exhaustive()
    }
}
