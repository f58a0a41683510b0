//! Branches that need others: when they start, when they never do, and what the policy sees.

use std::sync::{Arc, Mutex};

use quell::{CancelRequest, CauseKind, Failure, RunContext, RunStatus};
use quell_flow::{
    Branch, CountedAs, Decision, End, Limiter, OnCancelled, OnTimeout, Parallel, Policy, Settled,
    SoFar, StartNext,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// A branch that takes some seconds and yields them.
fn takes(name: &'static str, time: u64) -> Branch<u64> {
    Branch::new(name, async move |_| value_after(secs(time), time).await)
}

fn fails(name: &'static str, time: u64) -> Branch<u64> {
    Branch::new(name, async move |_| failure_after(secs(time), "no").await)
}

fn step(branches: Vec<Branch<u64>>) -> Parallel<u64> {
    branches.into_iter().fold(Parallel::new("step"), Parallel::with_branch)
}

/// When each branch started and ended, in seconds from the start of the first.
fn times(settled: &Settled<u64>) -> Vec<Option<(u64, u64)>> {
    let first = settled.rows.iter().filter_map(|row| row.started_at).min().unwrap();
    let after = |at| between(first, at).as_secs();
    let row = settled.rows.iter();
    row.map(|row| Some((after(row.started_at?), after(row.ended_at?)))).collect()
}

/// What became of each branch: what it counted as, and the need that was not met.
fn stands(settled: &Settled<u64>) -> Vec<(CountedAs, Option<&str>)> {
    settled.rows.iter().map(|row| (row.counted_as, row.unmet.as_deref())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_branch_starts_when_all_that_it_needs_have_completed_and_the_others_at_once() {
    let step = step(vec![
        takes("ship", 1).needs(["test", "docs"]),
        takes("test", 4).needs(["build"]),
        takes("build", 2),
        takes("docs", 3),
    ]);
    let settled = run(step).await.outcome.unwrap();
    let at = |start, end| Some((start, end));
    assert_eq!(times(&settled), [at(6, 7), at(2, 6), at(0, 2), at(0, 3)]);
    assert_eq!(settled.values, [Some(1), Some(4), Some(2), Some(3)]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_branches_that_run_and_a_waiting_one_is_overtaken() {
    let step = step(vec![
        takes("a", 5),
        takes("b", 1).needs(["a"]),
        takes("c", 1),
        takes("d", 2),
        takes("e", 1).needs(["c"]),
    ]);
    let settled = run(step.limit(2)).await.outcome.unwrap();
    let at = |start, end| Some((start, end));
    assert_eq!(times(&settled), [at(0, 5), at(5, 6), at(0, 1), at(1, 3), at(3, 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_whose_need_did_not_complete_never_starts_and_names_it() {
    let partial = Branch::new("partial", async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(7)
    });
    let (none, witness) = (None, Witness::default());
    for (need, counted_as) in [
        (fails("x", 1), CountedAs::Failed),
        (takes("x", 9).timeout(secs(1)), CountedAs::Failed),
        (takes("x", 9).timeout(secs(1)).on_timeout(OnTimeout::Skip), CountedAs::Skipped),
        (takes("x", 9).timeout(secs(1)).on_timeout(OnTimeout::Default(1)), CountedAs::Default),
        (partial.timeout(secs(1)).on_timeout(OnTimeout::Partial), CountedAs::Partial),
    ] {
        let witness = witness.clone();
        let next = Branch::new("y", async move |_| {
            let _inside = witness.enter();
            Ok(1)
        });
        let name = if counted_as == CountedAs::Partial { "partial" } else { "x" };
        let step = step(vec![
            need,
            next.needs([name]),
            takes("z", 1).needs(["y", "free"]),
            takes("free", 2),
        ]);
        let ran = run(step.policy(Policy::settle())).await;
        let settled = ran.outcome.unwrap();
        let skipped = CountedAs::Skipped;
        let expected = [
            (counted_as, none),
            (skipped, Some(name)),
            (skipped, Some("y")),
            (CountedAs::Ok, none),
        ];
        assert_eq!(stands(&settled), expected);
        let row = &settled.rows[1];
        assert_eq!((row.run, row.status, row.attempts), (None, RunStatus::Cancelled, 0));
        let cause = row.cause.as_ref().unwrap();
        let words = format!("needs `{name}`, which did not complete");
        assert_eq!(
            (cause.kind, cause.message.as_deref()),
            (CauseKind::SiblingFailed, Some(&*words))
        );
        assert_eq!(Some(cause.at), settled.rows[0].ended_at);
        assert_eq!(branch(&ran.summary, "y")["unmet"], name);
        assert!(branch(&ran.summary, "free").get("unmet").is_none());
    }
    assert_eq!(witness.entered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_need_that_was_cancelled_alone_is_not_met_whatever_that_counts_as() {
    let engine = engine();
    let next = takes("y", 1).needs(["x"]);
    let step = step(vec![takes("x", 9), next, takes("z", 3)]);
    let flow = submit(&engine, step.on_branch_cancelled(OnCancelled::Skip));
    sleep(secs(1)).await;
    find(flow.run(), "x").cancel(CancelRequest::because("not this one"));
    let settled = flow.await.unwrap().unwrap();
    let skipped = CountedAs::Skipped;
    assert_eq!(stands(&settled), [(skipped, None), (skipped, Some("x")), (CountedAs::Ok, None)]);
    assert_eq!(settled.into_values(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_never_starts_counts_as_ended_and_neither_as_ok_nor_as_failed() {
    let branches = || vec![fails("x", 1), takes("y", 1).needs(["x"]), takes("z", 2)];
    let outcome = async |policy| {
        let ran = run(step(branches()).policy(policy)).await;
        let values = ran.outcome.map(Settled::into_values).map_err(|failure| failure.to_string());
        (values, ran.summary["decided_by"].as_str().map(str::to_owned))
    };
    let by = |name: &str| Some(name.to_owned());
    let failed = "run `step` failed: branch `x` failed: no".to_owned();
    assert_eq!(outcome(Policy::all()).await, (Err(failed.clone()), by("x")));
    assert_eq!(outcome(Policy::first_settled()).await, (Err(failed), by("x")));
    assert_eq!(outcome(Policy::settle()).await, (Ok(vec![2]), by("z")));
    assert_eq!(outcome(Policy::first_success()).await, (Ok(vec![2]), by("z")));
    assert_eq!(outcome(Policy::best_effort(secs(9), 1)).await, (Ok(vec![2]), by("z")));
    // Two of three can still succeed when the first has failed, and no longer without the second.
    let (quorum, decided_by) = outcome(Policy::quorum(2)).await;
    let words = "quorum of 2 is unreachable: of 3 branches 0 succeeded and 1 had not ended";
    assert!(quorum.unwrap_err().contains(words));
    assert_eq!(decided_by, by("y"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_asked_after_each_branch_that_is_given_up() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&asked);
    let policy = Policy::new("own", move |so_far: &SoFar<'_, u64>| {
        let last = so_far.ended.last().map(|last| {
            let end = match last.end {
                End::Ok(_) => "ok",
                End::Failed(_) => "failed",
                End::Skipped => "skipped",
            };
            format!("{} {end}", last.name)
        });
        notes.lock().unwrap().extend(last);
        so_far.all_ended().then(|| Decision::values(CauseKind::RaceLost))
    });
    let step = step(vec![
        takes("d", 1).needs(["b"]),
        takes("b", 1).needs(["a"]),
        takes("c", 1).needs(["a"]),
        fails("a", 1),
        takes("free", 2),
    ]);
    let settled = run(step.policy(policy)).await.outcome.unwrap();
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, ["a failed", "b skipped", "c skipped", "d skipped", "free ok"]);
    // All were known when the branch failed.
    let ended_at = settled.row("a").unwrap().ended_at;
    assert!(settled.rows[..3].iter().all(|row| row.cause.as_ref().map(|it| it.at) == ended_at));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_over_with_the_last_skip_is_decided_at_the_end_that_caused_it() {
    let step = step(vec![fails("x", 1), takes("y", 1).needs(["x"])]);
    let settled = run(step.policy(Policy::settle())).await.outcome.unwrap();
    assert_eq!(Some(settled.decided_at), settled.rows[0].ended_at);
    assert_eq!((settled.decided_by, settled.settled_at), (Some(1), settled.rows[0].ended_at));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_decides_names_the_need_of_those_that_wait_and_stops_those_that_run() {
    let start = Instant::now();
    let step = step(vec![
        fails("x", 1),
        takes("y", 1).needs(["x"]),
        takes("z", 1).needs(["w"]),
        Branch::new("w", async |ctx| cleanup_for(ctx, secs(0), Ok(1)).await),
    ]);
    let ran = run(step).await;
    let words = ran.outcome.unwrap_err().to_string();
    assert_eq!(words, "run `step` failed: branch `x` failed: no");
    assert_eq!(since(start), secs(1));
    let row = |name| branch(&ran.summary, name);
    assert_eq!((&row("y")["unmet"], &row("y")["counted_as"]), (&"x".into(), &"skipped".into()));
    assert!(row("z").get("unmet").is_none(), "its need was not over when the step was decided");
    assert_eq!(row("z")["cause"]["message"], "policy `all` was decided by branch `x`");
    assert_eq!(row("w")["counted_as"], "noise");
}

#[tokio::test(start_paused = true)]
async fn a_race_that_is_won_starts_nothing_more() {
    for start_next in [StartNext::Settled, StartNext::Decided] {
        let step = step(vec![takes("x", 1), takes("y", 1).needs(["x"])]);
        let step = step.policy(Policy::first_success()).start_next(start_next);
        let settled = run(step).await.outcome.unwrap();
        assert_eq!(stands(&settled), [(CountedAs::Ok, None), (CountedAs::Skipped, None)]);
        assert_eq!(settled.rows[1].cause.as_ref().unwrap().kind, CauseKind::RaceLost);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_starts_only_what_may_start() {
    let step = step(vec![
        takes("late", 1).needs(["first"]),
        takes("first", 9),
        takes("second", 3),
        takes("third", 9),
    ]);
    let settled = run(step.policy(Policy::hedge(secs(2)))).await.outcome.unwrap();
    let at = |start, end| Some((start, end));
    assert_eq!(times(&settled), [None, at(0, 5), at(2, 5), at(4, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_those_that_wait_for_others_as_any_that_wait() {
    for is_timeout in [false, true] {
        let engine = engine();
        let witness = Witness::default();
        let inside = witness.clone();
        let next = Branch::new("y", async move |_| {
            let _inside = inside.enter();
            Ok(1)
        });
        // It completes when it is stopped, and so after the step may start anything.
        let need = Branch::new("x", async |ctx| cleanup_for(ctx, secs(1), Ok(1)).await);
        let spec = quell::RunSpec::step("step");
        let spec = if is_timeout { spec.timeout(secs(2)) } else { spec };
        let step = Parallel::of(spec).with_branch(need).with_branch(next.needs(["x"]));
        let flow = submit(&engine, step);
        if !is_timeout {
            sleep(secs(2)).await;
            flow.cancel(CancelRequest::because("enough"));
        }
        let summary = summary(&*flow.run().quiescent().await);
        assert_eq!(witness.entered(), 0);
        let row = branch(&summary, "y");
        assert_eq!((&row["status"], &row["counted_as"]), (&"cancelled".into(), &"noise".into()));
        assert_eq!((&row["cause"]["kind"], &row["run"]), (&"parent-stopped".into(), &Value::Null));
        assert!(row.get("unmet").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_branches_wait_for_each_other_or_for_nobody_starts_nothing() {
    let witness = Witness::default();
    let refused = async |branches: Vec<Branch<u64>>| {
        let witness = witness.clone();
        let step = step(branches).branch("free", async move |_| {
            let _inside = witness.enter();
            Ok(1)
        });
        run_without_summary(step).await
    };
    let words = refused(vec![takes("a", 1).needs(["b"]), takes("b", 1).needs(["a"])]).await;
    assert_eq!(words, "run `step` failed: branches would wait for each other: a → b → a");
    let words = refused(vec![takes("a", 1).needs(["c"])]).await;
    assert_eq!(words, "run `step` failed: branch `a` needs `c`, which there is not");
    assert_eq!(witness.entered(), 0);
}

/// Runs a step that fails before it has branches, and yields why.
async fn run_without_summary(step: Parallel<u64>) -> String {
    let engine = engine();
    submit(&engine, step).await.unwrap().unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_branches_all_wait_for_others_asks_for_no_permit() {
    let (engine, limiter) = (engine(), Limiter::new(2));
    let first = step(vec![takes("x", 9), takes("y", 1).needs(["x"])]).limiter(limiter.clone());
    let flow = submit(&engine, first);
    sleep(secs(1)).await;
    assert_eq!(limiter.available(), 1);
    let second = step(vec![takes("z", 1)]).limiter(limiter.clone());
    let other = submit(&engine, second);
    assert_eq!(other.await.unwrap().unwrap().into_values(), [1]);
    assert_eq!(flow.await.unwrap().unwrap().into_values(), [9, 1]);
}

#[tokio::test(start_paused = true)]
async fn of_several_branches_with_a_name_the_first_is_needed() {
    let step = step(vec![takes("y", 1).needs(["x"]), takes("x", 2), takes("x", 5)]);
    let settled = run(step).await.outcome.unwrap();
    assert_eq!(times(&settled)[0], Some((2, 3)));
    let none: [&str; 0] = [];
    let _: Branch<u64> = Branch::new("z", async |_| Err(Failure::new("no"))).needs(none);
}
