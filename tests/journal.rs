//! I6, I34, I38, D15: an engine with a store. What is acknowledged is stored, and nothing waits for
//! the store but acknowledgements and starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use quell::store::{Record, Store};
use quell::{
    CancelRequest, CauseKind, Disposition, Engine, EngineConfig, EventKind, IdempotencyKey, OnBusy,
    RunContext, RunHandle, RunRef, RunSpec, RunStatus, Shutdown, SubmitError,
};

use crate::support::{
    Flow, Valve, bounded, durable, full, listener, soon, started, started_as, within,
};

/// Tells whether a future still waits after the engine has had time for what it does.
async fn is_pending(future: impl Future<Output: Sized>) -> bool {
    tokio::time::timeout(std::time::Duration::from_millis(50), future).await.is_err()
}

/// Names what was stored of a run, in its order.
fn names(store: &Valve) -> Vec<&'static str> {
    let name = |record: &Record| match record {
        Record::Accepted(_) => "accepted",
        Record::Started { .. } => "started",
        Record::Event { .. } => "event",
        Record::StopAccepted(_) => "stop",
        Record::Ended { .. } => "ended",
        Record::Quiesced { .. } => "quiesced",
        Record::Forgotten { .. } => "forgotten",
        Record::Paused { .. } => "paused",
        Record::Resumed { .. } => "resumed",
        Record::HoldBegan { .. } | Record::HoldEnded { .. } => "work",
        Record::Annotated { .. } | Record::Checkpoint { .. } => "other",
    };
    store.stored().iter().map(name).collect()
}

#[tokio::test]
async fn a_run_is_stored_from_its_acceptance_to_its_end() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let spec = RunSpec::agent("brief").owner("ada").label("topic", "pens").input("now".into());
    let run = engine
        .submit_durably(spec, async |ctx| {
            let _ = ctx.set_output("done".into());
            Ok(())
        })
        .await
        .unwrap()
        .into_ref();
    run.ended().await;
    run.stored().await.unwrap();
    let stored = store.get(run.id()).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.quiescent), (RunStatus::Completed, true));
    assert_eq!(stored.accepted.owner.as_deref(), Some("ada"));
    assert_eq!(stored.accepted.labels.get("topic").unwrap(), "pens");
    assert_eq!(stored.accepted.input, Some("now".into()));
    assert_eq!(*stored.report.unwrap(), *run.report());
    assert_eq!(names(&store), ["accepted", "started", "ended"], "what follows is not written");
}

#[tokio::test]
async fn a_log_is_stored_as_readers_see_it() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = engine
        .submit(RunSpec::team("team"), async |ctx| {
            let below = ctx.spawn(RunSpec::agent("member"), async |ctx| {
                let _ = ctx.emit("a token");
                Ok(())
            });
            below.await?;
            Ok(())
        })
        .unwrap()
        .into_ref();
    run.ended().await;
    run.stored().await.unwrap();
    let stored = store.events(run.id(), 0, 100).await.unwrap();
    let stored: Vec<_> = stored.into_iter().map(Result::unwrap).collect();
    let read: Vec<_> = run.events().collect().await;
    assert_eq!(stored, read);
    assert!(stored.iter().any(|event| matches!(event.kind, EventKind::Emitted(_))));
    let member = run.report().rows[1].run;
    let member = store.get(member).await.unwrap().unwrap();
    assert_eq!((member.accepted.root, member.accepted.parent), (run.id(), Some(run.id())));
    assert_eq!(member.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_root_starts_when_its_acceptance_is_stored() {
    let store = Valve::new(Flow::Shut { stops: true });
    let engine = durable(&store);
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let submit = engine.submit_durably(RunSpec::agent("late"), async move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    tokio::pin!(submit);
    assert!(is_pending(submit.as_mut()).await, "it is acknowledged once it is stored");
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    store.set(Flow::Open);
    let run = within("it comes", submit).await.unwrap();
    within("it comes", run).await.unwrap();
    assert_eq!(polls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn i34_a_stop_signals_at_once_and_is_acknowledged_when_it_is_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("worker")).await;
    store.set(Flow::Shut { stops: true });
    let cancel = run.cancel_durably(CancelRequest::because("enough").by("ada"));
    tokio::pin!(cancel);
    assert!(is_pending(cancel.as_mut()).await, "it is acknowledged once it is stored");
    let report = within("it comes", run.ended()).await;
    assert_eq!(report.status, RunStatus::Cancelled, "the run has ended meanwhile");
    store.set(Flow::Open);
    let (_, stored) = within("it comes", cancel).await;
    stored.unwrap();
    let stop = store.get(run.id()).await.unwrap().unwrap().stop.unwrap();
    assert_eq!(stop.cause, report.cause.clone().unwrap());
    assert_eq!(stop.cause.kind, CauseKind::UserRequest);
}

#[tokio::test]
async fn i34_a_stop_is_acknowledged_before_the_end_that_it_brings_is_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("worker")).await;
    run.stored().await.unwrap();
    store.set(Flow::Shut { stops: false });
    let stop = || CancelRequest::because("enough");
    let (_, stored) = within("it is acknowledged", run.cancel_durably(stop())).await;
    stored.unwrap();
    assert!(store.get(run.id()).await.unwrap().unwrap().stop.is_some());
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    // Who is told of the end is told when that is stored.
    let late = run.cancel_durably(stop());
    tokio::pin!(late);
    assert!(is_pending(late.as_mut()).await);
    within("no stop is on its way", run.stops_stored()).await.unwrap();
    store.set(Flow::Open);
    let (told, stored) = within("it comes", late).await;
    assert_eq!(told, Disposition::AlreadyTerminal { status: RunStatus::Cancelled });
    stored.unwrap();
}

