//! I4, I19, T13: work that does not end with its process is stored before it begins, and named when
//! its process is gone.

use std::sync::Arc;

use futures::FutureExt as _;
use quell::store::{MemoryStore, Record, RunRecord, Store};
use quell::{
    Abandoned, CancelRequest, Engine, EventKind, Hold, Recovery, RunContext, RunEvent, RunId,
    RunRef, RunSpec, RunStatus, Work, limits, testing,
};
use tokio::sync::mpsc;

use crate::support::{Flow, Valve, durable, full, listener, soon, within};

fn first() -> (Arc<MemoryStore>, Arc<Valve>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), Valve::reopened(&store, 1))
}

fn later(store: &Arc<MemoryStore>) -> Engine {
    durable(&Valve::reopened(store, 2))
}

async fn record(store: &MemoryStore, run: RunId) -> RunRecord {
    store.get(run).await.unwrap().unwrap()
}

fn names(record: &RunRecord) -> Vec<(u32, &str)> {
    record.holds.iter().map(|hold| (hold.nr, &*hold.name)).collect()
}

fn left(run: RunId, name: &str) -> Abandoned {
    Abandoned::new(run, name.into(), Work::Process)
}

/// Begins work of this name, and waits for its stop with it.
async fn holds(ctx: RunContext, name: &'static str) -> Result<(), quell::Failure> {
    let _hold = ctx.hold_durably(Work::Process, name).await?;
    listener(ctx).await
}

/// Waits until so many of the runs of a store have open work.
async fn begun(valve: &Valve, count: usize) {
    let is_begin = |record: &Record| matches!(record, Record::HoldBegan { .. });
    soon("it begins", || valve.stored().iter().filter(|it| is_begin(it)).count() >= count).await;
}

#[tokio::test]
async fn work_begins_when_the_store_has_it_and_is_there_no_longer_than_it_goes_on() {
    let (store, valve) = first();
    let engine = durable(&valve);
    let (hand_out, mut begins) = mpsc::unbounded_channel::<Hold>();
    let (go, mut goes) = mpsc::unbounded_channel::<()>();
    let run = engine.submit_durably(RunSpec::agent("run"), async move |ctx: RunContext| {
        goes.recv().await;
        for (what, name) in [(Work::Process, "make"), (Work::Blocking, "thread")] {
            let _ = hand_out.send(ctx.hold_durably(what, name).await?);
        }
        listener(ctx).await
    });
    let run = run.await.unwrap().into_ref();
    soon("it runs", || run.stored().now_or_never().is_some()).await;
    valve.set(Flow::Shut { stops: false });
    go.send(()).unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(begins.try_recv().is_err(), "it is not stored");
    valve.set(Flow::Open);
    let program = within("the begin", begins.recv()).await.unwrap();
    assert_eq!(names(&record(&store, run.id()).await), [(0, "make")]);
    let _thread = within("what ends with the process", begins.recv()).await.unwrap();
    drop(program);
    run.stored().await.unwrap();
    assert_eq!(names(&record(&store, run.id()).await), []);
}

