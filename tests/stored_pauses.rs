//! I24, I34: pauses of an engine with a store. What is acknowledged of a pause and of its answer is
//! stored, and nothing hangs when the store is in trouble.

use std::sync::Arc;

use quell::store::{Record, Store};
use quell::{
    CauseKind, Disposition, LimitsOutcome, NewLimits, Pause, Recovery, ResumeError, RunContext,
    RunRef, RunSpec, RunStatus, Shutdown,
};

use crate::support::{
    Flow, Valve, Witness, asks, clerk, durable, full, paused, secs, soon, stop, within,
};

async fn is_pending(future: impl Future<Output: Sized>) -> bool {
    tokio::time::timeout(std::time::Duration::from_millis(50), future).await.is_err()
}

async fn record(store: &Valve, run: quell::RunId) -> quell::store::RunRecord {
    store.get(run).await.unwrap().unwrap()
}

#[tokio::test]
async fn i24_a_pause_is_stored_with_what_counts_in_it_and_so_is_its_answer() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let spec = clerk().timeout(secs(600)).timeout_stands_in_pauses();
    let run = engine.submit_resumable(spec, async |ctx: RunContext| match ctx.resumed_with() {
        Some(answer) if ctx.attempt() == 3 => Ok(answer),
        _ => {
            let asks = ctx.spawn(RunSpec::step("asks"), async |ctx: RunContext| {
                Err::<(), _>(ctx.pause(Pause::new("may I?").expires_in(secs(60))))
            });
            let below = asks.id();
            let _ = ctx.set_output(below.to_string().into());
            Err(asks.await.map_err(quell::Failure::from).unwrap_err())
        }
    });
    let run = run.unwrap();
    let id = run.id();
    for attempt in 1..=2 {
        assert_eq!(within("it asks", run.run().paused()).await, Some("may I?".into()));
        let stored = record(&store, id).await;
        assert_eq!((stored.status, stored.attempt), (RunStatus::Paused, attempt));
        let pause = stored.paused.unwrap();
        assert_eq!((pause.request, pause.attempt), ("may I?".into(), attempt));
        assert_eq!((pause.timeout, pause.timeout_stands), (Some(secs(600)), true));
        assert_eq!(pause.expires_at, Some(pause.at + secs(60)));
        let below = run.run().row().partial.unwrap();
        assert_eq!(pause.asked_by.unwrap().to_string(), below.as_text().unwrap());
        engine.resume_durably(id, format!("answer {attempt}")).await.unwrap();
        let given = format!("answer {attempt}").into();
        let is_given = |record: &Record| {
            matches!(record, Record::Resumed { answer, attempt: next, .. }
                if *answer == given && *next == attempt + 1)
        };
        assert!(store.stored().iter().any(is_given), "it is acknowledged once it is stored");
    }
    let reference = run.run().clone();
    assert_eq!(within("it ends", run).await.unwrap(), "answer 2".into());
    reference.stored().await.unwrap();
    let stored = record(&store, id).await;
    let answer = Some("answer 2".into());
    assert_eq!((stored.status, stored.paused, stored.answer), (RunStatus::Completed, None, answer));
}

#[tokio::test]
async fn i24_an_answer_is_acknowledged_and_its_attempt_starts_when_it_is_stored() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let witness = Witness::new();
    let inside = witness.clone();
    let run = engine.submit_resumable(clerk(), move |ctx: RunContext| {
        let inside = inside.enter();
        async move {
            let _inside = inside;
            asks(ctx).await
        }
    });
    let run = run.unwrap();
    within("it asks", run.run().paused()).await.unwrap();
    store.set(Flow::Shut { stops: true });
    let asked = run.run().clone();
    let answered = asked.resume_durably("yes");
    tokio::pin!(answered);
    assert!(is_pending(answered.as_mut()).await, "it is not stored");
    assert_eq!((witness.entered(), run.run().status()), (1, RunStatus::Queued));
    store.set(Flow::Open);
    within("it is stored", answered).await.unwrap();
    assert_eq!(within("it ends", run).await.unwrap(), "yes".into());
    assert_eq!(witness.entered(), 2);
}

#[tokio::test]
async fn i24_a_store_in_trouble_hangs_no_pause_and_takes_no_answer() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&go);
    let run = engine.submit_resumable(clerk(), move |ctx: RunContext| {
        let gate = Arc::clone(&gate);
        async move {
            if ctx.attempt() == 1 {
                gate.notified().await;
            }
            asks(ctx).await
        }
    });
    let run = run.unwrap();
    soon("it runs", || run.run().status() == RunStatus::Running).await;
    run.run().stored().await.unwrap();
    store.set(Flow::Failing(full()));
    go.notify_one();
    assert_eq!(within("it asks", run.run().paused()).await, Some("may I?".into()));
    assert_eq!(run.run().status(), RunStatus::Paused, "local work ends on time");
    assert_eq!(run.run().stored().await, Err(full()), "and is not said to be durable");
    assert_eq!(record(&store, run.id()).await.status, RunStatus::Running);
    let refused = run.run().resume_durably("early").await;
    assert_eq!(refused, Err(ResumeError::NotTaken(full())));
    assert_eq!(run.run().status(), RunStatus::Paused);
    store.set(Flow::Open);
    let taken = async {
        while run.run().stored().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("it is stored", taken).await;
    assert_eq!(record(&store, run.id()).await.status, RunStatus::Paused);
    run.run().resume_durably("yes").await.unwrap();
    assert_eq!(within("it ends", run).await.unwrap(), "yes".into());
}

