//! [`Tls`]: the handshakes of connections, with the certificate that is current.
//!
//! A handshake that waits for its client costs no more than a connection on which nothing was asked
//! yet, which it is: while all slots of connections are taken, the one gives way that has been
//! asking for longest ([`super::idle`]). What computes is bounded instead: the answer to a whole
//! hello is made by a few at once, and nobody waits for a client meanwhile. So clients that begin a
//! handshake and say no more keep nobody out. The lock of the certificate is held for a moment, by
//! itself, to clone or to exchange one pointer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;

/// What connections need to speak TLS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    current: Arc<RwLock<Arc<ServerConfig>>>,
    /// Turns to compute.
    turns: Arc<Semaphore>,
}

/// Why a connection does not speak TLS.
#[derive(Debug)]
pub(super) enum NoTls {
    /// The client speaks HTTP without it, and was told so: what it still sends may be discarded.
    Plain,
    /// The handshake failed, or took too long.
    Failed(io::Error),
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let turns = Arc::new(Semaphore::new(COMPUTING_MAX));
        Self { current: Arc::new(RwLock::new(config)), turns }
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
        let first = socket.first_byte().await.map_err(NoTls::Failed)?;
        if first.is_ascii_alphabetic() {
            // If it cannot be told, the end of the connection tells as much.
            let _ = socket.write_all(SPEAKS_TLS.as_bytes()).await;
            return Err(NoTls::Plain);
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket);
        let hello = hello.await.map_err(NoTls::Failed)?;
        let answered = {
            // It is closed with none of its turns: they last as long as this.
            let _turn = self.turns.acquire().await;
            let config = Arc::clone(&self.current.read());
            // This computes, and waits for nobody; what is left hardly computes, and waits.
            hello.into_stream(config)
        };
        answered.await.map_err(NoTls::Failed)
    }
}

/// What a client is told that speaks HTTP without TLS.
const SPEAKS_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
                          content-type: text/plain\r\ncontent-length: 49\r\n\r\n\
                          this port speaks TLS: use an address of https://\n";

/// The most handshakes that compute at once, each for about a millisecond: one of the two threads
/// of HTTP is left to who has made theirs.
const COMPUTING_MAX: usize = 1;

/// How long a handshake may take, the wait for its turn included.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    fn tls() -> Tls {
        tls_of().0
    }

    /// Makes one, and the configuration of a client that trusts its certificate.
    fn tls_of() -> (Tls, Arc<ClientConfig>) {
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a name");
        let key = made.signing_key.serialize_der().try_into().expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        let tls = Tls::new(Arc::new(config.expect("a configuration")));
        (tls, client_of(made.cert.der()))
    }

    fn client_of(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    fn localhost() -> ServerName<'static> {
        ServerName::try_from("localhost").expect("a name")
    }

    #[tokio::test]
    async fn a_handshake_is_made_while_many_others_wait_for_their_clients_and_none_gives_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (tls, client) = tls_of();
        let hello = {
            let mut conn = ClientConnection::new(Arc::clone(&client), localhost()).expect("one");
            let mut hello = Vec::new();
            conn.write_tls(&mut hello).expect("it is written");
            hello
        };
        let (mut silent, mut waiting) = (Vec::new(), Vec::new());
        for sent in [&b""[..], &hello[..3], &hello[..]].repeat(60) {
            let mut stalled = std::net::TcpStream::connect(address).expect("it listens");
            io::Write::write_all(&mut stalled, sent).expect("it is taken");
            let socket = Socket::new(listener.accept().await.expect("it comes").0);
            let tls = tls.clone();
            waiting.push(tokio::spawn(async move { tls.handshake(socket).await.map(drop) }));
            silent.push(stalled);
        }
        // Each whole hello is answered, and its client is waited for.
        for answered in silent.iter().skip(2).step_by(3) {
            let mut answered = tokio::net::TcpStream::from_std({
                answered.set_nonblocking(true).expect("it may be");
                answered.try_clone().expect("a descriptor")
            });
            answered.as_mut().expect("a socket").readable().await.expect("it is answered");
        }
        let connector = tokio_rustls::TlsConnector::from(client);
        let socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let accepted = Socket::new(listener.accept().await.expect("it comes").0);
        let (ours, theirs) =
            tokio::join!(tls.handshake(accepted), connector.connect(localhost(), socket));
        assert!(ours.is_ok() && theirs.is_ok());
        assert!(!waiting.iter().any(tokio::task::JoinHandle::is_finished), "none gave way");
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
