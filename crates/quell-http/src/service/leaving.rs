//! [`Leaving`]: what becomes of a run when the last client has gone that asked for its stop.

use std::time::Duration;

use quell::cluster::RunMeant;
use quell::store::{RunRecord, StoreError};
use quell::{CancelRequest, CauseKind, Disposition, Engine, RunId, RunRef, RunStatus};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::events::{answered, events_by_now};
use crate::ids::{Identity, find};
use crate::lookup_error::LookupError;
use crate::service::guard::{Clients, Follows};
use crate::service::log::answered_in;
use crate::stored_events::StoredEvents;

/// A run that its last client has left.
pub(super) struct Leaving {
    pub(super) clients: Clients,
    pub(super) engine: Engine,
    pub(super) run: Identity,
    /// Whether this node had the run when the client came.
    pub(super) was_here: bool,
    pub(super) follows: Follows,
}

impl Leaving {
    /// Stops the run, if that is due: at once if it is known here who follows it still, else in the
    /// background, for as long as the store is in trouble.
    pub(super) fn begin(self) {
        if self.clients.most(self.run) >= Some(self.follows) {
            // Somebody follows as much of it.
            return;
        }
        let is_shared = self.engine.node().is_some();
        if let Some(run) = self.here() {
            if self.is_over(run.status()) {
                return;
            }
            // Alone only an answer begins another attempt: those of one before follow it no more.
            let is_known = !is_shared || run.attempt() <= 1;
            if is_known {
                if self.is_last_of(run.attempt()) {
                    run.cancel(left("client went away"));
                }
                return;
            }
        } else if self.was_here {
            // It is over, or this node has left it to another one: then the answer has ended, and
            // the client did not leave.
            return;
        }
        if let Some(runtime) = Handle::try_current().ok().filter(|_| is_shared) {
            let (owed, undecided) = (self.clients.owed.clone(), Undecided(Some(self.run.0)));
            drop(owed.spawn_on(self.find_and_stop(undecided), &runtime));
        }
    }

    /// Tells whether the client has followed what executes since an answer has begun this attempt,
    /// and nobody else does.
    fn is_last_of(&self, answered: u32) -> bool {
        let answered = Follows::Attempt(answered);
        self.follows >= answered && self.clients.most(self.run) < Some(answered)
    }

    /// Yields the run if this node has it. What else has its id may be a repeat that the store has
    /// not refused yet.
    fn here(&self) -> Option<RunRef> {
        find(&self.engine, self.run)
    }

    /// Tells whether nothing is to be stopped: of one that follows an attempt nothing is left to
    /// wait for behind its pause.
    fn is_over(&self, status: RunStatus) -> bool {
        status.is_terminal() || self.follows != Follows::Run && status == RunStatus::Paused
    }

    async fn find_and_stop(self, mut undecided: Undecided) {
        let (until, mut pause) = (Instant::now() + TRIED_FOR, PAUSES.0);
        while !self.is_decided().await {
            if Instant::now() >= until {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        undecided.0 = None;
    }

    /// Stops the run if that is due. Tells whether it was, or is not; if not, it is to be looked at
    /// again.
    async fn is_decided(&self) -> bool {
        let record = match self.engine.stored_run(self.run.0).await {
            // A store may keep less of the time than memory does.
            Ok(Some(record)) if RunMeant::from(&record).is(self.run.1) => record,
            Ok(_) | Err(StoreError::Closed) => return true,
            Err(_) => return false,
        };
        let here = self.here();
        let status = here.as_ref().map_or(record.status, RunRef::status);
        // A node that ends cuts its answers: no client of them has left.
        if self.is_over(status) || here.is_none() && !self.engine.is_elsewhere(&record) {
            return true;
        }
        match last_answered(&self.engine, here.as_ref(), &record).await {
            // Whoever follows it by then stops it when they leave.
            Ok(answered) if !self.is_last_of(answered) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        let stopped = self.engine.cancel_anywhere(&record, left("client went away")).await;
        // It may be on its way to another node.
        stopped.is_ok_and(|stopped| stopped != Disposition::Unknown)
    }
}

/// The run of a stop that is not decided yet: dropped with it, this says so.
struct Undecided(Option<RunId>);

impl Drop for Undecided {
    fn drop(&mut self) {
        if let Some(run) = self.0 {
            tracing::warn!(run.uuid = %run, "a run goes on that its clients have left");
        }
    }
}

/// Yields the last attempt that an answer has begun, or the first one. A node that takes a run over
/// begins one, too: its clients follow it on.
async fn last_answered(
    engine: &Engine,
    here: Option<&RunRef>,
    record: &RunRecord,
) -> Result<u32, LookupError> {
    let mut last = here.map_or(1, |run| answered(events_by_now(run, 0)));
    if let Some(known) = answered_in(record) {
        return Ok(last.max(known));
    }
    if record.attempt > last {
        let mut events = Box::new(StoredEvents::new(engine.clone(), record.clone().into(), 0));
        while let Some(event) = events.next().await? {
            last = last.max(answered([event]));
        }
    }
    Ok(last)
}

/// Says why a run is cancelled that its clients have left.
pub(super) fn left(why: &str) -> CancelRequest {
    CancelRequest::because(why).kind(CauseKind::Disconnected)
}

/// How long a store in trouble is tried.
const TRIED_FOR: Duration = Duration::from_mins(10);

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
