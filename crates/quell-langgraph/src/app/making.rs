//! [`Fresh`], [`Unused`], [`Adding`]: a run that is being made, and its thread: the caller may go
//! away.

use std::sync::Arc;

use quell::RunRef;
use quell_http::OnDisconnect;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::threads::{Thread, Tracked};

impl App {
    /// Takes a run in that nobody waits for any more, and gives it up if the store refuses it.
    fn adopt_accepted(
        &self,
        thread: &Arc<Thread>,
        tracked: &Arc<Tracked>,
        run: RunRef,
        (on_disconnect, may_repeat): (OnDisconnect, bool),
    ) {
        // Whoever makes the next run of the thread finds it among the live ones.
        tracked.begin(&run);
        let (app, thread, tracked) = (self.clone(), Arc::clone(thread), Arc::clone(tracked));
        drop(tokio::spawn(async move {
            if run.accepted().await.is_ok() {
                app.follow(Arc::clone(&thread), tracked, run.clone());
                if may_repeat {
                    // Others of the same key have waited for their turn, and are there still.
                    drop(thread.creating.lock().await);
                }
                // Its client went away before it could be followed.
                drop(app.service().guard(&run, on_disconnect).until_pause());
                // It was not asked, or nobody has waited for the answer.
                let _ = app.check_made(&thread, &run, false).await;
                return;
            }
            thread.remove(tracked.id);
            app.owe_no_more(&tracked);
            if thread.is_temporary {
                app.threads().remove_if_idle(app.engine(), &thread);
            }
        }));
    }
}

/// A thread that was made for a run, and perhaps found for others since. Dropped without a run, the
/// last one removes the thread: no run was made, or the caller went away meanwhile.
pub(super) struct Fresh {
    app: App,
    pub(super) thread: Arc<Thread>,
    /// It has its run.
    pub(super) is_used: bool,
}

impl Fresh {
    pub(super) fn new(app: &App, thread: Arc<Thread>) -> Self {
        thread.begin_making();
        Self { app: app.clone(), thread, is_used: false }
    }

    /// As that, of a thread that is there; none if it stays anyway.
    pub(super) fn found(app: &App, thread: &Arc<Thread>) -> Option<Self> {
        let is_new = thread.join_making();
        is_new.then(|| Self { app: app.clone(), thread: Arc::clone(thread), is_used: false })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let Self { app, thread, is_used } = self;
        if *is_used {
            // The next one finds it with its run, and with what that has left.
            let _is_there = thread.keep();
        } else {
            let unused = Unused::new(app, thread.id);
            if app.threads().remove_if_unused(thread) && thread.record().is_some() {
                app.forget_record(thread, unused);
            }
        }
    }
}

/// A thread of which nothing came, until its record has left: who reads that meanwhile has a thread
/// of which nobody was told, and which leaves with what is refused.
pub(super) struct Unused(App, Uuid);

impl Unused {
    pub(super) fn new(app: &App, thread: Uuid) -> Self {
        app.hidden().begin_unused(thread);
        Self(app.clone(), thread)
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        self.0.hidden().end_unused(self.1);
    }
}

/// A run that is being made in a thread. Dropped before the run has begun, this removes the run,
/// unless the engine has it: then the caller went away while the store was waited for, and the run
/// goes on if the store takes it.
pub(super) struct Adding<'a> {
    pub(super) app: &'a App,
    pub(super) thread: &'a Arc<Thread>,
    pub(super) tracked: &'a Arc<Tracked>,
    /// What becomes of the run then, if nobody else follows it.
    pub(super) on_disconnect: OnDisconnect,
    /// Others may ask for the same run: it has a key.
    pub(super) may_repeat: bool,
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        if self.tracked.has_begun() {
            return;
        }
        let run = self.app.engine().get(self.tracked.id);
        match run.filter(|_| Handle::try_current().is_ok()) {
            Some(run) => {
                let then = (self.on_disconnect, self.may_repeat);
                self.app.adopt_accepted(self.thread, self.tracked, run, then);
            }
            None => self.thread.remove(self.tracked.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use quell::store::{MemoryStore, Store};
    use quell::{Engine, EngineConfig, RunSpec};
    use quell_flow::Catalog;
    use quell_http::Service;
    use quell_test_support::{ms, within as within_time};

    use super::*;
    use crate::app::record::record_of;
    use crate::options::Options;
    use crate::threads::within;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_run_that_is_not_made_after_all_leaves_its_thread_and_a_new_thread_leaves_with_it() {
        let app = App::new(Service::new(Engine::new(), Catalog::new()), Options::default());
        let handle = app.engine().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
        let run = handle.into_ref();
        let mut tracked = Tracked::of(&(&run).into(), within(Uuid::nil()));
        tracked.has_begun = false.into();
        run.quiescent().await;
        app.engine().forget(run.id()).unwrap();
        let (tracked, thread) =
            (Arc::new(tracked), Thread::new(Uuid::nil(), None, &Keys::new(), true));
        let thread = app.threads().add(app.engine(), thread).unwrap().unwrap();
        let fresh = Fresh::new(&app, Arc::clone(&thread));
        assert!(thread.add(&tracked));
        let (on_disconnect, may_repeat) = (OnDisconnect::Continue, false);
        let (thread_of, of) = (&thread, &tracked);
        let adding =
            Adding { app: &app, thread: thread_of, tracked: of, on_disconnect, may_repeat };
        assert!(thread.find(tracked.id).is_some() && !thread.leave_if_idle(app.engine()));
        drop(adding);
        assert!(thread.find(tracked.id).is_none());
        // Another request has found it for its run, and nothing comes of that either.
        let found = Fresh::found(&app, &thread).unwrap();
        drop(fresh);
        assert!(app.threads().get(thread.id).is_some());
        drop(found);
        assert!(app.threads().get(thread.id).is_none());
    }

    #[tokio::test]
    async fn a_thread_of_which_somebody_was_told_stays_without_the_run_for_which_it_was_made() {
        let store = || Arc::new(MemoryStore::new()) as Arc<dyn Store>;
        for config in [EngineConfig::new(), EngineConfig::new().store(store())] {
            let engine = Engine::with_config(config);
            let app = App::new(Service::new(engine, Catalog::new()), Options::default());
            for is_told in [false, true] {
                let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
                let made = app.make_thread(thread, true).await.unwrap().unwrap();
                let (id, fresh) = (made.id, Fresh::new(&app, made));
                let view = app.all();
                if is_told {
                    assert!(app.kept_thread(&view, id).await.unwrap().is_some());
                }
                drop(fresh);
                let is_kept = app.threads().get(id).is_some();
                assert_eq!(is_kept, is_told);
                let is_recorded = async || app.is_stored(record_of(id, 0)).await.unwrap();
                if is_told {
                    tokio::time::sleep(ms(50)).await;
                    assert_eq!(is_recorded().await, app.has_records());
                    continue;
                }
                within_time("it leaves", async {
                    while is_recorded().await {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                // Whoever has found it before makes it again.
                assert!(app.kept_thread(&view, id).await.unwrap().is_none());
            }
        }
    }
}
