//! A run starts on all that those before it have left, also if that was not known when they ended.

use std::sync::Arc;

use quell::store::{MemoryStore, Store, StoreError};
use quell::{CancelRequest, Engine, EngineConfig, Payload, RunContext, RunRef, RunSpec};
use quell_flow::Catalog;
use quell_http::Service;
use quell_test_support::{Flow, Valve, secs, soon, within as soon_done};
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::App;
use crate::options::Options;
use crate::threads::{Thread, Tracked, within};
use crate::wire::exact::Keys;

/// An app, a thread, and a run of it that has started behind one which the thread has not taken in.
async fn behind_one(store: Arc<dyn Store>) -> (App, Arc<Thread>, Arc<Tracked>, RunRef) {
    let engine = Engine::with_config(EngineConfig::new().store(store));
    let app = App::new(Service::new(engine, Catalog::new()), Options::default());
    let thread = Arc::new(Thread::new(Uuid::now_v7(), None, &Keys::new(), false));
    let input = |text: &str| Payload::from_json_text(text).unwrap();
    let body = async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    };
    let enter = |run: &RunRef| {
        let tracked = Tracked::of(&run.into(), within(thread.id)).behind_others();
        let tracked = Arc::new(tracked);
        tracked.begin(run);
        assert!(thread.add(&tracked));
        tracked
    };
    let spec = RunSpec::agent("r").input(input(r#"{"before":1}"#));
    let before = app.engine().submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
    before.quiescent().await;
    enter(&before);
    let spec = RunSpec::agent("r").input(input(r#"{"own":2}"#));
    let run = app.engine().submit(spec, body).unwrap().into_ref();
    soon("it has started", || run.row().started_at.is_some()).await;
    let tracked = enter(&run);
    (app, thread, tracked, run)
}

fn starts_behind(app: &App, thread: &Thread, tracked: &Tracked, run: &RunRef) -> bool {
    let ground = thread.starts(app.engine(), tracked, run);
    ground.values.is_some_and(|values| values.contains_key("before"))
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_store_in_trouble_however_long_that_lasts() {
    let store = Valve::new(Flow::Open);
    let (app, thread, tracked, run) = behind_one(Arc::clone(&store) as _).await;
    store.fail_reads(StoreError::Io { what: "away".into() });
    let of = (app.clone(), Arc::clone(&thread), Arc::clone(&tracked), run.clone());
    let knows = tokio::spawn(async move { of.0.know_base(&of.1, &of.2, &of.3).await });
    tokio::time::sleep(secs(100)).await;
    assert!(tracked.awaits_base(), "it is decided without the store");
    store.fail_reads(None);
    soon_done("it is known", knows).await.unwrap();
    assert!(starts_behind(&app, &thread, &tracked, &run));
    drop(run.cancel(CancelRequest::because("it is over")));
}

#[tokio::test]
async fn a_run_starts_behind_one_that_has_ended_before_it_was_known_on_what_it_has_started() {
    let (app, thread, tracked, run) = behind_one(Arc::new(MemoryStore::new())).await;
    app.know_base(&thread, &tracked, &run).await;
    assert!(starts_behind(&app, &thread, &tracked, &run));
    drop(run.cancel(CancelRequest::because("it is over")));
}

/// As the stream of a client that reads nothing does.
#[tokio::test(start_paused = true)]
async fn who_waits_and_is_polled_no_more_holds_up_nobody() {
    let store = Valve::new(Flow::Open);
    let (app, thread, tracked, run) = behind_one(Arc::clone(&store) as _).await;
    store.fail_reads(StoreError::Io { what: "away".into() });
    let mut left = Box::pin(app.know_base(&thread, &tracked, &run));
    assert!(timeout(secs(5), left.as_mut()).await.is_err());
    store.fail_reads(None);
    soon_done("it is known", app.know_base(&thread, &tracked, &run)).await;
    assert!(starts_behind(&app, &thread, &tracked, &run));
    soon_done("it is told as well", left).await;
    drop(run.cancel(CancelRequest::because("it is over")));
}
