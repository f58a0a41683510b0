//! [`Leaving`]: what becomes of a run when the last client has gone that asked for its stop.

use std::time::Duration;

use quell::store::{RunRecord, StoreError};
use quell::{CancelRequest, CauseKind, Disposition, Engine, EventKind, RunRef, RunStatus};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::ids::{Identity, find};
use crate::lookup_error::LookupError;
use crate::service::guard::Clients;
use crate::stored_events::StoredEvents;

/// A run that its last client has left.
pub(super) struct Leaving {
    pub(super) clients: Clients,
    pub(super) engine: Engine,
    pub(super) run: Identity,
    /// Whether this node had the run when the client came.
    pub(super) was_here: bool,
    /// The attempt that the client followed, and those behind it that no answer has begun; none for
    /// the whole run.
    pub(super) attempt: Option<u32>,
}

impl Leaving {
    /// Stops the run, if that is due: at once if this node has it and it is in the attempt of then,
    /// else in the background, for as long as the store is in trouble.
    pub(super) fn begin(self) {
        let is_shared = self.engine.node().is_some();
        if let Some(run) = self.here() {
            let is_same = self.attempt.is_none_or(|attempt| run.attempt() == attempt);
            if self.is_over(run.status()) {
                return;
            }
            if is_same {
                run.cancel(left("client went away"));
                return;
            }
            // Alone only an answer begins another attempt, which is that of who gave it.
        } else if self.was_here {
            // It is over, or this node has left it to another one: then the answer has ended, and
            // the client did not leave.
            return;
        }
        if let Some(runtime) = Handle::try_current().ok().filter(|_| is_shared) {
            drop(runtime.spawn(self.find_and_stop()));
        }
    }

    /// Yields the run if this node has it. What else has its id may be a repeat that the store has
    /// not refused yet.
    fn here(&self) -> Option<RunRef> {
        find(&self.engine, self.run)
    }

    /// Tells whether nothing is to be stopped: of one that follows an attempt nothing is left to
    /// wait for behind its pause.
    fn is_over(&self, status: RunStatus) -> bool {
        status.is_terminal() || self.attempt.is_some() && status == RunStatus::Paused
    }

    async fn find_and_stop(self) {
        let (until, mut pause) = (Instant::now() + TRIED_FOR, PAUSES.0);
        // Whoever follows it by then stops it when they leave.
        while !self.clients.has(self.run) && !self.is_decided().await {
            if Instant::now() >= until {
                let run = self.run.0;
                tracing::warn!(run.uuid = %run, "a run goes on that its clients have left");
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Stops the run if that is due. Tells whether it was, or is not; if not, it is to be looked at
    /// again.
    async fn is_decided(&self) -> bool {
        let record = match self.engine.stored_run(self.run.0).await {
            Ok(Some(record)) if record.accepted.at == self.run.1 => record,
            Ok(_) | Err(StoreError::Closed) => return true,
            Err(_) => return false,
        };
        let here = self.here();
        let status = here.as_ref().map_or(record.status, RunRef::status);
        // A node that ends cuts its answers: no client of them has left.
        if self.is_over(status) || here.is_none() && !self.engine.is_elsewhere(&record) {
            return true;
        }
        match self.is_answered(&record).await {
            Ok(false) => {}
            answered => return answered.is_ok(),
        }
        let stopped = self.engine.cancel_anywhere(&record, left("client went away")).await;
        // It may be on its way to another node.
        stopped.is_ok_and(|stopped| stopped != Disposition::Unknown)
    }

    /// Tells whether an answer has begun an attempt behind the one that the client followed: that
    /// is another client's. A node that takes the run over begins one, too.
    async fn is_answered(&self, record: &RunRecord) -> Result<bool, LookupError> {
        let Some(attempt) = self.attempt.filter(|attempt| record.attempt > *attempt) else {
            return Ok(false);
        };
        let (engine, record) = (self.engine.clone(), record.clone().into());
        let mut events = Box::new(StoredEvents::new(engine, record, 0));
        while let Some(event) = events.next().await? {
            let is_of_run = event.run == self.run.0;
            if let EventKind::Resumed { attempt: begun } = event.kind
                && is_of_run
                && begun > attempt
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Says why a run is cancelled that its clients have left.
pub(super) fn left(why: &str) -> CancelRequest {
    CancelRequest::because(why).kind(CauseKind::Disconnected)
}

/// How long a store in trouble is tried.
const TRIED_FOR: Duration = Duration::from_mins(10);

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
