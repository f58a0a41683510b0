//! I5, I17, I18, I28 under every policy, and that noise never changes a decided outcome.

use std::time::Duration;

use quell::{
    CancelRequest, CauseKind, EventKind, Failure, Payload, RunContext, RunReport, RunStatus,
    ToolCall, testing,
};
use quell_flow::{Backoff, Branch, OnCancelled, Parallel, Policy, Retry, SoFar};
use serde_json::Value;
use tokio::time::sleep;

use crate::support::{
    Ran, Witness, between, branch, cleanup_for, engine, failure_after, find, millis, row, run,
    secs, submit, summary, value_after,
};

/// A policy, when it is decided over the branches below, by whom, for how many values, and the
/// cause of the losers.
type Case = (Policy<u32>, u64, Option<&'static str>, Option<usize>, CauseKind);

/// Every policy that has losers. `a` is Ok after 1 s, `b` after 2 s, `bad` fails after 3 s.
fn cases() -> Vec<Case> {
    let two = |so_far: &SoFar<'_, u32>| so_far.ok == 2;
    vec![
        (Policy::all(), 3_000, Some("bad"), None, CauseKind::SiblingFailed),
        (Policy::first_success(), 1_000, Some("a"), Some(1), CauseKind::RaceLost),
        (Policy::first_settled(), 1_000, Some("a"), Some(1), CauseKind::RaceLost),
        (Policy::quorum(2), 2_000, Some("b"), Some(2), CauseKind::QuorumReached),
        (Policy::quorum(4), 3_000, Some("bad"), None, CauseKind::SiblingFailed),
        (Policy::until(two), 2_000, Some("b"), Some(2), CauseKind::RaceLost),
        (Policy::best_effort(millis(2_500), 1), 2_500, None, Some(2), CauseKind::Deadline),
        (Policy::best_effort(millis(2_500), 3), 2_500, None, None, CauseKind::Deadline),
        (Policy::hedge(Duration::from_nanos(1)), 1_000, Some("a"), Some(1), CauseKind::RaceLost),
    ]
}

fn with_loser(policy: Policy<u32>, loser: Branch<u32>) -> Parallel<u32> {
    Parallel::new("step")
        .policy(policy)
        .with_branch(loser)
        .branch("a", async |_| value_after(secs(1), 1).await)
        .branch("b", async |_| value_after(secs(2), 2).await)
        .branch("bad", async |_| failure_after(secs(3), "boom").await)
}

const NOISE: [&str; 8] =
    ["error", "success", "panic", "hook", "deaf", "same instant", "cancelled", "child"];

/// A loser that makes a noise when it is told to stop.
fn noisy(noise: &'static str) -> Branch<u32> {
    Branch::new("loser", async move |ctx: RunContext| match noise {
        "error" => cleanup_for(ctx, millis(300), Err(Failure::new("late"))).await,
        "success" => cleanup_for(ctx, millis(300), Ok(9)).await,
        "panic" => {
            ctx.stopped().await;
            panic!("in the cleanup");
        }
        "hook" => {
            ctx.on_stop(async |_| panic!("in a hook"));
            cleanup_for(ctx, millis(300), Ok(9)).await
        }
        "deaf" => {
            ctx.is_stopping();
            value_after(secs(60), 9).await
        }
        "same instant" => cleanup_for(ctx, Duration::ZERO, Err(Failure::new("too"))).await,
        "child" => {
            let child = ctx.spawn(quell::RunSpec::step("child"), async |ctx: RunContext| {
                cleanup_for::<u32>(ctx, millis(300), Err(Failure::new("child"))).await
            });
            Ok(child.await?)
        }
        _ => cleanup_for(ctx, millis(500), Err(Failure::new("late"))).await,
    })
    .grace(secs(1))
}

/// What is decided: the values or the error, by whom, and when after the start of the step.
fn decided(ran: &Ran<u32>) -> (Result<Vec<Option<u32>>, String>, Value, Duration) {
    let outcome = match &ran.outcome {
        Ok(settled) => Ok(settled.values.clone()),
        Err(failure) => Err(failure.to_string()),
    };
    let at = |value: &Value| humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
    let started = at(&branch(&ran.summary, "a")["started_at"]);
    let decided_at = between(started, at(&ran.summary["decided_at"]));
    (outcome, ran.summary["decided_by"].clone(), decided_at)
}

#[tokio::test(start_paused = true)]
async fn noise_of_a_loser_never_changes_what_is_decided_under_any_policy() {
    for (policy, at, by, values, _) in cases() {
        let name = policy.name().to_owned();
        let quiet = Branch::new("loser", async |_| value_after(secs(60), 9).await);
        let (outcome, decided_by, decided_at) =
            decided(&run(with_loser(policy.clone(), quiet)).await);
        assert_eq!((decided_at, decided_by.as_str()), (millis(at), by), "{name}");
        let found = outcome.as_ref().ok().map(|values| values.iter().flatten().count());
        assert_eq!(found, values, "{name}: {outcome:?}");
        for noise in NOISE {
            let step = with_loser(policy.clone(), noisy(noise));
            let ran =
                if noise == "cancelled" { run_cancelled(step, at).await } else { run(step).await };
            let expected = (outcome.clone(), decided_by.clone(), decided_at);
            assert_eq!(decided(&ran), expected, "{name}, {noise}");
            check_loser(&ran.summary, noise, &name);
        }
    }
}

/// Cancels the loser between decided and settled.
async fn run_cancelled(step: Parallel<u32>, decided_ms: u64) -> Ran<u32> {
    let engine = engine();
    let handle = submit(&engine, step);
    let root = handle.run().clone();
    sleep(millis(decided_ms + 200)).await;
    find(&root, "loser").cancel(CancelRequest::because("this one too").abort());
    let outcome = handle.await.unwrap();
    let report = root.quiescent().await;
    Ran { outcome, summary: summary(&report), report }
}

fn check_loser(summary: &Value, noise: &str, name: &str) {
    let loser = branch(summary, "loser");
    let about = format!("{name}, {noise}: {loser}");
    // I5: a stop is not a failure of the stopped run, whatever noise it makes.
    assert_eq!(
        (&loser["status"], &loser["counted_as"]),
        (&"cancelled".into(), &"noise".into()),
        "{about}"
    );
    assert_eq!(loser["late_success"], matches!(noise, "success" | "hook"), "{about}");
    let suppressed = loser["suppressed_errors"].as_array().unwrap().len();
    let is_noisy = matches!(noise, "error" | "panic" | "hook" | "same instant");
    assert_eq!(suppressed, usize::from(is_noisy), "{about}");
}

#[tokio::test(start_paused = true)]
async fn i28_stopped_siblings_carry_the_cause_of_the_policy_and_the_deciding_branch() {
    for (policy, at, by, _, kind) in cases() {
        let name = policy.name().to_owned();
        let Ran { summary, report, .. } = run(with_loser(policy, noisy("success"))).await;
        let stopped = report.rows.iter().filter(|row| row.status == RunStatus::Cancelled);
        let stopped: Vec<_> = stopped.collect();
        let row_of_a = row(&report, "a");
        assert!(!stopped.is_empty(), "{name}");
        for row in stopped {
            let cause = row.cause.as_ref().unwrap();
            assert_eq!((cause.kind, cause.origin), (kind, row.run), "{name}: {cause}");
            let message = cause.message.as_deref().unwrap();
            let expected = match by {
                Some(by) => format!("policy `{name}` was decided by branch `{by}`"),
                None => format!("policy `{name}` was decided"),
            };
            assert_eq!(message, expected);
            let after = between(row_of_a.started_at.unwrap(), row.stopped_at.unwrap());
            assert_eq!(after, millis(at), "{name}: stopped when it is decided");
        }
        assert_eq!(branch(&summary, "loser")["cause"]["kind"], kind.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn i5_a_branch_that_is_stopped_alone_never_fails_under_any_policy_or_word() {
    let words = [OnCancelled::Fail, OnCancelled::Skip, OnCancelled::Partial];
    for (policy, ..) in
        cases().into_iter().chain([(Policy::settle(), 0, None, None, CauseKind::RaceLost)])
    {
        for word in words {
            let engine = engine();
            let name = policy.name().to_owned();
            let step = with_loser(policy.clone(), noisy("error")).on_branch_cancelled(word);
            let handle = submit(&engine, step);
            let root = handle.run().clone();
            sleep(millis(500)).await;
            find(&root, "loser").cancel(CancelRequest::because("this one not"));
            handle.await.unwrap().ok();
            let report = root.quiescent().await;
            let loser = row(&report, "loser");
            assert_eq!((loser.status, &loser.error), (RunStatus::Cancelled, &None), "{name}");
            assert_eq!(loser.cause.as_ref().unwrap().kind, CauseKind::UserRequest);
            let summary = summary(&report);
            let counted = branch(&summary, "loser")["counted_as"].as_str().unwrap();
            let expected = if word == OnCancelled::Fail { "failed" } else { "skipped" };
            assert_eq!(counted, expected, "{name}, {word:?}");
            testing::check_trace(&testing::trace(&root).await).unwrap();
        }
    }
}

/// Runs a step whose loser is within a tool call, and stops the flow at an instant, if at any.
async fn stopped_at(
    policy: Policy<u32>,
    stop: Option<u64>,
) -> (Result<(), String>, std::sync::Arc<RunReport>) {
    let engine = engine();
    let loser = Branch::new("loser", async |ctx: RunContext| {
        let call = ToolCall::new("call", "search", Value::Null.into());
        ctx.tool(call, std::future::pending::<Result<Payload, Failure>>()).await?;
        Ok(0)
    });
    let branches = with_loser(policy, loser).branch("early", async |ctx: RunContext| {
        sleep(millis(500)).await;
        ctx.set_output(Payload::from("whole"));
        Err(Failure::new("early"))
    });
    let handle = submit(&engine, branches.limit(6));
    let root = handle.run().clone();
    if let Some(stop) = stop {
        sleep(millis(stop)).await;
        root.cancel(CancelRequest::because("enough"));
    }
    let report = root.quiescent().await;
    let trace = testing::trace(&root).await;
    let count = |is: fn(&EventKind) -> bool| trace.iter().filter(|event| is(&event.kind)).count();
    let started = count(|kind| matches!(kind, EventKind::ToolStarted { .. }));
    let ended = count(|kind| matches!(kind, EventKind::ToolEnded { .. }));
    assert_eq!((started, ended), (1, 1), "I18");
    (testing::check_trace(&trace).map(drop), report)
}

#[tokio::test(start_paused = true)]
async fn i17_and_i18_what_ended_before_a_stop_is_in_the_report_and_calls_have_one_outcome() {
    for (policy, ..) in cases() {
        let name = policy.name().to_owned();
        for stop in [Some(700), Some(1_500), Some(2_700), None] {
            let (checked, report) = stopped_at(policy.clone(), stop).await;
            checked.unwrap();
            let summary = summary(&report);
            let early = branch(&summary, "early");
            assert_eq!(early["partial"], "whole", "{name}, {stop:?}: {early}");
            assert_eq!(early["error"], "early");
            let loser = branch(&summary, "loser");
            assert_eq!(loser["status"], "cancelled", "{name}, {stop:?}: {loser}");
            if stop == Some(700) && report.rows[1].status == RunStatus::Cancelled {
                assert_eq!(summary["decided_at"], Value::Null, "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i19_and_i20_attempts_of_a_loser_never_overlap_and_end_with_the_decision() {
    for (policy, at, ..) in cases() {
        let name = policy.name().to_owned();
        let witness = Witness::default();
        let seen = witness.clone();
        let body = move |_: RunContext| {
            let inside = seen.enter();
            async move {
                let _inside = inside;
                failure_after(millis(390), "again").await
            }
        };
        let pause = Backoff::exponential(millis(100)).cap(millis(100)).without_jitter();
        let loser = Branch::new("loser", Retry::new(100).backoff(pause).body(body));
        let Ran { summary, .. } = run(with_loser(policy, loser)).await;
        sleep(secs(60)).await;
        // Starts are 490 ms apart, the first at zero.
        let made = usize::try_from(at / 490 + 1).unwrap();
        assert_eq!((witness.most(), witness.inside(), witness.entered()), (1, 0, made), "{name}");
        let loser = branch(&summary, "loser");
        assert_eq!((&loser["status"], &loser["attempts"]), (&"cancelled".into(), &made.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_decisive_ends_at_the_same_instant_exactly_one_decides() {
    for policy in [Policy::all(), Policy::first_settled(), Policy::quorum(2)] {
        let step = Parallel::<u32>::new("step")
            .policy(policy)
            .branch("x", async |_| failure_after(secs(1), "x").await)
            .branch("y", async |_| failure_after(secs(1), "y").await);
        let Ran { summary, outcome, .. } = run(step).await;
        let by = summary["decided_by"].as_str().unwrap().to_owned();
        assert!(outcome.unwrap_err().to_string().contains(&format!("`{by}`")));
        let counted = ["x", "y"].map(|name| branch(&summary, name)["counted_as"] == "failed");
        assert!(counted.contains(&true), "{summary}");
    }
}
