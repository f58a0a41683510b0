//! I35, I36: states of lanes, and stops that take them back.

use std::sync::Arc;

use quell::store::{MemoryStore, Page, Store};
use quell::{
    CancelRequest, Engine, ForgetError, Hold, OnBusy, Payload, Recovery, RunContext, RunRef,
    RunSpec, RunStatus, SaveError, Work,
};
use tokio::sync::mpsc;

use crate::support::{Flow, Valve, durable, ms, soon, within};

const LANE: &str = "thread-1";

fn spec() -> RunSpec {
    RunSpec::agent("reply").lane(LANE, OnBusy::Enqueue)
}

/// Reads what a lane has, the newest first.
async fn states(store: &Valve) -> Vec<Payload> {
    let read = store.checkpoints(LANE.into(), Page::first(100)).await.unwrap();
    assert_eq!(read.next, None);
    read.items.into_iter().map(|state| state.unwrap().state).collect()
}

/// Lets a run save two states, one of them from below it, and wait for its stop.
async fn saves(engine: &Engine, words: &'static str) -> RunRef {
    let run = engine.submit_durably(spec(), async move |ctx: RunContext| {
        ctx.save(words.into()).await?;
        ctx.spawn(RunSpec::step("below"), async move |ctx: RunContext| {
            ctx.save(format!("{words} below").into()).await?;
            Ok(())
        })
        .await?;
        let _ = ctx.emit("saved");
        ctx.stopped().await;
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    let mut events = run.events();
    while let Some(event) = within("it saves", events.next()).await {
        if matches!(event.kind, quell::EventKind::Emitted(_)) {
            break;
        }
    }
    run
}

#[tokio::test]
async fn a_state_is_saved_when_it_is_stored_and_read_by_the_next_run_of_the_lane() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let first = saves(&engine, "one").await;
    first.cancel(CancelRequest::because("enough"));
    first.ended().await;
    let second = engine.submit(spec(), async |ctx| Ok(ctx.saved().await?)).unwrap();
    assert_eq!(second.await.unwrap(), Some("one below".into()));
    assert_eq!(states(&store).await, ["one below".into(), "one".into()]);

    let alone = engine.submit(RunSpec::agent("alone"), async |ctx| Ok(ctx.saved().await?));
    assert_eq!(alone.unwrap().await.unwrap(), None, "without a lane its history is its own");
    let storeless = Engine::new();
    let without = storeless.submit(spec(), async |ctx| Ok(ctx.save("x".into()).await));
    assert_eq!(without.unwrap().await.unwrap(), Err(SaveError::NoStore));
}

#[tokio::test]
async fn i36_a_rollback_takes_all_states_of_a_run_at_once_and_then_its_record() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let kept = saves(&engine, "kept").await;
    kept.cancel(CancelRequest::because("enough"));
    kept.ended().await;
    // Also if it is asked for when the run is stopping already.
    for asks_later in [false, true] {
        let run = saves(&engine, "gone").await;
        assert_eq!(states(&store).await.len(), 4);
        if asks_later {
            run.cancel(CancelRequest::because("enough"));
        }
        run.cancel(CancelRequest::because("never mind").rollback());
        assert_eq!(within("it ends", run.quiescent()).await.status, RunStatus::Cancelled);
        let is_gone = async || store.get(run.id()).await.unwrap().is_none();
        while !is_gone().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(states(&store).await, ["kept below".into(), "kept".into()], "{asks_later}");
        soon("its id is free", || engine.forget(run.id()) == Err(ForgetError::Unknown)).await;
    }
}

#[tokio::test]
async fn i36_a_run_that_was_taken_back_is_gone_also_if_the_process_dies_at_its_end() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 1);
    let engine = durable(&store);
    let run = saves(&engine, "gone").await;
    let request = CancelRequest::because("never mind").grace(ms(1)).rollback();
    run.cancel_durably(request).await.1.unwrap();
    store.set(Flow::Keeping);
    within("it ends", run.quiescent()).await;
    tokio::time::sleep(ms(50)).await;
    let later = durable(&Valve::reopened(&memory, 2));
    later.recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!(later.stored_run(run.id()).await, Ok(None));
    assert_eq!(states(&store).await, []);
}

