//! What a store says of the webhook of a pause. A mark is there from before it is sent, and a note
//! until the receiver has got it, or it is given up: with a mark and no note it is told. Both go
//! with what is owed for the end of the run. Of a process that ends, too, a note can be taken away,
//! while nothing can be noted any more.

use std::time::Duration;

use quell::{RunId, RunRef, SubmitError};
use tokio::time::sleep;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::webhook_fence::{pause_of, pending_of, spec_of};

impl App {
    /// Notes that a pause is about to be told. If the store does not take that, a later process
    /// tells it again.
    pub(super) async fn begin_pause(&self, run: &RunRef, attempt: u32) {
        if !self.has_records() {
            return;
        }
        for id in [pending_of(run.id(), attempt), pause_of(run.id(), attempt)] {
            let spec = spec_of(run.id(), PAUSE, run.owner()).id(id);
            let stored = self.engine().submit_durably(spec, async |_| Ok(())).await;
            if !matches!(stored, Ok(_) | Err(SubmitError::AlreadySubmitted(_))) {
                return;
            }
        }
    }

    /// Notes that a pause was told, or is given up.
    pub(super) async fn end_pause(&self, run: RunId, attempt: u32) {
        if !self.has_records() {
            return;
        }
        forget(self.engine(), pending_of(run, attempt)).await;
        // The end of the run may have been told meanwhile, and taken away what there was.
        if !self.is_owed(run).await {
            self.forget_owed(run).await;
        }
    }

    /// Tells whether a pause is still to be told that an earlier process had, or that another node
    /// has left: that one may be about to tell it, and is waited for. The store's retention takes
    /// what says that the webhook is owed before what says that it was told: then it is not told.
    pub(super) async fn is_pause_left(&self, run: RunId, attempt: u32) -> bool {
        let is_there = async |id| !matches!(self.is_stored(id).await, Ok(false));
        let mut looks = if self.is_node() { LOOKS } else { 1 };
        loop {
            if !self.is_owed(run).await {
                return false;
            }
            if !is_there(pause_of(run, attempt)).await {
                return true;
            }
            if !is_there(pending_of(run, attempt)).await {
                return false;
            }
            looks -= 1;
            if looks == 0 {
                return true;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// The name of the steps that say what was told of a pause.
const PAUSE: &str = "webhook-pause";

/// How often is looked whether a node that ends has told it, and how long between: it has as long
/// as a post may take by default.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
