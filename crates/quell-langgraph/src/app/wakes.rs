//! [`Wakes`]: what wakes a task that goes on without a caller.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use quell::Engine;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// What wakes a task.
pub(super) struct Wakes {
    woken: Arc<Notify>,
    taken: watch::Receiver<u64>,
}

/// Why it was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The engine has taken in what another process or node has left.
    TakenOver,
    /// Somebody else wants that, or its rest is over.
    Other,
    /// The engine is gone.
    Over,
}

impl Wakes {
    /// Makes those of a task. From here on nothing is lost that comes while it does not wait.
    pub(super) fn of(engine: &Engine, woken: &Arc<Notify>) -> Self {
        Self { woken: Arc::clone(woken), taken: engine.take_overs() }
    }

    /// Waits for the next one: so long at most, or for as long as it takes.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call yields what has come.
    pub(super) async fn next(&mut self, rest: Option<Duration>) -> Wake {
        let timer = async {
            match rest {
                Some(rest) => sleep(rest).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = self.taken.changed() => match changed {
                Ok(()) => Wake::TakenOver,
                Err(_) => Wake::Over,
            },
            () = self.woken.notified() => Wake::Other,
            () = timer => Wake::Other,
        }
    }
}