#[tokio::test]
async fn i8_work_does_not_begin_when_a_stop_comes_while_the_store_is_waited_for() {
    let (store, valve) = first();
    let engine = durable(&valve);
    let (tell, mut told) = mpsc::unbounded_channel();
    let (go, mut goes) = mpsc::unbounded_channel::<()>();
    let run = engine.submit_durably(RunSpec::agent("run"), async move |ctx: RunContext| {
        goes.recv().await;
        let begins = ctx.hold_durably(Work::Process, "make").await;
        tell.send(begins.is_ok()).unwrap();
        drop(begins?);
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    soon("it runs", || run.stored().now_or_never().is_some()).await;
    valve.set(Flow::Shut { stops: true });
    go.send(()).unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(told.try_recv().is_err(), "it is not stored");
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(within("the answer", told.recv()).await, Some(false));
    let report = within("the end", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    valve.set(Flow::Open);
    run.stored().await.unwrap();
    assert_eq!(record(&store, run.id()).await.holds, []);
}

#[tokio::test]
async fn work_begins_although_the_store_is_in_trouble_and_the_run_is_told_not_to_be_stored() {
    let (store, valve) = first();
    let engine = durable(&valve);
    let (go, mut goes) = mpsc::unbounded_channel::<()>();
    let run = engine.submit_durably(RunSpec::agent("run"), async move |ctx: RunContext| {
        goes.recv().await;
        drop(ctx.hold_durably(Work::Process, "make").await?);
        Ok(())
    });
    let run = run.await.unwrap().into_ref();
    valve.set(Flow::Failing(full()));
    go.send(()).unwrap();
    assert_eq!(within("the end", run.ended()).await.status, RunStatus::Completed);
    assert_eq!(within("the answer", run.stored()).await, Err(full()));
    valve.set(Flow::Open);
    soon("it is stored", || run.stored().now_or_never() == Some(Ok(()))).await;
    let stored = record(&store, run.id()).await;
    assert_eq!((stored.holds, stored.status), (vec![], RunStatus::Completed));
}

#[tokio::test]
async fn one_entry_stands_for_all_that_are_too_many() {
    let (_store, valve) = first();
    let engine = durable(&valve);
    let run = engine.submit(RunSpec::agent("run"), async |ctx: RunContext| {
        let mut holds = Vec::new();
        for _ in 0..limits::STORE_HOLDS_MAX + 9 {
            holds.push(ctx.hold_durably(Work::Remote, "service").await?);
        }
        ctx.stopped().await;
        Ok(())
    });
    let run = run.unwrap().into_ref();
    begun(&valve, limits::STORE_HOLDS_MAX).await;
    run.cancel(CancelRequest::because("enough"));
    within("the end", run.ended()).await;
    run.stored().await.unwrap();
    let stored = valve.stored();
    let began = stored.iter().filter(|it| matches!(it, Record::HoldBegan { .. })).count();
    let ended = stored.iter().filter(|it| matches!(it, Record::HoldEnded { .. })).count();
    assert_eq!((began, ended), (limits::STORE_HOLDS_MAX, limits::STORE_HOLDS_MAX));
}

#[tokio::test]
async fn t13_what_may_still_execute_of_a_run_whose_process_is_gone_is_named() {
    for is_stopped in [false, true] {
        let (store, valve) = first();
        let before = durable(&valve);
        let alone = before.submit(RunSpec::agent("alone"), |ctx| holds(ctx, "make")).unwrap();
        let tree = before.submit(RunSpec::team("tree"), async |ctx: RunContext| {
            let _below = ctx.spawn(RunSpec::step("below"), async |ctx: RunContext| {
                let _leaf = ctx.spawn(RunSpec::step("leaf"), |ctx| holds(ctx, "gcc"));
                listener(ctx).await
            });
            let _quiet = ctx.spawn(RunSpec::step("quiet"), listener);
            listener(ctx).await
        });
        let none = before.submit(RunSpec::agent("none"), listener).unwrap().into_ref();
        let (alone, tree) = (alone.into_ref(), tree.unwrap().into_ref());
        begun(&valve, 2).await;
        none.stored().await.unwrap();
        if is_stopped {
            // Only the intent is stored: the process ends before anything follows.
            valve.set(Flow::Shut { stops: false });
            for run in [&alone, &tree] {
                let _ = run.cancel(CancelRequest::because("enough"));
            }
            let stops = async || {
                let (one, two) =
                    (record(&store, alone.id()).await, record(&store, tree.id()).await);
                one.stop.is_some() && two.stop.is_some()
            };
            while !stops().await {
                tokio::task::yield_now().await;
            }
        }
        let after = later(&store);
        after.recover(|_| Recovery::Fail).await.unwrap();
        let status = if is_stopped { RunStatus::Cancelled } else { RunStatus::Failed };
        let stored = record(&store, alone.id()).await;
        let report = stored.report_by_now();
        assert_eq!((report.status, report.quiescent, stored.quiescent), (status, false, false));
        assert_eq!(report.abandoned, [left(alone.id(), "make")]);
        assert_eq!(report.rows[0].quiesced_at, None);
        let whole = record(&store, tree.id()).await.report_by_now();
        let rows: Vec<_> = whole.rows.iter().map(|row| (&*row.name, row.quiescent)).collect();
        let expected = [("tree", false), ("below", false), ("leaf", false), ("quiet", true)];
        assert_eq!(rows, expected);
        assert_eq!(whole.abandoned, [left(whole.rows[2].run, "gcc")]);
        let below = record(&store, whole.rows[1].run).await;
        assert!(!below.quiescent, "each by itself says so");
        assert!(record(&store, none.id()).await.quiescent);
        for run in [&alone, &tree] {
            tells(&store, run).await;
            // Nobody can tell of the end: it does not keep the run from leaving.
            after.forget_stored(run.id()).await.unwrap();
        }
    }
}

/// Checks the log of a tree, which names work before the end of its run.
async fn tells(store: &MemoryStore, root: &RunRef) {
    let events = store.events(root.id(), 0, 1_000).await.unwrap();
    let mut log: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let is_name = |event: &&RunEvent| matches!(event.kind, EventKind::Abandoned { .. });
    let named: Vec<_> = log.iter().filter(is_name).map(|event| event.run).collect();
    assert_eq!(named.len(), 1, "{log:#?}");
    // Nobody tells of that. But for it the log is whole.
    let last = log.last().unwrap();
    let quiesced = RunEvent::new(last.seq + 1, root.id(), named[0], last.at, EventKind::Quiesced);
    log.push(quiesced);
    testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
}

#[tokio::test]
async fn t13_a_run_below_that_had_ended_before_keeps_its_root_from_being_quiescent() {
    let (store, valve) = first();
    let before = durable(&valve);
    let (hand_out, mut handed) = mpsc::unbounded_channel::<Hold>();
    let run = before.submit(RunSpec::team("root"), async move |ctx: RunContext| {
        let middle = ctx.spawn(RunSpec::step("middle"), async move |ctx: RunContext| {
            let leaf = ctx.spawn(RunSpec::step("leaf"), async move |ctx: RunContext| {
                let mut hold = ctx.hold_durably(Work::Process, "daemon").await?;
                hold.abandon();
                hand_out.send(hold).unwrap();
                Ok(())
            });
            leaf.await?;
            Ok(())
        });
        middle.await?;
        listener(ctx).await
    });
    let run = run.unwrap().into_ref();
    let _hold = within("the end below", handed.recv()).await;
    let ends = |record: &&Record| matches!(record, Record::Ended { .. });
    soon("both have ended", || valve.stored().iter().filter(ends).count() == 2).await;
    run.stored().await.unwrap();
    later(&store).recover(|_| Recovery::Fail).await.unwrap();
    let report = record(&store, run.id()).await.report_by_now();
    let rows: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.quiescent)).collect();
    assert_eq!(rows, [("root", false), ("middle", false), ("leaf", false)]);
    assert_eq!(report.abandoned, [left(report.rows[2].run, "daemon")]);
}

#[tokio::test]
async fn i19_a_run_that_goes_on_names_at_its_end_what_the_attempt_before_has_left() {
    let (store, valve) = first();
    let before = durable(&valve);
    let run = before.submit(RunSpec::agent("run"), async |ctx: RunContext| {
        let _below = ctx.spawn(RunSpec::step("below"), |ctx| holds(ctx, "gcc"));
        holds(ctx, "make").await
    });
    let run = run.unwrap().into_ref();
    begun(&valve, 2).await;
    run.stored().await.unwrap();
    let second = Valve::reopened(&store, 2);
    let (after, (tell, mut told)) = (durable(&second), mpsc::unbounded_channel());
    let body = async move |ctx: RunContext| {
        let hold = ctx.hold_durably(Work::Process, "make again").await?;
        tell.send(()).unwrap();
        ctx.stopped().await;
        drop(hold);
        Ok(())
    };
    let mut body = Some(body);
    let recovered =
        after.recover(|_| Recovery::resume(RunSpec::agent("run"), body.take().unwrap()));
    let resumed = recovered.await.unwrap().resumed.pop().unwrap();
    within("its begin", told.recv()).await;
    assert_eq!(names(&record(&store, run.id()).await), [(0, "make"), (1, "make again")]);
    resumed.cancel(CancelRequest::because("enough"));
    let report = within("the end", resumed.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, false));
    let named: Vec<_> = report.abandoned.iter().map(|left| &*left.name).collect();
    assert_eq!(named, ["make", "gcc"]);
    resumed.stored().await.unwrap();
    let stored = record(&store, run.id()).await;
    assert_eq!((stored.quiescent, names(&stored)), (false, vec![(0, "make")]));
    assert_eq!(stored.report_by_now().abandoned, report.abandoned);
}

