//! [`App::delete_thread`]: deletes a thread with its runs (contract, section 4).
//!
//! It is decided by a last record in the store, if there is one: from then on no node shows the
//! thread, and each takes back a run that it has just made there. Then its live runs are stopped,
//! wherever they are, and all of them are forgotten; the last record goes when they have gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use quell::{CancelRequest, RunFilter, RunId, RunRef};
use quell_http::{LookupError, Principal, RunView, View, Wait};
use tokio::time::sleep;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::options::CONTRACT;
use crate::threads::Thread;
use crate::wire::asked::Asked;
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use uuid::Uuid;

impl App {
    /// Deletes a thread that the caller may see: its runs are stopped, and waited for.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if the caller may not stop one of its runs, and if the store cannot
    /// be read or does not take it: then nothing has changed.
    pub(crate) async fn delete_thread(&self, view: &View, id: Uuid) -> Result<(), Refusal> {
        let thread = self.thread_anywhere(view, id).await?;
        let thread = thread.ok_or_else(|| Refusal::no_thread(id))?;
        let live = self.live_of(view, id).await?;
        if let Some(run) = live.iter().find(|run| !view.may_stop(*run)) {
            return Err(Refusal::forbidden(view.lack_to_stop(run)));
        }
        self.bury(view, &thread).await
    }

    /// Deletes a thread whose time is over, unless it is busy; tells whether it did.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it.
    pub(super) async fn expire(&self, thread: &Arc<Thread>) -> Result<bool, Refusal> {
        if !thread.live(self.engine()).is_empty() || thread.is_live_elsewhere() {
            return Ok(false);
        }
        self.bury(&self.all(), thread).await?;
        Ok(true)
    }

    /// Waits in the background until the time of a thread is over, if it has one, and deletes it.
    pub(crate) fn time(&self, thread: &Arc<Thread>) {
        if thread.deletes_at().is_none() || thread.is_timed.swap(true, Ordering::SeqCst) {
            return;
        }
        let (app, thread) = (self.weak(), Arc::downgrade(thread));
        drop(tokio::spawn(async move {
            loop {
                let Some(at) = thread.upgrade().and_then(|thread| thread.deletes_or_untimed())
                else {
                    return;
                };
                if let Ok(left) = at.duration_since(SystemTime::now()) {
                    // Clocks may be set.
                    sleep(left.min(LOOK_AGAIN)).await;
                    continue;
                }
                let Some((app, thread)) = app.upgrade().zip(thread.upgrade()) else { return };
                // Read as anybody reads it: another node may know more.
                match app.thread_anywhere(&app.all(), thread.id).await {
                    Ok(Some(_)) | Err(_) => {}
                    Ok(None) => return,
                }
                drop((app, thread));
                sleep(BUSY_REST).await;
            }
        }));
    }

    /// Yields the view of somebody who sees all.
    pub(super) fn all(&self) -> View {
        self.service().view(CONTRACT, Principal::anonymous().admin())
    }

    async fn bury(&self, view: &View, thread: &Arc<Thread>) -> Result<(), Refusal> {
        {
            // Whoever makes a run in it has made it, or finds that it is gone.
            let _no_run = thread.creating.lock().await;
            let _no_change = thread.changing.lock().await;
            if !self.store_end(thread).await? {
                return Err(Refusal::no_thread(thread.id));
            }
            self.threads().remove(thread);
            self.hide_runs_of(thread.id);
        }
        let (app, view, thread) = (self.clone(), view.clone(), Arc::clone(thread));
        // It goes on although the caller has gone.
        let cleared = tokio::spawn(async move { app.clear(&view, thread.id).await });
        cleared.await.map_err(|_| Refusal::internal())
    }

