//! Webhooks of pauses: that a run waits for an answer is told, which for upstream is its end.
//!
//! A store has a mark from before one is sent, and a note until the receiver has got it, or it is
//! given up: with a mark and no note it is told. Both go with what is owed for the end of the run.
//! Of a process that ends, too, a note can be taken away, while nothing can be noted any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quell::{RunId, RunRef, SubmitError};
use tokio::time::sleep;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::webhook_fence::{Fence, NoFence, What, pause_of, pending_of, spec_of};
use crate::app::webhook_sent::{Telling, given_up};
use crate::threads::{Thread, Tracked};
use crate::webhooks::Owed;

impl App {
    /// Tells in the background that a run waits for an answer, if it has a webhook.
    pub(super) fn tell_pause(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) {
        if !tracked.has_webhook {
            return;
        }
        let (app, thread) = (self.clone(), Arc::clone(thread));
        let (tracked, run) = (Arc::clone(tracked), run.clone());
        drop(tokio::spawn(async move {
            run.paused().await;
            if !app.is_stored_at_last(&run).await {
                return;
            }
            let Some(attempt) = run.pause_state().map(|pause| pause.attempt) else { return };
            if tracked.told_pause.fetch_max(attempt, Ordering::SeqCst) < attempt {
                let telling = app.telling(&thread, &tracked, &run);
                let under_way = app.under_way(run.id(), true);
                if app.tell_paused(telling, &run, attempt).await {
                    under_way.over();
                }
            }
        }));
    }

    /// Tells whether this process has done with it: it is left to another one if not.
    async fn tell_paused(&self, telling: Telling, run: &RunRef, attempt: u32) -> bool {
        let tracked = Arc::clone(&telling.tracked);
        if tracked.is_adopted && !self.is_pause_left(run.id(), attempt).await {
            return true;
        }
        let Some(place) = self.place_of_pause(&tracked, run, attempt).await else {
            return !self.leaves_pauses();
        };
        let Some(fence) = self.fence_of_pause(run, attempt).await else {
            give_back(&tracked, place);
            return run.status().is_terminal() || !self.leaves_pauses();
        };
        let is_over = self.send_pause(telling, &fence, (run, attempt)).await;
        // Not before it is stored that it is told.
        if is_over {
            self.end_fence(run.id(), attempt, fence).await;
        } else {
            fence.end();
        }
        give_back(&tracked, place);
        // The end of the run may have been told meanwhile, and have left what was live.
        if !self.is_owed(run.id()).await {
            self.forget_owed(run.id()).await;
        }
        is_over
    }

