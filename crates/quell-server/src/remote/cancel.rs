//! [`Cancel`]: tells a service to stop a run, until it confirms.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Uri, body::Bytes};

use super::about::About;
use super::caller::Caller;
use crate::faults::in_full;

/// Where a service is told to stop a run.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(pub(crate) Uri);

impl Cancel {
    /// Posts the cancel until the service has answered it with 2xx.
    ///
    /// # Cancel safety
    ///
    /// A request that is under way is dropped.
    pub(super) async fn confirmed(&self, caller: &Arc<Caller>, about: &About) {
        let mut pause = PAUSE;
        loop {
            let body = Bytes::from(about.cancel.as_json().to_owned());
            let request = caller.post(&self.0, &about.headers, body);
            // Its body is dropped unread, and with it the connection unless it is at its end.
            match tokio::time::timeout(ANSWER_TIME, caller.send(request)).await {
                Ok(Ok(response)) if response.status().is_success() => return,
                Ok(Ok(response)) => {
                    tracing::debug!(status = %response.status(), "cancel refused by service");
                }
                Ok(Err(error)) => tracing::debug!(error = in_full(&error), "cancel not answered"),
                Err(_) => tracing::debug!("cancel not answered in time"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// How long a service may take to answer a cancel before it is posted again.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The wait before the second cancel, and the longest one.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
