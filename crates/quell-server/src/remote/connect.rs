//! [`Connect`]: makes the connection of one request, and notes what is heard on it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use humantime::format_duration;
use hyper::{Request, Uri, rt};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{BoxError, Service};

/// Makes the connection of one request, with all that precedes the request, within a time.
#[derive(Clone, Debug)]
pub(super) struct Connect<C> {
    pub(super) connector: C,
    /// The time for the name of the host, the connection, and the handshake of TLS.
    pub(super) timeout: Duration,
    pub(super) heard: Arc<Heard>,
}

/// What was heard on the connection of a request before its answer was read.
#[derive(Debug, Default)]
pub(super) struct Heard {
    has_begun: AtomicBool,
    informational: AtomicUsize,
}

impl Heard {
    /// Counts the informational answers to a request.
    pub(super) fn count<B>(self: &Arc<Self>, request: &mut Request<B>) {
        let heard = Arc::clone(self);
        hyper::ext::on_informational(request, move |_| {
            heard.informational.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Tells whether the service has written anything.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Tells whether there were more informational answers than are read.
    pub(super) fn is_flooded(&self) -> bool {
        self.informational.load(Ordering::Relaxed) > INFORMATIONAL_MAX
    }
}

impl<C> Service<Uri> for Connect<C>
where
    C: Service<Uri>,
    C::Response: rt::Read + rt::Write,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = TokioIo<Wire<TokioIo<C::Response>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let with = if uri.scheme_str() == Some("https") { " with TLS" } else { "" };
        let connecting = self.connector.call(uri);
        let (timeout, heard) = (self.timeout, Arc::clone(&self.heard));
        Box::pin(async move {
            let Ok(stream) = tokio::time::timeout(timeout, connecting).await else {
                let time = format_duration(timeout);
                let words = format!("no connection{with} within {time} (`connect_timeout`)");
                return Err(io::Error::new(ErrorKind::TimedOut, words).into());
            };
            let stream = TokioIo::new(stream.map_err(Into::into)?);
            Ok(TokioIo::new(Wire { stream, heard }))
        })
    }
}

/// A connection that notes what is heard on it. It fails once there were too many informational
/// answers: hyper reads any number of them before an answer, and without a pause.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    heard: Arc<Heard>,
}

impl<S: Connection> Connection for Wire<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_flooded() {
            return Poll::Ready(Err(io::Error::other(flooded())));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.has_begun.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        all: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Says that there were too many informational answers.
pub(super) fn flooded() -> String {
    format!("it says more than {INFORMATIONAL_MAX} informational answers (1xx)")
}

/// The most informational answers to a request.
const INFORMATIONAL_MAX: usize = 64;