    /// Takes the place of the end of a run, unless another pause has that now; none if it waits no
    /// more before there is one.
    async fn place_of_pause(&self, tracked: &Tracked, run: &RunRef, attempt: u32) -> Option<Owed> {
        let owner = run.owner().map(Arc::from);
        let mut pause = LOOKS.0;
        loop {
            let own = tracked.owed.lock().take();
            let error = match own.map_or_else(|| self.webhooks().owe(owner.as_ref()), Ok) {
                Ok(place) => return Some(place),
                Err(error) => error,
            };
            if self.leaves_pauses() {
                return None;
            }
            if run.pause_state().is_none_or(|pause| pause.attempt != attempt) {
                given_up(run.id(), &error.to_string());
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    /// Takes a pause for this process, as soon as no other node is about to tell it; none if the
    /// run has ended before, this process ends, or the pause is given up.
    async fn fence_of_pause(&self, run: &RunRef, attempt: u32) -> Option<Fence> {
        let mut pause = LOOKS.0;
        loop {
            match self.fence(run.id(), What::Pause(attempt)).await {
                Ok(fence) => return Some(fence),
                Err(NoFence::Elsewhere | NoFence::Unknown) => {}
                Err(NoFence::Ending | NoFence::GivenUp) => return None,
            }
            if run.status().is_terminal() || self.service().is_draining() {
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    async fn send_pause(
        &self,
        telling: Telling,
        fence: &Fence,
        (run, attempt): (&RunRef, u32),
    ) -> bool {
        let id = run.id();
        if telling.tracked.is_adopted && !self.is_pause_left(id, attempt).await {
            return true;
        }
        let Some(mut letter) = self.letter(telling).await else { return true };
        letter.pause = Some(run.clone());
        self.begin_pause(run, attempt).await;
        let is_over = self.deliver(&letter, fence).await;
        if is_over {
            self.end_pause(id, attempt).await;
        }
        is_over
    }

    /// Tells whether pauses are left to a later process, or another node.
    fn leaves_pauses(&self) -> bool {
        self.has_records() && self.service().is_draining()
    }

    /// Notes that a pause is about to be told. If the store does not take that, a later process
    /// tells it again.
    async fn begin_pause(&self, run: &RunRef, attempt: u32) {
        if !self.has_records() {
            return;
        }
        for id in [pending_of(run.id(), attempt), pause_of(run.id(), attempt)] {
            let spec = spec_of(run.id(), PAUSE, run.owner()).id(id);
            let stored = self.engine().submit_durably(spec, async |_| Ok(())).await;
            if !matches!(stored, Ok(_) | Err(SubmitError::IdInUse(_))) {
                return;
            }
        }
    }

    /// Notes that a pause was told, or is given up.
    async fn end_pause(&self, run: RunId, attempt: u32) {
        if self.has_records() {
            forget(self.engine(), pending_of(run, attempt)).await;
        }
    }

    /// Tells whether a pause is still to be told that an earlier process had, or another node. The
    /// store's retention takes what says that the webhook is owed before what says that it was
    /// told: then it is not told.
    async fn is_pause_left(&self, run: RunId, attempt: u32) -> bool {
        let is_there = async |id| !matches!(self.is_stored(id).await, Ok(false));
        self.is_owed(run).await
            && (!is_there(pause_of(run, attempt)).await || is_there(pending_of(run, attempt)).await)
    }
}

/// Gives back the place in which a pause was told.
fn give_back(tracked: &Tracked, place: Owed) {
    let mut owed = tracked.owed.lock();
    // Whoever tells the end says so before it gives the place back. What another process has made
    // has no place but for this.
    if !tracked.is_adopted && !tracked.is_told.load(Ordering::SeqCst) {
        *owed = Some(place);
    }
}

/// The name of the steps that say what was told of a pause.
const PAUSE: &str = "webhook-pause";

/// How long between two looks for a place, or whether another node has told a pause: at first, and
/// at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

#[cfg(test)]
mod tests {
    use quell::RunSpec;

    use super::*;
    use crate::app::gone::tests::two;
    use crate::app::webhook_fence::{OWED, record_of};

    #[tokio::test]
    async fn a_pause_is_told_once_whatever_of_its_beginning_was_stored_before() {
        for notes in 0..3 {
            let [app, _] = two();
            let run = app.engine().submit(RunSpec::agent("asks"), async |_| Ok(())).unwrap();
            let run = run.into_ref();
            let kept = [pending_of(run.id(), 1), pause_of(run.id(), 1)];
            let stored = kept.into_iter().take(notes).map(|id| (PAUSE, id));
            for (name, id) in [(OWED, record_of(run.id()))].into_iter().chain(stored) {
                let spec = spec_of(run.id(), name, None).id(id);
                let record = app.engine().submit_durably(spec, async |_| Ok(())).await.unwrap();
                drop(record.outcome().await);
            }
            assert!(app.is_pause_left(run.id(), 1).await);
            app.begin_pause(&run, 1).await;
            assert!(app.is_pause_left(run.id(), 1).await);
            app.end_pause(run.id(), 1).await;
            while app.is_stored(pending_of(run.id(), 1)).await.unwrap() {
                sleep(LOOKS.0).await;
            }
            assert!(!app.is_pause_left(run.id(), 1).await, "{notes} were stored");
        }
    }
}
