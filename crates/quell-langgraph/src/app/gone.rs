//! [`App::is_gone`] and [`App::forget_records`]: tells whether a thread is gone from the store, and
//! takes what is stored of the thread itself out of it.

use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{Page, RunRecord};
use quell::{Engine, RunId, RunSpec};
use quell_http::{LookupError, RECORD};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::app::clear::Buried;
use crate::app::elsewhere::of_thread;
use crate::app::making::Unused;
use crate::app::record::{NAME, Recorded, is_recent, record_of};
use crate::threads::Thread;
use crate::wire::noted::Noted;
use crate::wire::refusal::Refusal;

impl App {
    /// Tells whether a thread is deleted, and what it had is about to leave.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn is_deleted(&self, id: Uuid) -> Result<bool, Refusal> {
        Ok(self.has_records() && self.recorded(id).await?.is_some_and(|it| it.is_deleted))
    }

    /// Tells whether a thread in memory is gone, with what the store says of it: another node has
    /// deleted it, or has made another one since; or nothing of it is left but perhaps a run that
    /// was made just now.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_gone(
        &self,
        thread: &Thread,
        recorded: Option<&Recorded>,
        but: Option<RunId>,
    ) -> Result<bool, Refusal> {
        if let Some(recorded) = recorded {
            return Ok(recorded.is_deleted || !recorded.is_of(thread));
        }
        if !self.is_node() || thread.record().is_some() {
            // Alone nobody has deleted it: its record has been kept for long enough.
            return Ok(self.is_node());
        }
        // Runs that are in memory alone do not count: they may have been forgotten elsewhere.
        let runs = self.engine().stored_runs(of_thread(thread.id), Page::first(2)).await;
        let runs = runs.map_err(|_| LookupError::Unavailable)?.items.into_iter().flatten();
        Ok(runs.map(|run| run.accepted.run).all(|run| Some(run) == but))
    }

    /// Forgets the record of a thread that was made here, and of which nothing came, unless
    /// somebody has found it meanwhile and uses it: has made a run in it, or has changed it, on
    /// another node. Who does so looks for the record when that is stored ([`App::check_made`],
    /// [`App::change_thread`]), or when it is in memory here again ([`App::kept_thread`]); and
    /// this looks for them when the record has gone: one finds the other.
    pub(super) fn forget_record(&self, thread: &Arc<Thread>, unused: Unused) {
        if Handle::try_current().is_err() {
            return;
        }
        let (app, thread) = (self.clone(), Arc::clone(thread));
        drop(tokio::spawn(async move {
            let _until_it_has_left = unused;
            if !matches!(app.is_used(thread.id).await, Ok(None)) {
                return;
            }
            forget_own(app.engine(), record_of(thread.id, 0)).await;
            // A deletion is the work of whoever deletes it.
            if matches!(app.is_used(thread.id).await, Ok(Some(is_deleted)) if !is_deleted)
                && let Err(refusal) = app.write(&thread, &thread.card(), false).await
            {
                let (thread, why) = (thread.id, refusal.detail);
                tracing::warn!(%thread, %why, "a thread is lost in which a run was made just now");
            }
        }));
    }

    /// Tells whether a thread that has left the memory is there again, or another node has made a
    /// run in it, or has changed it; and if so, whether that has deleted it.
    async fn is_used(&self, id: Uuid) -> Result<Option<bool>, Refusal> {
        if self.threads().get(id).is_some() {
            return Ok(Some(false));
        }
        if !self.is_node() {
            return Ok(None);
        }
        let changes = self.records_of(id).await?.into_iter().filter(|(noted, _)| noted.nr > 0);
        let is_deleted =
            changes.map(|(noted, _)| noted.is_deleted).reduce(|one, other| one || other);
        if is_deleted.is_some() {
            return Ok(is_deleted);
        }
        let runs = self.engine().stored_runs(of_thread(id), Page::first(1)).await;
        let runs = runs.map_err(|_| LookupError::Unavailable)?.items;
        Ok((!runs.is_empty()).then_some(false))
    }

    /// Forgets what was stored of a thread under a number.
    pub(super) fn forget_number(&self, thread: Uuid, nr: u32) {
        if Handle::try_current().is_err() {
            return;
        }
        let (engine, id) = (self.engine().clone(), record_of(thread, nr));
        drop(tokio::spawn(async move { forget_own(&engine, id).await }));
    }

    /// Forgets all that is stored of a thread itself that is deleted, the last of it last, so that
    /// nobody finds the thread as it was before; tells whether nothing is left.
    ///
    /// One at a time does so, also of several nodes: what it has read would be out of date when
    /// another one is done and somebody has made the thread anew, whose records have the same ids.
    pub(super) async fn forget_records(&self, buried: &Buried) -> bool {
        let (app, deleted) = (self.clone(), buried.clone());
        let id = RunId::from_uuid(Uuid::new_v5(&CLEARINGS, buried.id.as_bytes()));
        let spec = RunSpec::step(NAME).unlimited().id(id);
        let spec = spec.label(RECORD, format!("{CLEARING}{}", buried.id));
        let spec = buried.owner.iter().fold(spec, |spec, owner| spec.owner(owner.as_str()));
        let clear = async move |_ctx| Ok(app.forget_records_now(&deleted).await);
        let Ok(handle) = self.engine().submit_durably(spec, clear).await else {
            // Another node does so. What one has left behind that was lost has ended.
            let _ = self.engine().forget_stored(id).await;
            return false;
        };
        let run = handle.run().clone();
        let is_gone = handle.outcome().await.into_value().unwrap_or(false);
        // Then all that it has forgotten has left the store.
        let is_stored = run.stored().await.is_ok();
        let _ = run.forget();
        is_gone && is_stored
    }

    async fn forget_records_now(&self, buried: &Buried) -> bool {
        let Ok(mut records) = self.records_of(buried.id).await else { return false };
        // Somebody may have made it anew, before another node has stored that it is deleted.
        records.retain(|(noted, _)| buried.is_of(Some(noted.made_us)));
        records.sort_by_key(|(noted, _)| noted.nr);
        let last = records.last().map(|(noted, _)| noted);
        if !last.is_some_and(|last| last.is_deleted) {
            return true;
        }
        for (_, record) in records {
            if !forget(self.engine(), record.accepted.run).await {
                return false;
            }
        }
        true
    }
}

