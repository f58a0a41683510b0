//! I37, I38, D15: an engine whose store is in trouble, in the order and within the bounds that hold
//! without.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};

use futures::{FutureExt as _, StreamExt as _};
use quell::store::{Record, Store};
use quell::{
    CancelRequest, Engine, EngineConfig, EventKind, IdempotencyKey, Limits, Recovery, RunContext,
    RunFilter, RunRef, RunSpec, RunStatus, Shutdown, SubmitError, Work, limits,
};
use tokio::sync::oneshot;

use crate::support::{Flow, Valve, durable, full, ms, secs, soon, started, within};

async fn stored(run: &RunRef) {
    let stored = async {
        while run.stored().await.is_err() {
            tokio::time::sleep(ms(5)).await;
        }
    };
    within("it is stored", stored).await;
}

#[tokio::test]
async fn what_was_refused_gives_back_what_it_was_charged_and_claimed() {
    let store = Valve::new(Flow::Open);
    let spec = || {
        let key = IdempotencyKey::new("order-7", ["a pen"]);
        RunSpec::agent("order").owner("ada").idempotency_key(key)
    };
    let before = durable(&store);
    let first = before.submit_durably(spec(), async |_| Ok(())).await.unwrap().into_ref();
    first.ended().await;
    first.stored().await.unwrap();
    let limits = Limits::default().live_bytes_max(4 << 20).owner_share_percent(100);
    let config = EngineConfig::new().limits(limits).store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config);
    for _ in 0..10 {
        let spec = spec().input("x".repeat(1 << 20).into());
        let refused = engine.submit_durably(spec, async |_| Ok(())).await.unwrap_err();
        assert_eq!(refused, SubmitError::AlreadySubmitted(first.id()));
        assert!(engine.runs(&RunFilter::new()).is_empty(), "nothing is left of it");
    }
}

