//! T13, I37: what a run that goes on in a later process keeps, and how often one does.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use quell::store::{Accepted, Epoch, ImpliedEvents, MemoryStore, Record, RunRecord, Store};
use quell::{
    CancelRequest, Engine, EventKind, Failure, IdempotencyKey, OnBusy, Payload, Recovered,
    Recovery, RunContext, RunEvent, RunId, RunKind, RunLimits, RunRef, RunSpec, RunStatus, Scope,
    SubmitError, limits,
};

use tokio::sync::mpsc::unbounded_channel;

use crate::foreign::subscriber::{heed, told_of};
use crate::support::{Valve, clerk, durable, paused, soon, within};

/// An engine of a later process on the same store. What a former one does is stored no more.
fn engine(store: &Arc<MemoryStore>, boot: u32) -> Engine {
    durable(&Valve::reopened(store, boot))
}

/// Lets an engine be as one whose process was killed: nobody stops what it has.
fn killed(engine: Engine) {
    let _: &'static mut Engine = Box::leak(Box::new(engine));
}

async fn lasts(_: RunContext) -> Result<(), Failure> {
    pending().await
}

async fn goes_on(engine: &Engine) -> Recovered {
    let recovered = engine.recover(|_| Recovery::resume(clerk(), lasts));
    recovered.await.unwrap()
}

#[tokio::test]
async fn i37_the_key_of_a_run_that_goes_on_or_is_paused_still_leads_to_it() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let keyed = |key: &str, payload| {
        clerk().owner("ada").idempotency_key(IdempotencyKey::new(key, [payload]))
    };
    let runs = before.submit_durably(keyed("k", "a"), lasts).await;
    let runs = [runs.unwrap().into_ref(), paused(&before, keyed("l", "a")).await];
    runs[1].stored().await.unwrap();
    killed(before);
    for boot in 2..4 {
        let after = engine(&store, boot);
        let recovered = goes_on(&after).await;
        assert_eq!((recovered.resumed.len(), recovered.paused.len()), (1, 1));
        for (run, key) in runs.iter().zip(["k", "l"]) {
            let once = IdempotencyKey::new(key, ["a"]);
            let (id, live) = after.submitted_with(Some("ada"), &once).expect("it is known");
            assert_eq!((id, live.map(|live| live.id())), (run.id(), Some(run.id())));
            let again = after.submit(keyed(key, "a"), async |_| Ok(())).map(drop);
            assert_eq!(again, Err(SubmitError::AlreadySubmitted(run.id())));
            let named = keyed(key, "a").id(run.id());
            let again = after.submit_durably(named, async |_| Ok(())).await.map(drop);
            assert_eq!(again, Err(SubmitError::AlreadySubmitted(run.id())));
            let other = after.submit(keyed(key, "b"), async |_| Ok(())).map(drop);
            assert_eq!(other, Err(SubmitError::KeyConflict));
        }
        killed(after);
    }
}