/// Leaves out the records that came late: their thread had left the store by then, and whoever has
/// stored them is about to give them up. What they say is of a thread that was deleted.
pub(super) fn leave_out_late(records: &mut Vec<(Noted, RunRecord)>, now: SystemTime) {
    let first = records.iter().find(|(noted, _)| noted.nr == 0).map(|(noted, _)| noted.made_us);
    records.retain(|(noted, record)| match first {
        Some(made_us) => noted.made_us == made_us,
        // Of a thread that is there the first one may have been kept for long enough.
        None => noted.is_deleted || !noted.is_change || !is_recent(record.accepted.at, now),
    });
}

/// Forgets a record, in memory and in the store; tells whether it is gone. One that another node
/// has just stored is not for a moment. What is in memory may be that of a thread which had the id
/// before, and have left the store.
pub(super) async fn forget(engine: &Engine, id: RunId) -> bool {
    if let Some(record) = engine.get(id) {
        record.quiescent().await;
        if record.forget().is_err() && engine.get(id).is_some() {
            return false;
        }
    }
    match engine.stored_run(id).await {
        Ok(None) => true,
        Ok(Some(_)) => engine.forget_stored(id).await.is_ok(),
        Err(_) => false,
    }
}

/// Forgets a record, and waits until it has left the store. One that was stored here is forgotten
/// by its epoch: another node may have stored another one under its id since.
async fn forget_own(engine: &Engine, id: RunId) {
    let Some(record) = engine.get(id) else {
        let _ = engine.forget_stored(id).await;
        return;
    };
    record.quiescent().await;
    if record.forget().is_ok() {
        // Until the store has taken that.
        let _ = record.stored().await;
    }
}