/// Has a run block a thread until this is dropped, and end non-quiescent, rolled back.
async fn blocks(engine: &Engine) -> (RunRef, std::sync::mpsc::Sender<()>) {
    let (end, waits) = std::sync::mpsc::channel::<()>();
    let (blocks, is_blocked) = tokio::sync::oneshot::channel();
    let run = engine.submit_durably(spec(), async move |ctx: RunContext| {
        ctx.save("gone".into()).await?;
        let blocked = ctx.spawn_blocking(move |_| blocks.send(()).is_ok() && waits.recv().is_ok());
        blocked.await?;
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    within("it blocks", is_blocked).await.unwrap();
    let request = CancelRequest::because("never mind").grace(ms(1)).rollback();
    run.cancel_durably(request).await.1.unwrap();
    within("it ends", run.ended()).await;
    run.stored().await.unwrap();
    (run, end)
}

#[tokio::test]
async fn i36_what_a_dead_process_had_rolled_back_is_forgotten_by_the_next() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let (run, _end) = blocks(&engine).await;
    assert!(run.is_rolled_back() && !run.report().quiescent, "{:?}", run.report());
    let later = durable(&Valve::reopened(&memory, 2));
    let left = later.stored_run(run.id()).await.unwrap().unwrap();
    assert!(left.is_rolled_back() && left.status == RunStatus::Cancelled, "{left:?}");
    let recovered = later.recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!(recovered.ended.total(), 0, "it had ended");
    assert_eq!(later.stored_run(run.id()).await, Ok(None));
    // Its own process does not forget it before nothing of it executes.
    let store = Valve::reopened(&memory, 3);
    let engine = durable(&store);
    let (run, end) = blocks(&engine).await;
    engine.recover(|_| Recovery::Fail).await.unwrap();
    assert!(engine.stored_run(run.id()).await.unwrap().is_some());
    drop(end);
    soon("it is forgotten", || engine.get(run.id()).is_none()).await;
    while store.get(run.id()).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
}

/// Lets a run save a state and have work that outlives its process, also after its stop.
async fn leaves_work(engine: &Engine, below: bool) -> (RunRef, Hold) {
    let (hand_out, mut begins) = mpsc::unbounded_channel();
    let works = async move |ctx: RunContext| {
        let _ = hand_out.send(ctx.hold_durably(Work::Process, "make").await?);
        ctx.stopped().await;
        Ok(())
    };
    let run = engine.submit_durably(spec(), async move |ctx: RunContext| {
        ctx.save("gone".into()).await?;
        if below {
            ctx.spawn(RunSpec::step("below"), works).await?;
            return Ok(());
        }
        works(ctx).await
    });
    let run = run.await.unwrap().into_ref();
    (run, within("it begins", begins.recv()).await.unwrap())
}

#[tokio::test]
async fn i36_what_was_rolled_back_stays_if_work_of_it_may_outlive_its_process() {
    for (has_ended, below) in [(false, false), (false, true), (true, false), (true, true)] {
        let memory = Arc::new(MemoryStore::new());
        let store = Valve::reopened(&memory, 1);
        let engine = durable(&store);
        let (run, _work) = leaves_work(&engine, below).await;
        if !has_ended {
            store.set(Flow::Shut { stops: false });
        }
        let request = CancelRequest::because("never mind").grace(ms(1)).rollback();
        run.cancel_durably(request).await.1.unwrap();
        if has_ended {
            within("it ends", run.ended()).await;
            run.stored().await.unwrap();
        }
        // Each process finds it again.
        for boot in 2..=3 {
            let later = durable(&Valve::reopened(&memory, boot));
            later.recover(|_| Recovery::Fail).await.unwrap();
            let left = later.stored_run(run.id()).await.unwrap().unwrap();
            assert!(left.is_rolled_back() && !left.quiescent, "{left:?}");
            let report = left.report_by_now();
            let names: Vec<_> = report.abandoned.iter().map(|it| &*it.name).collect();
            assert_eq!((report.status, names), (RunStatus::Cancelled, vec!["make"]));
            assert_eq!(states(&store).await, []);
        }
        let last = durable(&Valve::reopened(&memory, 4));
        last.forget_stored(run.id()).await.unwrap();
        assert_eq!(last.stored_run(run.id()).await, Ok(None));
    }
}

#[tokio::test]
async fn i36_only_what_is_stopped_is_rolled_back() {
    let engine = Engine::new();
    let rolls_back = || CancelRequest::because("never mind").rollback();
    let handle = engine.submit(RunSpec::agent("a"), async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    });
    let run = handle.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.cancel(rolls_back().after_step(None));
    assert!(!run.is_rolled_back(), "it may end by itself still");
    run.cancel(CancelRequest::because("enough"));
    assert!(run.is_rolled_back(), "one of several requests is enough");
    within("it ends", run.quiescent()).await;
    assert!(run.is_rolled_back() && engine.get(run.id()).is_none());
    let done = engine.submit(RunSpec::agent("a"), async |_| Ok(())).unwrap().into_ref();
    within("it ends", done.quiescent()).await;
    done.cancel(rolls_back());
    assert!(!done.is_rolled_back());
}

