//! Connections: accepted up to a bound, bounded in how slowly they speak, closed gently.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::socket::Socket;

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
    let places = Arc::new(Semaphore::new(at_once));
    loop {
        let next = async {
            // Never closed, so there is always a permit to come.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            _ = &mut stopped => return open,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                let socket = Socket::new(stream);
                drop(tokio::spawn(talk(socket, app.clone(), open.watcher(), place)));
            }
            Err(error) => {
                // Out of descriptors, most likely: others must close first.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn talk(socket: Socket, app: Router, watcher: Watcher, place: Option<OwnedSemaphorePermit>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let service = TowerToHyperService::new(app);
    let served = watcher.watch(http.serve_connection(TokioIo::new(socket.clone()), service));
    tokio::select! {
        biased;
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection broke");
        },
        // What it asked for is given up with the connection.
        () = socket.gone() => tracing::debug!("a client left"),
    }
    drop(place);
}

/// How long the head of a request may take, from the first byte on.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// How long nothing is accepted after a failure.
const PAUSE: Duration = Duration::from_millis(100);