#[tokio::test]
async fn what_goes_on_is_behind_all_that_is_told_of_it_though_its_clock_was_ahead() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let ahead = SystemTime::now() + Duration::from_hours(1);
    assert!(before.not_before(ahead));
    let working = before.submit_durably(clerk(), lasts).await.unwrap().into_ref();
    let waiting = paused(&before, clerk()).await;
    waiting.stored().await.unwrap();
    soon("it has started", || working.status() == RunStatus::Running).await;
    working.events_stored().await.unwrap();
    killed(before);
    let after = engine(&store, 2);
    let recovered = goes_on(&after).await;
    for run in recovered.resumed.iter().chain(&recovered.paused) {
        run.cancel(CancelRequest::because("enough"));
        run.stored().await.unwrap();
        run.events_stored().await.unwrap();
        assert!(run.row().ended_at > Some(ahead));
        let events = store.events(run.id(), 0, limits::STORE_PAGE_MAX).await.unwrap();
        let times: Vec<_> = events.into_iter().map(|event| event.unwrap().at).collect();
        assert!(times.is_sorted() && times[0] >= ahead, "{times:?}");
    }
    assert_eq!((recovered.resumed.len(), recovered.paused.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_due_later_starts_when_it_is_due_in_a_later_process_too() {
    const HOUR: Duration = Duration::from_hours(1);
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let due = Instant::from(tokio::time::Instant::now()) + HOUR;
    let later = RunSpec::agent("later").not_before(due);
    let id = before.submit_durably(later, async |_| Ok(())).await.unwrap().into_ref().id();
    killed(before);
    for boot in 2..4 {
        let after = engine(&store, boot);
        let run = goes_on(&after).await.resumed.remove(0);
        for _ in 0..3 {
            tokio::time::sleep(HOUR / 10).await;
        }
        assert_eq!((run.id(), run.status()), (id, RunStatus::Queued), "in process {boot}");
        killed(after);
    }
}

#[tokio::test]
async fn of_runs_that_wait_in_a_later_process_the_one_of_the_highest_priority_starts_first_still() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let mut queued = Vec::new();
    let spec = || RunSpec::agent("r").lane("l", OnBusy::Enqueue);
    for priority in [0, 0, -3, 7] {
        let run = before.submit_durably(spec().priority(priority), lasts).await;
        queued.push(run.unwrap().into_ref().id());
    }
    killed(before);
    for boot in 2..4 {
        let after = engine(&store, boot);
        let (told, mut order) = unbounded_channel();
        let recovered = after.recover(|left| {
            let (told, id) = (told.clone(), left.run());
            Recovery::resume(RunSpec::agent("r"), async move |_| {
                let _ = told.send(id);
                if boot == 2 { pending().await } else { Ok(()) }
            })
        });
        assert_eq!(recovered.await.unwrap().resumed.len(), 4);
        if boot == 3 {
            for nth in [0, 3, 1, 2] {
                assert_eq!(within("it starts", order.recv()).await, Some(queued[nth]), "{nth}");
            }
        }
        killed(after);
    }
}

#[tokio::test]
async fn a_run_that_became_due_while_nothing_ran_it_starts_at_once() {
    let store = Arc::new(MemoryStore::new());
    let (run, at) = (RunId::from_text("r"), SystemTime::UNIX_EPOCH);
    let mut accepted = Accepted::new(run, RunKind::Agent, "r".into(), Epoch::new(1, 1), at);
    accepted.due = Some(at + Duration::from_hours(1));
    store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    let after = engine(&store, 2);
    let recovered = after.recover(|_| Recovery::resume(clerk(), async |_| Ok(()))).await.unwrap();
    let report = within("it ends", recovered.resumed[0].ended()).await;
    assert_eq!(report.status, RunStatus::Completed);
}

#[tokio::test]
async fn the_timeout_of_a_run_whose_times_are_ahead_of_the_clock_goes_on_in_a_later_process() {
    const HOUR: Duration = Duration::from_hours(1);
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    assert!(before.not_before(SystemTime::now() + 5 * HOUR));
    let spec = || RunSpec::agent("r").timeout(HOUR);
    let run = before.submit_durably(spec(), lasts).await.unwrap().into_ref();
    killed(before);
    let mut record = store.get(run.id()).await.unwrap().unwrap();
    // As if all of it had been two hours earlier.
    record.accepted.run = RunId::from_text("earlier");
    record.accepted.root = record.accepted.run;
    record.accepted.at -= 2 * HOUR;
    let (run, epoch, at) = (record.run(), record.epoch, record.accepted.at);
    let accepted = Record::Accepted(record.accepted.into());
    store.append(vec![accepted, Record::Started { run, epoch, at }]).await.unwrap();
    let after = engine(&store, 2);
    let recovered = after.recover(|_| Recovery::resume(spec(), lasts)).await.unwrap();
    let late = recovered.resumed.into_iter().find(|it| it.id() == run).unwrap();
    assert_eq!(within("it ends", late.ended()).await.status, RunStatus::TimedOut);
}

/// Is lost in each attempt but one, in which it asks.
async fn asks_in_its_third(ctx: RunContext) -> Result<(), Failure> {
    let _ = ctx.emit("begun");
    if ctx.attempt() == 3 { Err(ctx.pause("may I?")) } else { pending().await }
}

/// Waits until the store has that an attempt runs, and lets the process of it end.
async fn lost(store: &MemoryStore, engine: Engine, run: &RunRef) {
    let said = async || {
        let events = store.events(run.id(), 0, limits::STORE_PAGE_MAX).await.unwrap();
        let events = events.into_iter().map(Result::unwrap);
        events.filter(|event| matches!(event.kind, EventKind::Emitted(_))).count()
    };
    // Each attempt says so when it has begun.
    while said().await < run.attempt() as usize {
        tokio::task::yield_now().await;
    }
    killed(engine);
}

#[tokio::test]
async fn t13_a_run_that_loses_attempt_after_attempt_fails_unless_it_is_asked_for() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let decide = |_: &RunRecord| Recovery::resumable(clerk(), asks_in_its_third);
    let run = before.submit_resumable(clerk(), asks_in_its_third).unwrap().into_ref();
    let id = run.id();
    lost(&store, before, &run).await;
    let after = engine(&store, 2);
    let run = after.recover(decide).await.unwrap().resumed.remove(0);
    lost(&store, after, &run).await;
    let after = engine(&store, 3);
    let run = after.recover(decide).await.unwrap().resumed.remove(0);
    within("it asks", run.paused()).await.unwrap();
    // A pause is no loss, and those before it count no more.
    after.resume_durably(id, "yes").await.unwrap();
    lost(&store, after, &run).await;
    let mut boot = 3;
    for nth in 1..=limits::LOST_ATTEMPTS_MAX {
        boot += 1;
        let after = engine(&store, boot);
        let recovered = after.recover(decide).await.unwrap();
        assert_eq!((recovered.resumed.len(), recovered.ended.total()), (1, 0), "{nth}");
        lost(&store, after, &recovered.resumed[0]).await;
    }
    let after = engine(&store, boot + 1);
    let asked = after.recover(|run| decide(run).despite_losses()).await.unwrap();
    assert_eq!(asked.resumed[0].id(), id);
    lost(&store, after, &asked.resumed[0]).await;
    let after = engine(&store, boot + 2);
    let recovered = after.recover(decide).await.unwrap();
    assert_eq!((recovered.resumed.len(), recovered.ended.failed), (0, 1));
    let report = store.get(id).await.unwrap().unwrap().report.unwrap();
    let error = report.error.as_deref().unwrap();
    assert!(error.starts_with("worker lost") && error.ends_with("last 7 attempts"), "{error}");
}