/// Takes a run that was killed on, with a body that begins work of this name below it, and waits
/// until that is stored.
async fn killed_again(store: &Arc<MemoryStore>, boot: u32, name: &'static str) -> Engine {
    let valve = Valve::reopened(store, boot);
    let after = durable(&valve);
    let body = async move |ctx: RunContext| {
        let _below = ctx.spawn(RunSpec::step("below"), move |ctx| holds(ctx, name));
        listener(ctx).await
    };
    let resumed = after.recover(|_| Recovery::resume(RunSpec::agent("run"), body)).await.unwrap();
    begun(&valve, 1).await;
    resumed.resumed[0].stored().await.unwrap();
    after
}

/// The names of what a run has left, as the store has its report.
async fn named(store: &MemoryStore, run: RunId) -> (bool, Vec<String>) {
    let report = record(store, run).await.report_by_now();
    assert_eq!(report.rows[0].quiesced_at.is_some(), report.quiescent, "one truth");
    (report.quiescent, report.abandoned.iter().map(|left| left.name.to_string()).collect())
}

#[tokio::test]
async fn i4_a_run_names_at_its_end_what_each_of_its_lost_attempts_has_left() {
    for goes_on in [true, false] {
        let (store, valve) = first();
        let before = durable(&valve);
        let run = before.submit(RunSpec::agent("run"), async |ctx: RunContext| {
            let _below = ctx.spawn(RunSpec::step("below"), |ctx| holds(ctx, "one"));
            listener(ctx).await
        });
        let run = run.unwrap().into_ref();
        begun(&valve, 1).await;
        run.stored().await.unwrap();
        let _second = killed_again(&store, 2, "two").await;
        let _third = killed_again(&store, 3, "three").await;
        let after = durable(&Valve::reopened(&store, 4));
        let last = |_: &RunRecord| {
            if goes_on {
                Recovery::resume(RunSpec::agent("run"), async |_| Ok(()))
            } else {
                Recovery::Fail
            }
        };
        for run in after.recover(last).await.unwrap().resumed {
            let report = within("nothing of this process executes", run.quiescent()).await;
            assert_eq!((report.status, report.quiescent), (RunStatus::Completed, false));
            run.stored().await.unwrap();
        }
        let (is_quiescent, mut names) = named(&store, run.id()).await;
        names.sort();
        assert_eq!((is_quiescent, &*names.join(" ")), (false, "one three two"), "{goes_on}");
    }
}