    /// Stores that a thread is deleted. False if that has been stored before.
    async fn store_end(&self, thread: &Thread) -> Result<bool, Refusal> {
        if !self.has_records() || thread.is_temporary {
            return Ok(!thread.has_left());
        }
        for _ in 0..TRIES {
            let last = thread.card().changed(Keys::new(), None, SystemTime::now());
            if self.write(thread, &last, true).await? {
                return Ok(true);
            }
            match self.recorded(thread.id).await? {
                Some(recorded) if !recorded.is_deleted => self.take_card(thread, recorded.card)?,
                _ => return Ok(false),
            }
        }
        let text = "The thread is being changed; ask again";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    /// Hides the runs of a thread that are in memory: its id may be used again at once.
    fn hide_runs_of(&self, thread: Uuid) {
        let runs = self.engine().runs(&of_thread(thread).roots());
        let own = runs.iter().filter(|run| Asked::of(&(*run).into()).is_some());
        self.hidden().hide(own.map(RunRef::id));
    }

    /// Stops the runs of a thread that is deleted, and forgets them, and the thread.
    async fn clear(&self, view: &View, id: Uuid) {
        let live = self.live_of(&self.all(), id).await.unwrap_or_default();
        let ids: Vec<_> = live.iter().map(RunView::id).collect();
        self.hidden().hide(ids.iter().copied());
        let why = format!("deletion requested via DELETE /threads/{id}");
        let request = CancelRequest::because(why).rollback();
        view.cancel_all(&live, request, Wait::terminal()).await;
        for run in live.iter().filter_map(RunView::live) {
            run.ended().await;
        }
        drop(live);
        let (app, mut pause) = (self.weak(), PAUSES.0);
        while pause < PAUSES.1 {
            if self.forget_all(id, &ids).await {
                return;
            }
            sleep(pause).await;
            pause *= 2;
        }
        // What executes still, here or elsewhere, ends some time.
        drop(tokio::spawn(async move {
            while let Some(app) = app.upgrade() {
                if app.forget_all(id, &ids).await {
                    return;
                }
                drop(app);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.2);
            }
        }));
    }

    /// Forgets the runs of a thread of which nothing executes, and the thread if that are all;
    /// tells whether it did.
    async fn forget_all(&self, id: Uuid, stopped: &[RunId]) -> bool {
        let Ok(is_all) = self.forget_runs(id).await else { return false };
        if is_all {
            self.hidden().release(stopped.iter().copied());
        }
        is_all && self.forget_records(id).await
    }

    /// Forgets the runs of a thread of which nothing executes. Tells whether none is left.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    async fn forget_runs(&self, id: Uuid) -> Result<bool, LookupError> {
        let (all, mut next, mut is_all) = (self.all(), None, true);
        loop {
            let page = all.list_with_inputs(of_thread(id), PAGE, next, is_own).await?;
            for run in page.runs {
                let is_gone = if let Some(run) = run.live() {
                    all.forget(run)
                } else {
                    // Of what another node has ended, that one knows whether it executes.
                    let forgotten = self.engine().forget_stored(run.id()).await;
                    forgotten.is_ok() || !self.is_stored(run.id()).await?
                };
                if is_gone {
                    self.hidden().release([run.id()]);
                }
                is_all &= is_gone;
            }
            next = page.next;
            if next.is_none() {
                return Ok(is_all);
            }
        }
    }

    /// Lists the live runs of a thread, on whatever node.
    pub(super) async fn live_of(&self, view: &View, id: Uuid) -> Result<Vec<RunView>, Refusal> {
        let (mut live, mut next) = (Vec::new(), None);
        loop {
            let filter: RunFilter = of_thread(id).live();
            let page = view.list_with_inputs(filter, PAGE, next, is_own).await?;
            live.extend(page.runs);
            next = page.next;
            if next.is_none() {
                return Ok(live);
            }
        }
    }

    /// Takes a run back that was made in a thread that is deleted.
    pub(super) async fn take_back(&self, run: &RunRef) {
        self.hidden().hide([run.id()]);
        run.cancel(CancelRequest::because("its thread is deleted").rollback());
        run.ended().await;
        self.hidden().release([run.id()]);
    }

    /// Forgets a thread that was deleted elsewhere, with its runs in memory: they have left the
    /// store.
    pub(super) fn lose(&self, thread: &Arc<Thread>) {
        self.threads().remove(thread);
        for tracked in thread.runs() {
            let run = self.engine().get(tracked.id);
            // What executes still is stopped by whoever deletes the thread.
            let _ = run.map(|run| run.forget());
        }
    }
}

/// Tells whether a run was made by this contract: another one may use the same session.
fn is_own(run: &RunView) -> bool {
    Asked::of(run).is_some()
}

/// How often another node may come first.
pub(super) const TRIES: usize = 8;

/// Runs of a thread that are read at once.
const PAGE: usize = 100;

/// The pauses between two looks at what is left of a thread that is deleted: the first one, the
/// one from which on nobody waits, and the longest one.
pub(super) const PAUSES: (Duration, Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(640), Duration::from_mins(1));

/// The longest sleep before a thread is looked at whose time is not over, and the pause before one
/// is looked at again that was busy.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
const BUSY_REST: Duration = Duration::from_secs(1);