#[tokio::test]
async fn i30_the_log_of_a_run_that_goes_on_begins_with_what_its_record_has_told_before() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let id = before.submit_durably(clerk(), lasts).await.unwrap().into_ref().id();
    let record = loop {
        let record = store.get(id).await.unwrap().unwrap();
        if record.started_at.is_some() {
            break record;
        }
        tokio::task::yield_now().await;
    };
    killed(before);
    // Nothing of it is in its log: readers of the store see what follows from the record.
    assert_eq!(store.events(id, 0, 9).await.unwrap(), []);
    let told = ImpliedEvents::new(id).missing(&record);
    let after = engine(&store, 2);
    after.set_limit(Scope::All, RunLimits::new().running_max(0));
    let run = goes_on(&after).await.resumed.remove(0);
    // It ends before its next attempt starts.
    run.cancel(CancelRequest::because("said the test"));
    within("it ends", run.ended()).await;
    run.stored().await.unwrap();
    let log = store.events(id, 0, 9).await.unwrap();
    let log: Vec<_> = log.into_iter().map(Result::unwrap).collect();
    let kinds: Vec<_> = log.iter().map(|event| &event.kind).collect();
    let is_whole = matches!(
        kinds[..],
        [
            EventKind::Queued { .. },
            EventKind::Started,
            EventKind::Queued { .. },
            EventKind::Stopping(_),
            EventKind::Ended(RunStatus::Cancelled)
        ]
    );
    assert!(is_whole, "{log:#?}");
    let told_by = |event: &RunEvent| (event.seq, event.kind.clone());
    assert!(log.iter().zip(&told).all(|(log, told)| told_by(log) == told_by(told)), "{log:#?}");
    assert!(log.iter().map(|event| event.seq).eq(1..=5), "{log:#?}");
}

