//! I4, I36: what a process has left that is gone, where some of it has no row, or cannot be read.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{MemoryStore, Store};
use quell::{
    Abandoned, CancelRequest, Engine, Failure, Recovery, RunContext, RunId, RunRef, RunSpec,
    RunStatus, Work, limits,
};
use tokio::sync::{Notify, mpsc};

use crate::support::{Flow, Valve, durable, secs, within};

/// Hears of its stop, and uses all of its grace.
async fn stubborn(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    pending().await
}

/// Acknowledges a rollback of a run whose process dies before it has ended.
async fn dies_rolling_back(store: &Valve, run: &RunRef) {
    store.set(Flow::Shut { stops: false });
    let request = CancelRequest::because("never mind").grace(secs(60)).rollback();
    run.cancel_durably(request).await.1.unwrap();
}

#[tokio::test]
async fn what_is_lost_ends_behind_all_that_is_told_of_it_though_its_clock_was_ahead() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let body = async move |ctx: RunContext| {
        drop(ctx.spawn(RunSpec::step("below"), async |_| pending::<Result<(), Failure>>().await));
        told.notify_one();
        goes.notified().await;
        let _ = ctx.emit("late");
        told.notify_one();
        pending::<Result<(), Failure>>().await
    };
    let run = engine.submit_durably(RunSpec::agent("early"), body).await.unwrap().into_ref();
    within("it begins", begun.notified()).await;
    let ahead = SystemTime::now() + Duration::from_hours(1);
    assert!(engine.not_before(ahead));
    go.notify_one();
    within("it has told", begun.notified()).await;
    run.events_stored().await.unwrap();
    // As if its process was killed: nobody stops what it has.
    let _: &'static mut Engine = Box::leak(Box::new(engine));
    let later = durable(&Valve::reopened(&memory, 2));
    later.recover(|_| Recovery::Fail).await.unwrap();
    let report = later.stored_run(run.id()).await.unwrap().unwrap().report_by_now();
    assert_eq!(report.rows.len(), 2);
    for row in &report.rows {
        assert!(row.ended_at >= Some(ahead) && row.quiesced_at == row.ended_at, "{row:?}");
    }
    let events = memory.events(run.id(), 0, limits::STORE_PAGE_MAX).await.unwrap();
    let last = events.into_iter().map(|event| event.unwrap().at).max();
    assert_eq!(last, report.own_row().ended_at);
}

#[tokio::test]
async fn i4_work_of_a_run_that_has_no_row_is_named_when_its_process_is_gone() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 1);
    let engine = durable(&store);
    let (tell, mut told) = mpsc::unbounded_channel();
    let body = async move |ctx: RunContext| {
        for nth in 0..=limits::REPORT_ROWS_MAX {
            let tell = tell.clone();
            drop(ctx.spawn(RunSpec::step("below"), async move |ctx: RunContext| {
                let is_last = nth == limits::REPORT_ROWS_MAX;
                let what = if is_last { Work::Remote } else { Work::Blocking };
                let _hold = ctx.hold_durably(what, "far").await?;
                let _ = tell.send(ctx.id());
                stubborn(ctx).await
            }));
        }
        stubborn(ctx).await
    };
    let run = engine.submit_durably(RunSpec::agent("many"), body).await.unwrap().into_ref();
    for _ in 0..=limits::REPORT_ROWS_MAX {
        within("each begins", told.recv()).await.unwrap();
    }
    let last = run.children().last().unwrap().id();
    dies_rolling_back(&store, &run).await;
    let later = durable(&Valve::reopened(&memory, 2));
    later.recover(|_| Recovery::Fail).await.unwrap();
    let report = later.stored_run(run.id()).await.unwrap().unwrap().report_by_now();
    assert!(report.rows.iter().all(|row| row.run != last), "it has no row");
    assert_eq!(report.rows.len(), limits::REPORT_ROWS_MAX);
    assert_eq!(report.abandoned, [Abandoned::new(last, "far".into(), Work::Remote)]);
}

#[tokio::test]
async fn i36_what_is_rolled_back_with_a_run_that_cannot_be_read_ends_and_stays() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 1);
    let engine = durable(&store);
    let (tell, mut told) = mpsc::unbounded_channel::<RunId>();
    let body = async move |ctx: RunContext| {
        let below = ctx.spawn(RunSpec::step("below"), stubborn);
        let _ = tell.send(below.id());
        stubborn(ctx).await
    };
    let run = engine.submit_durably(RunSpec::agent("damaged"), body).await.unwrap().into_ref();
    let below = within("it runs", told.recv()).await.unwrap();
    let other = engine.submit_durably(RunSpec::agent("other"), stubborn).await.unwrap().into_ref();
    for run in [&run, &run.children()[0], &other] {
        run.stored().await.unwrap();
    }
    dies_rolling_back(&store, &run).await;
    dies_rolling_back(&store, &other).await;
    for boot in 2..=3 {
        let store = Valve::reopened(&memory, boot);
        store.damage(below);
        let later = durable(&store);
        let recovered = later.recover(|_| Recovery::Fail).await.unwrap();
        assert_eq!(recovered.unreadable[0].run, Some(below));
        let left = later.stored_run(run.id()).await.unwrap().unwrap();
        assert_eq!((left.status, left.is_rolled_back()), (RunStatus::Cancelled, true));
        assert_eq!(later.stored_run(other.id()).await, Ok(None));
    }
    let last = durable(&Valve::reopened(&memory, 4));
    last.recover(|_| Recovery::Fail).await.unwrap();
    for run in [run.id(), below] {
        assert_eq!(memory.get(run).await, Ok(None), "it can be read again");
    }
}
