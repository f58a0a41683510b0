//! I38: what was on its way into a store of a run that this has refused is no loss, and nothing of
//! it is stored, held, or used up.

use std::sync::Arc;

use futures::FutureExt as _;
use quell::store::{MemoryStore, Store};
use quell::testing::held;
use quell::{
    Disposition, Engine, EngineConfig, IdempotencyKey, OnBusy, RunContext, RunId, RunRef, RunSpec,
    SaveError, Shutdown, SubmitError,
};
use tokio::sync::oneshot;

use crate::support::{
    Flow, Valve, durable, full, listener, ms, secs, soon, started, started_as, stop, within,
};

#[tokio::test]
async fn i38_a_run_that_a_store_in_trouble_refused_counts_as_unstored_only_until_it_is_back() {
    for trouble in [Flow::Failing(full()), Flow::Doubtful(full())] {
        let store = Valve::new(trouble.clone());
        let engine = durable(&store);
        // Whoever reads all events has it make a log before it is refused.
        let _reader = engine.events();
        let id = RunId::from_text("refused");
        let refused = engine.submit_durably(RunSpec::agent("new").id(id), async |_| Ok(())).await;
        assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
        store.set(Flow::Open);
        let report = within("down", engine.shutdown(Shutdown::default())).await;
        assert_eq!(report.unstored, 0, "{trouble:?}");
        assert_eq!(store.get(id).await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn i38_of_a_run_that_a_store_in_trouble_refused_one_thing_is_not_known_while_it_is_away() {
    let store = Valve::new(Flow::Failing(full()));
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config.control_on_runtime());
    store.fail_reads(full());
    let _reader = engine.events();
    let refused = engine.submit_durably(RunSpec::agent("new"), async |_| Ok(())).await;
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
    let report = engine.shutdown(Shutdown::default()).await;
    assert_eq!(report.unstored, 1, "whether the store has it");
}

#[tokio::test]
async fn a_refused_run_leaves_no_event_in_the_log_of_the_one_that_has_its_id() {
    let store = Valve::new(Flow::Open);
    let known = durable(&store).submit_durably(RunSpec::agent("known"), async |_| Ok(())).await;
    let known = known.unwrap().into_ref();
    known.ended().await;
    known.stored().await.unwrap();
    let engine = durable(&store);
    let _reader = engine.events();
    let same = RunSpec::agent("same").id(known.id());
    let refused = engine.submit_durably(same, async |_| Ok(())).await.unwrap_err();
    assert_eq!(refused, SubmitError::IdInUse(known.id()));
    assert_eq!(within("down", engine.shutdown(Shutdown::default())).await.unstored, 0);
    assert_eq!(store.events(known.id(), 0, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_refused_run_that_was_stopped_meanwhile_leaves_the_one_that_has_its_id_as_it_is() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let known = started(&engine, RunSpec::agent("known")).await;
    let before = memory.get(known.id()).await.unwrap();
    for rolls_back in [false, true] {
        let store = Valve::reopened(&memory, 2);
        let later = durable(&store);
        store.set(Flow::Shut { stops: true });
        let same = RunSpec::agent("same").id(known.id());
        let run = later.submit(same, async |_| Ok(())).unwrap().into_ref();
        run.cancel(if rolls_back { stop().rollback() } else { stop() });
        within("it ends", run.ended()).await;
        store.set(Flow::Open);
        let refused = within("it is refused", run.accepted()).await;
        assert_eq!(refused, Err(SubmitError::IdInUse(known.id())));
        assert_eq!(within("down", later.shutdown(Shutdown::default())).await.unstored, 0);
        assert_eq!(memory.get(known.id()).await.unwrap(), before, "{rolls_back}");
    }
    drop(engine);
}

#[tokio::test]
async fn a_root_that_was_refused_in_trouble_leaves_the_run_that_has_its_id_as_it_is() {
    for is_stopped in [false, true] {
        let memory = Arc::new(MemoryStore::new());
        let engine = durable(&Valve::reopened(&memory, 1));
        let known = started(&engine, RunSpec::agent("known")).await;
        let before = memory.get(known.id()).await.unwrap();
        let store = Valve::reopened(&memory, 2);
        let later = durable(&store);
        store.set(Flow::Shut { stops: true });
        let same = RunSpec::agent("same").id(known.id());
        let same = later.submit(same, async |_| Ok(())).unwrap().into_ref();
        if is_stopped {
            same.cancel(stop().rollback());
        }
        store.set(Flow::Failing(full()));
        assert_eq!(same.accepted().await, Err(SubmitError::NotStored(full())));
        let found = later.stored_run(known.id()).await.unwrap();
        assert_eq!(found, before, "it hides no other run");
        store.set(Flow::Open);
        let report = within("down", later.shutdown(Shutdown::default())).await;
        assert_eq!(report.unstored, 0, "stopped: {is_stopped}");
        assert_eq!(memory.get(known.id()).await.unwrap(), before, "stopped: {is_stopped}");
        drop(engine);
    }
}

#[tokio::test]
async fn a_root_that_was_stored_although_its_append_failed_is_taken_back_with_its_stop() {
    let store = Valve::new(Flow::Shut { stops: true });
    let engine = durable(&store);
    let run = engine.submit(RunSpec::agent("new"), async |_| Ok(())).unwrap().into_ref();
    run.cancel(stop());
    store.set(Flow::Doubtful(full()));
    assert_eq!(run.accepted().await, Err(SubmitError::NotStored(full())));
    store.set(Flow::Open);
    let report = within("down", engine.shutdown(Shutdown::default())).await;
    assert_eq!((report.unstored, store.get(run.id()).await), (0, Ok(None)));
}

#[tokio::test]
async fn a_root_that_is_stored_only_after_its_append_has_failed_is_taken_back() {
    let store = Valve::new(Flow::Late(full()));
    let engine = durable(&store);
    let id = RunId::from_text("refused");
    let refused = engine.submit_durably(RunSpec::agent("new").id(id), async |_| Ok(())).await;
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
    store.set(Flow::Open);
    let report = within("down", engine.shutdown(Shutdown::default())).await;
    assert_eq!(report.unstored, 0);
    store.land().await;
    assert_eq!(store.get(id).await, Ok(None), "nobody was told of it");
}

#[tokio::test]
async fn what_a_refused_root_was_charged_is_given_back_although_it_was_rolled_back() {
    for is_trouble in [false, true] {
        let memory = Arc::new(MemoryStore::new());
        let other = durable(&Valve::reopened(&memory, 1));
        let known = started(&other, RunSpec::agent("known")).await;
        let store = Valve::reopened(&memory, 2);
        let engine = durable(&store);
        let before = held(&engine);
        for rolls_back in [false, true] {
            store.set(Flow::Shut { stops: true });
            let spec = RunSpec::agent("new").owner("ada").input("y".repeat(1 << 20).into());
            let id = if is_trouble { RunId::from_text("new") } else { known.id() };
            let run = engine.submit(spec.id(id), async |_| Ok(())).unwrap().into_ref();
            run.cancel(if rolls_back { stop().rollback() } else { stop() });
            within("it ends", run.quiescent()).await;
            store.set(if is_trouble { Flow::Failing(full()) } else { Flow::Open });
            within("it is refused", run.accepted()).await.unwrap_err();
            store.set(Flow::Open);
            drop(run);
            let is_free = || held(&engine) == before;
            soon("nothing is held for it", is_free).await;
            soon("the store works again", || engine.store_ready().now_or_never() == Some(Ok(())))
                .await;
        }
        drop((engine, other));
    }
}

#[tokio::test]
async fn i22_a_root_that_was_refused_leaves_the_stop_that_was_remembered_to_the_next_one() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let id = RunId::from_text("to come");
    let reserved = engine.cancel(id, stop().by("ada").remember_for(secs(600)));
    assert_eq!(reserved, Disposition::Reserved);
    let submit = async || engine.submit_durably(RunSpec::agent("new").id(id), listener).await;
    store.set(Flow::Failing(full()));
    assert_eq!(submit().await.unwrap_err(), SubmitError::NotStored(full()));
    store.set(Flow::Open);
    let again = async {
        loop {
            match submit().await {
                Ok(run) => return run.into_ref(),
                Err(_) => tokio::time::sleep(ms(5)).await,
            }
        }
    };
    let run = within("it is accepted", again).await;
    let cause = within("it was stopped before it came", run.ended()).await.cause.clone().unwrap();
    assert_eq!(cause.by.as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_child_that_has_the_id_of_another_run_leaves_that_one_as_it_is() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let known = started(&engine, RunSpec::agent("known")).await;
    let before = memory.get(known.id()).await.unwrap();
    let later = durable(&Valve::reopened(&memory, 2));
    let id = known.id();
    let above = later.submit_durably(RunSpec::team("team"), async move |ctx: RunContext| {
        ctx.spawn(RunSpec::agent("same").id(id), async |_| Ok(())).await?;
        Ok(())
    });
    let above = above.await.unwrap().into_ref();
    within("it ends", above.ended()).await;
    within("down", later.shutdown(Shutdown::default())).await;
    assert_eq!(memory.get(id).await.unwrap(), before);
    drop(engine);
}

#[tokio::test]
async fn i34_a_repeat_is_told_of_a_run_when_the_stops_of_those_before_it_are_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let lane = |name: &'static str| RunSpec::agent(name).lane("L", OnBusy::CancelExisting);
    let before = started(&engine, lane("before")).await;
    store.set(Flow::KeepingStops);
    let next = || lane("next").idempotency_key(IdempotencyKey::new("k", ["a pen"]));
    let mut first = Box::pin(engine.submit_durably(next(), listener));
    let mut again = Box::pin(engine.submit_durably(next(), listener));
    let wait = ms(50);
    assert!(tokio::time::timeout(wait, first.as_mut()).await.is_err(), "its lane is not stored");
    assert!(tokio::time::timeout(wait, again.as_mut()).await.is_err(), "nor for the repeat");
    store.set(Flow::Open);
    let first = within("it is acknowledged", first).await.unwrap();
    let again = within("it is acknowledged", again).await.unwrap_err();
    assert_eq!(again, SubmitError::AlreadySubmitted(first.id()));
    let before = store.get(before.id()).await.unwrap().unwrap();
    assert!(before.stop.is_some() || before.status.is_terminal());
    first.cancel(stop());
    within("the lane is empty", first.into_ref().quiescent()).await;
}

#[tokio::test]
async fn a_state_is_not_read_before_those_that_wait_for_the_store_because_a_root_was_refused() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let (run, ctx) = with_context(&engine).await;
    store.set(Flow::Shut { stops: true });
    let mut save = Box::pin(ctx.save("first".into()));
    assert!(save.as_mut().now_or_never().is_none());
    let mut saved = Box::pin(ctx.saved());
    assert!(saved.as_mut().now_or_never().is_none());
    let refused = engine.submit(RunSpec::agent("new"), async |_| Ok(())).unwrap().into_ref();
    store.set(Flow::Failing(full()));
    assert_eq!(refused.accepted().await, Err(SubmitError::NotStored(full())));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(within("it is told", saved).await, Err(SaveError::Store(full())));
    drop(save);
    store.set(Flow::Open);
    run.cancel(stop());
    within("it ends", run.quiescent()).await;
}

/// Lets a run start that waits for its stop, and yields what its body has.
async fn with_context(engine: &Engine) -> (RunRef, RunContext) {
    let (tell, told) = oneshot::channel();
    let run = started_as(engine, RunSpec::agent("talks"), async move |ctx: RunContext| {
        let _ = tell.send(ctx.clone());
        ctx.stopped().await;
        Ok(())
    });
    (run.await, told.await.unwrap())
}
