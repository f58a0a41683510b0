//! [`Cancel`]: tells a service to stop a run, until it confirms.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Uri, body::Bytes};

use super::about::About;
use super::caller::Caller;
use crate::places::{Place, Turns};

/// Where a service is told to stop a run.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    uri: Uri,
    /// How long an answer is waited for before the cancel is posted again.
    timeout: Duration,
    /// Shared by the runs of the service.
    turns: Arc<Turns>,
}

impl Cancel {
    pub(crate) fn new(uri: Uri, timeout: Duration) -> Self {
        Self { uri, timeout, turns: Arc::new(Turns::new()) }
    }

    /// Posts the cancel until the service has answered it with 2xx: at once if there is a place,
    /// which is given back after that, and then as it is its turn.
    ///
    /// # Cancel safety
    ///
    /// A request that is under way is dropped, and its place is given back.
    pub(super) async fn confirmed(
        self,
        caller: Arc<Caller>,
        about: Arc<About>,
        mut place: Option<Place>,
    ) {
        let mut pause = PAUSE;
        loop {
            let turn = if place.is_some() { None } else { Some(self.turns.next().await) };
            let body = Bytes::from(about.cancel.as_json().to_owned());
            let request = caller.post(&self.uri, &about.headers, body);
            // Its body is dropped unread, and with it the connection unless it is at its end.
            match tokio::time::timeout(self.timeout, caller.send(request)).await {
                Ok(Ok(response)) if response.status().is_success() => return,
                Ok(Ok(response)) => {
                    tracing::debug!(status = %response.status(), "cancel refused by service");
                }
                Ok(Err(lost)) => {
                    let error = caller.hide(&lost.words);
                    tracing::debug!(error, "cancel not answered");
                }
                Err(_) => tracing::debug!("cancel not answered in time"),
            }
            place = None;
            drop(turn);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The wait before the second cancel, and the longest one.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