#[tokio::test]
async fn records_stay_in_their_order_when_a_stop_fails_in_between() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let ((tell, told), (end, ends)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
    let child = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&child);
    let team = engine.submit_durably(RunSpec::team("team"), async move |ctx: RunContext| {
        let _ = told.await;
        let below = ctx.spawn(RunSpec::agent("below"), async move |_| {
            let _ = ends.await;
            Ok(())
        });
        *kept.lock().unwrap() = Some(below.run().clone());
        below.await?;
        ctx.stopped().await;
        Ok(())
    });
    let team = team.await.unwrap().into_ref();
    soon("it runs", || team.status() == RunStatus::Running).await;
    let other = started(&engine, RunSpec::agent("other")).await;
    team.stored().await.unwrap();
    store.set(Flow::Failing(full()));
    tell.send(()).unwrap();
    // The pauses between two tries are long by now.
    tokio::time::sleep(ms(400)).await;
    end.send(()).unwrap();
    tokio::time::sleep(ms(10)).await;
    other.cancel(CancelRequest::because("enough"));
    tokio::time::sleep(ms(1_200)).await;
    store.set(Flow::Open);
    let below = child.lock().unwrap().take().unwrap();
    stored(&below).await;
    stored(&other).await;
    assert_eq!(store.get(below.id()).await.unwrap().unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn events_that_wait_for_the_store_are_bounded_and_a_gap_stands_for_the_rest() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let said = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&said);
    let run = engine.submit_durably(RunSpec::agent("talks"), async move |ctx| {
        while ctx.checkpoint().is_ok() {
            let words = "y".repeat(250 << 10);
            counts.fetch_add(words.len(), Ordering::SeqCst);
            let _ = ctx.emit(words);
            tokio::time::sleep(ms(1)).await;
        }
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    store.set(Flow::Failing(full()));
    // It is tried some times meanwhile.
    tokio::time::sleep(ms(500)).await;
    let waits = limits::STORE_BACKLOG_BYTES_MAX;
    let said = Arc::clone(&said);
    soon("more is said than may wait", || said.load(Ordering::SeqCst) > 2 * waits).await;
    run.cancel(CancelRequest::because("enough"));
    within("it ends", run.ended()).await;
    store.set(Flow::Open);
    stored(&run).await;
    let (mut bytes, mut next) = (0, 1);
    for record in store.stored() {
        let Record::Event { event, .. } = record else { continue };
        let (from, to) = match event.kind {
            EventKind::Lagged { from, to } => (from, to),
            EventKind::Emitted(payload) => {
                bytes += payload.len();
                (event.seq, event.seq)
            }
            _ => (event.seq, event.seq),
        };
        assert_eq!(from, next, "no number is left out, and none comes twice");
        next = to + 1;
    }
    assert!(bytes <= waits + (8 << 20), "{bytes}");
}

#[tokio::test]
async fn a_gap_is_stored_also_if_no_event_follows_it() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let ((go, gone), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel());
    let run = engine.submit_durably(RunSpec::agent("talks"), async move |ctx: RunContext| {
        let _ = gone.await;
        let mut deaf = ctx.hold(Work::Blocking, "deaf")?;
        for _ in 0..300 {
            let _ = ctx.emit("y".repeat(250 << 10));
        }
        // Until the smallest event has no room either.
        for _ in 0..2_000 {
            let _ = ctx.emit("y");
        }
        deaf.abandon();
        let _ = tell.send(deaf);
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    run.stored().await.unwrap();
    store.set(Flow::Failing(full()));
    let _ = go.send(());
    let deaf = within("all is said", told).await.unwrap();
    assert!(!within("it ends", run.ended()).await.quiescent);
    drop(deaf);
    within("nothing executes", run.quiescent()).await;
    let read: Vec<_> = run.events().collect().await;
    let last = read.last().unwrap();
    assert!(matches!(last.kind, EventKind::Quiesced), "{last:?}");
    store.set(Flow::Open);
    stored(&run).await;
    let is_whole = || {
        let events = store.stored().into_iter().filter_map(|record| match record {
            Record::Event { event, .. } => Some(event),
            _ => None,
        });
        events.map(|event| event.last_seq()).max() == Some(last.seq)
    };
    soon("the last one is stored, or a gap in its place", is_whole).await;
}

#[tokio::test]
async fn what_waits_for_a_store_in_trouble_is_bounded() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let (go, gone) = oneshot::channel::<()>();
    let run = engine.submit_durably(RunSpec::agent("spawns"), async move |ctx: RunContext| {
        let _ = gone.await;
        for spawned in 0..limits::STORE_BACKLOG_MAX {
            match ctx.spawn(RunSpec::step("below"), async |_| Ok(())).await {
                Ok(()) => {}
                Err(refused) => return Ok((spawned, format!("{refused:?}"))),
            }
        }
        Ok((usize::MAX, String::new()))
    });
    let run = run.await.unwrap();
    run.run().stored().await.unwrap();
    store.set(Flow::Failing(full()));
    let refused = engine.submit_durably(RunSpec::agent("new"), async |_| Ok(())).await;
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()), "it is known");
    let _ = go.send(());
    let (spawned, why) = run.await.unwrap();
    assert!(spawned < limits::STORE_BACKLOG_MAX / 2, "{spawned}");
    assert!(why.contains("said the test"), "{why}");
    store.set(Flow::Open);
    within("nothing was lost", engine.shutdown(Shutdown::default())).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_neither_stores_nor_fails_counts_as_in_trouble_after_a_while() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config.control_on_runtime());
    let run = started(&engine, RunSpec::agent("worker")).await;
    store.set(Flow::Shut { stops: true });
    let began = tokio::time::Instant::now();
    let (_, stored) = run.cancel_durably(CancelRequest::because("enough")).await;
    let error = stored.unwrap_err();
    assert!(error.to_string().contains("it has not answered for 30s"), "{error}");
    assert!(began.elapsed() >= limits::STORE_ANSWER_WAIT);
    let refused = engine.submit(RunSpec::agent("new"), async |_| Ok(()));
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(error));
    store.set(Flow::Open);
    soon("it works again", || run.stored().now_or_never() == Some(Ok(()))).await;
    let fine = engine.submit_durably(RunSpec::agent("fine"), async |_| Ok(())).await.unwrap();
    within("it comes", fine).await.unwrap();
}

/// A waker that blocks until it is let go, and says that it does.
struct Blocks(Mutex<mpsc::Receiver<()>>, AtomicUsize);

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        let _ = self.0.lock().unwrap().recv_timeout(secs(60));
    }
}

#[tokio::test]
async fn a_waker_that_blocks_holds_up_no_other_acknowledgement() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let mut runs = Vec::new();
    for name in ["first", "second"] {
        let run = engine.submit_durably(RunSpec::agent(name), async |ctx: RunContext| {
            ctx.stopped().await;
            std::future::pending::<()>().await;
            Ok(())
        });
        let run = run.await.unwrap().into_ref();
        soon("it runs", || run.status() == RunStatus::Running).await;
        run.stored().await.unwrap();
        runs.push(run);
    }
    store.set(Flow::Shut { stops: true });
    let forever = || CancelRequest::because("enough").grace(secs(3_600));
    let (let_go, gate) = mpsc::channel();
    let blocks = Arc::new(Blocks(Mutex::new(gate), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&blocks));
    let mut held_up = Box::pin(runs[0].cancel_durably(forever()));
    assert!(held_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    store.set(Flow::Open);
    soon("it blocks", || blocks.1.load(Ordering::SeqCst) > 0).await;
    let (_, stored) = within("it is told", runs[1].cancel_durably(forever())).await;
    stored.unwrap();
    drop((let_go, held_up));
}