/// What the label [`RECORD`] of a step begins with that forgets the records of a thread which is
/// deleted. Its id follows from that of the thread: there is one at a time.
const CLEARING: &str = "clearing ";
const CLEARINGS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_636c_6561_7269_6e67_732d);

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use quell::testing::cluster::Nodes;
    use quell::{EngineConfig, RunRef};
    use quell_flow::Catalog;
    use quell_http::{SESSION, Service};
    use quell_test_support::within;

    use super::*;
    use crate::options::Options;
    use crate::wire::exact::Keys;

    /// Makes one of each of two nodes.
    pub(in crate::app) fn two() -> [App; 2] {
        two_with(&Catalog::new())
    }

    /// As [`two`], with components.
    pub(in crate::app) fn two_with(catalog: &Catalog) -> [App; 2] {
        let nodes = Nodes::new(Duration::from_secs(30));
        ["a", "b"].map(|name| {
            let engine = Engine::with_config(EngineConfig::new().node(nodes.join(name)));
            App::new(Service::new(engine, catalog.clone()), Options::default())
        })
    }

    #[tokio::test]
    async fn the_record_of_a_thread_leaves_unless_another_node_uses_it() {
        let [a, b] = two();
        for used in ["by a run", "by a change", "by who is told of it", ""] {
            let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
            let made = a.make_thread(thread, true).await.unwrap().unwrap();
            let view = b.all();
            match used {
                "by a run" => drop(run_in(&b, made.id).await),
                "by a change" => {
                    drop(b.change_thread(&view, made.id, &Keys::new(), None, false).await.unwrap());
                }
                "by who is told of it" => {
                    assert!(b.kept_thread(&view, made.id).await.unwrap().is_some());
                }
                _ => {}
            }
            assert!(a.threads().remove_if_unused(&made));
            a.forget_record(&made, Unused::new(&a, made.id));
            let is_there = async || b.recorded(made.id).await.unwrap().is_some();
            if !used.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert!(is_there().await, "{used}");
                continue;
            }
            within("it leaves", async {
                while is_there().await {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }

    /// Makes a run in a thread, as its node has it before it looks whether that is there.
    async fn run_in(app: &App, thread: Uuid) -> RunRef {
        let spec = RunSpec::agent("r").label(SESSION, thread.to_string());
        let run = app.engine().submit_durably(spec, async |_ctx| Ok(())).await.unwrap().into_ref();
        run.stored().await.unwrap();
        run
    }

    #[tokio::test]
    async fn who_makes_its_thread_makes_it_again_if_that_has_left_and_nothing_of_it_comes_back() {
        let [a, b] = two();
        for (makes_thread, is_deleted) in [(true, false), (false, false), (true, true)] {
            let old = Keys::from([("old".to_owned(), 1.into())]);
            let thread = Thread::new(Uuid::now_v7(), None, &old, false);
            let made = a.make_thread(thread, true).await.unwrap().unwrap();
            let known = b.thread_of(&b.all(), made.id).await.unwrap();
            if is_deleted {
                a.delete_thread(&a.all(), made.id).await.unwrap();
            } else {
                forget_own(a.engine(), record_of(made.id, 0)).await;
            }
            let run = run_in(&b, made.id).await;
            // It is made once more, with its thread, by who makes that.
            let is_made = b.check_made(&known, &run, makes_thread).await;
            assert_eq!(is_made.is_ok_and(|stays| !stays), makes_thread);
            assert!(a.recorded(made.id).await.unwrap().is_none());
            assert!(b.engine().get(run.id()).is_none() && b.threads().get(made.id).is_none());
        }
    }

    #[tokio::test]
    async fn a_deletion_leaves_a_later_run_alone_that_has_the_id() {
        let service = Service::new(Engine::new(), Catalog::new());
        let app = App::new(service, Options::default());
        let run = async || {
            let spec = RunSpec::agent("r").id(RunId::from_text("r"));
            let run = app.engine().submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
            run.quiescent().await;
            run
        };
        let first = run().await;
        app.engine().forget(first.id()).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let later = run().await;
        assert!(app.forget_run(&(&first).into()).await);
        app.forget_when_over(&(&first).into()).await;
        assert!(app.engine().get(later.id()).is_some());
        assert!(app.forget_run(&(&later).into()).await && app.engine().get(later.id()).is_none());
    }

    /// Each in turn, by one of two nodes: made, deleted, made anew, and deleted.
    #[tokio::test]
    async fn a_thread_that_was_made_anew_elsewhere_is_deleted_by_whoever_has_had_it_before() {
        let apps = two();
        for ways in 0..16 {
            let by = |nth: usize| &apps[(ways >> nth) & 1];
            let id = Uuid::now_v7();
            for nth in [0, 2] {
                let thread = Thread::new(id, None, &Keys::new(), false);
                assert!(by(nth).make_thread(thread, true).await.unwrap().is_some(), "{ways:b}");
                by(nth + 1).delete_thread(&by(nth + 1).all(), id).await.unwrap();
                for app in &apps {
                    let found = app.thread_anywhere(&app.all(), id).await.unwrap();
                    assert!(found.is_none(), "{ways:b} {nth}");
                }
            }
        }
    }

    #[tokio::test]
    async fn who_is_told_of_a_thread_changes_nothing_of_it_however_old_it_is() {
        let [a, b] = two();
        let at = SystemTime::now() - Duration::from_hours(1);
        let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false).since(at);
        let made = a.make_thread(thread, true).await.unwrap().unwrap();
        let row_of = |thread: &Thread| thread.row(a.engine()).to_string();
        let before = row_of(&made);
        let told = b.kept_thread(&b.all(), made.id).await.unwrap().unwrap();
        assert_eq!(row_of(&told), before);
        // And it stays.
        assert!(a.threads().remove_if_unused(&made));
        a.forget_record(&made, Unused::new(&a, made.id));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(b.recorded(made.id).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_change_that_comes_behind_a_deletion_shows_no_node_the_thread() {
        let [a, b] = two();
        let (id, all) = (Uuid::now_v7(), a.all());
        let new = || Thread::new(id, None, &Keys::new(), false);
        a.make_thread(new(), true).await.unwrap().unwrap();
        let late = b.thread_of(&b.all(), id).await.unwrap();
        a.delete_thread(&all, id).await.unwrap();
        // It has found the thread before, and stores its change after all has left.
        let card = late.card().changed(Keys::new(), None, SystemTime::now());
        assert!(b.write(&late, &card, false).await.unwrap());
        assert!(a.thread_anywhere(&all, id).await.unwrap().is_none());
        // Neither is it one of a thread that is made anew, and nor is a late deletion.
        let anew = a.make_thread(new(), true).await.unwrap().unwrap();
        let last = card.changed(Keys::new(), None, SystemTime::now());
        assert!(b.write(&late, &last, true).await.unwrap());
        assert!(b.forget_records(&b.buried(&late)).await);
        let found = b.recorded(id).await.unwrap().unwrap();
        assert!(found.is_of(&anew) && found.has_first && !found.is_deleted);
        assert_eq!(found.card.nr, 0);
    }
}
