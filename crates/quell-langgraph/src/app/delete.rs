//! Stops runs, follows them to their end, and deletes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use quell::{CancelRequest, Disposition, RunRef, RunStatus};
use quell_http::{CancelOutcome, Principal, View, Wait, next_event, run_bytes};

use crate::app::App;
use crate::app::find::Found;
use crate::options::CONTRACT;
use crate::threads::{Final, Thread, Tracked};
use crate::wire::cancel::Action;

impl App {
    /// Deletes a run that is to be deleted at its end, if nothing of it executes any more; tells
    /// whether it did.
    ///
    /// Every reader calls this first, so that none sees a run that has ended but is not deleted
    /// yet.
    pub(crate) fn delete_if_quiescent(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>) -> bool {
        let run = self.engine().get(tracked.id);
        run.is_some_and(|run| self.delete_quiescent(thread, tracked, &run))
    }

    fn delete_quiescent(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) -> bool {
        let row = run.row();
        let is_deleted = thread.is_temporary || thread.is_deleted_after(tracked, &row);
        if !is_deleted || !row.status.is_terminal() || !row.quiescent {
            return false;
        }
        let fold = thread.look(self.engine(), tracked, run);
        // The same body as for a client that waits: a run without values shows those of its thread.
        let of_thread = fold.current().is_none().then(|| thread.values(self.engine())).flatten();
        let body = self.final_text(run, &run.report(), tracked, &fold, of_thread.as_ref());
        let shown = of_thread.as_ref().or(fold.current()).map(Arc::downgrade).unwrap_or_default();
        // Kept before the engine forgets the run: a reader finds one or the other.
        self.finals().keep(Final {
            run: run.clone(),
            thread: Arc::clone(thread),
            tracked: Arc::clone(tracked),
            body: body.into(),
            shown,
            run_bytes: run_bytes(run),
        });
        self.service().view(CONTRACT, Principal::anonymous()).forget(run);
        thread.remove(tracked.id);
        if thread.is_temporary {
            self.threads().remove_if_idle(self.engine(), thread);
        }
        true
    }

    /// Deletes runs whose place another one has taken, at their ends.
    pub(crate) fn roll_back(&self, thread: &Arc<Thread>, superseded: &[RunRef]) {
        let runs: Vec<_> = superseded.iter().filter_map(|run| thread.find(run.id())).collect();
        // All of them are marked before the first one is deleted: what it left shows meanwhile.
        for tracked in &runs {
            tracked.delete_at_end.store(true, Ordering::SeqCst);
        }
        for tracked in runs {
            self.delete_if_quiescent(thread, &tracked);
        }
    }

    /// Follows a run to its end: its values are taken over, and it is deleted if it is to be.
    pub(crate) fn follow(&self, thread: Arc<Thread>, tracked: Arc<Tracked>, run: RunRef) {
        let app = self.clone();
        drop(tokio::spawn(async move {
            let mut events = run.events();
            while let Some(event) = next_event(&mut events).await {
                thread.take(app.engine(), &tracked, &run, &event);
                if run.status().is_terminal() {
                    // The events that follow are not of the run itself.
                    break;
                }
            }
            run.ended().await;
            app.hold_values(&thread);
            run.quiescent().await;
            // With the run at hand: the engine may have forgotten it by now.
            app.delete_quiescent(&thread, &tracked, &run);
        }));
    }

    /// Asks runs to stop, all of them before any is waited for.
    pub(crate) async fn stop(
        &self,
        view: &View,
        found: &[Found],
        action: Action,
        request: CancelRequest,
        wait: Wait,
    ) -> Vec<CancelOutcome> {
        let is_live = |found: &&Found| !found.run.row().status.is_terminal();
        let deleted: Vec<_> = match action {
            Action::Interrupt => Vec::new(),
            Action::Rollback => found.iter().filter(is_live).collect(),
        };
        // Before the stop: no reader sees the end of a run without what follows from it.
        for found in &deleted {
            found.tracked.delete_at_end.store(true, Ordering::SeqCst);
        }
        let runs: Vec<_> = found.iter().map(|found| found.run.clone()).collect();
        let mut answers = view.cancel_all(&runs, request, wait).await;
        for (found, answer) in found.iter().zip(&mut answers) {
            if deleted.iter().any(|deleted| deleted.run == found.run) {
                count_as_in_time(answer);
            }
        }
        for found in deleted {
            match &found.thread {
                Some(thread) => drop(self.delete_if_quiescent(thread, &found.tracked)),
                None => forget_if_stopped(view, &found.run),
            }
        }
        answers
    }
}

/// Changes the answer to a rollback that came while another stop ended the run: the run is deleted,
/// so the answer is not that it had ended before.
fn count_as_in_time(answer: &mut CancelOutcome) {
    if let Disposition::AlreadyTerminal { status: RunStatus::Cancelled | RunStatus::TimedOut } =
        answer.disposition
        && let Some(cause) = answer.cause.clone()
    {
        let hard_deadline = Instant::now();
        answer.disposition = Disposition::AlreadyStopping { cause, hard_deadline };
    }
}

fn forget_if_stopped(view: &View, run: &RunRef) {
    if !matches!(run.row().status, RunStatus::Completed | RunStatus::Failed) {
        view.forget_when_quiescent(run);
    }
}
