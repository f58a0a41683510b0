//! Many live streams at once, each read as it comes.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::{Body, Http};
use crate::load::{Load, Pace};
use crate::side::Side;

/// Runs that tick until they are told to stop.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Under which their ticks are counted.
    pub(crate) probe: String,
    cancels: Vec<String>,
    readers: Vec<JoinHandle<Result<(), String>>>,
}

impl Crowd {
    /// Starts them all at once, and returns when every one of them has ticked.
    pub(crate) async fn gather(
        http: &Http,
        side: &Side,
        load: &Load,
        pace: Pace,
        count: usize,
    ) -> Result<Self, String> {
        let probe = Uuid::now_v7().to_string();
        let starts = (0..count).map(|_| load.start(http, &side.url, pace, &probe));
        let (mut cancels, mut readers) = (Vec::new(), Vec::new());
        for live in try_join_all(starts).await? {
            cancels.push(live.cancel);
            readers.push(tokio::spawn(live.events.finish()));
        }
        Ok(Self { probe, cancels, readers })
    }

    /// Cancels them all, and returns when every stream has ended.
    pub(crate) async fn disperse(self, http: &Http) -> Result<(), String> {
        if let Some(early) = self.readers.iter().position(JoinHandle::is_finished) {
            return Err(format!("{}: its stream ended by itself", self.cancels[early]));
        }
        try_join_all(self.cancels.iter().map(|cancel| http.post(cancel, &Body::Empty))).await?;
        let all = tokio::time::timeout(DISPERSED_WITHIN, try_join_all(self.readers)).await;
        let all = all.map_err(|_| "cancelled streams do not end; start that server anew")?;
        all.map_err(|error| error.to_string())?.into_iter().collect()
    }
}

/// How long the streams of a crowd may go on after the cancels.
const DISPERSED_WITHIN: Duration = Duration::from_mins(1);
