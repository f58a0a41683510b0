//! What becomes of a run when the client that follows it goes away (I31).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use quell::{CancelRequest, CauseKind, RunRef};

use crate::ids::{Identity, identity};

/// What becomes of a run when the client that follows it goes away.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_http::OnDisconnect::default(), quell_http::OnDisconnect::Continue);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it goes on or it does not")]
pub enum OnDisconnect {
    /// It goes on.
    #[default]
    Continue,
    /// It is cancelled with cause `Disconnected`, when the last client is gone that asked so.
    Cancel,
}

/// Held by an answer for as long as its client is there.
///
/// An answer that comes to its end calls [`finish`](Self::finish). Dropped before, by a body that
/// the server gives up or a handler that is not polled to its end, it means that the client is
/// gone.
#[must_use = "dropped at once, it means that the client is gone"]
pub struct Guard {
    run: RunRef,
    clients: Option<Clients>,
}

/// How many clients follow a run that is to be cancelled without them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<Identity, usize>>>);

impl Clients {
    pub(crate) fn guard(&self, run: &RunRef, policy: OnDisconnect) -> Guard {
        let clients = match policy {
            OnDisconnect::Continue => None,
            OnDisconnect::Cancel => {
                *self.0.lock().entry(identity(run)).or_default() += 1;
                Some(self.clone())
            }
        };
        Guard { run: run.clone(), clients }
    }

    /// Counts a client out; tells whether it was the last one.
    fn leave(&self, run: Identity) -> bool {
        let mut counts = self.0.lock();
        let Some(count) = counts.get_mut(&run) else { return true };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            counts.remove(&run);
        }
        is_last
    }
}

impl Guard {
    /// Yields the run.
    pub const fn run(&self) -> &RunRef {
        &self.run
    }

    /// Says that the answer has come to its end: nothing is cancelled.
    pub fn finish(mut self) {
        if let Some(clients) = self.clients.take() {
            clients.leave(identity(&self.run));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(clients) = self.clients.take()
            && clients.leave(identity(&self.run))
        {
            let request = CancelRequest::because("client went away").kind(CauseKind::Disconnected);
            self.run.cancel(request);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("run", &self.run.id()).finish_non_exhaustive()
    }
}
