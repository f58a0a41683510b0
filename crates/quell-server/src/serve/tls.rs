//! [`Tls`]: the handshakes of connections, with the certificate that is current.
//!
//! Handshakes have slots of their own, as connections have: while all are taken, the client is
//! given up that has been in its handshake for longest, and for longer than
//! [`PATIENCE`](super::idle::PATIENCE). So clients that begin a handshake and say no more keep
//! nobody out. The lock of the certificate is held for a moment, by itself, to clone or to exchange
//! one pointer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::free_slot;
use super::idle::Idle;
use super::socket::Socket;

/// What connections need to speak TLS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    current: Arc<RwLock<Arc<ServerConfig>>>,
    slots: Arc<Semaphore>,
    /// The handshakes under way.
    under_way: Idle,
}

/// Why a connection does not speak TLS.
#[derive(Debug)]
pub(super) enum NoTls {
    /// The client speaks HTTP without it, and was told so: what it still sends may be discarded.
    Plain,
    /// The handshake failed, took too long, or gave way to another one.
    Failed(io::Error),
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Self { current: Arc::new(RwLock::new(config)), slots, under_way: Idle::default() }
    }

    /// Has another certificate for the handshakes that begin from now on.
    pub(super) fn replace(&self, config: Arc<ServerConfig>) {
        let former = std::mem::replace(&mut *self.current.write(), config);
        drop(former);
    }

    /// Makes the handshake of a connection, within its time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the handshake is cut.
    pub(super) async fn handshake(&self, socket: Socket) -> Result<TlsStream<Socket>, NoTls> {
        let failed = |words: &'static str| NoTls::Failed(io::Error::other(words));
        let made = tokio::time::timeout(HANDSHAKE_WITHIN, self.made(socket)).await;
        made.unwrap_or_else(|_| Err(failed("a client did not end its handshake in time")))
    }

    async fn made(&self, mut socket: Socket) -> Result<TlsStream<Socket>, NoTls> {
        let _slot = free_slot(&self.slots, &self.under_way).await;
        let member = self.under_way.enter(socket.backlog());
        let made = async {
            let first = socket.first_byte().await.map_err(NoTls::Failed)?;
            if first.is_ascii_alphabetic() {
                // If it cannot be told, the end of the connection tells as much.
                let _ = socket.write_all(SPEAKS_TLS.as_bytes()).await;
                return Err(NoTls::Plain);
            }
            let acceptor = TlsAcceptor::from(Arc::clone(&self.current.read()));
            acceptor.accept(socket).await.map_err(NoTls::Failed)
        };
        tokio::select! {
            biased;
            made = made => made,
            () = member.told_to_close() => {
                Err(NoTls::Failed(io::Error::other("a handshake gave way to others")))
            }
        }
    }
}

/// What a client is told that speaks HTTP without TLS.
const SPEAKS_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
                          content-type: text/plain\r\ncontent-length: 49\r\n\r\n\
                          this port speaks TLS: use an address of https://\n";

/// The most handshakes under way. One takes about a millisecond of a processor.
const HANDSHAKES_MAX: usize = 128;

/// How long a handshake may take, the wait for its slot included.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::crypto::ring::default_provider;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    fn tls() -> Tls {
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a name");
        let key = made.signing_key.serialize_der().try_into().expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        Tls::new(Arc::new(config.expect("a configuration")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_or_stops_within_its_handshake_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
            let mut client = std::net::TcpStream::connect(address).expect("it listens");
            io::Write::write_all(&mut client, sent).expect("it is taken");
            let socket = Socket::new(listener.accept().await.expect("it comes").0);
            let since = Instant::now();
            let made = tls().handshake(socket).await;
            assert!(matches!(made, Err(NoTls::Failed(_))));
            assert_eq!(since.elapsed().as_secs(), HANDSHAKE_WITHIN.as_secs());
        }
    }
}
