//! What becomes of losers, and when what follows may start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quell::{CancelRequest, Failure, RunContext, RunSpec, RunStatus, testing};
use quell_flow::{Branch, CountedAs, OnLoser, Parallel, Policy, Settled, StartNext};
use tokio::time::{Instant, sleep};

use crate::support::{
    Ran, Witness, between, branch, cleanup_for, engine, failure_after, find, row, run, secs, since,
    submit, summary, value_after,
};

/// A race that the first wins after a second; the loser takes four, the last waits for a place.
fn race(witness: &Witness, loser: Result<u32, Failure>) -> Parallel<u32> {
    let (first, second) = (witness.clone(), witness.clone());
    Parallel::new("step")
        .policy(Policy::first_success())
        .limit(2)
        .branch("first", async |_| value_after(secs(1), 1).await)
        .branch("loser", async move |_| {
            let _inside = first.enter();
            sleep(secs(4)).await;
            loser
        })
        .branch("waiting", async move |_| {
            let _inside = second.enter();
            Ok(3)
        })
}

#[tokio::test(start_paused = true)]
async fn losers_that_may_finish_do_and_change_nothing() {
    for loser in [Ok(2), Err(Failure::new("late"))] {
        let (start, witness, is_ok) = (Instant::now(), Witness::default(), loser.is_ok());
        let step = race(&witness, loser).on_loser(OnLoser::LetFinish);
        let settled = run(step).await.outcome.unwrap();
        assert_eq!((since(start), witness.entered(), witness.inside()), (secs(4), 1, 0));
        assert_eq!(
            (&settled.values[..], settled.decided_by),
            (&[Some(1), None, None][..], Some(0))
        );
        assert_eq!(between(settled.decided_at, settled.settled_at.unwrap()), secs(3));
        let loser = settled.row("loser").unwrap();
        let status = if is_ok { RunStatus::Completed } else { RunStatus::Failed };
        assert_eq!((loser.status, loser.counted_as), (status, CountedAs::Ignored));
        assert_eq!((&loser.cause, loser.late_success), (&None, is_ok));
        assert_eq!(loser.suppressed_errors.len(), usize::from(!is_ok));
        let waiting = settled.row("waiting").unwrap();
        assert_eq!((waiting.run, waiting.counted_as), (None, CountedAs::Skipped));
    }
}