/// Makes a store of a run that was killed once, and then paused, and that is left so.
async fn killed_and_paused() -> (Arc<MemoryStore>, RunId, [Engine; 2]) {
    let (store, valve) = first();
    let before = durable(&valve);
    let run = before.submit(RunSpec::agent("run"), async |ctx: RunContext| {
        let _below = ctx.spawn(RunSpec::step("below"), |ctx| holds(ctx, "gcc"));
        holds(ctx, "make").await
    });
    let run = run.unwrap().into_ref();
    begun(&valve, 2).await;
    run.stored().await.unwrap();
    let second = later(&store);
    let asks = |_: &RunRecord| {
        let body = async |ctx: RunContext| Err::<(), _>(ctx.pause("go on?"));
        Recovery::resumable(RunSpec::agent("run"), body)
    };
    let asked = second.recover(asks).await.unwrap().resumed.remove(0);
    soon("it is paused", || asked.status() == RunStatus::Paused).await;
    asked.stored().await.unwrap();
    (store, run.id(), [before, second])
}

#[tokio::test]
async fn i4_a_run_that_was_paused_in_between_names_what_its_lost_attempt_has_left() {
    for is_answered in [true, false] {
        let (store, id, _killed) = killed_and_paused().await;
        let after = durable(&Valve::reopened(&store, 3));
        let goes_on = |_: &RunRecord| {
            let body = async |ctx: RunContext| {
                drop(ctx.hold_durably(Work::Process, "again").await?);
                Ok(())
            };
            Recovery::resumable(RunSpec::agent("run"), body)
        };
        let run = after.recover(goes_on).await.unwrap().paused.remove(0);
        assert!(!run.report().quiescent, "also while it is paused");
        if is_answered {
            run.resume("yes").unwrap();
        } else {
            run.cancel(CancelRequest::because("enough"));
        }
        within("the end", run.ended()).await;
        run.stored().await.unwrap();
        let expected = (false, vec!["make".to_owned(), "gcc".to_owned()]);
        assert_eq!(named(&store, id).await, expected, "{is_answered}");
        assert_eq!(names(&record(&store, id).await), [(0, "make")], "its number is its own");
        soon("its bytes are free", || testing::held(&after).bytes == 0).await;
    }
}