#[tokio::test]
async fn i34_a_run_that_takes_a_lane_over_is_acknowledged_when_the_stops_of_the_others_are_stored()
{
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let spec = |name: &'static str| RunSpec::agent(name).lane("L", OnBusy::CancelExisting);
    let (ends, end) = tokio::sync::oneshot::channel::<()>();
    let stays = async move |ctx: RunContext| {
        ctx.stopped().await;
        let _ = end.await;
        Ok(())
    };
    let before = started_as(&engine, spec("before"), stays).await;
    store.set(Flow::KeepingStops);
    let mut next = Box::pin(engine.submit_durably(spec("next"), listener));
    assert!(is_pending(next.as_mut()).await, "a later process would let it go on");
    let is_accepted =
        |record: &Record| matches!(record, Record::Accepted(run) if *run.name == *"next");
    assert!(store.stored().iter().any(is_accepted));
    store.set(Flow::Open);
    let next = within("it is acknowledged", next).await.unwrap();
    assert_eq!(next.superseded(), std::slice::from_ref(&before));
    assert!(store.get(before.id()).await.unwrap().unwrap().stop.is_some());
    ends.send(()).unwrap();
    next.cancel(CancelRequest::because("over"));
    within("the lane is empty", next.into_ref().quiescent()).await;
}

#[tokio::test]
async fn i7_a_further_stop_that_only_makes_the_deadline_earlier_is_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = engine.submit_durably(RunSpec::agent("patient"), async |ctx: RunContext| {
        ctx.stopped().await;
        std::future::pending().await
    });
    let run: RunRef = run.await.map(RunHandle::<()>::into_ref).unwrap();
    soon("it runs", || run.status() == RunStatus::Running).await;
    let mut stored = Vec::new();
    for hours in [3, 1, 2] {
        let grace = std::time::Duration::from_hours(hours);
        run.cancel(CancelRequest::because("enough").grace(grace));
        within("it comes", run.stored()).await.unwrap();
        stored.push(store.get(run.id()).await.unwrap().unwrap().stop.unwrap().hard_deadline);
    }
    assert!(stored[1] < stored[0], "{stored:?}");
    assert_eq!(stored[2], stored[1], "deadlines only shrink");
    run.cancel(CancelRequest::because("enough").abort());
    within("it ends", run.ended()).await;
}

