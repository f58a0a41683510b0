//! [`Connections`]: accepts connections up to a bound, limits how slow they may be, and closes them
//! after their last answer.
//!
//! A new connection does not wait for long for an unused one. When every slot is taken, one is
//! closed: the one that has been idle for longest, where idle includes a client that has not begun
//! its request, or has been sending it, for longer than [`PATIENCE`](super::idle::PATIENCE); if
//! there is none, the one that has been taking its answer for longest. Streams and starts, which
//! hold their slots for long, are bounded by [`super::streams`].
//!
//! A client that was answered before all of its request had come is waited for at the end, too:
//! what it still sends is discarded, and it can read its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::held::Held;
use super::idle::{Idle, Member};
use super::socket::{Patience, Socket};
use super::streams;

/// The task that accepts connections, until [`close`](Self::close).
pub(crate) struct Connections {
    accepts: JoinHandle<GracefulShutdown>,
    stop: oneshot::Sender<()>,
}

impl Connections {
    /// Begins to accept connections, at most `at_once` of them. More wait in the queue of the
    /// operating system.
    pub(crate) fn accept(listener: TcpListener, app: Router, at_once: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        let accepts = tokio::spawn(accept(listener, app, at_once, stopped));
        Self { accepts, stop }
    }

    /// Stops accepting, and lets open connections finish their answer, for at most this long.
    pub(crate) async fn close(self, at_most: Duration) {
        // The task ends only by this signal.
        let _ = self.stop.send(());
        if let Ok(open) = self.accepts.await {
            // Connections that have not finished by then are cut off.
            let _ = tokio::time::timeout(at_most, open.shutdown()).await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    app: Router,
    at_once: usize,
    mut stopped: oneshot::Receiver<()>,
) -> GracefulShutdown {
    let open = GracefulShutdown::new();
    let (slots, idle) = (Arc::new(Semaphore::new(at_once)), Idle::default());
    loop {
        let next = async {
            let accepted = listener.accept().await;
            // Only after a client has connected: without one, idle connections stay open.
            let slot = if accepted.is_ok() { Some(free_slot(&slots, &idle).await) } else { None };
            (accepted, slot)
        };
        let (accepted, slot) = tokio::select! {
            biased;
            _ = &mut stopped => return open,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (socket, slot) = (Socket::new(stream), slot.flatten());
                let member = idle.enter(socket.backlog());
                let watchers = [open.watcher(), open.watcher()];
                drop(tokio::spawn(talk(socket, app.clone(), watchers, member, slot)));
            }
            Err(error) => {
                // Most likely there are no descriptors left: wait until others close.
                tracing::warn!(%error, "a connection was not accepted");
                idle.close_oldest();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes the slot of a connection. While all are taken, closes the connection that has been idle
/// for longest, as soon as there is one that may be closed.
async fn free_slot(slots: &Arc<Semaphore>, idle: &Idle) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Some(slot);
        }
        idle.close_oldest();
        // The chosen connection may have got a request just then, and stays, or none may be closed
        // yet: look for another one after a while.
        let soon = tokio::time::timeout(PAUSE, Arc::clone(slots).acquire_owned()).await;
        if let Ok(slot) = soon {
            return slot.ok();
        }
    }
}

async fn talk(
    mut socket: Socket,
    app: Router,
    [watcher, lingers]: [Watcher; 2],
    member: Member,
    slot: Option<OwnedSemaphorePermit>,
) {
    let mut lingers = Some(lingers);
    let app = TowerToHyperService::new(app);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let is_early = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| answer(&app, &member, &is_early, request));
    let served = watcher.watch(http.serve_connection(TokioIo::new(socket.clone()), service));
    let given_up = tokio::select! {
        biased;
        served = served => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            } else if !is_early.load(Ordering::Relaxed) {
                // Nothing of its requests is left to come: the end need not wait for it.
                drop(lingers.take());
            }
            None
        }
        // Dropping the connection drops the handlers of its requests.
        () = socket.gone() => Some("a client left"),
        () = socket.stuck() => Some("a client takes nothing"),
        () = member.told_to_close() => Some("a connection gave up its slot"),
    };
    if let Some(why) = given_up {
        tracing::debug!("{why}");
        return;
    }
    tokio::select! {
        biased;
        // Another connection needs the slot.
        () = member.told_to_close() => {}
        () = socket.linger(Patience::default()) => {}
    }
    drop((slot, lingers));
}

/// Answers a request. The connection is not idle until the client has taken the answer: hyper holds
/// the body until its last frame, and from then on the socket knows that bytes wait to be written.
/// Notes whether it is made before all of the request has come.
fn answer(
    app: &TowerToHyperService<Router>,
    member: &Member,
    is_early: &Arc<AtomicBool>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
    let busy = member.busy(streams::is_long(request.method(), request.uri().path()));
    let request = request.map(|body| {
        let has_come = body.is_end_stream();
        let body = Body::new(body);
        if has_come { body } else { Body::new(Held::new(body, member.receiving())) }
    });
    let (answer, is_early) = (app.call(request), Arc::clone(is_early));
    async move {
        let answer = answer.await?;
        // `leftover` announces it so.
        is_early.store(answer.headers().contains_key(CONNECTION), Ordering::Relaxed);
        busy.answered();
        Ok(answer.map(|body| Body::new(Held::new(body, busy))))
    }
}

/// How long the head of a request may take, from the first byte on.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// How long nothing is accepted after a failure, and after how long another idle one is looked for.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::thread;

    use axum::middleware::from_fn;
    use tokio::runtime::Builder;

    use super::super::idle::PATIENCE;
    use super::super::leftover;
    use super::super::socket::Backlog;
    use super::*;

    #[test]
    fn i38_a_client_that_is_still_sending_at_the_end_reads_the_answer_that_it_was_given() {
        let app = Router::new().fallback(async || "refused").layer(from_fn(leftover::layer));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, connections) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener.local_addr().unwrap(), Connections::accept(listener, app, 8))
        });
        let mut client = TcpStream::connect(address).unwrap();
        let body = vec![0; 64 << 20];
        write!(client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())
            .unwrap();
        assert_eq!(client.peek(&mut [0]).unwrap(), 1, "it is answered, and reads nothing yet");
        let end = thread::spawn(move || {
            runtime.block_on(connections.close(Duration::from_mins(1)));
            // As the process ends: what is open is cut.
            runtime.shutdown_background();
        });
        while TcpStream::connect(address).is_ok() {
            thread::sleep(PAUSE / 100);
        }
        client.write_all(&body).expect("it is taken");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("no reset");
        assert!(answer.ends_with("refused"), "{answer}");
        drop(client);
        end.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_found_once_a_connection_that_does_not_ask_had_time_to() {
        let (slots, idle) = (Arc::new(Semaphore::new(1)), Idle::default());
        let taken = free_slot(&slots, &idle).await;
        let silent = idle.enter(Backlog::default());
        let silent = tokio::spawn(async move {
            silent.told_to_close().await;
            drop((silent, taken));
        });
        let mut found = std::pin::pin!(free_slot(&slots, &idle));
        let soon = tokio::time::timeout(PATIENCE / 2, found.as_mut()).await;
        assert!(soon.is_err(), "the other one may still ask");
        assert!(found.await.is_some());
        silent.await.expect("it is closed");
    }
}
