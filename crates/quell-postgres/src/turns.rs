//! [`Turns`]: what a member has for its turns in lanes, and how it hears of them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::Client;

use crate::text::given;

/// The session on which turns are asked for, and the lanes of which was heard.
#[derive(Default)]
pub(crate) struct Turns {
    /// None while a call has it, and before the first one.
    pub(crate) client: Mutex<Option<Client>>,
    lanes: Mutex<Vec<Arc<str>>>,
    news: Notify,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Turns {
    /// Takes the words of a notification. Yields whether they are of a turn.
    pub(crate) fn heard(&self, words: &str) -> bool {
        let Some(lane) = words.strip_prefix("turn ") else { return false };
        self.ask(&[lane]);
        true
    }

    /// Has it be asked whose turn it is in lanes.
    pub(crate) fn ask(&self, freed: &[impl AsRef<str>]) {
        let mut lanes = self.lanes.lock();
        // Every role of the database may say something here. What is lost is asked for anyway.
        let room = HEARD_MAX.saturating_sub(lanes.len());
        lanes.extend(freed.iter().take(room).map(|lane| Arc::from(given(lane.as_ref()))));
        drop(lanes);
        self.news.notify_one();
    }

    /// Waits for lanes of which is heard.
    pub(crate) async fn next(&self) -> Vec<Arc<str>> {
        loop {
            let lanes = std::mem::take(&mut *self.lanes.lock());
            if !lanes.is_empty() {
                return lanes;
            }
            self.news.notified().await;
        }
    }
}

/// Lanes of which was heard that nobody has asked for yet.
const HEARD_MAX: usize = 10_000;
