//! T5 to T7, T13, I24, I34 to I36: runs that are paused when their process ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{MemoryStore, RunRecord, Store};
use quell::{
    CauseKind, Disposition, Engine, EventKind, Failure, OnBusy, Payload, Recovered, Recovery,
    ResumeError, RunContext, RunFilter, RunId, RunRef, RunSpec, RunStatus, Shutdown, SubmitError,
};

use crate::support::{Valve, clerk, durable, paused, secs, soon, stop, within};

/// An engine of a later process on the same store. What a former one does is stored no more.
fn engine(store: &Arc<MemoryStore>, boot: u32) -> Engine {
    durable(&Valve::reopened(store, boot))
}

/// Lets an engine be as one whose process was killed: nobody stops what it has.
fn killed(engine: Engine) {
    let _: &'static mut Engine = Box::leak(Box::new(engine));
}

async fn record(store: &MemoryStore, run: RunId) -> RunRecord {
    store.get(run).await.unwrap().unwrap()
}

/// Asks in each of its first attempts, and has the last answer as its output.
async fn asks_twice(ctx: RunContext) -> Result<(), Failure> {
    match (ctx.attempt(), ctx.resumed_with()) {
        (3, Some(answer)) => {
            let _ = ctx.set_output(answer);
            Ok(())
        }
        (attempt, _) => Err(ctx.pause(format!("question {attempt}"))),
    }
}

fn knows(run: &RunRecord) -> Recovery {
    let mut spec = RunSpec::agent("clerk");
    if let Some(lane) = &run.accepted.lane {
        spec = spec.lane(&**lane, OnBusy::Enqueue);
    }
    Recovery::resumable(spec, asks_twice)
}

async fn recovered(engine: &Engine) -> Recovered {
    engine.recover(knows).await.unwrap()
}

/// Lets a run ask in a process that ends then.
async fn left_paused(store: &Arc<MemoryStore>, spec: RunSpec) -> RunId {
    let before = engine(store, 1);
    let run = before.submit_resumable(spec, asks_twice).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    run.stored().await.unwrap();
    run.events_stored().await.unwrap();
    killed(before);
    run.id()
}

