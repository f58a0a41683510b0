//! [`Service::stop_followed`]: runs of other nodes whose clients lose this one.

use std::future::ready;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use quell::RunStatus;
use quell::cluster::RunMeant;
use tokio::time::timeout;

use crate::ids::Identity;
use crate::pace::Pace;
use crate::service::Service;
use crate::service::leaving::left;

impl Service {
    /// Has runs of other nodes stopped that clients follow through this one, that are cancelled
    /// when those leave ([`OnDisconnect::Cancel`](crate::OnDisconnect)), and to which these have no
    /// way back ([`DisconnectGuard::for_good`](crate::DisconnectGuard::for_good)): a process that
    /// ends cuts its answers, and nobody would follow them any more. Waits until their clients are
    /// told of their ends, and until the stops are decided that are owed to clients which have left
    /// before, while the store was away; at most so long. Zero asks nobody. For between
    /// [`Service::drain`] and [`Engine::shutdown`](quell::Engine::shutdown), from which on nothing
    /// is told of other nodes. Returns at once if there are none, as for an engine that is alone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once polled, some of the runs may be stopped.
    pub async fn stop_followed(&self, within: Duration) {
        let stops = async {
            let (clients, engine) = (&self.shared().clients, self.engine());
            if engine.node().is_none() {
                return;
            }
            let asked = stream::iter(clients.far(engine)).map(|run| self.stop_far(run));
            let asked: Vec<_> = asked.buffer_unordered(AT_ONCE).filter_map(ready).collect().await;
            // Their readers poll.
            let mut pace = Pace::new(FIRST_PAUSE);
            let is_followed = || clients.far(engine).iter().any(|run| asked.contains(run));
            while !clients.owed.is_empty() || is_followed() {
                pace.rest().await;
            }
        };
        let _ = timeout(within, stops).await;
    }

    /// Asks the owner of a run to stop it, unless it waits for an answer: then its client has all.
    /// Yields it if there is an end to be told of.
    async fn stop_far(&self, own: Identity) -> Option<Identity> {
        let (engine, (id, at)) = (self.engine(), own);
        let run = engine.stored_run(id).await.ok()??;
        let is_over = run.status.is_terminal() || run.status == RunStatus::Paused;
        if is_over || !RunMeant::from(&run).is(at) {
            return None;
        }
        let request = left("the node ends through which its client has followed it");
        match engine.cancel_anywhere(&run, request).await {
            Ok(_) => Some(own),
            Err(error) => {
                tracing::warn!(%error, "a run that is followed could not be stopped");
                None
            }
        }
    }
}

/// Owners that are asked at once.
const AT_ONCE: usize = 64;

/// The first pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
