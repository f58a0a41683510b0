//! I19, I20 and the rest of what a retry promises, with exact instants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quell::{
    CancelRequest, CauseKind, Failure, Outcome, Payload, RunContext, RunKind, RunReport, RunRow,
    RunSpec, RunStatus, Work, testing,
};
use quell_flow::{
    ABANDONED_ATTEMPTS, Backoff, OnTimeout, Parallel, Policy, QuorumUnreachable, Retry, RetryAfter,
};
use tokio::time::{Instant, sleep};

use crate::support::{
    Witness, between, cleanup_for, engine, find, millis, row, secs, since, submit, value_after,
};

/// Three attempts, with pauses of one and two seconds.
pub(crate) fn thrice() -> Retry {
    Retry::new(3).backoff(Backoff::exponential(secs(1)).without_jitter())
}

/// Runs a workflow that is tried; yields how it came out, and its report.
pub(crate) async fn tried<F, Fut>(retry: Retry, body: F) -> (Result<u32, String>, Arc<RunReport>)
where
    F: Fn(RunContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    let engine = engine();
    let run = engine.submit(RunSpec::workflow("flow"), retry.body(body)).unwrap();
    let root = run.run().clone();
    let outcome = run.await.map_err(|error| error.to_string());
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    (outcome, report)
}

pub(crate) fn attempts(report: &RunReport) -> Vec<&RunRow> {
    report.rows.iter().filter(|row| row.kind == RunKind::Attempt).collect()
}

/// A body that fails after a second until its nth call, and counts itself.
pub(crate) fn ok_at(
    nth: usize,
    witness: &Witness,
) -> impl Fn(RunContext) -> Body + Send + Sync + use<> {
    let witness = witness.clone();
    move |_| {
        let inside = witness.enter();
        let number = witness.entered();
        Box::pin(async move {
            let _inside = inside;
            sleep(secs(1)).await;
            if number >= nth { Ok(7) } else { Err(Failure::new("no")) }
        })
    }
}

pub(crate) type Body = futures::future::BoxFuture<'static, Result<u32, Failure>>;

