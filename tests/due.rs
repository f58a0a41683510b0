//! T13, I38: a run that was to start at a due time and has no start in the store has never begun,
//! however its process has ended; so it begins in the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quell::store::{MemoryStore, RunRecord, Store, StoreError};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    CancelRequest, Engine, Failure, OnBusy, Recovery, RunContext, RunRef, RunSpec, RunStatus,
    Shutdown,
};

use crate::support::{Flow, Shaky, Valve, durable, full, listener, ms, secs, soon, within};

/// How often the bodies of a test have begun.
type Begun = Arc<AtomicUsize>;

fn count(begun: &Begun) -> usize {
    begun.load(Ordering::SeqCst)
}

/// Submits a run that is due soon, and notes in the witness when its body begins.
async fn due_soon(engine: &Engine, begun: &Begun) -> RunRef {
    let (spec, begun) = (RunSpec::agent("due"), Arc::clone(begun));
    let spec = spec.not_before(Instant::now() + ms(50));
    let body = async move |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    engine.submit_durably(spec, body).await.unwrap().into_ref()
}

/// Lets a run begin that an earlier process has left, of which nothing has.
fn begin(left: &RunRecord, begun: &Begun) -> Recovery {
    assert!(left.is_unstarted && left.started_at.is_none(), "{left:?}");
    let begun = Arc::clone(begun);
    Recovery::resume(RunSpec::agent("due"), async move |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Failure>(())
    })
}

/// Recovers what an earlier process has left, and lets it begin.
async fn begins(engine: &Engine, begun: &Begun) -> RunRef {
    engine.recover(|left| begin(left, begun)).await.unwrap().resumed.remove(0)
}

/// Lets a run be due whose start is not stored meanwhile.
async fn starting(store: &Arc<Valve>, engine: &Engine, begun: &Begun) -> RunRef {
    let run = due_soon(engine, begun).await;
    store.set(Flow::Shut { stops: false });
    tokio::time::sleep(ms(100)).await;
    assert_eq!((run.status(), count(begun)), (RunStatus::Queued, 0), "its start is not stored");
    run
}

#[tokio::test]
async fn t13_the_body_of_a_run_that_was_due_begins_when_its_start_is_stored_and_once() {
    let (kept, begun) = (Arc::new(MemoryStore::new()), Begun::default());
    let stands_still = Valve::reopened(&kept, 1);
    let before = durable(&stands_still);
    let run = starting(&stands_still, &before, &begun).await;
    // Another process takes its place, which may not know that this one stands still.
    let after = durable(&Valve::reopened(&kept, 2));
    let again = begins(&after, &begun).await;
    assert_eq!(again.id(), run.id());
    within("it ends", again.stored()).await.unwrap();
    let report = within("it ends", again.ended()).await;
    assert_eq!(report.status, RunStatus::Completed);
    assert_eq!(kept.get(run.id()).await.unwrap().unwrap().attempt, 1);
    stands_still.set(Flow::Open);
    let ended = within("it ends", run.ended()).await;
    assert_eq!((ended.status, count(&begun)), (RunStatus::Failed, 1), "{ended:?}");
    assert!(matches!(run.stored().await, Err(StoreError::Fenced { .. })));
}

#[tokio::test]
async fn t13_a_run_begins_when_the_store_takes_its_start() {
    let (store, begun) = (Valve::new(Flow::Open), Begun::default());
    let engine = durable(&store);
    let run = starting(&store, &engine, &begun).await;
    store.set(Flow::Open);
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
    assert_eq!(count(&begun), 1);
}

#[tokio::test]
async fn t13_a_run_that_is_stopped_while_its_start_is_stored_never_begins() {
    let stop = || CancelRequest::because("never mind");
    for stop in [stop(), stop().abort(), stop().after_step(None), stop().rollback()] {
        let (store, begun) = (Valve::new(Flow::Open), Begun::default());
        let engine = durable(&store);
        let run = starting(&store, &engine, &begun).await;
        run.cancel(stop.clone());
        // Now, and not after a grace: there is no body that could use one.
        assert_eq!(within("it ends", run.quiescent()).await.status, RunStatus::Cancelled);
        assert!(run.row().started_at.is_none());
        store.set(Flow::Open);
        run.stored().await.unwrap();
        assert_eq!(count(&begun), 0, "{stop:?}");
    }
}

#[tokio::test]
async fn i38_a_shutdown_stops_what_is_about_to_begin_unless_the_store_is_in_trouble() {
    for is_in_trouble in [false, true] {
        let (kept, begun) = (Arc::new(MemoryStore::new()), Begun::default());
        let store = Valve::reopened(&kept, 1);
        let before = durable(&store);
        let run = starting(&store, &before, &begun).await;
        if is_in_trouble {
            store.set(Flow::Failing(full()));
            tokio::time::sleep(ms(50)).await;
        }
        let engine = before.clone();
        let ends = tokio::spawn(async move { engine.shutdown(Shutdown::default()).await });
        soon("it has asked", || run.status() != RunStatus::Queued || is_in_trouble).await;
        if is_in_trouble {
            // What is left is not to be found as started.
            soon("it is left", || before.get(run.id()).is_none()).await;
        }
        store.set(Flow::Open);
        within("it ends", ends).await.unwrap();
        let record = kept.get(run.id()).await.unwrap().unwrap();
        let stands = if is_in_trouble { RunStatus::Queued } else { RunStatus::Cancelled };
        assert_eq!((run.status(), record.status, count(&begun)), (stands, stands, 0));
    }
}

