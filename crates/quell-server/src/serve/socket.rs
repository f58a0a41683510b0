//! [`Socket`]: a socket that notices that its client has gone although nothing reads from it.
//!
//! hyper notices that a client has gone only by reading, and it reads nothing while it holds bytes
//! that follow the request that it answers: a further request, or the empty line that old clients
//! send.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::{self, set_socket_send_buffer_size};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::backlog::Backlog;

/// A socket that can be watched while another clone reads and writes. Cheap to clone; only one
/// clone may read and write.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<TcpStream>, Backlog);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        // If this fails, the system's size stays, and a stuck client is told from a slow one later.
        let _ = set_socket_send_buffer_size(&stream, SEND_BYTES);
        if let Err(error) = notice_silence(&stream) {
            tracing::debug!(%error, "a client whose host is gone is noticed late");
        }
        Self(Arc::new(stream), Backlog::default())
    }

    /// Yields the clock that says whether bytes wait to be written. As long as the system has not
    /// taken an answer, a write of it waits.
    pub(super) fn backlog(&self) -> Backlog {
        self.1.clone()
    }

    /// Waits for the first byte that the client sends, and leaves it to be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is read.
    pub(super) async fn first_byte(&self) -> io::Result<u8> {
        let mut byte = [0];
        match self.0.peek(&mut byte).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }

    /// Ends both directions: who reads and writes notices.
    pub(super) fn cut(&self) {
        // If it fails, there is nothing left to end.
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Both);
    }

    /// Waits until the client has gone: it has sent its last byte, and there was time to answer
    /// what it sent just before. An error counts as gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is read.
    pub(super) async fn gone(&self) {
        loop {
            let is_over = match self.0.ready(Interest::READABLE).await {
                Ok(ready) => ready.is_read_closed(),
                Err(_) => true,
            };
            // Unread bytes keep the socket readable all the time: look again later.
            tokio::time::sleep(PAUSE).await;
            if is_over {
                return;
            }
        }
    }

    /// Waits until bytes have been waiting to be written, and the client took none, for
    /// [`TAKES_WITHIN`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn stuck(&self) {
        loop {
            let since = self.1.since();
            let left = since.map_or(TAKES_WITHIN, |at| TAKES_WITHIN.saturating_sub(at.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Sends the last byte, and discards what the client still sends, until it has sent its last
    /// byte, sends nothing for a while, or has sent or taken more than there is patience for.
    ///
    /// The system answers bytes for a socket that is closed with a reset, and a client that has one
    /// loses the answer that it has not read yet: one that sends a large body reads none before.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has discarded what came until then.
    pub(super) async fn linger(&mut self, patience: Patience) {
        if self.shutdown().await.is_err() {
            return;
        }
        let discard = async {
            let mut left = patience.bytes;
            let mut buf = vec![0; DISCARD_BYTES];
            while let Ok(Ok(count @ 1..)) = timeout(patience.silence, self.read(&mut buf)).await
                && count < left
            {
                left -= count;
            }
        };
        // What is beyond it gets a reset.
        let _ = timeout(patience.time, discard).await;
    }

    /// Reads the bytes that have arrived, as tokio's own sockets do: the buffer is not cleared
    /// first, and a read that does not fill it has drained the socket, so that the next read need
    /// not ask the system.
    fn read_into(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let (fits, mut count) = (buf.remaining(), 0);
        // What is answered here clears the readiness that was seen before the read, and no later.
        let asked = self.0.try_io(Interest::READABLE, || {
            count = self.0.try_read_buf(buf)?;
            let is_all = cfg!(unix) && 0 < count && count < fits;
            if is_all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if count > 0 { Ok(()) } else { asked }
    }
}

/// Has the system notice that the host of a client is gone, or the way to it, although no word of
/// it comes: nothing may be written to who waits for the end of a run, and what is written may fit
/// the send buffer for long. Without it the system would not ask, or would try for a quarter of an
/// hour.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, TAKES_WITHIN / 2)?;
    sockopt::set_tcp_keepintvl(stream, TAKES_WITHIN / 2 / PROBES)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(TAKES_WITHIN.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, millis)?;
    }
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.read_into(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = self.0.poll_write_ready(cx);
            if ready.is_pending() {
                self.1.note(true);
                return Poll::Pending;
            }
            ready!(ready)?;
            match self.0.try_write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.1.note(false);
                    return Poll::Ready(done);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write);
        Poll::Ready(done.map_err(Into::into))
    }
}

/// How much of a request that was answered is discarded before its connection is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Bytes, in all.
    pub(super) bytes: usize,
    /// Time, in all.
    pub(super) time: Duration,
    /// Time without a byte.
    pub(super) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let (time, silence) = (Duration::from_secs(30), Duration::from_secs(5));
        Self { bytes: 1 << 30, time, silence }
    }
}

/// How many bytes are discarded at once.
const DISCARD_BYTES: usize = 8 << 10;

/// How long a client may take nothing of what is written to it before it is cut off, and how long
/// its host may be silent.
const TAKES_WITHIN: Duration = Duration::from_secs(30);

