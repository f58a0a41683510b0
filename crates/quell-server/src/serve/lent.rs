//! [`Lent`]: a socket that is read and written by something of which nobody else sees the end: by
//! hyper, and by the handler of a request that asked for another protocol. With TLS or without.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::idle::PATIENCE;
use super::socket::Socket;

/// A socket that is lent to what reads and writes.
#[derive(Debug)]
pub(super) struct Lent {
    wire: Wire,
    _held: oneshot::Sender<Infallible>,
}

/// How a socket is spoken through.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A socket, or TLS on one.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Wire {
    /// Takes a socket as it is, when there is something to read or the client had time to begin.
    ///
    /// hyper takes a buffer before there is anything to read, and another one while it answers. If
    /// many take their first ones at once, the second ones lie on pages that were written to: one
    /// for each live stream (bench `http/memory`).
    pub(super) async fn plain(socket: Socket) -> Self {
        // An error is noticed by whoever reads.
        let _ = timeout(PATIENCE, socket.first_byte()).await;
        Self::Plain(socket)
    }

    fn pinned(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Plain(socket) => Pin::new(socket),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

/// Says when a socket that was lent is let go.
#[derive(Debug)]
pub(super) struct Receipt(oneshot::Receiver<Infallible>);

impl Lent {
    /// Lends a socket.
    pub(super) fn new(wire: Wire) -> (Self, Receipt) {
        let (held, receipt) = oneshot::channel();
        (Self { wire, _held: held }, Receipt(receipt))
    }
}

impl Receipt {
    /// Waits until it is.
    pub(super) async fn gone(self) {
        // Nothing is ever sent: it ends when the sender does.
        let _ = self.0.await;
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.pinned().poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.pinned().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.pinned().poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(socket) => socket.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.pinned().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.pinned().poll_shutdown(cx)
    }
}
