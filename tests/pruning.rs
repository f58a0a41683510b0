//! T14, I34: what leaves a store by age, number and bytes, and what never does.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{Accepted, Epoch, MemoryStore, Record, Store, StoreError, StoredPause};
use quell::{
    CancelRequest, Counts, Engine, EventKind, Payload, RunEvent, RunId, RunKind, RunReport, RunRow,
    RunSpec, RunStatus, StoreRetention, Work,
};

use crate::support::{Flow, Valve, durable, within};

const DAY: Duration = Duration::from_hours(24);

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

fn epoch() -> Epoch {
    Epoch::new(1, 1)
}

/// An instant so many days ago, or a little more.
fn ago(days: u32) -> SystemTime {
    SystemTime::now() - DAY * days
}

fn accept(nth: usize, days: u32) -> Accepted {
    Accepted::new(run(nth), RunKind::Agent, "run".into(), epoch(), ago(days))
}

fn end(nth: usize, days: u32) -> Record {
    let mut row =
        RunRow::new(run(nth), RunKind::Agent, "run".into(), RunStatus::Completed, ago(days));
    (row.quiescent, row.quiesced_at) = (true, Some(ago(days)));
    let report = RunReport::new(vec![row], Counts::default()).into();
    Record::Ended { run: run(nth), epoch: epoch(), report, rollback: false }
}

/// Stores a run that was accepted and has ended so many days ago.
async fn over(store: &MemoryStore, nth: usize, (accepted, ended): (u32, u32)) {
    let batch = vec![Record::Accepted(accept(nth, accepted).into()), end(nth, ended)];
    store.append(batch).await.unwrap();
}

/// Tells which of so many runs are stored.
async fn left(store: &MemoryStore, runs: usize) -> Vec<usize> {
    let mut left = Vec::new();
    for nth in 0..runs {
        if store.get(run(nth)).await.unwrap().is_some() {
            left.push(nth);
        }
    }
    left
}

fn later(store: &Arc<MemoryStore>) -> Engine {
    durable(&Valve::reopened(store, 2))
}

fn nothing() -> StoreRetention {
    StoreRetention::new().ttl(Duration::ZERO).trees_max(0).bytes_max(0)
}

#[tokio::test]
async fn without_a_bound_nothing_leaves() {
    let store = Arc::new(MemoryStore::new());
    over(&store, 0, (9_000, 9_000)).await;
    assert_eq!(later(&store).prune_stored(&StoreRetention::new()).await, Ok(0));
    assert_eq!(left(&store, 1).await, [0]);
}

#[tokio::test]
async fn a_tree_leaves_by_its_age_from_when_it_was_quiescent() {
    let store = Arc::new(MemoryStore::new());
    for (nth, days) in [(40, 10), (40, 31), (35, 29), (31, 30), (10, 9)].into_iter().enumerate() {
        over(&store, nth, days).await;
    }
    let month = StoreRetention::new().ttl(30 * DAY);
    assert_eq!(later(&store).prune_stored(&month).await, Ok(2));
    assert_eq!(left(&store, 5).await, [0, 2, 4]);
}

#[tokio::test]
async fn of_too_many_trees_those_leave_that_were_accepted_first() {
    let store = Arc::new(MemoryStore::new());
    for nth in 0..2_500 {
        over(&store, nth, (1, 1)).await;
    }
    let engine = later(&store);
    let few = StoreRetention::new().trees_max(3);
    assert_eq!(engine.prune_stored(&few).await, Ok(2_497));
    assert_eq!(left(&store, 2_500).await, [2_497, 2_498, 2_499]);
    assert_eq!(engine.prune_stored(&few).await, Ok(0));
}