#[tokio::test]
async fn t13_a_run_that_is_held_at_its_recovery_is_there_and_stopped_before_it_starts() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let runs = ["stopped", "goes on"].map(|id| clerk().id(RunId::from_text(id)));
    for spec in runs {
        drop(before.submit_durably(spec, lasts).await.unwrap());
    }
    killed(before);
    let after = engine(&store, 2);
    let started = Arc::new(AtomicUsize::new(0));
    let decide = |_: &RunRecord| {
        let started = Arc::clone(&started);
        Recovery::resume(clerk(), async move |_| {
            started.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    };
    // A call whose caller has lost what it yields is made up for by the next one.
    drop(after.recover_held(decide).await.unwrap());
    let (recovered, held) = after.recover_held(decide).await.unwrap();
    assert_eq!((recovered.resumed.len(), held.count()), (0, 2));
    let [stopped, goes_on] = ["stopped", "goes on"].map(|id| after.get(RunId::from_text(id)));
    let (stopped, goes_on) = (stopped.unwrap(), goes_on.unwrap());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((stopped.status(), goes_on.status()), (RunStatus::Queued, RunStatus::Queued));
    stopped.cancel(CancelRequest::because("enough"));
    let report = within("it ends", stopped.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    assert_eq!(started.load(Ordering::Relaxed), 0);
    held.start();
    let report = within("it goes on", goes_on.ended()).await;
    assert_eq!((report.status, started.load(Ordering::Relaxed)), (RunStatus::Completed, 1));
}

#[tokio::test]
async fn a_body_that_goes_on_may_yield_what_one_that_is_submitted_may_and_nothing_keeps_it() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    for id in ["text", "value", "again"] {
        let spec = clerk().id(RunId::from_text(id));
        drop(before.submit_durably(spec, lasts).await.unwrap());
    }
    let waits = before.submit_resumable(clerk().id(RunId::from_text("paused")), async |ctx| {
        Err::<(), _>(ctx.pause("may I?"))
    });
    waits.unwrap().run().paused().await.unwrap();
    killed(before);
    let (after, value) = (engine(&store, 2), Arc::new(()));
    let recovered = after.recover(|run| match run.run() {
        id if id == RunId::from_text("text") => {
            Recovery::resume(clerk(), async |ctx: RunContext| {
                ctx.set_output("the answer".into());
                Ok(String::from("the answer"))
            })
        }
        id if id == RunId::from_text("value") => {
            let value = Arc::clone(&value);
            Recovery::resume(clerk(), async move |_| Ok(value))
        }
        _ => {
            let value = Arc::clone(&value);
            Recovery::resumable(clerk(), move |_| {
                let value = Arc::clone(&value);
                async move { Ok(value) }
            })
        }
    });
    assert_eq!(recovered.await.unwrap().paused.len(), 1);
    after.resume(RunId::from_text("paused"), "yes").unwrap();
    for id in ["text", "value", "again", "paused"] {
        let run = after.get(RunId::from_text(id)).unwrap();
        let row = within("it ends", run.quiescent()).await.own_row().clone();
        assert_eq!(row.status, RunStatus::Completed, "{id}");
        let is_text = id == "text";
        assert_eq!(row.output, is_text.then(|| Payload::from("the answer")), "{id}");
    }
    assert_eq!(Arc::strong_count(&value), 1);
}

/// Stores a run of a former process, submits one as a next process, which recovers first or not,
/// and yields what the log says of the former run.
async fn told_of_left(name: &str, recovers: bool) -> Vec<String> {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    drop(before.submit_durably(RunSpec::agent(name), lasts).await.unwrap());
    killed(before);
    let after = engine(&store, 2);
    heed(name);
    if recovers {
        after.recover(|_| Recovery::resume(clerk(), lasts)).await.unwrap();
    }
    for _ in 0..3 {
        drop(after.submit_durably(clerk(), lasts).await.unwrap());
    }
    let is_told = || !told_of(name).is_empty();
    if !recovers {
        soon("it is told", is_told).await;
    }
    // The words come in their order, and those of a shutdown last.
    within("down", after.shutdown(Duration::ZERO)).await;
    told_of(name)
}

#[tokio::test]
async fn an_engine_that_does_not_recover_what_is_left_says_so_once() {
    let told = told_of_left("left and not recovered", false).await;
    let [words] = &told[..] else { panic!("{told:?}") };
    assert!(words.contains("Engine::recover"), "{words}");
    let told = told_of_left("left and recovered", true).await;
    assert!(!told.iter().any(|words| words.contains("Engine::recover")), "{told:?}");
}
