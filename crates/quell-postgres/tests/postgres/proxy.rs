//! [`Proxy`]: the way to a server, which can be broken so that nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Nobody passes before it is closed.
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// A way to a server on this machine.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The next answer to a COMMIT is not passed on, and its session ends.
    swallows_commit: AtomicBool,
    /// The next answer to a COMMIT is not passed on, nor anything else of its session, which stays.
    stalls_at_commit: AtomicBool,
    /// Nothing is passed on from the server.
    is_silent: AtomicBool,
    /// No notification is passed on.
    swallows_news: AtomicBool,
    /// They are held back until the gate is closed.
    holds_news: AtomicBool,
    passes_news: Gate,
    /// How often all sessions were forgotten.
    forgotten: AtomicUsize,
    /// How often one of them has happened.
    done: AtomicUsize,
}

impl Proxy {
    /// Begins to pass on what comes.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let of_sessions = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let state = Arc::clone(&of_sessions);
                let forth = tokio::spawn(pass(from_client, to_server, Arc::clone(&state)));
                tokio::spawn(async move {
                    back(from_server, to_client, &state).await;
                    forth.abort();
                });
            }
        });
        Self { port, state }
    }

    /// Swallows the answer to the next COMMIT, and ends its session.
    pub(crate) fn swallow(&self) {
        self.state.swallows_commit.store(true, Ordering::SeqCst);
    }

    /// Passes nothing on from the answer to the next COMMIT on; for the server its session goes on.
    pub(crate) fn stall(&self) {
        self.state.stalls_at_commit.store(true, Ordering::SeqCst);
    }

    /// Passes nothing on from the server, until it does again.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// Swallows all notifications from now on.
    pub(crate) fn swallow_news(&self) {
        self.state.swallows_news.store(true, Ordering::SeqCst);
    }

    /// Holds all notifications back from now on.
    pub(crate) fn hold_news(&self) {
        self.state.holds_news.store(true, Ordering::SeqCst);
    }

    /// Passes on what was held back, and what comes.
    pub(crate) fn pass_news(&self) {
        self.state.holds_news.store(false, Ordering::SeqCst);
        self.state.passes_news.0.close();
    }

    /// Has sessions that are there end when they are used next, as where a way has forgotten them.
    pub(crate) fn forget(&self) {
        self.state.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// Yields how many answers were not passed on.
    pub(crate) fn done(&self) -> usize {
        self.state.done.load(Ordering::SeqCst)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut bytes = vec![0; 64 << 10];
    let known = state.forgotten.load(Ordering::SeqCst);
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let is_forgotten = state.forgotten.load(Ordering::SeqCst) != known;
        if is_forgotten || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if state.is_silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // A notification comes by itself: its session has nothing else to say.
        if bytes[0] == b'A' && state.swallows_news.load(Ordering::SeqCst) {
            continue;
        }
        if bytes[0] == b'A' && state.holds_news.load(Ordering::SeqCst) {
            let _ = state.passes_news.0.acquire().await;
        }
        let is_commit = bytes[..count].windows(7).any(|window| window == b"COMMIT\0");
        if is_commit && state.swallows_commit.swap(false, Ordering::SeqCst) {
            state.done.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if is_commit && state.stalls_at_commit.swap(false, Ordering::SeqCst) {
            state.done.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