#[tokio::test]
async fn i38_nothing_is_lost_of_a_start_that_is_withdrawn() {
    let begun = Begun::default();
    let store = Valve::reopened(&Arc::new(MemoryStore::new()), 1);
    let engine = durable(&store);
    let run = starting(&store, &engine, &begun).await;
    store.set(Flow::Failing(full()));
    tokio::time::sleep(ms(50)).await;
    let report = within("it ends", engine.shutdown(Shutdown::default())).await;
    assert_eq!((report.unstored, run.status(), count(&begun)), (0, RunStatus::Queued, 0));
}

#[tokio::test]
async fn i36_what_was_due_first_begins_first_however_long_no_process_was_there() {
    let kept = Arc::new(MemoryStore::new());
    let before = durable(&Valve::reopened(&kept, 1));
    let (mut runs, base) = (Vec::new(), Instant::now());
    for wait in [400, 200, 300] {
        let spec = RunSpec::agent("due").lane("lane", OnBusy::Enqueue);
        let spec = spec.not_before(base + ms(wait));
        runs.push(before.submit_durably(spec, listener).await.unwrap().into_ref().id());
    }
    within("it ends", before.shutdown(Shutdown::default())).await;
    tokio::time::sleep_until((base + ms(450)).into()).await;
    let after = durable(&Valve::reopened(&kept, 2));
    let order = Arc::new(Mutex::new(Vec::new()));
    let recovered = after.recover(|_| {
        let order = Arc::clone(&order);
        Recovery::resume(RunSpec::agent("due"), async move |ctx: RunContext| {
            order.lock().unwrap().push(ctx.id());
            Ok::<_, Failure>(())
        })
    });
    for run in recovered.await.unwrap().resumed {
        within("it ends", run.ended()).await;
    }
    assert_eq!(*order.lock().unwrap(), [runs[1], runs[2], runs[0]]);
}

#[tokio::test]
async fn i38_what_becomes_due_while_no_process_is_there_begins_in_the_next_one() {
    let (kept, begun) = (Arc::new(MemoryStore::new()), Begun::default());
    let before = durable(&Valve::reopened(&kept, 1));
    let run = due_soon(&before, &begun).await;
    within("it ends", before.shutdown(Shutdown::default())).await;
    tokio::time::sleep(ms(60)).await;
    // Due by now, and held: also a process that ends before it lets it start leaves it so.
    let between = durable(&Valve::reopened(&kept, 2));
    let recovered = between.recover_held(|_| Recovery::resume(RunSpec::agent("due"), listener));
    let (_, held) = recovered.await.unwrap();
    assert_eq!(held.count(), 1);
    within("it ends", between.shutdown(Shutdown::default())).await;
    let after = durable(&Valve::reopened(&kept, 3));
    let again = begins(&after, &begun).await;
    let report = within("it ends", again.ended()).await;
    assert_eq!((again.id(), report.status), (run.id(), RunStatus::Completed));
    again.stored().await.unwrap();
    assert_eq!(kept.get(run.id()).await.unwrap().unwrap().attempt, 1);
    assert_eq!(count(&begun), 1);
}

#[tokio::test]
async fn i38_what_was_due_and_waits_for_its_lane_is_left_to_the_next_process_too() {
    let (kept, begun) = (Arc::new(MemoryStore::new()), Begun::default());
    let before = durable(&Valve::reopened(&kept, 1));
    let in_lane = |name| RunSpec::agent(name).lane("lane", OnBusy::Enqueue);
    let holder = before.submit_durably(in_lane("holder"), listener).await.unwrap();
    let later = in_lane("later").not_before(Instant::now() + ms(1));
    let later = before.submit_durably(later, listener).await.unwrap().into_ref();
    tokio::time::sleep(ms(20)).await;
    within("it ends", before.shutdown(Shutdown::default())).await;
    assert_eq!(kept.get(holder.id()).await.unwrap().unwrap().status, RunStatus::Cancelled);
    let after = durable(&Valve::reopened(&kept, 2));
    let again = begins(&after, &begun).await;
    assert_eq!(again.id(), later.id());
    assert_eq!(within("it ends", again.ended()).await.status, RunStatus::Completed);
    assert_eq!(count(&begun), 1);
}

#[tokio::test(start_paused = true)]
async fn t13_what_a_lost_node_was_to_start_later_begins_on_another_one_without_a_doubt() {
    let (nodes, begun) = (Nodes::new(secs(15)), Begun::default());
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let spec = RunSpec::agent("due").not_before(tokio::time::Instant::now().into_std() + secs(5));
    let run = a.submit_durably(spec, listener).await.unwrap().into_ref();
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = b.take_over(|left| begin(left, &begun)).await.unwrap().unwrap();
    let again = &taken.recovered.resumed[0];
    assert_eq!(again.id(), run.id());
    let report = within("it ends", again.quiescent()).await;
    assert_eq!((report.status, report.abandoned.len()), (RunStatus::Completed, 0), "{report:?}");
    assert_eq!(count(&begun), 1);
}