#[tokio::test]
async fn i24_an_answer_that_a_store_in_trouble_has_not_taken_is_not_acknowledged_and_not_lost() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = paused(&engine, clerk()).await;
    store.set(Flow::Shut { stops: true });
    let answered = run.resume_durably("yes");
    tokio::pin!(answered);
    assert!(is_pending(answered.as_mut()).await);
    store.set(Flow::Failing(full()));
    let told = within("it is told", answered).await;
    assert_eq!(told, Err(ResumeError::NotStored(full())));
    assert_eq!(run.status(), RunStatus::Queued, "it waits for the store");
    assert!(matches!(run.resume("again"), Err(ResumeError::NotTaken(_))));
    store.set(Flow::Open);
    let report = within("it goes on", run.ended()).await;
    assert_eq!((report.status, &report.rows[0].error), (RunStatus::Completed, &None));
    run.stored().await.unwrap();
}

#[tokio::test]
async fn i34_a_stop_and_an_expiry_of_a_paused_run_are_stored_as_every_end() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = paused(&engine, clerk()).await;
    let (disposition, stored) = run.cancel_durably(stop().by("ada")).await;
    assert!(matches!(disposition, Disposition::Accepted { .. }), "{disposition:?}");
    stored.unwrap();
    within("it ends", run.ended()).await;
    run.stored().await.unwrap();
    let of_run = record(&store, run.id()).await;
    assert_eq!((of_run.status, of_run.paused), (RunStatus::Cancelled, None));
    assert_eq!(of_run.stop.unwrap().cause.by.as_deref(), Some("ada"));
    let expires = engine.submit_resumable(clerk(), async |ctx: RunContext| {
        let pause = Pause::new("now?").expires_in(std::time::Duration::from_millis(1));
        Err::<(), _>(ctx.pause(pause))
    });
    let expires = expires.unwrap().into_ref();
    within("it expires", expires.ended()).await;
    expires.stored().await.unwrap();
    let of_run = record(&store, expires.id()).await;
    assert_eq!(of_run.status, RunStatus::TimedOut);
    assert_eq!(of_run.stop.unwrap().cause.kind, CauseKind::Deadline);
}

#[tokio::test]
async fn i34_a_stop_that_comes_while_an_answer_is_being_stored_ends_the_run() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = paused(&engine, clerk()).await;
    store.set(Flow::Shut { stops: true });
    run.resume("yes").unwrap();
    assert!(matches!(run.cancel(stop()), Disposition::Accepted { .. }));
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    store.set(Flow::Open);
    run.stored().await.unwrap();
    let of_run = record(&store, run.id()).await;
    assert_eq!((of_run.status, of_run.answer), (RunStatus::Cancelled, Some("yes".into())));
}

#[tokio::test]
async fn a_run_whose_answer_is_not_stored_yet_is_found_and_stopped_all_the_same() {
    let store = Valve::new(Flow::Open);
    let engine = durable(&store);
    let run = paused(&engine, clerk()).await;
    store.set(Flow::Shut { stops: true });
    run.resume("yes").unwrap();
    within("it was accepted before", run.accepted()).await.unwrap();
    assert!(matches!(run.cancel(stop()), Disposition::Accepted { .. }));
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    store.set(Flow::Open);
}

#[tokio::test]
async fn t13_a_changed_timeout_is_known_of_a_paused_run_that_no_later_process_takes_up_alone() {
    let memory = Arc::new(quell::store::MemoryStore::new());
    let hours = |hours: u64| secs(hours * 3_600);
    let spec = move || clerk().timeout(hours(1));
    let engine = durable(&Valve::reopened(&memory, 1));
    let run = engine.submit_resumable(spec(), async |ctx: RunContext| {
        ctx.run().set_timeout(secs(3 * 3_600));
        asks(ctx).await
    });
    let run = run.unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    let has_more_than_two_hours = |run: &RunRef| match run.set_limits(NewLimits::new()) {
        LimitsOutcome::Changed { deadline } => {
            deadline.is_some_and(|at| at > std::time::Instant::now() + hours(2))
        }
        other => panic!("{other:?}"),
    };
    let stays = durable(&Valve::reopened(&memory, 2));
    let recovered = stays.recover(|_| Recovery::Fail).await.unwrap();
    assert!(has_more_than_two_hours(&recovered.paused[0]), "as its pause has it");
    stays.shutdown(Shutdown::default()).await;
    let goes_on = durable(&Valve::reopened(&memory, 3));
    let recovered = goes_on.recover(|_| Recovery::resumable(spec(), asks)).await.unwrap();
    assert!(!has_more_than_two_hours(&recovered.paused[0]), "as the spec has it");
}
