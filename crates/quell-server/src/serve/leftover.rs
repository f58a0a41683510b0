//! [`layer`]: bodies of requests that were answered before they were read.
//!
//! A refusal need not wait for the body of its request. But hyper closes the connection without
//! notice if the rest of that body has not arrived when the answer is written, and the client's
//! next request on it is then lost. A small rest is therefore read here; otherwise the answer has
//! `connection: close`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Request as Parts};
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::oneshot;

/// Answers, and reads the rest of the body, or announces that the connection will be closed.
pub(super) async fn layer<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next(Parts::from_parts(parts, body)).await;
    }
    // A client that sent `expect` has not sent its body yet.
    let is_sent = !parts.headers.contains_key(EXPECT);
    let (give_back, unread) = oneshot::channel();
    let body = Body::new(Lent { body: Some(body), give_back: Some(give_back) });
    let mut answer = next(Parts::from_parts(parts, body)).await;
    let mut unread = unread;
    if let Ok(rest) = unread.try_recv()
        && !(is_sent && is_drained(rest).await)
    {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn is_drained(rest: Body) -> bool {
    let all = Limited::new(rest, REST_MAX).collect();
    matches!(tokio::time::timeout(WITHIN, all).await, Ok(Ok(_)))
}

/// A body that is sent back if it is dropped before its end.
struct Lent {
    body: Option<Body>,
    give_back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.body.take(), self.give_back.take())
            && !body.is_end_stream()
        {
            // The receiver has gone once the answer is under way.
            drop(give_back.send(body));
        }
    }
}

/// How much of a body is read to keep a connection.
const REST_MAX: usize = 256 * 1024;

/// How long it may take to arrive.
const WITHIN: Duration = Duration::from_millis(200);
