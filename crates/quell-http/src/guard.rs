//! What becomes of a run when the client that follows it goes away (I31).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use quell::{CancelRequest, CauseKind, Engine, RunId, RunRef};

use crate::ids::{Identity, find, identity};
use crate::ledger::{Charge, Overdrawn};
use crate::readers::Read;
use crate::view::View;

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
/// Dropped while the run is live, it means that the client is gone: by a body that the server gives
/// up, a stream that the server ends, or a handler that is not polled to its end. Once the run has
/// ended it means nothing.
///
/// It holds the name of the run and nothing else of it: the engine has every run that is live. What
/// a stream reads ([`DisconnectGuard::reading`]) is the stream's.
#[must_use = "dropped at once, it means that the client is gone"]
pub struct DisconnectGuard {
    run: Identity,
    following: Option<(Clients, Engine)>,
    /// What a stream reads, until it is made.
    read: Option<Read>,
    /// Given back when the answer is over, whichever way.
    place: Option<Charge>,
}

/// How many clients follow a run that is to be cancelled without them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<Identity, usize>>>);

impl Clients {
    pub(crate) fn guard(
        &self,
        engine: &Engine,
        run: &RunRef,
        policy: OnDisconnect,
    ) -> DisconnectGuard {
        let run = identity(run);
        let following = match policy {
            OnDisconnect::Continue => None,
            OnDisconnect::Cancel => {
                *self.0.lock().entry(run).or_default() += 1;
                Some((self.clone(), engine.clone()))
            }
        };
        DisconnectGuard { run, following, read: None, place: None }
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

impl View {
    /// Takes a place among the streams and waits, of which every caller has a share
    /// ([`ServiceLimits::streams_max`](crate::ServiceLimits)): for
    /// [`DisconnectGuard::holding`], and before anything is made of the request.
    ///
    /// # Errors
    ///
    /// Fails if there are as many as may be, of all callers or of this one.
    pub fn stream_place(&self) -> Result<Charge, Overdrawn> {
        self.service().shared().streams.charge(self.principal().owner(), 1)
    }
}

impl DisconnectGuard {
    /// Says that the answer is a stream which reads the run, and holds it with its log. When the
    /// engine has forgotten the run, that counts as under way for the principal; if there is no
    /// room for it, the stream is cut.
    pub fn reading(mut self, view: &View, run: &RunRef) -> Self {
        let (service, owner) = (view.service(), view.principal().owner());
        let shared = service.shared();
        self.read = Some(Read {
            run: run.clone(),
            name: self.run,
            engine: service.engine().clone(),
            requests: shared.requests.clone(),
            owner: owner.cloned(),
            readers: shared.readers.clone(),
            is_kept: None,
        });
        self
    }

    /// As [`DisconnectGuard::reading`], of a run that somebody else may keep and count when the
    /// engine has forgotten it, as this tells: meanwhile the stream is charged nothing.
    pub fn reading_kept(
        self,
        view: &View,
        run: &RunRef,
        is_kept: impl Fn(RunId) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mut guard = self.reading(view, run);
        if let Some(read) = &mut guard.read {
            read.is_kept = Some(Box::new(is_kept));
        }
        guard
    }

    /// Holds the place of the client ([`View::stream_place`]) until the answer is over.
    pub fn holding(mut self, place: Charge) -> Self {
        self.place = Some(place);
        self
    }

    /// Takes what its stream reads of a run.
    pub(crate) fn take_read(&mut self) -> Option<Read> {
        self.read.take()
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        if let Some((clients, engine)) = self.following.take()
            && clients.leave(self.run)
            && let Some(run) = find(&engine, self.run)
        {
            let request = CancelRequest::because("client went away").kind(CauseKind::Disconnected);
            run.cancel(request);
        }
    }
}

impl fmt::Debug for DisconnectGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_place = self.place.is_some();
        f.debug_struct("Guard")
            .field("run", &self.run.0)
            .field("has_place", &has_place)
            .finish_non_exhaustive()
    }
}
