//! [`beside`]: what a server that is one of several nodes does for as long as it serves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell::store::{RunRecord, Store};
use quell_http::Service;
use tokio::time::{sleep, timeout};

use super::log::Log;
use super::metrics::Metrics;
use crate::store::OpenStore;

/// Takes over what nodes have left that are gone, tells the others of the programs of processes
/// before this one until they know, and tells in the log whether the database answers. Without a
/// database that others have as well there is nothing to do.
pub(super) async fn beside(
    store: Option<&OpenStore>,
    (service, metrics): (&Service, &Metrics),
    log: &Log,
) -> Infallible {
    let Some(store) = store.filter(|store| store.is_shared()) else {
        return std::future::pending().await;
    };
    let (never, ..) =
        tokio::join!(take_over(store, (service, metrics), log), watch(service), tell(store));
    never
}

/// Tells the others of the programs of processes before this one. That was tried at the start; if
/// the database has refused it, runs of others wait for it.
async fn tell(store: &OpenStore) {
    let mut is_told = false;
    while let Err(error) = store.tell_again().await {
        if !is_told {
            is_told = true;
            tracing::warn!(%error, "what is known of earlier programs cannot be told to others");
        }
        sleep(PAUSE).await;
    }
}

async fn take_over(
    store: &OpenStore,
    (service, metrics): (&Service, &Metrics),
    log: &Log,
) -> Infallible {
    let port: Arc<dyn Store> = store.port();
    let going_on = |run: &RunRecord| service.catalog().recovery(run, &port);
    let mut is_told = false;
    loop {
        let next = service.engine().next_lease_end();
        let until_next = next.map_or(PAUSE, |at| at.saturating_duration_since(Instant::now()));
        sleep(until_next.clamp(PAUSE_MIN, PAUSE)).await;
        match store.take_over_from_others(service.engine(), going_on).await {
            Ok(taken) => {
                is_told = false;
                if let Some((held, lines)) = taken {
                    metrics.has_taken_over();
                    for line in lines {
                        log.say(&line);
                    }
                    held.start();
                }
            }
            // It is tried again, and told once.
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(%error, "what other nodes may have left cannot be taken over");
            }
            Err(_) => {}
        }
    }
}

/// Says in the log when the store begins to be in trouble, and when that is over. `/readyz` looks
/// by itself.
async fn watch(service: &Service) -> Infallible {
    let mut is_away = false;
    loop {
        sleep(PAUSE).await;
        let was_away = is_away;
        let is_ready = timeout(ANSWER_WAIT, service.engine().store_ready()).await;
        is_away = !matches!(is_ready, Ok(Ok(())));
        match (was_away, is_away) {
            (false, true) => {
                tracing::warn!("the database does not answer: the server is not ready");
            }
            (true, false) => tracing::warn!("the database answers again: the server is ready"),
            _ => {}
        }
    }
}

/// How often is looked.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon at the soonest, when the lease of another node is about to be over.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// How long a database may take that counts as there.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