/// How often a host that is silent for half of that is asked in the other half.
const PROBES: u32 = 3;

/// The send buffer of a socket, in bytes; the system doubles it for its own needs. The system
/// reports room again when a third is free: a slow client would take less than a third of the
/// megabytes of the default buffer in the time that it has, and would seem stuck.
const SEND_BYTES: usize = 256 << 10;

/// How long a client that has sent its last byte may still be answered, and how often a socket with
/// unread bytes is looked at.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn whatever_comes_is_read_whether_it_fits_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        // More than fits, as much, and less; then the next, for which one has to wait.
        for (sent, fits) in [("abcdef", 2), ("gh", 2), ("i", 8), ("j", 8)] {
            client.write_all(sent.as_bytes()).unwrap();
            let mut read: Vec<u8> = Vec::new();
            while read.len() < sent.len() {
                let mut buf = vec![0; fits];
                let count = timeout(PATIENCE, socket.read(&mut buf)).await;
                read.extend(&buf[..count.expect("what is there is read").unwrap()]);
            }
            assert_eq!(read, sent.as_bytes());
        }
        drop(client);
        let end = timeout(PATIENCE, socket.read(&mut [0; 8])).await;
        assert_eq!(end.expect("an end is read").unwrap(), 0);
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_one_that_takes_a_little_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let watched = socket.clone();
        socket.1.note(true);
        tokio::time::advance(TAKES_WITHIN / 2).await;
        socket.write_all(b"taken").await.unwrap();
        tokio::time::advance(TAKES_WITHIN / 2).await;
        assert!(watched.1.since().is_none(), "it takes what it is given");
        let fill = async {
            loop {
                socket.write_all(&[0; 1 << 12]).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            // It writes until the client takes no more.
            () = fill => {}
            () = watched.stuck() => {}
        }
        assert!(watched.1.since().is_some_and(|since| since.elapsed() >= TAKES_WITHIN));
    }

    #[tokio::test]
    async fn a_host_that_is_silent_for_as_long_as_a_reader_may_take_nothing_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(listener.accept().await.unwrap().0);
        assert!(sockopt::socket_keepalive(&*socket.0).unwrap(), "it is asked");
        let (idle, pause) = (sockopt::tcp_keepidle(&*socket.0), sockopt::tcp_keepintvl(&*socket.0));
        let probes = sockopt::tcp_keepcnt(&*socket.0).unwrap();
        assert_eq!(idle.unwrap() + pause.unwrap() * probes, TAKES_WITHIN);
        #[cfg(target_os = "linux")]
        assert_eq!(
            u128::from(sockopt::tcp_user_timeout(&*socket.0).unwrap()),
            TAKES_WITHIN.as_millis(),
            "so it is with what was written"
        );
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_little_makes_room_for_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        // Until the client's side and ours are full.
        while timeout(3 * PAUSE, socket.write_all(&[0; 1 << 12])).await.is_ok() {}
        assert!(socket.1.since().is_some(), "it waits");
        let mut taken = 0;
        while timeout(PAUSE / 20, socket.write_all(b"more")).await.is_err() {
            client.read_exact(&mut [0; 1 << 12]).await.unwrap();
            taken += 1 << 12;
        }
        assert!(taken < 2 * SEND_BYTES, "room after {taken} bytes");
    }

    /// Answers a client that is still sending, closes the socket, and yields what the client reads
    /// after it has sent so many bytes, or why it could not.
    async fn answered(bytes: usize, patience: Patience) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let closed = tokio::spawn(async move {
            socket.write_all(b"answer").await.unwrap();
            socket.linger(patience).await;
        });
        let client = tokio::task::spawn_blocking(move || {
            client.write_all(&vec![0; bytes])?;
            client.shutdown(std::net::Shutdown::Write)?;
            io::read_to_string(client)
        });
        let read = client.await.unwrap();
        closed.await.unwrap();
        read
    }

    #[tokio::test]
    async fn a_client_that_sends_on_after_its_answer_reads_it_up_to_a_bound() {
        let patience = Patience { silence: PATIENCE, time: PATIENCE, bytes: 32 << 20 };
        assert_eq!(answered(24 << 20, patience).await.expect("no reset"), "answer");
        answered(64 << 20, patience).await.expect_err("it is cut off");
        let none = Patience { time: Duration::ZERO, ..patience };
        answered(64 << 20, none).await.expect_err("its time is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_and_stays_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let (since, patience) = (Instant::now(), Patience::default());
        socket.linger(patience).await;
        assert_eq!(since.elapsed().as_secs(), patience.silence.as_secs());
    }

    #[tokio::test]
    async fn a_client_that_left_is_noticed_behind_bytes_that_nobody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(listener.accept().await.unwrap().0);
        client.write_all(b"GET /more").unwrap();
        let here = timeout(3 * PAUSE, socket.gone()).await;
        assert!(here.is_err(), "it is still there");
        drop(client);
        socket.gone().await;
    }
}
