//! What each policy makes of its branches, at which instant, and that noise changes nothing.

use quell::{CauseKind, Failure, Payload, RunContext, RunKind, RunSpec, RunStatus};
use quell_flow::{Branch, CountedAs, Decision, OnTimeout, Parallel, Policy, Settled};
use tokio::time::Instant;

use crate::support::*;

/// Runs a step in a workflow of its own; yields how it came out, and the summary of the step.
async fn run<T: Send + 'static>(
    step: Parallel<T>,
) -> (Result<Settled<T>, String>, serde_json::Value) {
    let engine = engine();
    let body = async move |ctx: RunContext| {
        let outcome = step.run(&ctx).await.map_err(|failure| failure.to_string());
        Ok::<_, Failure>(outcome)
    };
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    let root = run.run().clone();
    let outcome = run.await.unwrap();
    let report = root.ended().await;
    let step = &report.rows[1];
    assert_eq!(step.kind, RunKind::Step);
    let summary = json(step.summary.as_ref());
    (outcome, summary)
}

#[tokio::test(start_paused = true)]
async fn all_yields_the_values_in_the_order_of_declaration() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .branch("slow", async |_| value_after(secs(3), "slow").await)
        .branches(["a", "b"].map(|name| (name, async move |_| value_after(secs(1), name).await)));
    let (settled, summary) = run(step).await;
    let settled = settled.unwrap();
    assert_eq!(since(start), secs(3));
    assert_eq!(settled.values, [Some("slow"), Some("a"), Some("b")]);
    assert_eq!((&*settled.policy, settled.decided_by), ("all", Some(0)));
    assert_eq!(Some(settled.decided_at), settled.settled_at);
    for row in settled.rows.iter() {
        assert_eq!((row.status, row.counted_as), (RunStatus::Completed, CountedAs::Ok));
        assert!(row.cause.is_none() && !row.late_success && row.suppressed_errors.is_empty());
    }
    assert_eq!(summary["policy"], "all");
    assert_eq!(summary["decided_by"], "slow");
    assert_eq!(summary["branches"][1]["name"], "a");
    assert_eq!(summary["branches"][1]["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn all_is_decided_by_the_first_failure_and_settled_when_the_losers_have_cleaned_up() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .branch("tidy", async |ctx| cleanup_for(ctx, secs(1), Err(Failure::new("late"))).await)
        .branch("bad", async |_| failure_after(secs(2), "boom").await)
        .branch("silent", async |_| value_after(secs(60), 1).await);
    let (outcome, summary) = run(step).await;
    assert_eq!(since(start), secs(3));
    assert_eq!(outcome.unwrap_err(), "run `step` failed: branch `bad` failed: boom");

    let decided = humantime::parse_rfc3339(summary["decided_at"].as_str().unwrap()).unwrap();
    let settled = humantime::parse_rfc3339(summary["settled_at"].as_str().unwrap()).unwrap();
    assert_eq!(between(decided, settled), secs(1));
    assert_eq!(summary["decided_by"], "bad");
    assert_eq!(branch(&summary, "bad")["counted_as"], "failed");
    assert_eq!(branch(&summary, "bad")["error"], "boom");
    let tidy = branch(&summary, "tidy");
    assert_eq!((&tidy["status"], &tidy["counted_as"]), (&"cancelled".into(), &"noise".into()));
    assert_eq!(tidy["cause"]["kind"], "sibling-failed");
    assert_eq!(tidy["cause"]["message"], "policy `all` was decided by branch `bad`");
    assert_eq!(tidy["grace_used_ms"], 1000);
    assert_eq!(tidy["suppressed_errors"], serde_json::json!(["late"]));
    let silent = branch(&summary, "silent");
    assert_eq!((&silent["status"], &silent["grace_used_ms"]), (&"cancelled".into(), &0.into()));
}

#[tokio::test(start_paused = true)]
async fn of_two_failures_at_the_same_instant_one_decides_and_the_other_is_suppressed() {
    let step = Parallel::<u32>::new("step")
        .branch("a", async |_| failure_after(secs(1), "first").await)
        .branch("b", async |_| failure_after(secs(1), "second").await);
    let (outcome, summary) = run(step).await;
    let decided_by = summary["decided_by"].as_str().unwrap();
    let (error, other) = if decided_by == "a" { ("first", "b") } else { ("second", "a") };
    let message = format!("run `step` failed: branch `{decided_by}` failed: {error}");
    assert_eq!(outcome.unwrap_err(), message);
    let other = branch(&summary, other);
    assert_eq!(other["counted_as"], "noise");
    // It failed by itself, or was stopped while it was about to.
    assert!(other["status"] == "failed" || other["status"] == "cancelled", "{other}");
    if other["status"] == "failed" {
        assert_eq!(other["suppressed_errors"][0], other["error"]);
    }
}

#[tokio::test(start_paused = true)]
async fn settle_waits_for_every_branch_and_keeps_every_outcome() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .branch("bad", async |_| failure_after(secs(1), "boom").await)
        .branch("good", async |_| value_after(secs(2), 7).await)
        .branch("panics", async |_| if true { panic!("ouch") } else { Ok(0) });
    let settled = run(step).await.0.unwrap();
    assert_eq!(since(start), secs(2));
    assert_eq!(settled.values, [None, Some(7), None]);
    assert_eq!(settled.decided_by, Some(1));
    assert_eq!(settled.row("bad").unwrap().error.as_deref(), Some("boom"));
    assert_eq!(settled.row("bad").unwrap().status, RunStatus::Failed);
    assert_eq!(settled.row("panics").unwrap().error.as_deref(), Some("panicked: ouch"));
    assert!(settled.rows.iter().all(|row| row.suppressed_errors.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn first_success_yields_the_first_value_and_a_late_one_is_recorded_and_unused() {
    let start = Instant::now();
    let step = Parallel::new("race")
        .policy(Policy::first_success())
        .branch("bad", async |_| failure_after(millis(500), "boom").await)
        .branch("late", async |ctx| cleanup_for(ctx, secs(2), Ok(1)).await)
        .branch("first", async |_| value_after(secs(1), 2).await)
        .branch("never", async |_| value_after(secs(50), 3).await);
    let settled = run(step).await.0.unwrap();
    assert_eq!(since(start), secs(3));
    assert_eq!(settled.values, [None, None, Some(2), None]);
    assert_eq!(settled.decided_by, Some(2));
    assert_eq!(between(settled.decided_at, settled.settled_at.unwrap()), secs(2));
    for name in ["late", "never"] {
        let row = settled.row(name).unwrap();
        assert_eq!((row.status, row.counted_as), (RunStatus::Cancelled, CountedAs::Ignored));
        let cause = row.cause.as_ref().unwrap();
        assert_eq!(cause.kind, CauseKind::RaceLost);
        assert!(cause.message.as_ref().unwrap().contains("`first`"), "{cause}");
        assert_eq!(row.late_success, name == "late");
    }
    assert_eq!(settled.row("late").unwrap().grace_used, Some(secs(2)));
    assert_eq!(settled.into_first(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn first_success_fails_with_every_error_when_none_is_left() {
    let start = Instant::now();
    let step = Parallel::<u32>::new("race")
        .policy(Policy::first_success())
        .branch("a", async |_| failure_after(secs(2), "no route").await)
        .branch("b", async |_| failure_after(secs(1), "refused").await);
    let (outcome, summary) = run(step).await;
    assert_eq!(since(start), secs(2));
    let message = "run `race` failed: none of 2 branches succeeded: `a`: no route; `b`: refused";
    assert_eq!(outcome.unwrap_err(), message);
    assert_eq!(summary["decided_by"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_step_without_branches_is_decided_when_it_starts() {
    assert_eq!(run(Parallel::<u32>::new("none")).await.0.unwrap().values, []);
    let race = Parallel::<u32>::new("none").policy(Policy::first_success());
    let (outcome, summary) = run(race).await;
    assert_eq!(outcome.unwrap_err(), "run `none` failed: none of 0 branches succeeded");
    assert_eq!(summary["branches"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_ones_own_decides_over_values_and_names_its_cause() {
    let over_five = Policy::new("over five", |so_far: &quell_flow::SoFar<'_, u32>| {
        let sum: u32 = so_far.ended.iter().map(|ended| value_of(&ended.end)).sum();
        let by = so_far.ended.last()?.branch;
        (sum > 5).then(|| Decision::values(CauseKind::QuorumReached).by(by))
    });
    let step = Parallel::new("step").policy(over_five).branches(
        (1..=9_u32).map(|n| (n.to_string(), async move |_| value_after(secs(n.into()), n).await)),
    );
    let settled = run(step).await.0.unwrap();
    assert_eq!(settled.policy.as_ref(), "over five");
    assert_eq!(settled.rows[8].cause.as_ref().unwrap().kind, CauseKind::QuorumReached);
    assert_eq!(settled.into_values(), [1, 2, 3]);
}

const fn value_of(end: &quell_flow::End<u32>) -> u32 {
    match end {
        quell_flow::End::Ok(value) => *value,
        _ => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_never_decides_fails_the_step_when_all_have_ended() {
    let step = Parallel::new("step")
        .policy(Policy::new("shy", |_| None))
        .branch("a", async |_| value_after(secs(1), 1).await);
    let message = "run `step` failed: policy `shy` decided nothing although all branches ended";
    assert_eq!(run(step).await.0.unwrap_err(), message);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_panics_fails_its_step_and_nothing_else() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .limit(2)
        .policy(Policy::new("bad", |so_far: &quell_flow::SoFar<'_, u32>| {
            assert!(so_far.ended.is_empty(), "no idea");
            None
        }))
        .branch("a", async |_| value_after(secs(1), 1).await)
        .branch("b", async |_| value_after(secs(60), 1).await)
        .branch("c", async |_| value_after(secs(60), 1).await);
    let (outcome, summary) = run(step).await;
    assert_eq!(outcome.unwrap_err(), "run `step` failed: panicked: no idea");
    assert_eq!(since(start), secs(1));
    assert_eq!(branch(&summary, "a")["status"], "completed");
    assert_eq!(branch(&summary, "c")["status"], "cancelled");
    assert_eq!(branch(&summary, "c")["run"], serde_json::Value::Null);
}

#[tokio::test(start_paused = true)]
async fn branches_that_wait_for_a_place_are_not_started_once_it_is_decided() {
    let witness = Witness::default();
    let bodies = (0..5_u64).map(|n| {
        let witness = witness.clone();
        let body = async move |_| {
            let _inside = witness.enter();
            if n == 1 {
                failure_after(secs(1), "boom").await
            } else {
                value_after(secs(2), n).await
            }
        };
        (n.to_string(), body)
    });
    let (outcome, summary) = run(Parallel::new("step").limit(2).branches(bodies)).await;
    assert!(outcome.unwrap_err().ends_with("branch `1` failed: boom"));
    assert_eq!((witness.entered(), witness.inside()), (2, 0));
    for name in ["2", "3", "4"] {
        let row = branch(&summary, name);
        assert_eq!((&row["run"], &row["status"]), (&serde_json::Value::Null, &"cancelled".into()));
        assert_eq!(row["cause"]["kind"], "sibling-failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_the_engine_refuses_counts_as_failed() {
    let name = "n".repeat(quell::limits::LABEL_BYTES_MAX + 1);
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .branch(name, async |_| Ok(1))
        .branch("good", async |_| Ok(2));
    let settled = run(step).await.0.unwrap();
    assert_eq!(settled.values, [None, Some(2)]);
    assert_eq!(settled.rows[0].counted_as, CountedAs::Failed);
    assert_eq!(settled.rows[0].run, None);
    assert!(settled.rows[1].run.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_summary_over_its_bound_leaves_out_what_the_branches_handed_over() {
    let large = Payload::from("x".repeat(quell::limits::PAYLOAD_BYTES_MAX / 2));
    let bodies = (0..3).map(|n| {
        let large = large.clone();
        let body = async move |ctx: RunContext| {
            ctx.set_output(large);
            Ok(n)
        };
        (n.to_string(), body)
    });
    let (settled, summary) = run(Parallel::new("step").branches(bodies)).await;
    assert!(settled.unwrap().rows.iter().all(|row| row.output.is_some()));
    assert_eq!(summary["branches"].as_array().unwrap().len(), 3);
    assert_eq!(summary["branches"][0]["output"], serde_json::Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_summary_of_words_that_have_to_be_escaped_is_whole() {
    let ugly = "\u{1}".repeat(quell::limits::LABEL_BYTES_MAX / 2);
    let (name, error) = (ugly.clone(), ugly.repeat(20));
    let fails = async move |_| Err(Failure::new(error));
    let waits = async |ctx: RunContext| {
        ctx.stopped().await;
        let error = "\u{2}".repeat(10_000);
        Err(Failure::new(error))
    };
    let step = Parallel::new("step").branch("first", waits).branch(name, fails);
    let (settled, summary) = run::<()>(step).await;
    settled.unwrap_err();
    assert_eq!(summary["branches"][0]["suppressed_errors"][0], "\u{2}".repeat(10_000));
    assert_eq!(summary["branches"][0]["cause"]["kind"], "sibling-failed");
    assert_eq!(summary["branches"][1]["error"], ugly.repeat(20));
    assert_eq!(summary["decided_by"], ugly);
}

/// A value that panics instead of being copied.
#[derive(Debug)]
struct Original;

impl Clone for Original {
    fn clone(&self) -> Self {
        panic!("no copy")
    }
}

#[tokio::test(start_paused = true)]
async fn i26_a_default_whose_copy_panics_fails_its_step_and_nothing_else() {
    let start = Instant::now();
    let late = Branch::new("late", async |_| value_after(secs(60), Original).await);
    let step = Parallel::new("step")
        .limit(3)
        .on_branch_timeout(OnTimeout::Default(Original))
        .branch("done", async |_| Ok(Original))
        .with_branch(late.timeout(secs(1)).grace(secs(0)))
        .branch("cleans", async |ctx| cleanup_for(ctx, secs(2), Ok(Original)).await)
        .branch("waits", async |_| value_after(secs(60), Original).await);
    let engine = engine();
    let body = async move |ctx: RunContext| {
        let beside = ctx.spawn(RunSpec::step("beside"), async |_| value_after(secs(10), 7).await);
        let outcome = step.run(&ctx).await.map(drop).map_err(|failure| failure.to_string());
        Ok((outcome, since(start), beside.await.unwrap()))
    };
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    let root = run.run().clone();
    let (outcome, ended, beside) = run.await.unwrap();
    assert_eq!(outcome.unwrap_err(), "run `step` failed: panicked: no copy");
    assert_eq!((ended, beside), (secs(3), 7), "the step waits for the branch that cleans up");
    let report = root.quiescent().await;
    let row = |name: &str| report.rows.iter().find(|row| &*row.name == name);
    assert!(report.quiescent && report.status == RunStatus::Completed, "{report:?}");
    assert_eq!(row("step").unwrap().status, RunStatus::Failed);
    assert_eq!(row("late").unwrap().status, RunStatus::TimedOut);
    assert_eq!(row("cleans").unwrap().status, RunStatus::Cancelled);
    assert!(row("waits").is_none_or(|row| row.status == RunStatus::Cancelled), "{report:?}");
    quell::testing::check_trace(&quell::testing::trace(&root).await).unwrap();
    assert_eq!(engine.submit(RunSpec::agent("next"), async |_| Ok(1)).unwrap().await.unwrap(), 1);
}
