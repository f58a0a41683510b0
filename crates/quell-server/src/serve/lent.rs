//! [`Lent`]: a socket that is read and written by something of which nobody else sees the end: by
//! hyper, and by the handler of a request that asked for another protocol.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::socket::Socket;

/// A socket that is lent to what reads and writes.
#[derive(Debug)]
pub(super) struct Lent {
    socket: Socket,
    _held: oneshot::Sender<Infallible>,
}

/// Says when a socket that was lent is let go.
#[derive(Debug)]
pub(super) struct Receipt(oneshot::Receiver<Infallible>);

impl Lent {
    /// Lends a socket.
    pub(super) fn new(socket: Socket) -> (Self, Receipt) {
        let (held, receipt) = oneshot::channel();
        (Self { socket, _held: held }, Receipt(receipt))
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
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
