//! Stops: of the step and of what is above it, of one branch alone, and what is left in the report.

use quell::{
    CancelRequest, CauseKind, Engine, Outcome, Payload, RunContext, RunRef, RunSpec, RunStatus,
    testing,
};
use quell_flow::{
    Branch, CountedAs, OnCancelled, OnTimeout, Parallel, Policy, Settled, StepSummary,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::*;

async fn summary_after(root: &RunRef) -> Value {
    let report = root.ended().await;
    summary(&report)
}

#[tokio::test(start_paused = true)]
async fn an_external_stop_beats_the_policy_and_what_ended_is_in_the_report() {
    let start = Instant::now();
    let engine = engine();
    let witness = Witness::default();
    let waiting = witness.clone();
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .limit(3)
        .branch("ended", async |_| value_after(secs(1), 1).await)
        .branch("tidy", async |ctx| cleanup_for(ctx, secs(1), Ok(2)).await)
        .branch("silent", async |_| value_after(secs(60), 3).await)
        .branch("second", async |_| value_after(secs(60), 4).await)
        .branch("waiting", async move |_| {
            let _inside = waiting.enter();
            Ok(5)
        });
    let run = submit(&engine, step);
    sleep(secs(2)).await;
    run.cancel(CancelRequest::because("enough").by("ada"));
    let root = run.run().clone();
    let Outcome::Stopped { cause, partial } = run.outcome().await else { panic!("was stopped") };
    assert_eq!(since(start), secs(3));
    assert_eq!(cause.kind, CauseKind::UserRequest);
    // The workflow's body does not listen either; it was polled once more and saw the stop.
    let failure = partial.unwrap().unwrap_err();
    assert_eq!(failure.stopped().unwrap().cause.kind, CauseKind::ParentStopped);

    let summary = summary_after(&root).await;
    assert_eq!(witness.entered(), 0);
    assert_eq!(summary["decided_at"], Value::Null);
    let stands = |name: &str| {
        let row = branch(&summary, name);
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (word("status"), word("counted_as"), row["cause"]["kind"].as_str().map(str::to_owned))
    };
    let parent = Some("parent-stopped".to_owned());
    assert_eq!(stands("ended"), ("completed".into(), "ok".into(), None));
    assert_eq!(stands("tidy"), ("cancelled".into(), "noise".into(), parent.clone()));
    assert_eq!(stands("silent"), ("cancelled".into(), "noise".into(), parent.clone()));
    assert_eq!(stands("waiting"), ("cancelled".into(), "noise".into(), parent));
    assert_eq!(branch(&summary, "waiting")["run"], Value::Null);
    assert_eq!(branch(&summary, "waiting")["cause"]["by"], "ada");
    assert_eq!(branch(&summary, "tidy")["late_success"], true);
    assert_eq!(branch(&summary, "tidy")["grace_used_ms"], 1000);
    testing::check_trace(&testing::trace(&root).await).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_step_alone_is_a_failure_for_whoever_runs_it() {
    let engine = engine();
    let step = Parallel::new("step").branch("a", async |_| value_after(secs(60), 1).await);
    let run = submit(&engine, step);
    sleep(secs(1)).await;
    find(run.run(), "step").cancel(CancelRequest::because("not needed"));
    let failure = run.await.unwrap().unwrap_err();
    assert_eq!(failure.stopped().unwrap().cause.kind, CauseKind::UserRequest);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_step_stops_its_branches_and_counts_for_none_of_them() {
    let start = Instant::now();
    let engine = engine();
    let step = Parallel::of(RunSpec::step("step").timeout(secs(2)))
        .policy(Policy::first_success())
        .on_branch_timeout(OnTimeout::Default(1))
        .on_branch_cancelled(OnCancelled::Skip)
        .branch("a", async |ctx| cleanup_for(ctx, secs(1), Ok(2)).await);
    let run = submit(&engine, step);
    let root = run.run().clone();
    let failure = run.await.unwrap().unwrap_err();
    assert_eq!(failure.stopped().unwrap().cause.kind, CauseKind::Deadline);
    assert_eq!(since(start), secs(3));
    let report = root.ended().await;
    assert_eq!(row(&report, "step").status, RunStatus::TimedOut);
    assert_eq!(row(&report, "a").status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_the_decision_still_stops_the_step_and_keeps_the_decision_in_the_report() {
    let engine = engine();
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .branch("first", async |_| value_after(secs(1), 1).await)
        .branch("loser", async |ctx| cleanup_for(ctx, secs(2), Ok(2)).await);
    let run = submit(&engine, step);
    sleep(secs(2)).await;
    find(run.run(), "step").cancel(CancelRequest::because("too late"));
    let root = run.run().clone();
    assert!(run.await.unwrap().unwrap_err().stopped().is_some());
    let summary = summary_after(&root).await;
    assert_eq!(summary["decided_by"], "first");
    assert_eq!(branch(&summary, "loser")["cause"]["kind"], "race-lost");
}

async fn cancel_one(word: Option<OnCancelled>) -> Result<Settled<u32>, String> {
    let step = Parallel::new("step");
    cancel_alone(word.into_iter().fold(step, Parallel::on_branch_cancelled), |branch| branch).await
}

/// Cancels a branch of a step alone; `declare` says what is the branch's own.
async fn cancel_alone(
    step: Parallel<u32>,
    declare: impl FnOnce(Branch<u32>) -> Branch<u32>,
) -> Result<Settled<u32>, String> {
    let engine = engine();
    let alone = Branch::new("alone", async |ctx| cleanup_for(ctx, secs(1), Ok(1)).await);
    let step =
        step.with_branch(declare(alone)).branch("other", async |_| value_after(secs(5), 2).await);
    let run = submit(&engine, step);
    sleep(secs(2)).await;
    find(run.run(), "alone").cancel(CancelRequest::because("this one not"));
    run.await.unwrap().map_err(|failure| failure.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_is_cancelled_alone_counts_as_a_failure_by_default() {
    let start = Instant::now();
    let error = cancel_one(None).await.unwrap_err();
    let words = "branch `alone` failed: cancelled (user-request: this one not)";
    assert_eq!(error, format!("run `step` failed: {words}"));
    assert_eq!(since(start), secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_is_cancelled_alone_can_be_skipped_or_hand_over_its_partial_value() {
    let skipped = cancel_one(Some(OnCancelled::Skip)).await.unwrap();
    assert_eq!(skipped.values, [None, Some(2)]);
    assert_eq!(skipped.rows[0].counted_as, CountedAs::Skipped);
    assert_eq!(skipped.rows[0].status, RunStatus::Cancelled);
    let partial = cancel_one(Some(OnCancelled::Partial)).await.unwrap();
    assert_eq!(partial.values, [Some(1), Some(2)]);
    assert_eq!(partial.rows[0].counted_as, CountedAs::Partial);
}

#[tokio::test(start_paused = true)]
async fn what_a_branch_says_of_its_own_cancel_goes_before_what_the_step_says() {
    for of_step in [OnCancelled::Fail, OnCancelled::Skip, OnCancelled::Partial] {
        let declared = async |word| {
            let step = Parallel::new("step").on_branch_cancelled(of_step);
            cancel_alone(step, |branch| branch.on_cancelled(word)).await
        };
        assert!(declared(OnCancelled::Fail).await.is_err(), "{of_step:?}");
        let skipped = declared(OnCancelled::Skip).await.unwrap();
        assert_eq!(skipped.rows[0].counted_as, CountedAs::Skipped, "{of_step:?}");
        let partial = declared(OnCancelled::Partial).await.unwrap();
        assert_eq!(partial.rows[0].counted_as, CountedAs::Partial, "{of_step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_ignores_its_stop_is_dropped_at_the_end_of_its_grace() {
    let start = Instant::now();
    let engine = engine();
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .branch_grace(secs(2))
        .branch("first", async |_| value_after(secs(1), 1).await)
        .branch("deaf", async |ctx: RunContext| {
            ctx.is_stopping();
            ctx.set_output(Payload::from("half"));
            value_after(secs(60), 2).await
        });
    let settled = submit(&engine, step).await.unwrap().unwrap();
    assert_eq!(since(start), secs(3));
    let deaf = settled.row("deaf").unwrap();
    assert_eq!(deaf.grace_used, Some(secs(2)));
    assert_eq!(deaf.partial.as_ref().unwrap().as_json(), "\"half\"");
    assert!(!deaf.late_success);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_a_place_and_nothing_else_stops_at_once() {
    let engine = engine();
    let step = Parallel::new("step")
        .limit(1)
        .on_branch_timeout(OnTimeout::Skip)
        .branch_timeout(secs(1))
        .branch_grace(secs(1))
        .branch("stuck", async |ctx: RunContext| {
            let hold = ctx.hold(quell::Work::Process, "stuck")?;
            tokio::spawn(async move {
                sleep(secs(100)).await;
                drop(hold);
            });
            value_after(secs(60), 1).await
        })
        .branch("waiting", async |_| Ok(2));
    let run = submit(&engine, step);
    sleep(secs(10)).await;
    let cancelled_at = Instant::now();
    run.cancel(CancelRequest::because("no use"));
    let root = run.run().clone();
    root.ended().await;
    assert_eq!(since(cancelled_at), secs(0));
    let summary = summary_after(&root).await;
    assert_eq!(branch(&summary, "stuck")["counted_as"], "skipped");
    assert_eq!(branch(&summary, "stuck")["abandoned"][0]["name"], "stuck");
    assert_eq!(branch(&summary, "waiting")["status"], "cancelled");
    assert_eq!(branch(&summary, "waiting")["cause"]["kind"], "parent-stopped");
}

#[tokio::test(start_paused = true)]
async fn an_abort_leaves_a_summary_too() {
    let engine = engine();
    let step = Parallel::new("step")
        .branch("ended", async |_| Ok(1))
        .branch("tidy", async |ctx| cleanup_for(ctx, secs(1), Ok(2)).await);
    let run = submit(&engine, step);
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("now").abort());
    let summary = summary_after(run.run()).await;
    assert_eq!(branch(&summary, "ended")["status"], "completed");
    assert_ne!(branch(&summary, "tidy")["status"], "running");
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_ends_after_the_stop_of_the_step_decides_nothing() {
    let engine = engine();
    let step = Parallel::new("step")
        .branch_timeout(secs(1))
        .branch("late", async |ctx| cleanup_for(ctx, secs(2), Ok(1)).await)
        .branch("other", async |ctx| cleanup_for(ctx, secs(3), Ok(1)).await);
    let run = submit(&engine, step);
    sleep(secs(2)).await;
    run.cancel(CancelRequest::because("enough"));
    let summary = summary_after(run.run()).await;
    assert_eq!((&summary["decided_at"], &summary["decided_by"]), (&Value::Null, &Value::Null));
    // Its own deadline was the first cause, so that is what it counts as.
    assert_eq!(branch(&summary, "late")["status"], "timed-out");
    assert_eq!(branch(&summary, "late")["counted_as"], "failed");
    assert_eq!(branch(&summary, "other")["cause"]["kind"], "deadline");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_dropped_before_its_branches_end_says_how_they_stood() {
    let engine = engine();
    let step = Parallel::new("step").branch("stuck", async |ctx: RunContext| {
        let hold = ctx.hold(quell::Work::Process, "stuck")?;
        tokio::spawn(async move {
            sleep(secs(100)).await;
            drop(hold);
        });
        value_after(secs(60), 1).await
    });
    let run = submit(&engine, step);
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("now").grace(secs(2)));
    let summary = summary_after(run.run()).await;
    assert_eq!(branch(&summary, "stuck")["status"], "stopping");
    assert_eq!(branch(&summary, "stuck")["counted_as"], "pending");
    assert_eq!(branch(&summary, "stuck")["cause"]["kind"], "parent-stopped");
    assert_eq!(summary["settled_at"], Value::Null);
}

/// On several threads the step may be polled for the last time before it hears of its branches.
#[test]
fn a_stopped_step_knows_all_of_its_branches_on_several_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Engine::new();
        for _ in 0..5_000 {
            let (listening, mut listeners) = tokio::sync::mpsc::channel(2);
            let bodies = (0..2).map(|n| {
                let listening = listening.clone();
                let body = async move |ctx: RunContext| {
                    let mut stopped = std::pin::pin!(ctx.stopped());
                    assert!(futures::poll!(stopped.as_mut()).is_pending());
                    listening.send(()).await?;
                    stopped.await;
                    Ok(n)
                };
                (n.to_string(), body)
            });
            let run = submit(&engine, Parallel::new("step").branches(bodies.collect::<Vec<_>>()));
            for _ in 0..2 {
                listeners.recv().await.unwrap();
            }
            run.cancel(CancelRequest::because("all of you"));
            let summary = summary_after(run.run()).await;
            for row in summary["branches"].as_array().unwrap() {
                assert_eq!(row["status"], "cancelled", "{row}");
                assert_eq!(row["counted_as"], "noise", "{row}");
                assert_eq!(row["late_success"], true, "{row}");
            }
        }
    });
    runtime.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn the_summary_of_a_step_that_was_stopped_is_read_back_whole() {
    let engine = engine();
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .limit(2)
        .branch("ended", async |_| value_after(secs(1), 1).await)
        .branch("tidy", async |ctx| {
            ctx.set_output(Payload::from("half"));
            cleanup_for(ctx, secs(1), Ok(2)).await
        })
        .branch("failed", async |_| failure_after(millis(500), "no route").await)
        .branch("last", async |_| value_after(secs(60), 3).await)
        .branch("waiting", async |_| value_after(secs(60), 4).await);
    let run = submit(&engine, step.branch_grace(secs(5)));
    sleep(secs(2)).await;
    run.cancel(CancelRequest::because("enough").by("ada"));
    let report = run.run().ended().await;
    let text = summary(&report);
    let read = StepSummary::of(row(&report, "step")).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), text, "it says the same again");
    assert_eq!((&*read.policy, read.decided_at, read.branches_omitted), ("settle", None, 0));
    assert_eq!(read.branches.len(), 5);
    let tidy = read.row("tidy").unwrap();
    assert_eq!((tidy.status, tidy.grace_used), (RunStatus::Cancelled, Some(secs(1))));
    assert_eq!(tidy.partial, Some(Payload::from("half")));
    assert_eq!(tidy.cause.as_ref().unwrap().kind, CauseKind::ParentStopped);
    assert_eq!(read.row("failed").unwrap().error.as_deref(), Some("no route"));
    assert_eq!(read.row("waiting").unwrap().run, None);
    assert_eq!(StepSummary::of(row(&report, "flow")), None);
}
