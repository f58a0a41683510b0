//! [`stream_body`] and [`sse_response`]: bodies that write each piece as soon as it is there; and
//! [`event_texts`], the same events for a web socket.
//!
//! The server polls for the next piece only after the socket has taken the last one. A slow reader
//! costs no more than the socket's buffer, and its source reports that it lags.
//!
//! Pieces that are ready together are written in one chunk. After a full chunk the body yields to
//! other tasks, so that many readers of a busy run do not delay other requests.

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

use crate::readers::{Reading, State};
use crate::service::DisconnectGuard;
use crate::sse_event::{Cut, Piece, SseEvent};

/// A text that a body writes from time to time, so that both sides notice a broken connection.
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
    /// Writes the text, unchanged, after a period without any other output. Zero writes none.
    pub fn idle(period: Duration, text: impl Into<String>) -> Self {
        let period = (!period.is_zero()).then_some(period);
        Self { period, text: Bytes::from(text.into()), is_steady: false }
    }

    /// Writes the text, unchanged, once per period from the first poll on, also between other
    /// output. Zero writes none.
    pub fn steady(period: Duration, text: impl Into<String>) -> Self {
        Self { is_steady: true, ..Self::idle(period, text) }
    }

    /// Writes nothing.
    pub const fn none() -> Self {
        Self { period: None, text: Bytes::new(), is_steady: false }
    }
}

/// Makes a body of pieces. The guard is dropped when the stream ends. If the stream ends while its
/// run is live, because its reader is too slow, that counts as a client that has left.
///
/// A stream that reads a run ([`DisconnectGuard::reading`]) is cut, and its connection with it, if
/// the engine has forgotten the run and there is no room for the run, or for a piece of more than
/// 512 KiB.
pub fn stream_body<S>(pieces: S, heartbeat: Heartbeat, guard: Option<DisconnectGuard>) -> Body
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    body_of(pieces.map(|bytes| Ok((bytes, None))), heartbeat, guard)
}

fn body_of<S>(pieces: S, heartbeat: Heartbeat, mut guard: Option<DisconnectGuard>) -> Body
where
    S: Stream<Item = Result<Piece, Cut>> + Send + 'static,
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
    S: Stream<Item = SseEvent> + Send + 'static,
{
    let mut response = body_of(frames.map(SseEvent::into_piece), heartbeat, guard).into_response();
    // No more than needed: its connection keeps the map as long as the stream (bench
    // `http/memory`), and one that grows by itself has room for six.
    let mut all = HeaderMap::with_capacity(2 + headers.len());
    all.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    all.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    all.extend(headers);
    *response.headers_mut() = all;
    response
}

/// How the events of a web socket are written.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_http::EventForm::Sse, quell_http::EventForm::Data);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the event as it is in a stream, or its data")]
pub enum EventForm {
    /// As in a stream of server-sent events.
    Sse,
    /// Their data alone.
    Data,
}

/// Yields the text of each event of a run, for a web socket. What it holds counts as that of
/// [`stream_body`] does: the guard is dropped when the stream ends, and a stream that is cut ends
/// with an error. Each text counts as under way until it is dropped.
pub fn event_texts<S>(
    frames: S,
    form: EventForm,
    mut guard: DisconnectGuard,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + Unpin + 'static
where
    S: Stream<Item = SseEvent> + Send + 'static,
{
    let write = match form {
        EventForm::Sse => SseEvent::into_piece,
        EventForm::Data => SseEvent::into_data,
    };
    let reading = Reading::new(frames.map(write), guard.take_read());
    Texts { reading, guard: Some(guard) }
}

/// The events of a run, one by one.
struct Texts<S> {
    /// Its values are dropped before the guard is.
    reading: Arc<Reading<S>>,
    guard: Option<DisconnectGuard>,
}

impl<S> Drop for Texts<S> {
    fn drop(&mut self) {
        // As that of a body.
        self.reading.close();
    }
}

impl<S: Stream<Item = Result<Piece, Cut>> + Send + 'static> Stream for Texts<S> {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.reading.is_over() {
            return Poll::Ready(None);
        }
        let (read, held) = this.reading.polled(cx.waker(), |state| read(state, 1, cx));
        // Not under a lock, as for a body.
        drop(held);
        if !matches!(read, Ok((_, Rest::Ready | Rest::Pending))) {
            this.guard = None;
        }
        match read {
            Err(cut) => Poll::Ready(Some(Err(cut))),
            Ok((_, Rest::Pending)) => Poll::Pending,
            Ok((_, Rest::Over)) => Poll::Ready(None),
            Ok((text, Rest::Ready)) => Poll::Ready(Some(Ok(text))),
        }
    }
}

struct StreamBody<S> {
    /// Its values are dropped before the guard is.
    reading: Arc<Reading<S>>,
    beat: Option<Beat>,
    guard: Option<DisconnectGuard>,
    /// The last chunk was full: yield to other tasks before the next one.
    is_others_turn: bool,
}