#[tokio::test]
async fn i37_a_repeat_is_told_of_a_run_that_is_stored_or_why_it_is_not() {
    for is_resumable in [false, true] {
        let store = Valve::new(Flow::Shut { stops: true });
        let engine = durable(&store);
        let spec = || RunSpec::agent("order").idempotency_key(IdempotencyKey::new("k", ["a pen"]));
        let submit = async || {
            let body = async |_: RunContext| Ok(());
            let submitted = if is_resumable {
                engine.submit_resumable_durably(spec(), body).await
            } else {
                engine.submit_durably(spec(), body).await
            };
            submitted.map(drop)
        };
        let both = async { futures::join!(submit(), submit()) };
        tokio::pin!(both);
        assert!(tokio::time::timeout(ms(50), both.as_mut()).await.is_err(), "both wait");
        store.set(Flow::Failing(full()));
        let refused = || Err(SubmitError::NotStored(full()));
        assert_eq!(within("both are told", both).await, (refused(), refused()));
    }
}

#[tokio::test]
async fn a_run_that_may_be_stored_although_it_was_refused_is_taken_out_again() {
    let store = Valve::new(Flow::Doubtful(full()));
    let engine = durable(&store);
    let refused = engine.submit_durably(RunSpec::agent("a"), async |_| Ok(())).await.unwrap_err();
    assert_eq!(refused, SubmitError::NotStored(full()));
    store.set(Flow::Open);
    let report = engine.shutdown(Shutdown::default()).await;
    assert_eq!(report.roots.total(), 0);
    let left = store.recover(quell::store::Page::first(9)).await.unwrap();
    assert_eq!(left.items, [], "a successor is not asked about what nobody was told of");
}

#[tokio::test]
async fn i34_a_run_that_has_the_id_of_a_refused_one_stays_stored() {
    for trouble in [Flow::Failing(full()), Flow::Doubtful(full())] {
        let store = Valve::new(trouble);
        // It runs nothing yet: the refused run does not end.
        let bodies = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = EngineConfig::new().runtime(bodies.handle().clone());
        let engine = Engine::with_config(config.store(Arc::clone(&store) as Arc<dyn Store>));
        let spec = |name: &str| RunSpec::agent(name).id(quell::RunId::from_text("order-7"));
        let first = engine.submit(spec("first"), async |_| Ok(())).unwrap().into_ref();
        // What it says at its end is an event, not only implied.
        let _heard = first.events();
        soon("its id is free", || engine.get(first.id()).is_none()).await;
        store.set(Flow::Open);
        let again = async {
            loop {
                match engine.submit_durably(spec("second"), async |_| Ok(())).await {
                    Ok(run) => return run.into_ref(),
                    Err(_) => tokio::time::sleep(ms(5)).await,
                }
            }
        };
        let second = within("the id is taken", again).await;
        second.cancel_durably(CancelRequest::because("enough")).await.1.unwrap();
        let both =
            async move { futures::join!(first.quiescent(), second.quiescent(), second.stored()) };
        let (_, _, kept) = std::thread::spawn(move || bodies.block_on(both)).join().unwrap();
        assert_eq!(kept, Ok(()));
        within("all is stored", engine.shutdown(Shutdown::default())).await;
        let of = quell::RunId::from_text("order-7");
        let found = store.get(of).await.unwrap().expect("it was acknowledged");
        assert_eq!((&*found.accepted.name, found.status), ("second", RunStatus::Cancelled));
        assert_eq!(
            store.events(of, 0, 99).await.unwrap(),
            [],
            "the events of the first are not its"
        );
    }
}

#[tokio::test]
async fn what_is_stored_by_an_append_that_has_failed_is_not_called_lost() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("a")).await;
    store.set(Flow::Doubtful(full()));
    run.cancel(CancelRequest::because("enough"));
    within("it ends", run.ended()).await;
    tokio::time::sleep(ms(50)).await;
    store.set(Flow::Open);
    stored(&run).await;
    assert_eq!(store.get(run.id()).await.unwrap().unwrap().status, RunStatus::Cancelled);
}

#[tokio::test]
async fn i38_a_shutdown_does_not_wait_for_ever_for_a_store_that_hangs_and_counts_what_is_left() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = started(&engine, RunSpec::agent("a")).await;
    store.set(Flow::Shut { stops: true });
    let report = within("it ends", engine.shutdown(Shutdown::default())).await;
    assert_eq!(report.roots.cancelled, 1);
    assert!(report.unstored > 0, "{report:?}");
    assert_eq!(run.status(), RunStatus::Cancelled);
    drop((engine, run));
    let is_let_go = || Arc::strong_count(&store) == 1;
    soon("nobody has the store any more", is_let_go).await;
}

#[tokio::test]
async fn a_tree_that_is_forgotten_twice_is_forgotten_once() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    for _ in 0..50 {
        let run = engine.submit_durably(RunSpec::agent("a"), async |_| Ok(())).await.unwrap();
        let run = run.into_ref();
        run.quiescent().await;
        run.stored().await.unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| run.forget());
            }
        });
        assert_eq!(run.stored().await, Ok(()));
    }
    let recovered = engine.recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!(recovered.ended.total(), 0);
}