#[tokio::test]
async fn i36_a_run_that_ends_by_itself_keeps_what_it_has_saved() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let (done, waits) = tokio::sync::oneshot::channel::<()>();
    let run = engine.submit_durably(spec(), async move |ctx| {
        ctx.save("kept".into()).await?;
        let _ = waits.await;
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    while states(&store).await.is_empty() {
        tokio::task::yield_now().await;
    }
    run.cancel(CancelRequest::because("later").after_step(None).rollback());
    drop(done);
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
    run.stored().await.unwrap();
    assert_eq!(states(&store).await, ["kept".into()]);
    assert!(store.get(run.id()).await.unwrap().is_some());
}

#[tokio::test]
async fn i36_a_run_may_roll_back_those_whose_place_it_takes() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let old = saves(&engine, "old").await;
    let new = RunSpec::agent("reply").lane(LANE, OnBusy::RollbackExisting);
    let new = engine.submit(new, async |ctx| Ok(ctx.saved().await?)).unwrap();
    assert_eq!(new.superseded(), std::slice::from_ref(&old));
    assert_eq!(within("it runs", new).await.unwrap(), None, "what the old one saved is gone");
    assert_eq!(old.status(), RunStatus::Cancelled);
}

#[tokio::test]
async fn i36_a_rollback_is_stored_with_the_stop() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    for (asks_later, after_step) in [(false, false), (true, false), (true, true)] {
        let because = |why| match CancelRequest::because(why) {
            request if after_step => request.after_step(None),
            request => request,
        };
        let run = engine.submit_durably(spec(), async |ctx| {
            // It listens, and takes its time.
            let _ = ctx.is_stopping();
            ctx.save("gone".into()).await?;
            std::future::pending::<Result<(), quell::Failure>>().await
        });
        let run = run.await.unwrap().into_ref();
        while states(&store).await.is_empty() {
            tokio::task::yield_now().await;
        }
        if asks_later {
            run.cancel_durably(because("enough")).await.1.unwrap();
        }
        run.cancel_durably(because("never mind").rollback()).await.1.unwrap();
        // As a successor of this process would find it.
        let stop = store.get(run.id()).await.unwrap().unwrap().stop.unwrap();
        assert!(stop.rollback, "{asks_later} {after_step}");
        run.cancel(CancelRequest::because("now").abort());
        within("it ends", run.quiescent()).await;
    }
}
