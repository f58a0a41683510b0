//! [`App::delete_run`]: deletes a run (contract, section 6).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use quell::{CancelRequest, RunId, RunRef};
use quell_http::{LookupError, RunView, View, Wait};
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::find::{Found, Located};
use crate::threads::{Mark, Thread, Tracked};
use crate::wire::refusal::{RUN_GONE, Refusal};

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
        let found = self.find_to_stop(view, Some(thread), run).await?;
        let (found, tracked) = found.ok_or_else(|| Refusal::missing(RUN_GONE))?;
        if !view.may_stop(&found) {
            return Err(Refusal::forbidden(view.lack_to_stop(&found)));
        }
        let (app, view) = (self.clone(), view.clone());
        to_the_end(async move { app.erase(&view, thread, (found, tracked)).await }).await
    }

    /// Finds a run that the caller may see, to stop it: one that is live here without the store,
    /// which may hang. If another node has deleted it, that wants it stopped as well.
    ///
    /// # Errors
    ///
    /// Fails if it is not live here, and the store cannot be read.
    pub(crate) async fn find_to_stop(
        &self,
        view: &View,
        thread: Option<Uuid>,
        run: Uuid,
    ) -> Result<Option<(RunView, Option<Arc<Tracked>>)>, Refusal> {
        let here = self.find(view, thread, run).and_then(Located::kept);
        let is_live = |found: &Found| !found.run.status().is_terminal();
        let kept = match here.filter(is_live) {
            Some(found) => Some(found),
            None => self.find_now(view, thread, run).await?.and_then(Located::kept),
        };
        if let Some(found) = kept {
            return Ok(Some((RunView::Live(found.run), Some(found.tracked))));
        }
        let stored = self.find_stored(view, thread, run).await?;
        Ok(stored.map(|found| (found.run, None)))
    }

    async fn erase(
        &self,
        view: &View,
        thread: Uuid,
        (run, tracked): (RunView, Option<Arc<Tracked>>),
    ) -> Result<(), Refusal> {
        let id = run.id();
        if run.status().is_terminal() {
            // A later process has to know of it, or nothing has changed.
            self.note_erased(&run).await?;
        } else {
            let why = format!("deletion requested via DELETE /threads/{thread}/runs/{id}");
            let request = CancelRequest::because(why).deletion();
            let outcome = view.cancel(run.clone(), request, Wait::terminal()).await;
            outcome.stored?;
            if !outcome.is_reached {
                return Err(still_stopping());
            }
        }
        // Of one that is only in the store by now this node may have had the end as well.
        let runs = self.hide(tracked, run.owner(), vec![run.meant()]);
        if let Some(run) = run.live() {
            run.ended().await;
        }
        self.leave_run(&run).await;
        // Whoever follows it may have been told its end just before it was hidden.
        self.finals().remove(run.owner(), &runs);
        Ok(())
    }

    /// Shows nobody a run that has ended, and forgets it as soon as nothing of it executes.
    pub(super) async fn leave_run(&self, run: &RunView) {
        self.hidden().hide([run.meant()]);
        let this = run.clone();
        let is_gone = self.until_gone(move |app, _| {
            let run = this.clone();
            async move { app.is_forgotten(&run).await }
        });
        if is_gone.await {
            return;
        }
        // If the store does not take it, this node hides the run.
        let _ = self.note_erased(run).await;
        if matches!(self.is_there(run).await, Ok(false)) {
            // It has left meanwhile.
            self.forget_erased(run).await;
        }
    }

    /// Forgets a run that has ended, unless something of it executes; tells whether it is gone, and
    /// what it has left in its thread.
    async fn is_forgotten(&self, run: &RunView) -> bool {
        let (id, here) = (run.id(), self.engine().get(run.id()));
        let of = self.known_of_thread(run.label(quell_http::SESSION), id);
        if !self.forget_run(run).await {
            return false;
        }
        if let Some(here) = here {
            // Or a crash would bring it back. A store in trouble takes it later.
            self.is_settled(&here).await;
        }
        self.undo(of, id);
        self.forget_erased(run).await
    }

    /// Yields the thread that a run names, and what that knows of it.
    fn known_of_thread(&self, session: Option<&str>, run: RunId) -> Option<(Uuid, Known)> {
        let id = Uuid::try_parse(session?).ok()?;
        let thread = self.threads().get(id);
        Some((id, thread.and_then(|thread| thread.find(run))))
    }

    /// Takes what a run has left out of its thread.
    fn undo(&self, of: Option<(Uuid, Known)>, run: RunId) {
        let Some((thread, known)) = of else { return };
        let Some(thread) = self.threads().get(thread) else { return };
        thread.undo(self.engine(), run, known);
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
        if let Some(Located::Kept(found)) = &found {
            let (run, of) = (RunView::from(&found.run), found.thread.as_ref());
            let is_temporary = of.is_some_and(|of| of.is_temporary);
            let is_whole = of.is_none_or(|of| of.is_whole.load(Ordering::SeqCst));
            let is_over = run.status().is_terminal();
            let may_be_deleted =
                self.is_node() && (is_over || !is_temporary) || !is_temporary && !is_whole;
            if may_be_deleted && self.is_of_deleted(&run).await? || self.is_erased(&run).await? {
                // From here on it is not found, also when it has ended.
                found.tracked.is_deleted.store(true, Ordering::SeqCst);
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
        // What is not stored yet is not deleted either. That it is stored is known here a moment
        // after others have read it.
        let is_root = run.status().is_terminal() && run.parent().is_none();
        let is_over = is_root && self.is_settled(run).await;
        if is_over && self.is_erased(&run.into()).await? {
            return Ok(());
        }
        let of = self.known_of_thread(run.label(quell_http::SESSION), run.id());
        if is_over && !self.is_there(&run.into()).await? && self.all().forget(run) {
            self.undo(of, run.id());
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

    /// Takes what the last runs have left out of a thread, those that another node has deleted.
    /// That one is there is known if it is among the newest runs, which were just read.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn undo_deleted(
        &self,
        thread: &Thread,
        newest: &[RunView],
    ) -> Result<(), LookupError> {
        let (mut before, marks) = ([None; 2], || thread.marks(self.engine()));
        while self.is_node() && marks() != before {
            before = marks();
            let [left, wrote] = before.map(|mark| mark.map(Mark::run));
            for marked in [left, wrote.filter(|_| wrote != left)].into_iter().flatten() {
                if let Some(run) = self.engine().get(marked) {
                    self.forget_deleted(&run).await?;
                    continue;
                }
                let is_listed = newest.iter().any(|run| run.live().is_none() && run.id() == marked);
                if !is_listed && !self.is_stored(marked).await? {
                    thread.undo(self.engine(), marked, thread.find(marked));
                }
            }
            // The one before may be deleted as well.
        }
        Ok(())
    }
}

/// What a thread knows of one of its runs.
type Known = Option<Arc<Tracked>>;

/// Runs that are looked up at once in the store.
const AT_ONCE: usize = 16;

/// Refuses to say that something is gone which another node is still to stop: this one follows it
/// no longer, since it ends.
pub(super) fn still_stopping() -> Refusal {
    let text = "Another node stops it still; it is gone when that is done";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use quell::RunSpec;
    use quell_http::{NATIVE, Principal, SESSION};

    use super::*;
    use crate::app::gone::tests::two;
    use crate::threads::{Final, within};
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn no_final_body_stays_of_a_deleted_run_that_is_only_in_the_store() {
        let [a, b] = two();
        let id = Uuid::now_v7();
        let spec = RunSpec::agent("a").label(SESSION, id.to_string());
        let run = a.engine().submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
        run.quiescent().await;
        run.stored().await.unwrap();
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(id)));
        let thread = Arc::new(Thread::new(id, None, &Keys::new(), false));
        let (body, shown) = ("{}".into(), Weak::new());
        let kept = Final { run: run.clone(), thread, tracked, body, shown, run_bytes: 0 };
        b.finals().keep(kept);
        let view = b.service().view(NATIVE, Principal::anonymous().admin());
        let stored = view.find_by_id(run.id()).await.unwrap().unwrap();
        assert!(stored.live().is_none());
        b.erase(&view, id, (stored, None)).await.unwrap();
        assert!(!b.finals().has(run.id()));
    }
}
