//! [`App::delete_thread`]: deletes a thread with its runs (contract, section 4).
//!
//! It is decided by a last record in the store, if there is one: from then on no node shows the
//! thread, and each takes back a run that it has just made there. Then its live runs are stopped,
//! wherever they are, and all of them are forgotten; the last record goes when they have gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use quell::{CancelRequest, RunRef, RunStatus};
use quell_http::{Principal, View};
use tokio::time::sleep;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::crons_known::Of;
use crate::options::CONTRACT;
use crate::threads::Thread;
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
        let thread = self.thread_of(view, id).await?;
        let live = self.live_of(view, &self.buried(&thread)).await?;
        if let Some(run) = live.iter().find(|run| !view.may_stop(*run)) {
            return Err(Refusal::forbidden(view.lack_to_stop(run)));
        }
        self.bury(view, &thread, false).await.map(drop)
    }

    /// Deletes a thread whose time is over, unless it is busy; tells whether it did.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it.
    pub(super) async fn expire(&self, thread: &Arc<Thread>) -> Result<bool, Refusal> {
        if thread.with_parts(self.engine(), |parts| parts.facts.is_live) {
            return Ok(false);
        }
        match self.bury(&self.all(), thread, true).await {
            // Somebody else has found out at the same time.
            Err(refusal) if refusal == Refusal::no_thread(thread.id) => Ok(true),
            is_gone => is_gone,
        }
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
    pub(crate) fn all(&self) -> View {
        self.service().view(CONTRACT, Principal::anonymous().admin())
    }

    /// Deletes a thread; if its time is to be over, only if it is, and the thread is not busy.
    /// Tells whether it did.
    async fn bury(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        if_over: bool,
    ) -> Result<bool, Refusal> {
        let (app, view, thread) = (self.clone(), view.clone(), Arc::clone(thread));
        to_the_end(async move { app.bury_now(&view, &thread, if_over).await }).await
    }

    /// Tells whether the time of a thread is over, as the store has it now, and no run of it live.
    async fn is_over_now(&self, view: &View, thread: &Thread) -> Result<bool, Refusal> {
        if self.has_records()
            && let Some(recorded) = self.recorded(thread.id).await?
            && recorded.is_of(thread)
        {
            self.take_card(thread, recorded)?;
        }
        let live = self.live_of(view, &self.buried(thread)).await?;
        // One that waits for an answer is not busy.
        let is_busy = live.iter().any(|run| run.status() != RunStatus::Paused);
        Ok(thread.is_over(SystemTime::now()) && !is_busy)
    }

    async fn bury_now(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        if_over: bool,
    ) -> Result<bool, Refusal> {
        let (buried, hidden);
        let (id, owner) = (thread.id, thread.owner.as_deref());
        {
            // Whoever makes a run in it has made it, or finds that it is gone.
            let _no_run = thread.creating.lock().await;
            let _no_change = thread.changing.lock().await;
            if if_over && !self.is_over_now(view, thread).await? {
                return Ok(false);
            }
            // Before anybody may make it anew.
            let own = self.runs_here(&self.buried(thread));
            // And before anybody here reads the last record, and goes on with it.
            let is_first = self.hidden().bury(id, owner);
            let ended = self.store_end(thread).await;
            if is_first && !matches!(ended, Ok(true)) {
                self.hidden().unbury(id);
            }
            if !ended? {
                return Err(Refusal::no_thread(id));
            }
            buried = self.buried(thread);
            let known: Vec<_> = own.iter().filter_map(|run| thread.find(*run)).collect();
            hidden = self.hide(known, owner, own);
            self.threads().remove(thread);
        }
        self.delete_crons_of(owner, Of::Thread(id)).await;
        self.clear(view, &buried, hidden).await;
        Ok(true)
    }

    /// Stores that a thread is deleted. False if that has been stored before.
    async fn store_end(&self, thread: &Thread) -> Result<bool, Refusal> {
        if !self.has_records() || thread.is_temporary {
            return Ok(!thread.has_left());
        }
        for _ in 0..TRIES {
            let last = thread.card().changed(Keys::new(), None, SystemTime::now());
            let is_stored = self.write(thread, &last, true).await?;
            match self.recorded(thread.id).await? {
                Some(it) if !it.is_deleted && it.is_of(thread) => {
                    if is_stored {
                        // Others have changed it twice, and the number between was free.
                        self.forget_number(thread.id, last.nr);
                    }
                    self.take_card(thread, it)?;
                }
                _ => return Ok(is_stored),
            }
        }
        let text = "The thread is being changed; ask again";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    /// Takes a run back that was just made and stored, if its thread is gone by now: another node
    /// has deleted it, and may not have seen the run. Whoever deletes it later sees it. One that
    /// makes its thread makes it again, if that had nothing: another node had made it for a run
    /// that was refused.
    ///
    /// # Errors
    ///
    /// Fails if it is gone, and if the store cannot say so: then the run is taken back as well.
    pub(super) async fn check_made(
        &self,
        thread: &Arc<Thread>,
        run: &RunRef,
        makes_thread: bool,
    ) -> Result<(), Refusal> {
        if !self.is_node() || !self.has_records() || thread.is_temporary {
            return Ok(());
        }
        let is_gone = match self.recorded(thread.id).await {
            Ok(None) if makes_thread && thread.has_only(run.id()) => {
                self.write(thread, &thread.card(), false).await?;
                Ok(false)
            }
            Ok(recorded) => self.is_gone(thread, recorded.as_ref(), Some(run.id())).await,
            Err(refusal) => Err(refusal),
        };
        if matches!(is_gone, Ok(false)) {
            return Ok(());
        }
        self.take_back(thread, run, "its thread is deleted").await;
        if is_gone? {
            self.lose(thread).await?;
        }
        Err(Refusal::missing("Thread or assistant not found."))
    }

    /// Takes a run back that was just made, whatever has become of it.
    pub(super) async fn take_back(&self, thread: &Thread, run: &RunRef, why: &str) {
        self.hide(thread.find(run.id()), run.owner(), vec![run.id()]);
        run.cancel(CancelRequest::because(why).rollback());
        run.ended().await;
        self.leave_run(&run.into()).await;
    }

    /// Forgets a thread that was deleted elsewhere, with its runs in memory that have left the
    /// store. What executes still is stopped by whoever deletes the thread.
    pub(super) async fn lose(&self, thread: &Arc<Thread>) -> Result<(), Refusal> {
        self.threads().remove(thread);
        Ok(self.forget_deleted_of(thread).await?)
    }
}

/// How often another node may come first.
const TRIES: usize = 8;

/// The longest sleep before a thread is looked at whose time is not over, and the pause before one
/// is looked at again that was busy.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
const BUSY_REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use quell::RunId;
    use quell_http::Service;

    use super::*;
    use crate::app::gone::tests::two;
    use crate::app::record::record_of;
    use crate::options::Options;
    use crate::threads::Card;
    use crate::wire::ttl::Ttl;

    #[tokio::test]
    async fn a_thread_is_deleted_although_others_change_it_meanwhile() {
        let [a, b] = two();
        let (id, all) = (Uuid::now_v7(), a.all());
        let new = Thread::new(id, None, &Keys::new(), false);
        let known = a.make_thread(new, true).await.unwrap().unwrap();
        // It is about to be deleted, and what is said of it by then this node has not read.
        for nth in ["1", "2"] {
            let said = Keys::from_iter([(nth.to_owned(), 1.into())]);
            drop(b.change_thread(&b.all(), id, &said, None, false).await.unwrap());
        }
        let between: RunId = record_of(id, 1);
        while a.engine().stored_run(between).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        a.bury(&all, &known, false).await.unwrap();
        for app in [&a, &b] {
            assert!(app.thread_anywhere(&app.all(), id).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_thread_whose_time_was_over_stays_if_another_node_has_given_it_more() {
        let ttl_of = |minutes: f64| {
            let keys = Keys::from([("ttl".to_owned(), serde_json::json!(minutes).into())]);
            Ttl::read(&keys, SystemTime::now()).unwrap()
        };
        for is_changed in [true, false] {
            let [a, b] = two();
            let id = Uuid::now_v7();
            let card = Card { ttl: ttl_of(0.01), ..Card::new(&Keys::new()) };
            let new = Thread::new(id, None, &Keys::new(), false).with_card(card, 0);
            let known = a.make_thread(new, true).await.unwrap().unwrap();
            if is_changed {
                let (all, none, ttl) = (b.all(), Keys::new(), ttl_of(10.0));
                drop(b.change_thread(&all, id, &none, ttl.as_ref(), false).await.unwrap());
            }
            while !known.is_over(SystemTime::now()) {
                tokio::task::yield_now().await;
            }
            assert_eq!(a.expire(&known).await.unwrap(), !is_changed);
        }
    }

    #[tokio::test]
    async fn a_thread_whose_time_is_over_is_gone_for_all_who_look_at_once() {
        let service = Service::new(quell::Engine::new(), quell_flow::Catalog::new());
        let app = App::new(service, Options::default());
        let (id, all) = (Uuid::now_v7(), app.all());
        let past = SystemTime::now() - Duration::from_hours(1);
        let body = Keys::from([("ttl".to_owned(), 1.into())]);
        let ttl = Ttl::read(&body, past).unwrap();
        let card = Card { ttl, ..Card::new(&Keys::new()) };
        let new = Thread::new(id, None, &Keys::new(), false).with_card(card, 0);
        app.make_thread(new, true).await.unwrap().unwrap();
        let looks = (0..3).map(|_| app.thread_anywhere(&all, id));
        for found in futures::future::join_all(looks).await {
            assert!(found.unwrap().is_none());
        }
    }
}
