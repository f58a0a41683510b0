//! Quorum, first settled, until, best effort and hedge: who decides, at which exact instant.

use std::time::Duration;

use quell::{CauseKind, Failure, RunContext, RunStatus};
use quell_flow::{CountedAs, Decision, OnTimeout, Parallel, Policy, QuorumUnreachable, SoFar};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::{
    Ran, Witness, between, branch, cleanup_for, failure_after, millis, run, secs, since,
    value_after,
};

/// Branches called by their seconds, which end after these: Ok if the sign is positive.
fn timed(policy: Policy<i64>, times: &[i64]) -> Parallel<i64> {
    let bodies = times.iter().map(|&time| {
        let body = async move |_: RunContext| {
            sleep(secs(time.unsigned_abs())).await;
            if time > 0 { Ok(time) } else { Err(Failure::new("no")) }
        };
        (time.to_string(), body)
    });
    Parallel::new("step").policy(policy).branches(bodies)
}

fn cause(summary: &Value, name: &str) -> String {
    branch(summary, name)["cause"]["kind"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_quorum_of_three_of_five_is_decided_at_the_third_success() {
    let start = Instant::now();
    let Ran { outcome, summary, .. } = run(timed(Policy::quorum(3), &[5, 1, -2, 4, 3])).await;
    assert_eq!(since(start), secs(4));
    let settled = outcome.unwrap();
    assert_eq!(settled.values, [None, Some(1), None, Some(4), Some(3)]);
    assert_eq!((&*settled.policy, settled.decided_by), ("quorum(3)", Some(3)));
    assert_eq!(between(settled.rows[0].started_at.unwrap(), settled.decided_at), secs(4));
    let loser = settled.row("5").unwrap().cause.clone().unwrap();
    assert_eq!(loser.kind, CauseKind::QuorumReached);
    let words = "policy `quorum(3)` was decided by branch `4`";
    assert_eq!(loser.message.as_deref(), Some(words));
    assert_eq!(summary["decided_by"], "4");
}

#[tokio::test(start_paused = true)]
async fn a_quorum_is_unreachable_at_the_instant_at_which_it_becomes_impossible() {
    let start = Instant::now();
    let Ran { outcome, summary, .. } = run(timed(Policy::quorum(3), &[50, 1, -2, -4, -3])).await;
    assert_eq!(since(start), secs(4), "not when the slowest branch ends");
    let failure = outcome.unwrap_err();
    let unreachable = QuorumUnreachable::of(&failure).unwrap();
    let QuorumUnreachable { wanted, ok, open, branches, .. } = *unreachable;
    assert_eq!((wanted, ok, open, branches), (3, 1, 1, 5));
    let words = "run `step` failed: quorum of 3 is unreachable: of 5 branches 1 succeeded and 1 \
                 had not ended: `-2`: no; `-4`: no; `-3`: no";
    assert_eq!(failure.to_string(), words);
    assert_eq!(summary["decided_by"], "-4");
    assert_eq!(cause(&summary, "50"), "sibling-failed");
}

#[tokio::test(start_paused = true)]
async fn a_quorum_of_more_than_there_are_fails_before_anything_starts_and_none_is_there_at_once() {
    let start = Instant::now();
    let Ran { outcome, summary, .. } = run(timed(Policy::quorum(3), &[1, 2])).await;
    assert!(QuorumUnreachable::of(&outcome.unwrap_err()).is_some());
    assert_eq!(branch(&summary, "1")["run"], Value::Null);
    assert_eq!(branch(&summary, "1")["counted_as"], "skipped");
    let settled = run(timed(Policy::quorum(0), &[1, 2])).await.outcome.unwrap();
    assert_eq!((settled.values, settled.decided_by), (vec![None, None], None));
    assert_eq!(since(start), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_skipped_branch_makes_a_quorum_impossible_as_a_failed_one_does() {
    let start = Instant::now();
    let step = timed(Policy::quorum(2), &[9, 8, 1])
        .branch_timeout(secs(5))
        .on_branch_timeout(OnTimeout::Skip);
    assert!(QuorumUnreachable::of(&run(step).await.outcome.unwrap_err()).is_some());
    assert_eq!(since(start), secs(5));
}

#[tokio::test(start_paused = true)]
async fn first_settled_takes_the_first_end_even_an_error() {
    let start = Instant::now();
    let settled = run(timed(Policy::first_settled(), &[3, 1, -2])).await.outcome.unwrap();
    assert_eq!((settled.into_first(), since(start)), (Some(1), secs(1)));

    let start = Instant::now();
    let Ran { outcome, summary, .. } = run(timed(Policy::first_settled(), &[3, -1, 2])).await;
    assert_eq!(outcome.unwrap_err().to_string(), "run `step` failed: branch `-1` failed: no");
    assert_eq!(since(start), secs(1));
    assert_eq!(
        (cause(&summary, "3"), cause(&summary, "2")),
        ("race-lost".into(), "race-lost".into())
    );
}

#[tokio::test(start_paused = true)]
async fn until_is_decided_at_the_end_that_makes_its_predicate_true() {
    let sum_over_five = |so_far: &SoFar<'_, i64>| so_far.values().sum::<i64>() > 5;
    let start = Instant::now();
    let step = timed(Policy::until(sum_over_five), &[9, 1, -2, 3, 4]);
    let settled = run(step).await.outcome.unwrap();
    assert_eq!(since(start), secs(4));
    assert_eq!(settled.row("9").unwrap().cause.as_ref().unwrap().kind, CauseKind::RaceLost);
    assert_eq!((settled.decided_by, settled.into_values()), (Some(4), vec![1, 3, 4]));

    let error = run(timed(Policy::until(sum_over_five), &[1, -2])).await.outcome.unwrap_err();
    let words = "all of 2 branches ended and it is not enough: `-2`: no";
    assert_eq!(error.to_string(), format!("run `step` failed: {words}"));
}

#[tokio::test(start_paused = true)]
async fn best_effort_takes_at_its_deadline_what_has_ended_by_then() {
    let start = Instant::now();
    let step = timed(Policy::best_effort(millis(3_500), 2), &[9, 1, 3, -2])
        .branch("tidy", async |ctx| cleanup_for(ctx, secs(1), Ok(7)).await);
    let Ran { outcome, report, .. } = run(step).await;
    let settled = outcome.unwrap();
    assert_eq!(since(start), millis(4_500), "decided at 3.5 s, settled after the cleanup");
    assert_eq!(settled.values, [None, Some(1), Some(3), None, None]);
    assert_eq!((settled.decided_by, &*settled.policy), (None, "best_effort(3s 500ms, 2)"));
    assert_eq!(between(settled.rows[0].started_at.unwrap(), settled.decided_at), millis(3_500));
    assert_eq!(between(settled.decided_at, settled.settled_at.unwrap()), secs(1));
    for name in ["9", "tidy"] {
        let row = settled.row(name).unwrap();
        let kind = row.cause.as_ref().unwrap().kind;
        // I11: a policy's own deadline times nobody out.
        assert_eq!((row.status, kind), (RunStatus::Cancelled, CauseKind::Deadline));
    }
    assert!(report.rows.iter().all(|row| row.status != RunStatus::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn best_effort_fails_below_its_minimum_and_does_not_wait_when_all_have_ended() {
    let start = Instant::now();
    let step = timed(Policy::best_effort(secs(3), 2), &[9, 1, -2]);
    let error = run(step).await.outcome.unwrap_err().to_string();
    let words = "1 of 3 branches succeeded in time, fewer than 2: `-2`: no";
    assert_eq!(error, format!("run `step` failed: {words}"));
    assert_eq!(since(start), secs(3));

    let start = Instant::now();
    let settled = run(timed(Policy::best_effort(secs(30), 1), &[1, -2])).await.outcome.unwrap();
    assert_eq!((settled.decided_by, since(start)), (Some(1), secs(2)));
    let zero = run(timed(Policy::best_effort(Duration::ZERO, 0), &[1])).await.outcome.unwrap();
    assert_eq!((&zero.values[..], zero.rows[0].run), (&[None][..], None));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_starts_one_branch_per_delay_and_skips_those_that_are_not_needed() {
    let start = Instant::now();
    let witness = Witness::default();
    let bodies = (0..5_u64).map(|n| {
        let witness = witness.clone();
        let body = async move |_| {
            let _inside = witness.enter();
            value_after(millis(2_500), n).await
        };
        (n.to_string(), body)
    });
    let step = Parallel::new("step").policy(Policy::hedge(secs(1))).branches(bodies);
    let settled = run(step).await.outcome.unwrap();
    assert_eq!((since(start), witness.entered(), witness.inside()), (millis(2_500), 3, 0));
    let first = settled.rows[0].started_at.unwrap();
    let starts = settled.rows.iter().map(|row| row.started_at.map(|at| between(first, at)));
    let expected = [Some(secs(0)), Some(secs(1)), Some(secs(2)), None, None];
    assert_eq!(starts.collect::<Vec<_>>(), expected);
    for row in &settled.rows[3..] {
        assert_eq!((row.run, row.counted_as, row.attempts), (None, CountedAs::Skipped, 0));
    }
    for row in &settled.rows[1..] {
        assert_eq!(row.cause.as_ref().unwrap().kind, CauseKind::RaceLost);
    }
    assert_eq!(settled.into_first(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_does_not_wait_for_its_delay_while_nothing_runs() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .policy(Policy::hedge(secs(10)))
        .branch("a", async |_| failure_after(secs(1), "no").await)
        .branch("b", async |_| failure_after(secs(1), "no").await)
        .branch("c", async |_| value_after(secs(1), 3).await)
        .branch("d", async |_| Ok(4));
    assert_eq!(run(step).await.outcome.unwrap().into_first(), Some(3));
    assert_eq!(since(start), secs(3));
    let error = run(timed(Policy::hedge(secs(5)), &[-1, -1])).await.outcome.unwrap_err();
    assert!(error.to_string().contains("none of 2 branches succeeded"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_of_no_delay_starts_all_at_once_and_one_with_a_limit_waits_for_a_place() {
    let start = Instant::now();
    run(timed(Policy::hedge(Duration::ZERO), &[3, 2, 1])).await.outcome.unwrap();
    assert_eq!(since(start), secs(1));
    let step = timed(Policy::hedge(secs(1)), &[-3, -2, 1]).limit(2);
    let settled = run(step).await.outcome.unwrap();
    // Starts at 0 s and 1 s; the third waits for a place, which the first leaves at 3 s.
    assert_eq!(since(start), secs(5));
    assert_eq!(settled.decided_by, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_ones_own_may_have_a_deadline_and_stagger_its_starts() {
    let start = Instant::now();
    let best = Policy::new("best so far", |so_far: &SoFar<'_, i64>| {
        let is_time = so_far.all_ended() || (so_far.is_over && so_far.ok > 0);
        is_time.then(|| Decision::values(CauseKind::Deadline))
    });
    let step = timed(best.deadline(millis(4_500)).stagger(secs(1)), &[2, 2, 2, 2, 2]);
    let settled = run(step).await.outcome.unwrap();
    assert_eq!(since(start), millis(4_500));
    assert_eq!(settled.values, [Some(2), Some(2), Some(2), None, None]);
}
