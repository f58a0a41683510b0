//! Stops runs, follows them to their end, and deletes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use quell::{EventKind, RunRef};
use quell_http::{Principal, next_event, run_bytes};

use crate::app::App;
use crate::options::CONTRACT;
use crate::threads::{Final, Thread, Tracked};

impl App {
    /// Deletes a run that is to be deleted at its end, if nothing of it executes any more; tells
    /// whether it did.
    ///
    /// Every reader calls this first, so that none sees a run that has ended but is not deleted
    /// yet.
    pub(crate) fn delete_if_quiescent(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>) -> bool {
        let run = tracked.run(self.engine());
        run.is_some_and(|run| self.delete_quiescent(thread, tracked, &run))
    }

    fn delete_quiescent(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) -> bool {
        let is_rolled_back = is_taken_back(run);
        let is_over = || thread.is_temporary && is_quiescent(run);
        if !is_rolled_back && !is_over() {
            return false;
        }
        // Of one that is deleted, or whose thread is, nobody is shown anything from then on.
        let is_deleted = || {
            tracked.is_deleted.load(Ordering::SeqCst)
                || self.hidden().has(run.into())
                || !thread.is_temporary && thread.has_left()
                || run.is_deleted()
        };
        if !is_deleted() {
            self.keep_final(thread, tracked, run);
        }
        if is_deleted() {
            self.finals().remove(thread.owner.as_deref(), &[run.into()]);
        }
        self.tell_end(thread, tracked, run);
        // With a store the run is there until its end is told, and of several nodes for as long as
        // others may ask for it, unless it is deleted.
        let is_told = !self.has_records() || !self.webhooks().is_sending(run.id());
        let is_done = is_told && !self.is_for_others(run.owner(), run.id());
        if !is_rolled_back && (is_done || is_deleted()) {
            self.service().view(CONTRACT, Principal::anonymous()).forget(run);
        }
        thread.remove(tracked.id);
        if thread.is_temporary {
            self.threads().remove_if_idle(self.engine(), thread);
        }
        true
    }

    fn keep_final(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) {
        let fold = thread.look(self.engine(), tracked, run);
        // The same body as for a client that waits: a run without values shows those of its thread.
        let of_thread = fold.current().is_none().then(|| thread.values(self.engine())).flatten();
        let body = self.final_text(run, &run.report(), tracked, &fold, of_thread.as_ref());
        let shown = of_thread.as_ref().or(fold.current()).map(Arc::downgrade).unwrap_or_default();
        // Kept before the engine forgets the run: a reader finds one or the other.
        let left = self.finals().keep(Final {
            run: run.clone(),
            thread: Arc::clone(thread),
            tracked: Arc::clone(tracked),
            body: body.into(),
            shown,
            run_bytes: run_bytes(run),
        });
        self.let_go_of(&left);
    }

    /// Follows a run to its end: its values are taken over, and it is deleted if it is to be.
    pub(crate) fn follow(&self, thread: Arc<Thread>, tracked: Arc<Tracked>, run: RunRef) {
        tracked.begin(&run);
        let app = self.clone();
        let owed = tracked.has_webhook.then(|| self.under_way(run.id(), true));
        drop(tokio::spawn(async move {
            let mut events = run.events();
            if tracked.is_adopted && run.pause_state().is_some() {
                // Whoever had it may not have told that, and nothing more happens.
                Box::pin(app.know_start(&thread, &tracked, &run)).await;
                app.tell_pause(&thread, &tracked, &run);
            }
            while let Some(event) = next_event(&mut events).await {
                if tracked.awaits_start() {
                    // On the heap: hardly any run needs it.
                    Box::pin(app.know_start(&thread, &tracked, &run)).await;
                }
                thread.take(app.engine(), &tracked, &run, &event);
                if event.run == run.id() && matches!(event.kind, EventKind::Paused { .. }) {
                    app.tell_pause(&thread, &tracked, &run);
                }
                if run.status().is_terminal() {
                    // The events that follow are not of the run itself.
                    break;
                }
            }
            run.ended().await;
            if tracked.awaits_start() {
                Box::pin(app.know_start(&thread, &tracked, &run)).await;
            }
            app.hold_values(&thread);
            app.tell_end(&thread, &tracked, &run);
            if let Some(owed) = owed {
                owed.over();
            }
            run.quiescent().await;
            // With the run at hand: the engine may have forgotten it by now.
            app.delete_quiescent(&thread, &tracked, &run);
            tracked.release();
        }));
    }
}

/// Tells whether a run was rolled back, and nothing of it executes any more: the engine forgets it,
/// at once or when that is stored, and no reader sees it from here on.
pub(super) fn is_taken_back(run: &RunRef) -> bool {
    // The engine does not wait for what an earlier process has left, of which the row tells.
    run.is_rolled_back() && run.quiescent_status().now_or_never().is_some()
}

fn is_quiescent(run: &RunRef) -> bool {
    let row = run.row();
    row.status.is_terminal() && row.quiescent
}