#[tokio::test]
async fn a_stop_overtakes_what_waits_for_the_store() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("worker")).await;
    store.set(Flow::Shut { stops: false });
    let _waits = engine.submit(RunSpec::agent("other"), async |_| Ok(())).unwrap();
    run.cancel(CancelRequest::because("enough"));
    let is_stored = || names(&store).contains(&"stop");
    soon("it came", is_stored).await;
    assert_eq!(names(&store), ["accepted", "started", "stop"]);
    store.set(Flow::Open);
    within("it comes", run.stored()).await.unwrap();
}

#[tokio::test]
async fn a_run_that_the_store_knows_already_is_refused_and_leaves_nothing() {
    let store = Valve::new(Flow::Open);
    let key = || IdempotencyKey::new("order-7", ["a pen"]);
    let spec = || RunSpec::agent("order").owner("ada").idempotency_key(key());
    let before = durable(&store);
    let first = before.submit_durably(spec(), async |_| Ok(())).await.unwrap().into_ref();
    first.ended().await;
    first.stored().await.unwrap();
    // Another engine on the same store knows nothing of it in memory.
    let engine = durable(&store);
    let polls = Arc::new(AtomicUsize::new(0));
    let body = || {
        let polls = Arc::clone(&polls);
        async move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let again = engine.submit_durably(spec(), body()).await.unwrap_err();
    assert_eq!(again, SubmitError::AlreadySubmitted(first.id()));
    let other = IdempotencyKey::new("order-7", ["a house"]);
    let other = engine.submit_durably(spec().idempotency_key(other), body()).await.unwrap_err();
    assert_eq!(other, SubmitError::KeyConflict);
    let same = RunSpec::agent("same").id(first.id());
    let same = engine.submit_durably(same, body()).await.unwrap_err();
    assert_eq!(same, SubmitError::IdInUse(first.id()));
    let gone = || engine.runs(&quell::RunFilter::new()).is_empty();
    soon("it came", gone).await;
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    assert_eq!(engine.submitted_with(Some("ada"), &key()), None);
    // What was refused takes nobody with it: neither in an append nor in memory.
    let fine = engine.submit_durably(RunSpec::agent("fine"), body()).await.unwrap();
    within("it comes", fine).await.unwrap();
}

#[tokio::test]
async fn i39_a_run_that_the_store_refuses_gives_back_its_bytes() {
    let store = Valve::new(Flow::Open);
    let known = durable(&store).submit_durably(RunSpec::agent("known"), async |_| Ok(())).await;
    let id = known.unwrap().id();
    // The share of an owner has room for one of them.
    let limits = bounded(|limits| limits.live_bytes_max = 400_000);
    let config = EngineConfig::new().limits(limits).store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config);
    for _ in 0..3 {
        let spec = RunSpec::agent("same").id(id).owner("ada").input("x".repeat(60_000).into());
        let refused = engine.submit_durably(spec, async |_| Ok(())).await.unwrap_err();
        assert_eq!(refused, SubmitError::IdInUse(id));
        soon("it is gone", || engine.get(id).is_none()).await;
    }
}

#[tokio::test]
async fn i38_a_run_that_the_store_refuses_does_not_count_as_unstored() {
    let store = Valve::new(Flow::Open);
    let known = durable(&store).submit_durably(RunSpec::agent("known"), async |_| Ok(())).await;
    let id = known.unwrap().id();
    let engine = durable(&store);
    let read = engine.submit(RunSpec::agent("same").id(id), async |_| Ok(())).unwrap().into_ref();
    // Whoever reads its events has it make a log, too.
    let mut events = read.events();
    assert_eq!(within("it is answered", read.accepted()).await, Err(SubmitError::IdInUse(id)));
    while within("the stream ends", events.next()).await.is_some() {}
    assert_eq!(within("down", engine.shutdown(Shutdown::default())).await.unstored, 0);
}