#[tokio::test(start_paused = true)]
async fn losers_that_are_detached_go_on_as_roots_and_nobody_waits_for_them() {
    let (start, witness) = (Instant::now(), Witness::default());
    let engine = engine();
    let handle = submit(&engine, race(&witness, Ok(2)).on_loser(OnLoser::Detach));
    let root = handle.run().clone();
    let settled = handle.await.unwrap().unwrap();
    assert_eq!((since(start), witness.inside()), (secs(1), 1));
    let loser = settled.row("loser").unwrap();
    assert_eq!((loser.status, loser.counted_as), (RunStatus::Running, CountedAs::Ignored));
    assert!(loser.detached && loser.ended_at.is_none());
    assert_eq!(settled.settled_at, Some(settled.decided_at));
    assert_eq!(root.ended().await.status, RunStatus::Completed);

    let detached = engine.get(loser.run.unwrap()).unwrap();
    assert!(detached.parent().is_none());
    let report = detached.ended().await;
    assert_eq!((since(start), witness.inside(), report.status), (secs(4), 0, RunStatus::Completed));
    assert_eq!(report.own_row().detached_from, Some(root.id()));
    testing::check_trace(&testing::trace(&root).await).unwrap();
    testing::check_trace(&testing::trace(&detached).await).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_detached_loser_is_not_stopped_with_the_flow_and_its_failure_is_its_own() {
    let engine = engine();
    let step = race(&Witness::default(), Err(Failure::new("late"))).on_loser(OnLoser::Detach);
    let body = async move |ctx: RunContext| {
        let settled = step.run(&ctx).await?;
        value_after(secs(60), settled.rows[1].run).await
    };
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    sleep(secs(2)).await;
    let loser = engine.runs(&quell::RunFilter::new()).into_iter().find(|run| run.name() == "loser");
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert_eq!(loser.unwrap().ended().await.status, RunStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_is_stopping_already_cannot_be_detached_and_ends_first() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .on_loser(OnLoser::Detach)
        .branch("first", async |_| value_after(secs(2), 1).await)
        .with_branch(
            Branch::new("tidy", async |ctx| cleanup_for(ctx, secs(2), Ok(2)).await)
                .timeout(secs(1)),
        );
    let settled = run(step).await.outcome.unwrap();
    assert_eq!(since(start), secs(3));
    let tidy = settled.row("tidy").unwrap();
    assert_eq!((tidy.status, tidy.counted_as), (RunStatus::TimedOut, CountedAs::Ignored));
    assert!(!tidy.detached && tidy.late_success);
}

/// Runs a step and then, for three seconds, what follows; yields both instants.
async fn followed(
    step: Parallel<u32>,
) -> (Result<Settled<u32>, String>, [u64; 3], serde_json::Value) {
    let (engine, start) = (engine(), Instant::now());
    let body = async move |ctx: RunContext| {
        let outcome = step.run(&ctx).await.map_err(|failure| failure.to_string());
        let next_at = since(start).as_secs();
        let next = ctx.spawn(RunSpec::step("next"), async |_| value_after(secs(3), 0).await);
        next.await?;
        Ok((outcome, next_at, since(start).as_secs()))
    };
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    let root = run.run().clone();
    let (outcome, next_at, through_at) = run.await.unwrap();
    let ended_at = since(start).as_secs();
    testing::check_trace(&testing::trace(&root).await).unwrap();
    let report = root.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "noise of a loser fails nobody");
    (outcome, [next_at, through_at, ended_at], summary(&report))
}

#[tokio::test(start_paused = true)]
async fn what_follows_starts_when_the_step_is_settled_unless_it_may_when_it_is_decided() {
    let tidy = || {
        Parallel::new("step")
            .policy(Policy::first_success())
            .branch("first", async |_| value_after(secs(1), 1).await)
            .branch("tidy", async |ctx| cleanup_for(ctx, secs(4), Ok(2)).await)
    };
    let (outcome, times, _) = followed(tidy()).await;
    assert_eq!(times, [5, 8, 8]);
    assert!(outcome.unwrap().settled_at.is_some());

    let (outcome, times, summary) = followed(tidy().start_next(StartNext::Decided)).await;
    // The loser stays attached: the flow ends after it, although its body is through before.
    assert_eq!(times, [1, 4, 5]);
    let settled = outcome.unwrap();
    assert_eq!((&settled.values[..], settled.settled_at), (&[Some(1), None][..], None));
    let tidy = settled.row("tidy").unwrap();
    assert_eq!((tidy.status, tidy.counted_as), (RunStatus::Stopping, CountedAs::Pending));
    assert_eq!(branch(&summary, "tidy")["status"], "cancelled");
    assert_eq!(branch(&summary, "tidy")["late_success"], true);
    assert_ne!(summary["settled_at"], summary["decided_at"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_may_be_followed_at_its_decision_too() {
    let step = Parallel::new("step")
        .start_next(StartNext::Decided)
        .on_loser(OnLoser::LetFinish)
        .branch("bad", async |_| failure_after(secs(1), "boom").await)
        .branch("late", async |_| value_after(secs(6), 2).await);
    let (outcome, times, summary) = followed(step).await;
    assert_eq!(outcome.unwrap_err(), "branch `bad` failed: boom");
    assert_eq!(times, [1, 4, 6]);
    assert_eq!(branch(&summary, "late")["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_flow_stops_losers_that_are_still_attached() {
    let (engine, stopped) = (engine(), Arc::new(AtomicBool::new(false)));
    let heard = Arc::clone(&stopped);
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .start_next(StartNext::Decided)
        .on_loser(OnLoser::LetFinish)
        .branch("first", async |_| value_after(secs(1), 1).await)
        .branch("loser", async move |ctx: RunContext| {
            ctx.stopped().await;
            heard.store(true, Ordering::SeqCst);
            Ok(2)
        });
    let body = async move |ctx: RunContext| {
        step.run(&ctx).await?;
        value_after(secs(60), ()).await
    };
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    sleep(secs(2)).await;
    assert!(!stopped.load(Ordering::SeqCst));
    assert_eq!(find(run.run(), "loser").status(), RunStatus::Running);
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(stopped.load(Ordering::SeqCst));
    assert_eq!(row(&report, "step").status, RunStatus::Cancelled);
    assert_eq!(summary(&report)["decided_by"], "first");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_decides_is_followed_when_it_fails_or_is_stopped() {
    let step = Parallel::new("step")
        .policy(Policy::new("shy", |_| None))
        .start_next(StartNext::Decided)
        .branch("a", async |_| value_after(secs(1), 1).await);
    let (outcome, times, _) = followed(step).await;
    assert!(outcome.unwrap_err().contains("decided nothing"));
    assert_eq!(times[0], 1);
    let step = Parallel::<u32>::of(RunSpec::step("step").timeout(secs(2)))
        .start_next(StartNext::Decided)
        .branch("a", async |_| value_after(secs(60), 1).await);
    let Ran { outcome, .. } = run(step).await;
    assert!(outcome.unwrap_err().stopped().is_some());
}
