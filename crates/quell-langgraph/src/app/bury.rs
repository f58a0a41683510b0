//! [`App::delete_thread`]: deletes a thread with its runs (contract, section 4).
//!
//! It is decided by a last record in the store, if there is one: from then on no node shows the
//! thread, and each takes back a run that it has just made there. Then its live runs are stopped,
//! wherever they are, and all of them are forgotten; the last record goes when they have gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use quell::{CancelRequest, RunRef, RunStatus};
use quell_http::{Principal, View};
use tokio::time::sleep;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::crons_known::Of;
use crate::app::erase::still_stopping;
use crate::app::record::Recorded;
use crate::options::CONTRACT;
use crate::threads::{Card, Thread};
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

    /// Yields what was said of a thread, as the store has it now, if its time is over by that and
    /// no run of it live.
    async fn card_if_over(&self, view: &View, thread: &Thread) -> Result<Option<Card>, Refusal> {
        if self.has_records()
            && let Some(recorded) = self.recorded(thread.id).await?
            && recorded.is_of(thread)
        {
            self.take_card(thread, recorded)?;
        }
        // Before its runs: whoever makes one of another node says that it is not over yet.
        let card = thread.card();
        let live = self.live_of(view, &self.buried(thread)).await?;
        // One that waits for an answer is not busy.
        let is_busy = live.iter().any(|run| run.status() != RunStatus::Paused);
        Ok((card.is_over(SystemTime::now()) && !is_busy).then_some(card))
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
            let over = if if_over { self.card_if_over(view, thread).await? } else { None };
            if if_over && over.is_none() {
                return Ok(false);
            }
            // Before anybody may make it anew.
            let own = self.runs_here(&self.buried(thread));
            // And before anybody here reads the last record, and goes on with it.
            let is_first = self.hidden().bury(id, owner);
            let ended = self.store_end(view, thread, over).await;
            if is_first && !matches!(ended, Ok(End::Stored)) {
                self.hidden().unbury(id);
            }
            if ended.is_err() {
                self.clear_if_deleted(id);
            }
            match ended? {
                End::Stored => {}
                End::Known => return Err(Refusal::no_thread(id)),
                End::Outlasted => return Ok(false),
            }
            buried = self.buried(thread);
            let known: Vec<_> = own.iter().filter_map(|run| thread.find(run.id())).collect();
            hidden = self.hide(known, owner, own);
            self.threads().remove(thread);
        }
        self.delete_crons_of(owner, Of::Thread(id)).await;
        if self.clear(view, &buried, hidden).await { Ok(true) } else { Err(still_stopping()) }
    }

    /// Stores that a thread is deleted; behind this card alone, or one by which its time is over as
    /// well, if it is to be over.
    async fn store_end(
        &self,
        view: &View,
        thread: &Thread,
        mut over: Option<Card>,
    ) -> Result<End, Refusal> {
        let if_over = over.is_some();
        let told = |is_stored| if is_stored { End::Stored } else { End::Known };
        if !self.has_records() || thread.is_temporary {
            return Ok(told(!thread.has_left()));
        }
        for _ in 0..TRIES {
            let before = over.take().unwrap_or_else(|| thread.card());
            let last = before.changed(Keys::new(), None, SystemTime::now());
            let is_stored = self.write(thread, &last, true).await?;
            match self.recorded_soon(thread.id).await? {
                Some(it) if !it.is_deleted && it.is_of(thread) => {
                    if is_stored {
                        // Others have changed it twice, and the number between was free.
                        self.forget_number(thread.id, last.nr);
                    }
                    self.take_card(thread, it)?;
                }
                _ => return Ok(told(is_stored)),
            }
            if if_over {
                over = self.card_if_over(view, thread).await?;
                if over.is_none() {
                    return Ok(End::Outlasted);
                }
            }
        }
        Err(Refusal::is_changing())
    }

    /// Takes a run back that was just made and stored, if its thread is gone by now: another node
    /// has deleted it, and may not have seen the run. Whoever deletes it later sees it. Tells
    /// whether the run stays: one that makes its thread is made once more, with that, if nothing
    /// tells of a deletion: another node had made it for a run that was refused, or the deletion is
    /// over.
    ///
    /// # Errors
    ///
    /// Fails if it is gone, and if the store cannot say so: then the run is taken back as well.
    pub(super) async fn check_made(
        &self,
        thread: &Arc<Thread>,
        run: &RunRef,
        makes_thread: bool,
    ) -> Result<bool, Refusal> {
        if !self.is_node() || !self.has_records() || thread.is_temporary {
            return Ok(true);
        }
        let recorded = self.recorded(thread.id).await;
        // That of a refused request, and by now another one has made it anew.
        let is_other = |it: &Recorded| !it.is_deleted && !it.is_of(thread);
        let is_left = recorded.as_ref().is_ok_and(|it| it.as_ref().is_none_or(is_other));
        let is_again = makes_thread && is_left;
        let is_gone = async {
            let is_gone = self.is_gone(thread, recorded?.as_ref(), Some(run.id())).await?;
            Ok::<_, Refusal>(is_gone || !self.outlast(thread, run.id()).await?)
        };
        let is_gone = is_gone.await;
        if matches!(is_gone, Ok(false)) {
            thread.find(run.id()).iter().for_each(|tracked| tracked.note_made());
            return Ok(true);
        }
        // Nothing of it is left: a repeat makes it, or is answered as this one.
        run.free_key_at_rollback();
        self.take_back(thread, run, "its thread is deleted").await;
        if is_gone? {
            self.lose(thread).await?;
        }
        if is_again { Ok(false) } else { Err(Refusal::missing("Thread or assistant not found.")) }
    }

    /// Takes a run back that was just made, whatever has become of it, also if its caller goes
    /// away meanwhile: it is hidden until it has left.
    pub(super) async fn take_back(&self, thread: &Thread, run: &RunRef, why: &str) {
        self.hide(thread.find(run.id()), run.owner(), vec![run.into()]);
        run.cancel(CancelRequest::because(why).rollback());
        let (app, run) = (self.clone(), run.clone());
        let left = to_the_end(async move {
            run.ended().await;
            app.leave_run(&(&run).into()).await;
            Ok(())
        });
        // What has panicked in it was told.
        drop(left.await);
    }

    /// Forgets a thread that was deleted elsewhere, with its runs in memory that have left the
    /// store. What executes still is stopped by whoever deletes the thread.
    pub(super) async fn lose(&self, thread: &Arc<Thread>) -> Result<(), Refusal> {
        self.threads().remove(thread);
        Ok(self.forget_deleted_of(thread).await?)
    }
}