#[tokio::test]
async fn d15_while_the_store_is_in_trouble_submits_fail_and_runs_end_on_time() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("worker")).await;
    store.set(Flow::Failing(full()));
    let refused = engine.submit_durably(RunSpec::agent("new"), async |_| Ok(())).await;
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
    let (_, stored) = run.cancel_durably(CancelRequest::because("enough")).await;
    assert_eq!(stored, Err(full()), "whoever stops is told");
    assert_eq!(within("it comes", run.ended()).await.status, RunStatus::Cancelled);
    assert_eq!(within("it comes", run.stored()).await, Err(full()));
    let refused = engine.submit(RunSpec::agent("new"), async |_| Ok(()));
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()), "at once, now");
    store.set(Flow::Open);
    let stored = async || {
        while run.stored().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within("it comes", stored()).await;
    let kept = store.get(run.id()).await.unwrap().unwrap();
    assert_eq!(kept.stop.unwrap().cause, run.report().cause.clone().unwrap());
    assert_eq!(kept.status, RunStatus::Cancelled, "nothing was lost");
    let fine = engine.submit_durably(RunSpec::agent("fine"), async |_| Ok(())).await.unwrap();
    within("it comes", fine).await.unwrap();
}

#[tokio::test]
async fn i38_a_shutdown_waits_until_all_is_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let runs: Vec<_> = (0..100)
        .map(|_| engine.submit(RunSpec::agent("worker"), listener).unwrap().into_ref())
        .collect();
    let report = within("it comes", engine.shutdown(Shutdown::default())).await;
    assert_eq!(report.unstored, 0);
    for run in runs {
        let stored = store.get(run.id()).await.unwrap().unwrap();
        assert_eq!(stored.status, RunStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_tree_leaves_memory_when_its_end_is_stored_and_forgetting_is_stored() {
    let store = Valve::new(Flow::Open);
    let limits = quell::Limits::default().ended_trees_max(0);
    let config = EngineConfig::new().limits(limits).store(Arc::clone(&store) as Arc<dyn Store>);
    let keeps_none = Engine::with_config(config);
    let run = keeps_none.submit_durably(RunSpec::agent("brief"), listener).await.unwrap();
    let run = run.into_ref();
    store.set(Flow::Shut { stops: true });
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    assert!(!run.is_forgotten(), "nobody else can tell of its end yet");
    store.set(Flow::Open);
    soon("it came", || run.is_forgotten()).await;
    assert!(store.get(run.id()).await.unwrap().is_some(), "it has left memory only");

    let engine = durable(&store);
    let run = engine.submit_durably(RunSpec::agent("brief"), async |_| Ok(())).await.unwrap();
    let run = run.into_ref();
    run.ended().await;
    run.forget().unwrap();
    run.stored().await.unwrap();
    assert_eq!(store.get(run.id()).await.unwrap(), None);
}

#[tokio::test]
async fn i37_a_run_that_a_store_in_trouble_refused_does_not_use_its_key_up() {
    for trouble in [Flow::Failing(full()), Flow::Doubtful(full())] {
        let store = Valve::new(trouble);
        let engine = durable(&store);
        let spec = || RunSpec::agent("order").idempotency_key(IdempotencyKey::new("k", ["a pen"]));
        let submit = || engine.submit_durably(spec(), async |_| Ok(()));
        assert_eq!(submit().await.map(drop), Err(SubmitError::NotStored(full())));
        store.set(Flow::Open);
        let again = async {
            loop {
                match submit().await {
                    Err(SubmitError::NotStored(_)) => tokio::task::yield_now().await,
                    other => return other.map(RunHandle::into_ref),
                }
            }
        };
        let run = within("it is tried again", again).await.expect("the key is free");
        assert!(store.get(run.id()).await.unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_goes_with_what_somebody_waits_for_or_by_itself() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config.control_on_runtime());
    let short = async |name: &'static str| {
        let run = engine.submit_durably(RunSpec::agent(name), async |_| Ok(())).await;
        let run = run.unwrap().into_ref();
        run.ended().await;
        run
    };
    let _first = short("first").await;
    assert_eq!(store.appends(), [1], "its start and its end wait for nothing but company");
    let second = short("second").await;
    assert_eq!(store.appends(), [1, 3], "they went with the acceptance of the next one");
    let began = tokio::time::Instant::now();
    second.stored().await.unwrap();
    assert_eq!((store.appends(), began.elapsed().as_micros()), (vec![1, 3, 2], 0), "hurried");
    let _third = short("third").await;
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    assert_eq!(store.appends(), [1, 3, 2, 1, 2], "nobody came");
}
