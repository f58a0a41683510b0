//! [`App::delete_run`]: deletes a run (contract, section 6).

use std::sync::atomic::Ordering;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use quell::{CancelRequest, RunId, RunRef};
use quell_http::{LookupError, RunView, View, Wait};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::clear::PAUSES;
use crate::app::find::Located;
use crate::threads::Thread;
use crate::wire::refusal::Refusal;

impl App {
    /// Deletes a run that the caller may see: it is stopped, and waited for. The thread is then as
    /// before the run, if no other has ended in it since.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if the caller may not stop it, and if the store cannot be read or
    /// does not take the stop.
    pub(crate) async fn delete_run(
        &self,
        view: &View,
        thread: Uuid,
        run: Uuid,
    ) -> Result<(), Refusal> {
        let kept = self.find_now(view, Some(thread), run).await?.and_then(Located::kept);
        let found = match kept {
            Some(found) => Some(RunView::Live(found.run)),
            None => self.find_stored(view, Some(thread), run).await?.map(|found| found.run),
        };
        let found = found.ok_or_else(|| Refusal::missing("Run not found"))?;
        if !view.may_stop(&found) {
            return Err(Refusal::forbidden(view.lack_to_stop(&found)));
        }
        let (app, view) = (self.clone(), view.clone());
        // It goes on although the caller has gone.
        let erased = tokio::spawn(async move { app.erase(&view, thread, found).await });
        erased.await.map_err(|_| Refusal::internal())?
    }

    async fn erase(&self, view: &View, thread: Uuid, run: RunView) -> Result<(), Refusal> {
        let id = run.id();
        if !run.status().is_terminal() {
            let why = format!("deletion requested via DELETE /threads/{thread}/runs/{id}");
            let request = CancelRequest::because(why).rollback();
            view.cancel(run.clone(), request, Wait::terminal()).await.stored?;
        }
        self.hidden().hide([id]);
        if let Some(run) = run.live() {
            run.ended().await;
        }
        let mut pause = PAUSES.0;
        while pause < PAUSES.1 {
            if self.is_forgotten(&run).await {
                return Ok(());
            }
            sleep(pause).await;
            pause *= 2;
        }
        // What executes still, here or elsewhere, ends some time.
        let app = self.weak();
        drop(tokio::spawn(async move {
            while let Some(app) = app.upgrade() {
                if app.is_forgotten(&run).await {
                    return;
                }
                drop(app);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.2);
            }
        }));
        Ok(())
    }

    /// Forgets a run that has ended, unless something of it executes; tells whether it is gone.
    async fn is_forgotten(&self, run: &RunView) -> bool {
        let id = run.id();
        let is_gone = if let Some(run) = self.engine().get(id) {
            let is_gone = self.all().forget(&run);
            if is_gone {
                // A store in trouble takes it later.
                self.settled(&run).await;
            }
            is_gone
        } else {
            let forgotten = self.engine().forget_stored(id).await;
            forgotten.is_ok() || matches!(self.is_stored(id).await, Ok(false))
        };
        if is_gone {
            self.undo(run.label(quell_http::SESSION), id);
            self.hidden().release([id]);
        }
        is_gone
    }

    /// Takes what a run has left out of its thread.
    fn undo(&self, session: Option<&str>, run: RunId) {
        let thread = session.and_then(|session| Uuid::try_parse(session).ok());
        let Some(thread) = thread.and_then(|thread| self.threads().get(thread)) else { return };
        thread.undo(self.engine(), run);
        self.hold_values(&thread);
    }

    /// As [`App::find`], for one of several nodes: what another node has deleted is not found.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn find_now(
        &self,
        view: &View,
        thread: Option<Uuid>,
        run: Uuid,
    ) -> Result<Option<Located>, Refusal> {
        if let Some(run) = self.engine().get(RunId::from_uuid(run)).filter(|_| self.is_node()) {
            self.forget_deleted(&run).await?;
        }
        let found = self.find(view, thread, run);
        if let Some(Located::Kept(found)) = &found
            && let Some(of) = &found.thread
        {
            let is_over = self.is_node() && found.run.status().is_terminal();
            let may_be_deleted = is_over || !of.is_temporary && !of.is_whole.load(Ordering::SeqCst);
            if may_be_deleted && self.is_of_deleted(&(&found.run).into()).await? {
                return Ok(None);
            }
        }
        Ok(found)
    }

    /// Forgets a run in memory that has left the store: another node has deleted it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn forget_deleted(&self, run: &RunRef) -> Result<(), LookupError> {
        // What is not stored yet is not deleted either.
        let is_stored = || run.stored().now_or_never().is_some_and(|stored| stored.is_ok());
        let is_over = run.status().is_terminal() && run.parent().is_none() && is_stored();
        if is_over && !self.is_stored(run.id()).await? && self.all().forget(run) {
            self.undo(run.label(quell_http::SESSION), run.id());
        }
        Ok(())
    }

    /// As [`App::forget_deleted`], of all runs of a thread.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn forget_deleted_of(&self, thread: &Thread) -> Result<(), LookupError> {
        let runs = thread.runs().into_iter().filter_map(|tracked| tracked.run(self.engine()));
        let looks = runs.map(|run| async move { self.forget_deleted(&run).await });
        stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Takes what the last run has left out of a thread, if another node has deleted that run.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn undo_deleted(&self, thread: &Thread) -> Result<(), LookupError> {
        let Some(left) = thread.left(self.engine()).filter(|_| self.is_node()) else {
            return Ok(());
        };
        if let Some(run) = self.engine().get(left.run()) {
            return self.forget_deleted(&run).await;
        }
        if !self.is_stored(left.run()).await? {
            thread.undo(self.engine(), left.run());
        }
        Ok(())
    }

    /// Tells whether the store has a run.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_stored(&self, run: RunId) -> Result<bool, LookupError> {
        let stored = self.engine().stored_run(run).await;
        Ok(stored.map_err(|_| LookupError::Unavailable)?.is_some())
    }
}

/// Runs that are looked up at once in the store.
const AT_ONCE: usize = 16;