async fn kinds(run: &RunRef, store: &MemoryStore) -> Vec<EventKind> {
    run.stored().await.unwrap();
    loop {
        let events = store.events(run.id(), 0, 100).await.unwrap();
        let events: Vec<_> = events.into_iter().map(|event| event.unwrap().kind).collect();
        if matches!(events.last(), Some(EventKind::Ended(_))) {
            return events;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn t6_a_paused_run_of_a_former_process_goes_on_with_its_answer_as_its_next_attempt() {
    let store = Arc::new(MemoryStore::new());
    let spec = clerk().owner("ada").label("a", "b").input("what".into());
    let id = left_paused(&store, spec).await;
    for boot in 2..=3 {
        let after = engine(&store, boot);
        let recovered = recovered(&after).await;
        let run = &recovered.paused[0];
        assert_eq!((run.id(), run.status()), (id, RunStatus::Paused));
        let asked = format!("question {}", boot - 1).into();
        assert_eq!(run.pause_request(), Some(asked));
        assert_eq!(within("it waits", run.paused()).await, run.pause_request());
        assert_eq!((run.owner(), run.label("a")), (Some("ada"), Some("b")));
        assert_eq!(run.input(), Some(&"what".into()));
        assert_eq!(after.get(id), Some(run.clone()));
        let listed = after.runs(&RunFilter::new().status(RunStatus::Paused));
        assert_eq!(listed, std::slice::from_ref(run));
        assert_eq!(recovered.ended.total(), 0);
        // What is decided is decided once.
        assert!(self::recovered(&after).await.paused.is_empty());
        within("it is stored", after.resume_durably(id, format!("answer {boot}"))).await.unwrap();
        if boot == 2 {
            assert_eq!(within("it asks again", run.paused()).await, Some("question 2".into()));
            killed(after);
            continue;
        }
        let report = within("it ends", run.ended()).await;
        assert_eq!(
            (report.status, report.output.clone()),
            (RunStatus::Completed, Some("answer 3".into()))
        );
        let asked = |n: u32| EventKind::Paused { request: format!("question {n}").into() };
        let again = |attempt| EventKind::Resumed { attempt };
        let (started, ended) = (EventKind::Started, EventKind::Ended(RunStatus::Completed));
        let told = kinds(run, &store).await;
        let expected = [&asked(1), &again(2), &started, &asked(2), &again(3), &started, &ended];
        assert_eq!(told[2..].iter().collect::<Vec<_>>(), expected, "one log tells of all of them");
    }
}

#[tokio::test]
async fn i34_an_answer_that_was_acknowledged_is_never_asked_for_again() {
    let store = Arc::new(MemoryStore::new());
    let valve = Valve::reopened(&store, 1);
    let before = durable(&valve);
    let run = before
        .submit_resumable(clerk(), async |ctx: RunContext| {
            if ctx.resumed_with().is_none() {
                return Err(ctx.pause("may I?"));
            }
            // It is under way when its process ends.
            std::future::pending::<()>().await;
            Ok(())
        })
        .unwrap()
        .into_ref();
    within("it asks", run.paused()).await.unwrap();
    run.resume_durably("yes").await.unwrap();
    soon("it goes on", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    killed(before);
    let after = engine(&store, 2);
    let decided = after.recover(|run| {
        assert_eq!((run.status, run.attempt), (RunStatus::Running, 2));
        Recovery::resumable(clerk(), async |ctx: RunContext| {
            let answer = ctx.resumed_with().unwrap_or_else(|| "none".into());
            let _ = ctx.set_output(format!("{} {:?}", ctx.attempt(), answer.as_text()).into());
            Ok(())
        })
    });
    let run = decided.await.unwrap().resumed.remove(0);
    let output = within("it ends", run.ended()).await.output.clone();
    assert_eq!(output, Some(format!("3 {:?}", Some("yes")).into()));
}

#[tokio::test]
async fn t6_a_run_that_had_its_answer_and_had_not_started_goes_on_with_it() {
    let store = Arc::new(MemoryStore::new());
    let id = left_paused(&store, clerk()).await;
    let stored = record(&store, id).await;
    let answer = quell::store::Record::Resumed {
        run: id,
        epoch: stored.epoch,
        attempt: 2,
        answer: "yes".into(),
        stood: Duration::ZERO,
        at: SystemTime::now(),
    };
    store.append(vec![answer]).await.unwrap();
    let after = engine(&store, 2);
    let recovered = after
        .recover(|run| {
            assert_eq!(run.answer, Some("yes".into()));
            Recovery::resume(clerk(), async |ctx: RunContext| {
                assert_eq!(ctx.attempt(), 2);
                let _ = ctx.set_output(ctx.resumed_with().unwrap());
                Ok(())
            })
        })
        .await
        .unwrap();
    let report = within("it ends", recovered.resumed[0].ended()).await;
    assert_eq!(report.output, Some("yes".into()));
}

#[tokio::test]
async fn i34_a_paused_run_that_was_stopped_never_resumes() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let run = before.submit_resumable(clerk(), asks_twice).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    let stored = record(&store, run.id()).await;
    let mut cause = quell::Cause::new(CauseKind::UserRequest, SystemTime::now(), run.id());
    cause.message = Some("enough".into());
    let mode = quell::StopMode::Cooperative;
    let stop = quell::store::StopAccepted::new(run.id(), stored.epoch, mode, Arc::new(cause));
    store.append(vec![quell::store::Record::StopAccepted(Box::new(stop))]).await.unwrap();
    killed(before);
    let after = engine(&store, 2);
    let never = |_: &RunRecord| -> Recovery { panic!("it was stopped") };
    let recovered = after.recover(never).await.unwrap();
    assert_eq!((recovered.ended.cancelled, recovered.paused.len()), (1, 0));
    assert_eq!(after.resume(run.id(), "yes"), Err(ResumeError::Unknown));
    let ended = record(&store, run.id()).await;
    assert_eq!((ended.status, ended.paused), (RunStatus::Cancelled, None));
}

#[tokio::test]
async fn t13_a_paused_run_of_which_nothing_is_known_stays_paused() {
    let store = Arc::new(MemoryStore::new());
    let id = left_paused(&store, clerk()).await;
    let unknowing = engine(&store, 2);
    let recovered = unknowing.recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!((recovered.paused.len(), recovered.ended.total()), (1, 0));
    assert_eq!(unknowing.resume(id, "yes"), Err(ResumeError::NoBody));
    assert_eq!(recovered.paused[0].status(), RunStatus::Paused);
    killed(unknowing);
    let knowing = engine(&store, 3);
    let run = self::recovered(&knowing).await.paused.remove(0);
    run.resume_durably("yes").await.unwrap();
    assert_eq!(within("it asks", run.paused()).await, Some("question 2".into()), "nothing is lost");
}

#[tokio::test]
async fn i24_a_cancel_of_a_paused_run_of_a_former_process_ends_it_without_a_body() {
    for knows_it in [true, false] {
        let store = Arc::new(MemoryStore::new());
        let id = left_paused(&store, clerk()).await;
        let after = engine(&store, 2);
        let recovered = after
            .recover(|_| {
                if knows_it {
                    Recovery::resume(clerk(), async |_| -> Result<(), Failure> {
                        panic!("it has no answer")
                    })
                } else {
                    Recovery::Fail
                }
            })
            .await
            .unwrap();
        let run = &recovered.paused[0];
        let (disposition, stored) = run.cancel_durably(stop()).await;
        assert!(matches!(disposition, Disposition::Accepted { .. }), "{disposition:?}");
        stored.unwrap();
        let report = within("it ends", run.quiescent()).await;
        assert_eq!((report.status, report.own_row().hooks_skipped), (RunStatus::Cancelled, 0));
        run.stored().await.unwrap();
        assert_eq!(record(&store, id).await.status, RunStatus::Cancelled);
    }
}

#[tokio::test]
async fn i36_a_paused_run_of_a_former_process_keeps_its_lane_and_counts_as_live() {
    let store = Arc::new(MemoryStore::new());
    left_paused(&store, clerk().lane("thread", OnBusy::Enqueue)).await;
    let after = engine(&store, 2);
    // Nothing that the program says of it takes its lane.
    let decide = |_: &RunRecord| Recovery::resumable(RunSpec::agent("clerk"), asks_twice);
    let run = after.recover(decide).await.unwrap().paused.remove(0);
    assert_eq!(after.lane("thread"), std::slice::from_ref(&run));
    let spec = || RunSpec::agent("next").lane("thread", OnBusy::Enqueue);
    let next = after.submit(spec(), async |_| Ok(())).unwrap();
    let rejected = RunSpec::agent("no").lane("thread", OnBusy::Reject);
    let rejected = after.submit(rejected, async |_| Ok(())).unwrap_err();
    assert_eq!(rejected, SubmitError::LaneBusy { lane: "thread".into(), run: run.id() });
    next.run().accepted().await.unwrap();
    for _ in 0..2 {
        assert_eq!(next.run().status(), RunStatus::Queued, "no run comes between two attempts");
        run.resume("yes").unwrap();
        within("it ends or asks", run.paused()).await;
    }
    within("it ends", run.ended()).await;
    within("its turn comes", next).await.unwrap();
}

#[tokio::test]
async fn t7_time_goes_on_for_a_paused_run_while_no_process_has_it() {
    let pause_of = |stored: &RunRecord| stored.paused.clone().unwrap();
    for (spec, expires) in [(clerk(), true), (clerk().timeout(secs(600)), false)] {
        let store = Arc::new(MemoryStore::new());
        let id = left_paused(&store, spec).await;
        let stored = record(&store, id).await;
        // As if it had been long ago.
        let mut pause = pause_of(&stored);
        pause.expires_at = expires.then(|| SystemTime::now() - secs(1));
        let started = quell::store::Record::Started {
            run: id,
            epoch: stored.epoch,
            at: SystemTime::now() - secs(900),
        };
        let old = Arc::new(MemoryStore::new());
        let accepted = quell::store::Record::Accepted(Box::new(stored.accepted.clone()));
        pause.at = SystemTime::now() - secs(800);
        let paused =
            quell::store::Record::Paused { run: id, epoch: stored.epoch, pause: Box::new(pause) };
        old.append(vec![accepted, started, paused]).await.unwrap();
        let after = engine(&old, 2);
        let recovered = after.recover(|_| Recovery::Fail).await.unwrap();
        let run = &recovered.paused[0];
        let report = within("its time is over", run.ended()).await;
        assert_eq!(report.status, RunStatus::TimedOut);
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
        run.stored().await.unwrap();
        assert_eq!(record(&old, id).await.status, RunStatus::TimedOut);
    }
}

#[tokio::test]
async fn t7_a_timeout_that_stands_in_pauses_stands_between_processes() {
    let store = Arc::new(MemoryStore::new());
    let spec = clerk().timeout(secs(600)).timeout_stands_in_pauses();
    let id = left_paused(&store, spec).await;
    let stored = record(&store, id).await;
    let mut pause = stored.paused.clone().unwrap();
    pause.at = SystemTime::now() - secs(7_000);
    let started = quell::store::Record::Started {
        run: id,
        epoch: stored.epoch,
        at: SystemTime::now() - secs(7_100),
    };
    let old = Arc::new(MemoryStore::new());
    let accepted = quell::store::Record::Accepted(Box::new(stored.accepted.clone()));
    let paused =
        quell::store::Record::Paused { run: id, epoch: stored.epoch, pause: Box::new(pause) };
    old.append(vec![accepted, started, paused]).await.unwrap();
    let after = engine(&old, 2);
    let spec = || clerk().timeout(secs(600)).timeout_stands_in_pauses();
    let recovered = after.recover(|_| Recovery::resumable(spec(), asks_twice)).await.unwrap();
    let run = &recovered.paused[0];
    run.resume_durably("yes").await.unwrap();
    assert_eq!(within("it asks", run.paused()).await, Some("question 2".into()));
    let stood = record(&old, id).await.stood;
    assert!((secs(6_999)..secs(7_100)).contains(&stood), "{stood:?}");
    let again = record(&old, id).await.paused.unwrap();
    let timeout = again.timeout.unwrap();
    assert!((secs(599)..secs(601)).contains(&timeout), "{timeout:?}");
    killed(after);
    let last = engine(&old, 3);
    let run = last.recover(|_| Recovery::resumable(spec(), asks_twice)).await.unwrap();
    let run = run.paused[0].clone();
    run.resume("yes").unwrap();
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn i38_a_shutdown_leaves_a_paused_run_paused_in_the_store() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let run = paused(&before, clerk()).await;
    let answered = paused(&before, clerk()).await;
    let stops = before.submit(clerk(), async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    });
    let stops = stops.unwrap().into_ref();
    stops.accepted().await.unwrap();
    answered.cancel_durably(stop()).await.1.unwrap();
    let report = within("it ends", before.shutdown(Shutdown::default())).await;
    assert_eq!((report.unstored, report.abandoned.len()), (0, 0));
    assert_eq!(run.status(), RunStatus::Paused, "it has not ended");
    assert!(matches!(run.resume("late"), Err(ResumeError::NotPaused(_))));
    let stored = record(&store, run.id()).await;
    assert_eq!((stored.status, stored.stop), (RunStatus::Paused, None));
    for ended in [&stops, &answered] {
        assert_eq!(record(&store, ended.id()).await.status, RunStatus::Cancelled);
    }
    let told = store.events(run.id(), 0, 99).await.unwrap();
    let last = told.into_iter().next_back().unwrap().unwrap().kind;
    assert!(matches!(last, EventKind::Paused { .. }), "{last:?}");
    let after = engine(&store, 2);
    let recovered = after
        .recover(|_| {
            Recovery::resume(clerk(), async |ctx: RunContext| {
                let _ = ctx.set_output(ctx.resumed_with().unwrap());
                Ok(())
            })
        })
        .await
        .unwrap();
    let run = &recovered.paused[0];
    run.resume_durably("yes").await.unwrap();
    let answer: Payload = "yes".into();
    assert_eq!(within("it ends", run.ended()).await.output, Some(answer));
}
