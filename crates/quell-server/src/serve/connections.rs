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
//!
//! With TLS a connection has its handshake first ([`super::tls`]), and is not asking before that is
//! made. A client that speaks without it is told so.
//!
//! A connection that speaks another protocol from some request on, as a web socket does, keeps its
//! slot until whoever speaks it lets the socket go. Its handler counts as a stream does.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{Request, Response};
use axum::{BoxError, Router};
use futures::FutureExt as _;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::held::Held;
use super::idle::{Idle, Member};
use super::lent::{Lent, Wire};
use super::socket::{Patience, Socket};
use super::streams;
use super::tls::{NoTls, Tls};

/// The task that accepts connections, until [`close`](Self::close).
pub(crate) struct Connections {
    /// Says that no more are accepted; each connection has a receiver as long as it is open.
    stop: watch::Sender<bool>,
}

impl Connections {
    /// Begins to accept connections, at most `at_once` of them. More wait in the queue of the
    /// operating system.
    pub(super) fn accept(
        listener: TcpListener,
        app: Router,
        at_once: usize,
        tls: Option<Tls>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        drop(tokio::spawn(accept(listener, (app, tls), at_once, stopping)));
        Self { stop }
    }

    /// Stops accepting, and lets open connections finish their answer, for at most this long.
    pub(crate) async fn close(self, at_most: Duration) {
        self.stop.send_replace(true);
        // Connections that have not finished by then are cut off.
        let _ = tokio::time::timeout(at_most, self.stop.closed()).await;
    }
}

async fn accept(
    listener: TcpListener,
    (app, tls): (Router, Option<Tls>),
    at_once: usize,
    mut stopping: watch::Receiver<bool>,
) {
    let open = stopping.clone();
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
            () = told_to_stop(&mut stopping) => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (socket, slot) = (Socket::new(stream), slot.flatten());
                let member = idle.enter(socket.backlog());
                let served = (app.clone(), tls.clone());
                drop(tokio::spawn(talk(socket, served, open.clone(), member, slot)));
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

/// Waits until no more connections are accepted.
async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    // Without the sender the server has ended.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
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

/// Serves a connection, behind the handshake of TLS if there is one.
async fn talk(
    socket: Socket,
    (app, tls): (Router, Option<Tls>),
    mut stopping: watch::Receiver<bool>,
    member: Member,
    slot: Option<OwnedSemaphorePermit>,
) {
    let wire = match &tls {
        None => tokio::select! {
            biased;
            () = told_to_stop(&mut stopping) => Ok(Wire::Plain(socket.clone())),
            wire = Wire::plain(socket.clone()) => Ok(wire),
        },
        Some(tls) => tokio::select! {
            biased;
            // Nothing was asked yet.
            () = told_to_stop(&mut stopping) => return,
            () = member.told_to_close() => return,
            made = tls.handshake(socket.clone()) => made.map(|it| Wire::Tls(Box::new(it))),
        },
    };
    match wire {
        Ok(wire) => serve((socket, wire), app, stopping, member, slot).await,
        Err(NoTls::Plain) => lingered(socket, &member).await,
        Err(NoTls::Failed(error)) => tracing::debug!(%error, "a connection has no TLS"),
    }
}

/// Serves a connection, through what is spoken on its socket.
async fn serve(
    (socket, wire): (Socket, Wire),
    app: Router,
    stopping: watch::Receiver<bool>,
    member: Member,
    slot: Option<OwnedSemaphorePermit>,
) {
    let mut open = Some(stopping.clone());
    let app = TowerToHyperService::new(app);
    let is_early = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| answer(&app, &member, &is_early, request));
    let (lent, let_go) = Lent::new(wire);
    let given_up = {
        // Pinned once: each move into another future would have a place of its own in this task.
        let served = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .serve_connection(TokioIo::new(lent), service)
                .with_upgrades()
        );
        tokio::select! {
            biased;
            served = to_its_end(served, stopping) => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection broke");
                } else if !is_early.load(Ordering::Relaxed) {
                    // Nothing of its requests is left to come: the end need not wait for it.
                    drop(open.take());
                }
                None
            }
            // Dropping the connection drops the handlers of its requests.
            () = socket.gone() => Some("a client left"),
            () = socket.stuck() => Some("a client takes nothing"),
            () = member.told_to_close() => Some("a connection gave up its slot"),
        }
    };
    if let Some(why) = given_up {
        tracing::debug!("{why}");
        return;
    }
    // Who speaks another protocol has the socket now; it sees by itself that its client has gone.
    let busy = member.busy(true);
    tokio::select! {
        biased;
        () = let_go.gone() => {}
        () = socket.stuck() => {
            tracing::debug!("a client takes nothing");
            socket.cut();
            return;
        }
    }
    drop(busy);
    lingered(socket, &member).await;
    drop((slot, open));
}