/// What has become of the end of a thread.
#[derive(Debug)]
enum End {
    Stored,
    /// It was stored before.
    Known,
    /// It is not over, as somebody has said since.
    Outlasted,
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

    fn ttl_of(minutes: f64) -> Option<Ttl> {
        let keys = Keys::from([("ttl".to_owned(), serde_json::json!(minutes).into())]);
        Ttl::read(&keys, SystemTime::now()).unwrap()
    }

    #[tokio::test]
    async fn a_thread_whose_time_was_over_stays_if_another_node_has_given_it_more() {
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

    #[tokio::test]
    async fn a_run_and_the_end_of_the_time_of_its_thread_come_one_after_the_other() {
        for comes_first in ["the run", "more time", "the end"] {
            let [a, b] = two();
            let id = Uuid::now_v7();
            let card = Card { ttl: ttl_of(0.5), ..Card::new(&Keys::new()) };
            let new = Thread::new(id, None, &Keys::new(), false).with_card(card, 0);
            let on_a = a.make_thread(new, true).await.unwrap().unwrap();
            let on_b = b.thread_of(&b.all(), id).await.unwrap();
            // One node, whose clock is ahead, has looked, and the other one makes a run now.
            let over = Some(on_a.card());
            let spec = quell::RunSpec::agent("r").label(quell_http::SESSION, id.to_string());
            let body = async |ctx: quell::RunContext| {
                ctx.stopped().await;
                Ok(())
            };
            let run = b.engine().submit_durably(spec, body).await.unwrap().into_ref();
            let end = async || a.store_end(&a.all(), &on_a, over.clone()).await.unwrap();
            let is_made = async || b.check_made(&on_b, &run, false).await.is_ok();
            match comes_first {
                "the run" => {
                    assert!(is_made().await);
                    let ended = end().await;
                    assert!(matches!(ended, End::Outlasted), "{ended:?}");
                    assert!(!run.status().is_terminal());
                }
                "more time" => {
                    let (all, ttl, none) = (b.all(), ttl_of(10.0), Keys::new());
                    let more = b.change_thread(&all, id, &none, ttl.as_ref(), false);
                    drop(more.await.unwrap());
                    assert!(matches!(end().await, End::Outlasted));
                }
                _ => {
                    assert!(matches!(end().await, End::Stored));
                    assert!(!is_made().await && run.status().is_terminal());
                }
            }
            run.cancel(CancelRequest::because("enough"));
        }
    }
}