#[tokio::test]
async fn nodes_that_prune_at_once_leave_as_many_trees_as_may_stay() {
    for max in [999, 1_000, 1_001] {
        let store = Arc::new(MemoryStore::new());
        for nth in 0..2_500 {
            over(&store, nth, (1, 1)).await;
        }
        let few = StoreRetention::new().trees_max(max as u64);
        let valve = Valve::reopened(&store, 2);
        let slow = durable(&valve);
        valve.set(Flow::Shut { stops: true });
        let pass = tokio::spawn(async move { slow.prune_stored(&few).await });
        // It knows by now how many are too many.
        tokio::task::yield_now().await;
        assert_eq!(later(&store).prune_stored(&few).await, Ok(2_500 - max as u64));
        valve.set(Flow::Open);
        assert_eq!(within("the pass", pass).await.unwrap(), Ok(0));
        assert_eq!(left(&store, 2_500).await, (2_500 - max..2_500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn of_too_many_bytes_trees_leave_until_there_are_few_enough() {
    let store = Arc::new(MemoryStore::new());
    for nth in 0..40 {
        store.append(vec![Record::Accepted(accept(nth, 1).into())]).await.unwrap();
        let event = |seq| {
            let kind = EventKind::Emitted(Payload::from("x".repeat(500)));
            let event = RunEvent::new(seq, run(nth), run(nth), ago(1), kind);
            Record::Event { epoch: epoch(), event }
        };
        store.append((1..=100).map(event).chain([end(nth, 1)]).collect()).await.unwrap();
    }
    let all = store.bytes().await.unwrap();
    let half = StoreRetention::new().bytes_max(all / 2);
    let gone = later(&store).prune_stored(&half).await.unwrap();
    // One step may take a few more.
    assert!((20..=23).contains(&gone), "{gone} have left");
    assert!(store.bytes().await.unwrap() <= all / 2);
    assert_eq!(left(&store, 40).await, (usize::try_from(gone).unwrap()..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn t14_what_is_live_paused_or_needed_never_leaves() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (epoch(), ago(9));
    let accepted = |nth| Record::Accepted(accept(nth, 9).into());
    let in_lane = |nth| {
        let mut accepted = accept(nth, 9);
        accepted.lane = Some("lane".into());
        Record::Accepted(accepted.into())
    };
    let (started, request) = (Record::Started { run: run(2), epoch, at }, Payload::from("more?"));
    let paused =
        Record::Paused { run: run(2), epoch, pause: Box::new(StoredPause::new(request, 1, at)) };
    let mut below = accept(5, 9);
    (below.root, below.parent) = (run(4), Some(run(4)));
    for batch in [
        vec![accepted(0)],
        vec![accepted(1), Record::Started { run: run(1), epoch, at }],
        vec![accepted(2), started, paused],
        vec![accepted(3)],
        vec![accepted(4), Record::Accepted(below.into()), end(4, 9)],
        vec![in_lane(6), end(6, 9)],
        vec![in_lane(7)],
        vec![accepted(8), end(8, 9)],
    ] {
        store.append(batch).await.unwrap();
    }
    let engine = later(&store);
    assert_eq!(engine.prune_stored(&nothing()).await, Ok(1));
    assert_eq!(left(&store, 9).await, [0, 1, 2, 3, 4, 5, 6, 7]);
    // Nor does what is in memory, live or not.
    let live = engine.submit(RunSpec::agent("live"), async |ctx| {
        ctx.stopped().await;
        Ok(())
    });
    let ended = engine.submit(RunSpec::agent("ended"), async |_| Ok(()));
    let (live, ended) = (live.unwrap().into_ref(), ended.unwrap().into_ref());
    within("the end", ended.quiescent()).await;
    ended.stored().await.unwrap();
    assert_eq!(engine.prune_stored(&nothing()).await, Ok(0));
    for run in [&live, &ended] {
        assert!(store.get(run.id()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn t14_what_is_not_quiescent_stays_while_its_end_may_be_told_and_then_leaves_by_its_age() {
    let store = Arc::new(MemoryStore::new());
    for (nth, days) in [(0, 31), (1, 29)] {
        let mut row =
            RunRow::new(run(nth), RunKind::Agent, "run".into(), RunStatus::Failed, ago(40));
        row.ended_at = Some(ago(days));
        let report = RunReport::new(vec![row], Counts::default()).into();
        let left = Record::Ended { run: run(nth), epoch: epoch(), report, rollback: false };
        store.append(vec![Record::Accepted(accept(nth, 40).into()), left]).await.unwrap();
    }
    let engine = later(&store);
    let month = StoreRetention::new().ttl(30 * DAY);
    assert_eq!(engine.prune_stored(&month).await, Ok(1), "it counts from the end");
    assert_eq!(left(&store, 2).await, [1]);
    // In this process somebody may tell of the end.
    let (hand_out, handed) = tokio::sync::oneshot::channel();
    let open = engine.submit(RunSpec::agent("open"), async |ctx| {
        let mut hold = ctx.hold_durably(Work::Remote, "service").await?;
        hold.abandon();
        drop(hand_out.send(hold));
        Ok(())
    });
    let open = open.unwrap().into_ref();
    assert!(!within("the end", open.ended()).await.quiescent);
    open.stored().await.unwrap();
    assert_eq!(engine.prune_stored(&nothing()).await, Ok(1), "that of the process before");
    assert!(store.get(open.id()).await.unwrap().is_some());
    drop(handed.await.unwrap());
    within("the service", open.quiescent()).await;
    open.stored().await.unwrap();
    let stored = store.get(open.id()).await.unwrap().unwrap();
    assert_eq!((stored.holds.len(), stored.quiescent), (0, true));
}

#[tokio::test]
async fn what_is_in_memory_makes_no_later_tree_leave_in_its_place() {
    let store = Arc::new(MemoryStore::new());
    let engine = later(&store);
    let mut runs = Vec::new();
    for _ in 0..3 {
        let run = engine.submit(RunSpec::agent("run"), async |_| Ok(())).unwrap().into_ref();
        within("the end", run.quiescent()).await;
        run.stored().await.unwrap();
        runs.push(run);
    }
    over(&store, 0, (0, 0)).await;
    assert_eq!(engine.prune_stored(&StoreRetention::new().trees_max(2)).await, Ok(0));
    assert_eq!(left(&store, 1).await, [0]);
}

#[tokio::test]
async fn i34_no_stop_waits_for_what_leaves() {
    let store = Arc::new(MemoryStore::new());
    for nth in 0..600 {
        over(&store, nth, (1, 1)).await;
    }
    let valve = Valve::reopened(&store, 2);
    let engine = durable(&valve);
    let live = engine.submit_durably(RunSpec::agent("live"), async |ctx| {
        ctx.stopped().await;
        Ok(())
    });
    let live = live.await.unwrap().into_ref();
    valve.set(Flow::Shut { stops: false });
    let (pruning, retention) = (engine.clone(), nothing());
    let pass = tokio::spawn(async move { pruning.prune_stored(&retention).await });
    tokio::task::yield_now().await;
    let stop = live.cancel_durably(CancelRequest::because("enough"));
    let (_report, ()) = tokio::join!(within("the stop", live.ended()), async {
        // It is stored, although the pass is not through.
        let stopped = async || store.get(live.id()).await.unwrap().unwrap().stop.is_some();
        drop(tokio::time::timeout(Duration::from_millis(1), stop).await);
        while !within("the look", stopped()).await {
            tokio::task::yield_now().await;
        }
    });
    assert!(!pass.is_finished());
    valve.set(Flow::Open);
    assert_eq!(within("the pass", pass).await.unwrap(), Ok(600));
    let largest = valve.appends().into_iter().max().unwrap();
    assert!((2..=256).contains(&largest), "an append of {largest}");
}

#[tokio::test]
async fn a_pass_that_fails_says_so_and_the_next_one_goes_on() {
    let store = Arc::new(MemoryStore::new());
    for nth in 0..9 {
        over(&store, nth, (1, 1)).await;
    }
    let valve = Valve::reopened(&store, 2);
    let engine = durable(&valve);
    let trouble = StoreError::Io { what: "no disk".into() };
    valve.set(Flow::Failing(trouble.clone()));
    assert_eq!(engine.prune_stored(&nothing()).await, Err(trouble));
    assert_eq!(left(&store, 9).await.len(), 9);
    valve.set(Flow::Open);
    assert_eq!(engine.prune_stored(&nothing()).await, Ok(9));
}
