//! [`Gate`]: lets a request in when all of it has come, if there is room then.
//!
//! Until then the request holds nothing but its connection, which closes for another one if its
//! client is slow to ask ([`super::connections`]). So a client that sends a body byte by byte takes
//! no room of anybody's.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Method;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What lets one request in. Its state changes once, from [`State::Coming`].
pub(super) struct Gate<P>(Arc<Inner<P>>);

struct Inner<P> {
    state: Mutex<State<P>>,
    /// The state has changed.
    changed: Notify,
    /// Yields what the request holds from then on; none if there is no room.
    enter: Box<dyn Fn() -> Option<P> + Send + Sync>,
}

enum State<P> {
    /// Not all of it has come.
    Coming,
    /// It is in. What it holds is here until it is taken.
    In(Option<P>),
    /// There was no room.
    Refused,
}

impl<P: Send + 'static> Gate<P> {
    /// Sets a gate before a request. One without a body is let in, or refused, at once, and so is
    /// one whose body nobody reads; of others the body ends with an error if there is no room, so
    /// that nothing is done.
    pub(super) fn before(
        request: Request,
        enter: impl Fn() -> Option<P> + Send + Sync + 'static,
    ) -> (Self, Request) {
        let (state, changed) = (Mutex::new(State::Coming), Notify::new());
        let gate = Self(Arc::new(Inner { state, changed, enter: Box::new(enter) }));
        let is_read = ![Method::GET, Method::HEAD].contains(request.method());
        if !is_read || request.body().is_end_stream() {
            gate.0.enter();
            return (gate, request);
        }
        let gated = |body| Body::new(Gated { body, gate: Arc::clone(&gate.0) });
        let request = request.map(gated);
        (gate, request)
    }

    /// Tells whether there was no room.
    pub(super) fn is_refused(&self) -> bool {
        matches!(&*self.0.state.lock(), State::Refused)
    }

    /// Waits until all of the request has come.
    pub(super) async fn has_come(&self) {
        // One who notes the change before somebody waits is heard as well: only one waits.
        if matches!(&*self.0.state.lock(), State::Coming) {
            self.0.changed.notified().await;
        }
    }

    /// Lets a request in that was answered before its end was read, if there is room.
    pub(super) fn enter(&self) {
        self.0.enter();
    }

    /// Takes what the request holds; none before it is in, and if it was refused.
    pub(super) fn take(&self) -> Option<P> {
        match &mut *self.0.state.lock() {
            State::In(held) => held.take(),
            State::Coming | State::Refused => None,
        }
    }
}

impl<P> Inner<P> {
    /// Lets the request in if there is room; tells whether it is in.
    fn enter(&self) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Coming) {
            let held = (self.enter)();
            *state = if held.is_some() { State::In(held) } else { State::Refused };
            self.changed.notify_one();
        }
        matches!(*state, State::In(_))
    }
}

/// The body of a request that is let in at its end.
struct Gated<P> {
    body: Body,
    gate: Arc<Inner<P>>,
}

impl<P: Send + 'static> http_body::Body for Gated<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // A reader may not ask again behind the last byte.
        let is_last = frame.is_none() || self.body.is_end_stream();
        let is_refused = is_last && !self.gate.enter();
        Poll::Ready(if is_refused { Some(Err(axum::Error::new(NoRoom))) } else { frame })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a body ends. Its sender is told by the status of the answer.
#[derive(Debug)]
struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room for the request")
    }
}

impl std::error::Error for NoRoom {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::stream;
    use http_body_util::BodyExt as _;
    use tokio::time::sleep;

    use super::*;

    /// A request whose body takes a second to come.
    fn slow() -> Request {
        let parts = stream::unfold(0, |nth| async move {
            sleep(Duration::from_secs(1)).await;
            (nth < 1).then_some((Ok::<_, axum::Error>(Bytes::from("x")), nth + 1))
        });
        let mut request = Request::new(Body::from_stream(parts));
        *request.method_mut() = Method::PATCH;
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_holds_nothing_before_all_of_it_has_come() {
        for (room, is_in) in [(1, true), (0, false)] {
            let held = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&held);
            let (gate, request) = Gate::before(slow(), move || {
                counted.fetch_add(1, Ordering::SeqCst);
                (room > 0).then_some("held")
            });
            assert_eq!((held.load(Ordering::SeqCst), gate.take()), (0, None));
            let read = tokio::spawn(request.into_body().collect());
            gate.has_come().await;
            assert_eq!((gate.is_refused(), gate.take()), (!is_in, is_in.then_some("held")));
            assert_eq!(read.await.unwrap().is_ok(), is_in);
            assert_eq!(held.load(Ordering::SeqCst), 1, "it asks once");
        }
        // Without a body, or if nobody reads it, it is decided at once.
        let mut unread = slow();
        *unread.method_mut() = Method::GET;
        for request in [Request::default(), unread] {
            let (gate, _request) = Gate::before(request, || None::<()>);
            assert!(gate.is_refused());
            gate.has_come().await;
        }
    }
}
