//! Connections: accepted up to a bound, bounded in how slowly they speak, closed gently.
//!
//! A new connection does not wait for long for one on which nothing is asked: when every place is
//! taken, the one is closed that has been idle for longest, or that has been sending its request,
//! or has yet to begin one, for longer than [`PATIENCE`](super::idle::PATIENCE); if there is none,
//! the one that has been taking its answer for longest. What holds its place for long, a stream or
//! a start, is bounded by [`super::streams`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
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
use super::socket::Socket;
use super::streams;

/// What accepts connections, until it is told to close.
pub(crate) struct Connections {
    accepts: JoinHandle<GracefulShutdown>,
    stop: oneshot::Sender<()>,
}

impl Connections {
    /// Begins to accept, so many at once. Further ones wait in the queue of the operating system.
    pub(crate) fn accept(listener: TcpListener, app: Router, at_once: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        let accepts = tokio::spawn(accept(listener, app, at_once, stopped));
        Self { accepts, stop }
    }

    /// Accepts no more, and lets those that are open finish their answer, for at most this long.
    pub(crate) async fn close(self, at_most: Duration) {
        // It only ends when told.
        let _ = self.stop.send(());
        if let Ok(open) = self.accepts.await {
            // Whoever is not through by then is cut off.
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
    let (places, idle) = (Arc::new(Semaphore::new(at_once)), Idle::default());
    loop {
        let next = async {
            let accepted = listener.accept().await;
            // Only now: without anybody to come, idle connections may stay.
            let place = if accepted.is_ok() { Some(place(&places, &idle).await) } else { None };
            (accepted, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            _ = &mut stopped => return open,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (socket, place) = (Socket::new(stream), place.flatten());
                let member = idle.enter(socket.backlog());
                drop(tokio::spawn(talk(socket, app.clone(), open.watcher(), member, place)));
            }
            Err(error) => {
                // Out of descriptors, most likely: others must close first.
                tracing::warn!(%error, "a connection was not accepted");
                idle.close_oldest();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes a place; while there is none, the connection that has been idle for longest gives its own,
/// as soon as there is one that may.
async fn place(places: &Arc<Semaphore>, idle: &Idle) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        idle.close_oldest();
        // One may have been asked something just then, and stays, or none may be closed yet:
        // another one is looked for.
        let soon = tokio::time::timeout(PAUSE, Arc::clone(places).acquire_owned()).await;
        if let Ok(place) = soon {
            return place.ok();
        }
    }
}

async fn talk(
    socket: Socket,
    app: Router,
    watcher: Watcher,
    member: Member,
    place: Option<OwnedSemaphorePermit>,
) {
    let app = TowerToHyperService::new(app);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let service = service_fn(|request| answer(&app, &member, request));
    let served = watcher.watch(http.serve_connection(TokioIo::new(socket.clone()), service));
    tokio::select! {
        biased;
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection broke");
        },
        // What it asked for is given up with the connection.
        () = socket.gone() => tracing::debug!("a client left"),
        () = socket.stuck() => tracing::debug!("a client takes nothing"),
        () = member.told_to_close() => tracing::debug!("a connection gave its place"),
    }
    drop(place);
}

/// Answers a request. Until the answer is taken, the connection is not idle: hyper holds the body
/// until it has the last of it, and from then on the socket knows that there is more to write.
fn answer(
    app: &TowerToHyperService<Router>,
    member: &Member,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
    let busy = member.busy(streams::is_long(request.method(), request.uri().path()));
    let request = request.map(|body| {
        let has_come = body.is_end_stream();
        let body = Body::new(body);
        if has_come { body } else { Body::new(Held::new(body, member.receiving())) }
    });
    let answer = app.call(request);
    async move {
        let answer = answer.await?;
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
    use super::super::idle::PATIENCE;
    use super::super::socket::Backlog;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_found_once_a_connection_that_does_not_ask_had_time_to() {
        let (places, idle) = (Arc::new(Semaphore::new(1)), Idle::default());
        let taken = place(&places, &idle).await;
        let silent = idle.enter(Backlog::default());
        let silent = tokio::spawn(async move {
            silent.told_to_close().await;
            drop((silent, taken));
        });
        let mut found = std::pin::pin!(place(&places, &idle));
        let soon = tokio::time::timeout(PATIENCE / 2, found.as_mut()).await;
        assert!(soon.is_err(), "the other one may still ask");
        assert!(found.await.is_some());
        silent.await.expect("it is closed");
    }
}