/// Discards what the client still sends, unless another connection needs the slot.
async fn lingered(mut socket: Socket, member: &Member) {
    tokio::select! {
        biased;
        () = member.told_to_close() => {}
        () = socket.linger(Patience::default()) => {}
    }
}

/// Serves a connection; when no more are accepted, up to the end of its answer.
async fn to_its_end<S, B>(
    mut served: Pin<&mut http1::UpgradeableConnection<TokioIo<Lent>, S>>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), hyper::Error>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    tokio::select! {
        biased;
        served = served.as_mut() => return served,
        () = told_to_stop(&mut stopping) => served.as_mut().graceful_shutdown(),
    }
    served.await
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
    let is_told_later = request.headers().contains_key(EXPECT);
    let request = request.map(|mut body| {
        if body.is_end_stream() {
            return Body::new(body);
        }
        if !is_told_later {
            // There is none yet. Asked for here, what has come is read along with the head, and the
            // handler need not wait for another turn of this task.
            drop(body.frame().now_or_never());
        }
        Body::new(Held::new(Body::new(body), member.receiving()))
    });
    // On the heap: hyper keeps as much room for it as it has taken, also while the body is read.
    let (answer, is_early) = (Box::pin(app.call(request)), Arc::clone(is_early));
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

    use axum::http::StatusCode;
    use axum::http::header::UPGRADE;
    use axum::middleware::{Next, from_fn};
    use axum::response::IntoResponse;
    use axum::routing::get;
    use tokio::runtime::Builder;

    use super::super::backlog::Backlog;
    use super::super::idle::PATIENCE;
    use super::super::leftover;
    use super::*;

    #[test]
    fn i38_a_client_that_is_still_sending_at_the_end_reads_the_answer_that_it_was_given() {
        let rest =
            from_fn(async |request, next: Next| leftover::layer(request, |it| next.run(it)).await);
        let app = Router::new().fallback(async || "refused").layer(rest);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, connections) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener.local_addr().unwrap(), Connections::accept(listener, app, 8, None))
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

    /// Answers what it is sent with the same bytes, in a protocol of its own.
    async fn echo(request: Request<Body>) -> impl IntoResponse {
        let upgrade = hyper::upgrade::on(request);
        drop(tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await
        }));
        (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "echo")])
    }

    #[test]
    fn a_connection_that_speaks_another_protocol_keeps_its_slot_until_it_is_let_go() {
        let app = Router::new().route("/echo", get(echo)).fallback(async || "other");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, connections) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener.local_addr().unwrap(), Connections::accept(listener, app, 1, None))
        });
        let mut first = TcpStream::connect(address).unwrap();
        let head = "host: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        write!(first, "GET /echo HTTP/1.1\r\n{head}").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            first.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        let mut second = TcpStream::connect(address).unwrap();
        write!(second, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < 3 * PATIENCE {
            let mut said = [0; 4];
            first.write_all(b"ping").unwrap();
            first.read_exact(&mut said).expect("it is not closed for the other one");
            assert_eq!(&said, b"ping");
        }
        drop(first);
        let mut answer = String::new();
        second.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("other"), "{answer}");
        runtime.block_on(connections.close(Duration::from_mins(1)));
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