struct Beat {
    timer: Option<Pin<Box<Sleep>>>,
    period: Duration,
    text: Bytes,
    is_steady: bool,
}

impl Beat {
    /// Yields the text when the period is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let period = self.period;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(after(period))));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        timer.as_mut().reset(after(period));
        Poll::Ready(self.text.clone())
    }

    /// Begins a new period, because something else was written.
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
        // Here, and not with the last reference, which the checking task may hold just now: the
        // values have to be dropped before the guard gives back its charge.
        self.reading.close();
    }
}

impl<S: Stream<Item = Result<Piece, Cut>> + Send + 'static> http_body::Body for StreamBody<S> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_others_turn) {
            // Polled once, it wakes this task after the other tasks that are ready.
            std::task::ready!(pin!(yield_now()).poll(cx));
        }
        if this.reading.is_over() {
            return Poll::Ready(None);
        }
        // A steady heartbeat comes before the pieces: a busy stream would never let it through. An
        // idle one comes after them, when there was nothing else.
        if let Some(beat) = this.beat.as_mut().filter(|beat| beat.is_steady)
            && let Poll::Ready(text) = beat.poll(cx)
        {
            return Poll::Ready(Some(Ok(BodyFrame::data(text))));
        }
        let (read, held) =
            this.reading.polled(cx.waker(), |state| read(state, CHUNK_PIECES_MAX, cx));
        // This may drop the last reference to a run, and so values of users: not under a lock.
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

/// Reads a chunk of so many pieces. Where the stream ends or is cut, yields the values to drop
/// outside of the lock.
fn read<S>(state: &mut State<S>, most: usize, cx: &mut Context<'_>) -> (ReadChunk, Option<State<S>>)
where
    S: Stream<Item = Result<Piece, Cut>>,
{
    let end = |state| Some(std::mem::replace(state, State::Over));
    let open = match state {
        State::Open(open) => open,
        State::Over => return (Ok((Bytes::new(), Rest::Over)), None),
        State::Cut => return (Err(Cut), end(state)),
    };
    let (chunk, rest) = read_chunk(open.pieces.as_mut(), most, cx);
    match (open.counted(chunk), rest) {
        (Some(chunk), Ok(Rest::Over)) => (Ok((chunk, Rest::Over)), end(state)),
        (Some(chunk), Ok(rest)) => (Ok((chunk, rest)), None),
        (Some(chunk), Err(Cut)) if !chunk.is_empty() => {
            // What came before it is written first.
            (Ok((chunk, Rest::Ready)), Some(std::mem::replace(state, State::Cut)))
        }
        _ => (Err(Cut), end(state)),
    }
}

/// What the stream has after a chunk.
enum Rest {
    /// Perhaps more: it was not polled again.
    Ready,
    Pending,
    Over,
}

/// Joins the pieces that are ready into one chunk, up to the size of a chunk.
fn read_chunk<S>(
    mut pieces: Pin<&mut S>,
    most: usize,
    cx: &mut Context<'_>,
) -> (Piece, Result<Rest, Cut>)
where
    S: Stream<Item = Result<Piece, Cut>>,
{
    // A piece that is large enough to have room of its own ends the chunk: so a chunk has one.
    let (mut first, mut chunk, mut room) = (Bytes::new(), BytesMut::new(), None);
    for _ in 0..most {
        let rest = match pieces.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) if first.is_empty() => {
                (first, room) = piece;
                // A large piece is a chunk by itself: joining would copy it.
                if first.len() < CHUNK_BYTES_MAX {
                    continue;
                }
                Ok(Rest::Ready)
            }
            Poll::Ready(Some(Ok((piece, own)))) => {
                room = own;
                if chunk.is_empty() {
                    chunk.extend_from_slice(&first);
                }
                chunk.extend_from_slice(&piece);
                if chunk.len() < CHUNK_BYTES_MAX {
                    continue;
                }
                Ok(Rest::Ready)
            }
            Poll::Ready(Some(Err(Cut))) => Err(Cut),
            Poll::Ready(None) => Ok(Rest::Over),
            Poll::Pending => Ok(Rest::Pending),
        };
        return ((if chunk.is_empty() { first } else { chunk.freeze() }, room), rest);
    }
    ((if chunk.is_empty() { first } else { chunk.freeze() }, room), Ok(Rest::Ready))
}

/// A chunk of this size is full.
const CHUNK_BYTES_MAX: usize = 16 << 10;

/// The most pieces of a chunk. Each is rendered when it is polled, which takes time.
const CHUNK_PIECES_MAX: usize = 32;

impl<S> fmt::Debug for StreamBody<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody").field("guard", &self.guard).finish_non_exhaustive()
    }
}