#[tokio::test(start_paused = true)]
async fn i19_attempts_are_children_that_never_overlap_and_pauses_double() {
    let (start, witness) = (Instant::now(), Witness::default());
    let (outcome, report) = tried(thrice(), ok_at(3, &witness)).await;
    // Three attempts of one second, pauses of one and two.
    assert_eq!((outcome, since(start)), (Ok(7), secs(6)));
    assert_eq!((witness.entered(), witness.most()), (3, 1));
    let attempts = attempts(&report);
    let names: Vec<_> = attempts.iter().map(|row| (&*row.name, row.status)).collect();
    let (failed, completed) = (RunStatus::Failed, RunStatus::Completed);
    let expected = [("attempt 1", failed), ("attempt 2", failed), ("attempt 3", completed)];
    assert_eq!(names, expected);
    for (one, next) in attempts.iter().zip(&attempts[1..]) {
        assert!(one.quiescent && one.quiesced_at <= next.started_at);
        assert_eq!(one.parent, Some(report.run));
    }
    assert_eq!(report.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_that_of_the_run_and_pauses_have_a_cap() {
    let start = Instant::now();
    let backoff = Backoff::exponential(secs(1)).cap(secs(3)).without_jitter();
    let calls = Arc::new(AtomicUsize::new(0));
    let (outcome, report) = tried(Retry::new(5).backoff(backoff), move |_| {
        let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Err(Failure::new(format!("no {number}"))) }
    })
    .await;
    assert_eq!(outcome.unwrap_err(), "run `flow` failed: no 5");
    assert_eq!((since(start), attempts(&report).len()), (secs(1 + 2 + 3 + 3), 5));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_or_none_is_one() {
    for attempts in [0, 1] {
        let witness = Witness::default();
        let (outcome, _) = tried(Retry::new(attempts), ok_at(2, &witness)).await;
        assert_eq!((outcome.is_err(), witness.entered()), (true, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn i20_a_stop_during_a_pause_ends_it_at_once_and_no_attempt_follows() {
    for request in [CancelRequest::because("enough"), CancelRequest::because("now").abort()] {
        let (start, witness) = (Instant::now(), Witness::default());
        let engine = engine();
        let run = engine.submit(RunSpec::workflow("flow"), thrice().body(ok_at(9, &witness)));
        let run = run.unwrap();
        sleep(millis(1_500)).await;
        run.cancel(request);
        let report = run.ended().await;
        assert_eq!((since(start), witness.entered()), (millis(1_500), 1));
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
        assert_eq!(attempts(&report).len(), 1);
        sleep(secs(60)).await;
        assert_eq!(witness.entered(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn i20_a_stop_during_an_attempt_is_the_end_and_its_value_is_partial() {
    let start = Instant::now();
    let body = async |ctx: RunContext| cleanup_for(ctx, millis(200), Ok(5)).await;
    let engine = engine();
    let run = engine.submit(RunSpec::workflow("flow"), thrice().body(body)).unwrap();
    let root = run.run().clone();
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    let Outcome::Stopped { cause, partial } = run.outcome().await else { panic!("was stopped") };
    assert_eq!(
        (cause.kind, partial, since(start)),
        (CauseKind::UserRequest, Some(5), millis(1_200))
    );
    let report = root.quiescent().await;
    let [attempt] = attempts(&report)[..] else { panic!("one attempt") };
    assert_eq!(attempt.status, RunStatus::Cancelled);
    assert_eq!(attempt.cause.as_ref().unwrap().kind, CauseKind::ParentStopped);
}

#[tokio::test(start_paused = true)]
async fn i20_a_deadline_of_the_run_is_one_for_all_attempts_and_pauses() {
    let (start, witness) = (Instant::now(), Witness::default());
    let engine = engine();
    let body = ok_at(9, &witness);
    let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| {
        let spec = RunSpec::step("fetch").timeout(millis(3_500));
        Ok(thrice().run(&ctx, spec, body).await.unwrap_err())
    });
    let run = run.unwrap();
    let root = run.run().clone();
    let failure = run.await.unwrap();
    assert_eq!(failure.stopped().unwrap().cause.kind, CauseKind::Deadline);
    assert_eq!((since(start), witness.entered()), (millis(3_500), 2));
    assert_eq!(row(&*root.ended().await, "fetch").status, RunStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn i20_a_stop_after_step_takes_hold_before_the_next_attempt() {
    let (start, witness) = (Instant::now(), Witness::default());
    let engine = engine();
    let run = engine.submit(RunSpec::workflow("flow"), thrice().body(ok_at(9, &witness)));
    let run = run.unwrap();
    sleep(millis(500)).await;
    run.cancel(CancelRequest::because("when you can").after_step(None));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert_eq!((since(start), witness.entered()), (secs(2), 1));
}

#[tokio::test(start_paused = true)]
async fn i5_an_attempt_that_is_cancelled_alone_is_not_tried_again() {
    let engine = engine();
    let body = async |ctx: RunContext| cleanup_for(ctx, millis(200), Ok(5)).await;
    let run = engine.submit(RunSpec::workflow("flow"), thrice().body(body)).unwrap();
    let root = run.run().clone();
    sleep(secs(1)).await;
    find(&root, "attempt 1").cancel(CancelRequest::because("not this one"));
    let error = run.await.unwrap_err().to_string();
    let words = "attempt 1 was stopped (user-request: not this one)";
    assert_eq!(error, format!("run `flow` failed: {words}"));
    assert_eq!(attempts(&*root.ended().await).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_reaches_its_own_timeout_is_followed_by_the_next() {
    let start = Instant::now();
    let retry = thrice().attempt_timeout(secs(2)).attempt_grace(millis(500));
    let (outcome, report) = tried(retry, async |ctx: RunContext| {
        if ctx.run().name() == "attempt 2" {
            return Ok(2);
        }
        ctx.is_stopping();
        value_after(secs(60), 1).await
    })
    .await;
    assert_eq!((outcome, since(start)), (Ok(2), millis(2_000 + 500 + 1_000)));
    assert_eq!(attempts(&report)[0].status, RunStatus::TimedOut);

    let retry = thrice().attempt_timeout(secs(2));
    let (outcome, report) = tried(retry, async |_| value_after(secs(60), 1).await).await;
    let words = "attempt 3 timed out (deadline: timeout over)";
    assert_eq!(outcome.unwrap_err(), format!("run `flow` failed: {words}"));
    assert_eq!(attempts(&report).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn i19_an_attempt_that_was_abandoned_is_fenced_and_the_next_one_says_so() {
    let engine = engine();
    let retry = thrice().attempt_timeout(secs(1)).attempt_grace(secs(1));
    let body = async |ctx: RunContext| {
        if ctx.run().name() != "attempt 1" {
            sleep(millis(500)).await;
            return if ctx.run().name() == "attempt 2" { Err(Failure::new("no")) } else { Ok(3) };
        }
        let (hold, late) = (ctx.hold(Work::Process, "stuck")?, ctx.clone());
        tokio::spawn(async move {
            sleep(secs(6)).await;
            late.set_output(Payload::from("late"));
            drop(hold);
        });
        value_after(secs(60), 1).await
    };
    let start = Instant::now();
    let run = engine.submit(RunSpec::workflow("flow"), retry.body(body)).unwrap();
    let root = run.run().clone();
    assert_eq!(run.await.unwrap(), 3);
    // Attempt 1: timeout, grace, abort wait; pauses of one and two seconds.
    assert_eq!(since(start), millis(3_000 + 1_000 + 500 + 2_000 + 500));
    let label = |name: &str| find(&root, name).label(ABANDONED_ATTEMPTS).map(str::to_owned);
    assert_eq!(label("attempt 1"), None);
    assert_eq!(label("attempt 2").as_deref(), Some("attempt 1"));
    assert_eq!(label("attempt 3"), None, "it was quiescent by then");
    let report = root.quiescent().await;
    let first = row(&report, "attempt 1");
    assert_eq!((&first.partial, first.late_output), (&None, 1), "fenced");
    assert_eq!(&*first.abandoned[0].name, "stuck");
}

#[tokio::test(start_paused = true)]
async fn a_predicate_says_which_failures_are_tried_again_and_panics_are_not_by_default() {
    let retry = || thrice().when(|failure| failure.to_string() == "busy");
    let calls = Arc::new(AtomicUsize::new(0));
    let (outcome, report) = tried(retry(), move |_| {
        let words = if calls.fetch_add(1, Ordering::SeqCst) == 0 { "busy" } else { "wrong" };
        async move { Err(Failure::new(words)) }
    })
    .await;
    assert_eq!(outcome.unwrap_err(), "run `flow` failed: wrong");
    assert_eq!(attempts(&report).len(), 2);

    let panics = async |_| if true { panic!("ouch") } else { Ok(1) };
    let (outcome, report) = tried(thrice(), panics).await;
    assert_eq!(outcome.unwrap_err(), "run `flow` failed: panicked: ouch");
    assert_eq!(attempts(&report).len(), 1);
    let (_, report) = tried(thrice().when(|_| true), panics).await;
    assert_eq!(attempts(&report).len(), 3);
    let (outcome, report) =
        tried(thrice().when(|_| panic!("no idea")), ok_at(2, &Witness::default())).await;
    assert_eq!(outcome.unwrap_err(), "run `flow` failed: panicked: no idea");
    assert_eq!(attempts(&report).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_say_how_long_to_wait_also_beyond_the_cap() {
    let start = Instant::now();
    let backoff = Backoff::exponential(secs(1)).cap(secs(2)).without_jitter();
    let after = [secs(10), millis(1)];
    let calls = Arc::new(AtomicUsize::new(0));
    let (outcome, _) = tried(Retry::new(3).backoff(backoff), move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let after = after.get(call).copied();
            after.map_or(Ok(7), |after| Err(RetryAfter::because(after, "too many").into()))
        }
    })
    .await;
    // The second failure asks for less than the backoff waits anyway.
    assert_eq!((outcome, since(start)), (Ok(7), secs(12)));
}

#[tokio::test(start_paused = true)]
async fn what_a_failure_carries_is_found_through_the_handles_of_runs() {
    let engine = engine();
    let run = engine.submit(RunSpec::workflow("flow"), async |ctx| {
        let retry = Retry::new(2).backoff(Duration::ZERO);
        let inner = retry.run(&ctx, RunSpec::step("inner"), async |_| {
            Err::<u32, _>(RetryAfter::new(secs(1)).into())
        });
        let failure = inner.await.unwrap_err();
        assert!(QuorumUnreachable::of(&failure).is_none());
        Ok(RetryAfter::of(&failure).unwrap().after())
    });
    assert_eq!(run.unwrap().await.unwrap(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_the_last_attempt_set_is_the_output_of_the_run() {
    let body = async |ctx: RunContext| {
        ctx.set_output(Payload::from(ctx.run().name().to_owned()));
        sleep(secs(1)).await;
        if ctx.run().name() == "attempt 2" { Ok(2) } else { Err(Failure::new("no")) }
    };
    let (_, report) = tried(thrice(), body).await;
    assert_eq!(report.output, Some(Payload::from("attempt 2")));
    let (_, report) = tried(Retry::new(1), body).await;
    assert_eq!(report.partial, Some(Payload::from("attempt 1")));
    for request in [CancelRequest::because("enough"), CancelRequest::because("now").abort()] {
        for at in [500, 1_500] {
            let engine = engine();
            let run = engine.submit(RunSpec::workflow("flow"), thrice().body(body)).unwrap();
            sleep(millis(at)).await;
            run.cancel(request.clone());
            let report = run.ended().await;
            assert_eq!(report.partial, Some(Payload::from("attempt 1")), "{at}, {request:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_branch_may_be_tried_again_and_its_timeout_is_one_for_all_attempts() {
    let (start, witness) = (Instant::now(), Witness::default());
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .branch_timeout(millis(4_500))
        .on_branch_timeout(OnTimeout::Default(0))
        .branch("once", async |_| Ok(1))
        .branch("twice", thrice().body(ok_at(2, &witness)))
        .branch("never", thrice().body(ok_at(9, &Witness::default())));
    let engine = engine();
    let settled = submit(&engine, step).await.unwrap().unwrap();
    assert_eq!((since(start), witness.entered()), (millis(4_500), 2));
    assert_eq!(settled.values, [Some(1), Some(7), Some(0)]);
    let attempts: Vec<_> = settled.rows.iter().map(|row| row.attempts).collect();
    assert_eq!(attempts, [1, 2, 2]);
    let twice = settled.row("twice").unwrap();
    assert_eq!(between(twice.started_at.unwrap(), twice.ended_at.unwrap()), secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_waits_for_its_next_attempt_ends_at_the_decision() {
    let (start, witness) = (Instant::now(), Witness::default());
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .branch("first", async |_| value_after(millis(1_500), 1).await)
        .branch("again", thrice().body(ok_at(9, &witness)));
    let engine = engine();
    let settled = submit(&engine, step).await.unwrap().unwrap();
    assert_eq!((since(start), witness.entered()), (millis(1_500), 1));
    let again = settled.row("again").unwrap();
    assert_eq!((again.status, again.attempts), (RunStatus::Cancelled, 1));
    assert!(again.suppressed_errors.is_empty() && !again.late_success);
}
