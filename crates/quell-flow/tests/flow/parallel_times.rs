//! Times and bounds of branches: their own deadlines, what these count as, and the limit.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use quell::{CauseKind, Engine, Failure, Hold, Payload, RunContext, RunSpec, RunStatus, Work};
use quell_flow::{Branch, CountedAs, OnTimeout, Parallel, Policy, Settled};
use tokio::time::{Instant, sleep};

use crate::support::*;

async fn run<T: Send + 'static>(engine: &Engine, step: Parallel<T>) -> Result<Settled<T>, String> {
    let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| step.run(&ctx).await);
    run.unwrap().await.map_err(|error| error.to_string())
}

/// Two branches of five seconds, the first of which listens, has two, and cleans up for a half.
fn slow_and_good(end: Result<u32, Failure>) -> Parallel<u32> {
    Parallel::new("step")
        .with_branch(
            Branch::new("slow", async |ctx: RunContext| {
                ctx.set_output(Payload::json(&40)?);
                cleanup_for(ctx, millis(500), end).await
            })
            .timeout(secs(2)),
        )
        .branch("good", async |_| value_after(secs(5), 5).await)
}

fn check_slow(settled: &Settled<u32>, counted_as: CountedAs) {
    let slow = settled.row("slow").unwrap();
    assert_eq!((slow.status, slow.counted_as), (RunStatus::TimedOut, counted_as));
    assert_eq!(slow.cause.as_ref().unwrap().kind, CauseKind::Deadline);
    let started_at = slow.started_at.unwrap();
    assert_eq!(between(started_at, slow.stopped_at.unwrap()), secs(2));
    assert_eq!(between(started_at, slow.ended_at.unwrap()), millis(2_500));
    assert_eq!(slow.grace_used, Some(millis(500)));
    assert_eq!(slow.partial.as_ref().map(Payload::as_json), Some("40"));
    let good = settled.row("good").unwrap();
    assert_eq!((good.status, &good.cause), (RunStatus::Completed, &None));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_fails_an_all_step_by_default() {
    let start = Instant::now();
    let error = run(&engine(), slow_and_good(Ok(4))).await.unwrap_err();
    assert!(error.contains("branch `slow` failed: timed out (deadline"), "{error}");
    assert_eq!(since(start), millis(2_500));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_can_be_skipped() {
    let start = Instant::now();
    let step = slow_and_good(Ok(4)).on_branch_timeout(OnTimeout::Skip);
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(since(start), secs(5));
    assert_eq!(settled.values, [None, Some(5)]);
    assert!(settled.row("slow").unwrap().late_success);
    check_slow(&settled, CountedAs::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_can_have_a_default_value() {
    let step = slow_and_good(Ok(4)).on_branch_timeout(OnTimeout::Default(9));
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(settled.values, [Some(9), Some(5)]);
    assert!(settled.row("slow").unwrap().late_success);
    check_slow(&settled, CountedAs::Default);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_can_hand_over_the_value_that_it_returned() {
    let step = slow_and_good(Ok(4)).on_branch_timeout(OnTimeout::Partial);
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(settled.values, [Some(4), Some(5)]);
    assert!(!settled.row("slow").unwrap().late_success);
    check_slow(&settled, CountedAs::Partial);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_can_hand_over_what_it_had_set_as_its_output() {
    let step = slow_and_good(Err(Failure::new("gave up")))
        .on_branch_timeout(OnTimeout::Partial)
        .partial_from(|payload| payload.parse().ok());
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(settled.values, [Some(40), Some(5)]);
    assert_eq!(&*settled.row("slow").unwrap().suppressed_errors, ["gave up".into()]);
    check_slow(&settled, CountedAs::Partial);
}

/// Runs a branch that times out and listens; yields what it counts as, and what its report says.
async fn late<T, Fut>(
    body: impl FnOnce(RunContext) -> Fut + Send + 'static,
    read: impl Fn(Payload) -> Option<T> + Send + 'static,
) -> (Option<T>, Option<String>)
where
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Clone + Send + 'static,
{
    let branch = Branch::new("late", async |ctx: RunContext| {
        ctx.emit("one");
        ctx.emit(Payload::json(&2)?);
        ctx.stopped().await;
        body(ctx).await
    });
    let step = Parallel::new("step").on_branch_timeout(OnTimeout::Partial).partial_from(read);
    let step = step.with_branch(branch.timeout(secs(1)));
    let mut settled = run(&engine(), step).await.unwrap();
    let partial = settled.rows[0].partial.as_ref().map(Payload::to_string);
    (settled.values.remove(0), partial)
}

#[tokio::test(start_paused = true)]
async fn i17_what_a_branch_set_goes_before_what_it_returned_and_that_before_what_it_emitted() {
    let both = async |ctx: RunContext| {
        ctx.set_output(Payload::from("set"));
        Ok(Payload::from("returned"))
    };
    let (value, partial) = late(both, Some).await;
    assert_eq!((value, partial), (Some("set".into()), Some(r#""set""#.into())));
    let returns = async |_| Ok(Payload::from("returned"));
    let (value, partial) = late(returns, Some).await;
    assert_eq!((value, partial), (Some("returned".into()), Some(r#""returned""#.into())));
    let gives_up = async |_| Err(Failure::new("gave up"));
    let (value, partial) = late(gives_up, |payload| Some(payload.to_string())).await;
    assert_eq!((value, partial), (Some(r#"["one",2]"#.into()), Some(r#"["one",2]"#.into())));
    // A value of another type is read from what was set, and is not in the report.
    let number = async |ctx: RunContext| {
        ctx.set_output(Payload::json(&3)?);
        Ok(4)
    };
    let read = |payload: Payload| payload.parse::<u32>().ok();
    assert_eq!(late(number, read).await, (Some(3), Some("3".into())));
    assert_eq!(late(async |_| Ok(4), read).await, (Some(4), Some(r#"["one",2]"#.into())));
    assert_eq!(late(number, |_| None).await, (Some(4), Some("3".into())));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_times_out_with_nothing_to_hand_over_is_skipped() {
    let step = slow_and_good(Err(Failure::new("x"))).on_branch_timeout(OnTimeout::Partial);
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(settled.values, [None, Some(5)]);
    check_slow(&settled, CountedAs::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_partial_value_wins_a_race_and_a_skipped_branch_does_not() {
    for (word, value) in [(OnTimeout::Partial, 4), (OnTimeout::Skip, 5)] {
        let step = slow_and_good(Ok(4)).on_branch_timeout(word).policy(Policy::first_success());
        assert_eq!(run(&engine(), step).await.unwrap().into_first(), Some(value));
    }
}

#[tokio::test(start_paused = true)]
async fn times_and_words_of_a_branch_go_before_those_of_the_step() {
    let start = Instant::now();
    let stubborn = || {
        async |ctx: RunContext| {
            ctx.is_stopping();
            value_after(secs(60), 1).await
        }
    };
    let step = Parallel::new("step")
        .branch_timeout(secs(1))
        .branch_grace(secs(1))
        .on_branch_timeout(OnTimeout::Default(10))
        .branch("step's", stubborn())
        .with_branch(
            Branch::new("own", stubborn())
                .timeout(secs(3))
                .grace(millis(250))
                .on_timeout(OnTimeout::Default(20)),
        )
        .with_branch(Branch::new("idle", stubborn()).timeout(secs(30)).idle(secs(2)));
    let settled = run(&engine(), step).await.unwrap();
    assert_eq!(settled.values, [Some(10), Some(20), Some(10)]);
    assert_eq!(since(start), millis(3_250));
    let used: Vec<_> = settled.rows.iter().map(|row| row.grace_used.unwrap()).collect();
    assert_eq!(used, [secs(1), millis(250), secs(1)]);
    let causes: Vec<_> = settled.rows.iter().map(|row| row.cause.as_ref().unwrap().kind).collect();
    let expected = [CauseKind::Deadline, CauseKind::Deadline, CauseKind::IdleTimeout];
    assert_eq!(causes, expected);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_branch_starts_when_it_does() {
    let start = Instant::now();
    let step = Parallel::new("step")
        .limit(1)
        .branch_timeout(secs(3))
        .branches((0..4).map(|n| (n.to_string(), async move |_| value_after(secs(2), n).await)));
    assert_eq!(run(&engine(), step).await.unwrap().into_values(), [0, 1, 2, 3]);
    assert_eq!(since(start), secs(8));
}

#[tokio::test(start_paused = true)]
async fn no_more_branches_run_at_once_than_the_limit_and_they_start_in_order() {
    let start = Instant::now();
    let (witness, order) = (Witness::default(), Arc::new(Mutex::new(Vec::new())));
    let bodies = (0..10_u32).map(|n| {
        let (witness, order) = (witness.clone(), Arc::clone(&order));
        let body = async move |_| {
            let _inside = witness.enter();
            order.lock().unwrap().push(n);
            value_after(secs(1), n).await
        };
        (n.to_string(), body)
    });
    let settled = run(&engine(), Parallel::new("step").limit(3).branches(bodies)).await.unwrap();
    assert_eq!(settled.into_values(), (0..10).collect::<Vec<_>>());
    assert_eq!((witness.most(), witness.entered(), since(start)), (3, 10, secs(4)));
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_counts_as_one() {
    let witness = Witness::default();
    let bodies = (0..3).map(|n| {
        let witness = witness.clone();
        let body = async move |_| {
            let _inside = witness.enter();
            value_after(secs(1), n).await
        };
        (n.to_string(), body)
    });
    run(&engine(), Parallel::new("step").limit(0).branches(bodies)).await.unwrap();
    assert_eq!((witness.most(), witness.entered()), (1, 3));
}

/// A branch that leaves work behind which nobody can end but the test.
fn leaving(held: &Arc<Mutex<Option<Hold>>>) -> impl FnOnce(RunContext) -> Body + use<> {
    let held = Arc::clone(held);
    move |ctx| {
        Box::pin(async move {
            *held.lock().unwrap() = Some(ctx.hold(Work::Process, "stuck")?);
            value_after(secs(60), 0).await
        })
    }
}

type Body = futures::future::BoxFuture<'static, Result<u32, Failure>>;

#[tokio::test(start_paused = true)]
async fn an_abandoned_branch_keeps_its_place_until_it_is_quiescent() {
    let start = Instant::now();
    let held = Arc::new(Mutex::new(None));
    let step = Parallel::new("step")
        .limit(1)
        .branch_grace(secs(1))
        .on_branch_timeout(OnTimeout::Skip)
        .with_branch(Branch::new("stuck", leaving(&held)).timeout(secs(2)))
        .branch("next", async |_| Ok(1));
    let release = tokio::spawn(async move {
        sleep(secs(10)).await;
        drop(held.lock().unwrap().take());
    });
    let settled = run(&engine(), step).await.unwrap();
    release.await.unwrap();
    assert_eq!(since(start), secs(10));
    let [stuck, next] = &*settled.rows else { panic!("expected two rows") };
    // Deadline 2 s, grace 1 s, abort wait 1 s.
    assert_eq!(between(stuck.started_at.unwrap(), stuck.ended_at.unwrap()), secs(4));
    assert_eq!(between(stuck.started_at.unwrap(), next.started_at.unwrap()), secs(10));
    assert_eq!(&*stuck.abandoned[0].name, "stuck");
}

#[tokio::test(start_paused = true)]
async fn no_policy_exceeds_the_limit_abandoned_bodies_included() {
    let policies = [
        Policy::all(),
        Policy::settle(),
        Policy::quorum(1),
        Policy::until(|so_far| so_far.ok > 0),
        Policy::best_effort(secs(60), 0),
        Policy::hedge(millis(100)),
    ];
    for policy in policies {
        let (start, name, witness) = (Instant::now(), policy.name().to_owned(), Witness::default());
        let bodies = (0..5_u32).map(|n| {
            let witness = witness.clone();
            let body = async move |ctx: RunContext| {
                let inside = witness.enter();
                if n == 4 {
                    return Ok(n);
                }
                // Works on for ten seconds, whatever happens to its body.
                let work = (ctx.hold(Work::Process, "stuck")?, inside);
                tokio::spawn(async move {
                    sleep(secs(10)).await;
                    drop(work);
                });
                value_after(secs(60), n).await
            };
            (n.to_string(), body)
        });
        let step = Parallel::new("step")
            .policy(policy)
            .limit(2)
            .branch_timeout(secs(1))
            .branch_grace(millis(500))
            .on_branch_timeout(OnTimeout::Skip)
            .branches(bodies);
        let engine = engine();
        let settled = run(&engine, step).await.unwrap();
        assert_eq!(settled.into_values(), [4], "{name}");
        assert_eq!((witness.most(), witness.entered()), (2, 5), "{name}");
        // Two at a time, ten seconds each, whatever the ladder says of their runs.
        assert!(since(start) >= secs(20), "{name}: {:?}", since(start));
        sleep(secs(60)).await;
        assert_eq!(witness.inside(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_does_not_wait_for_an_abandoned_branch_when_nobody_needs_its_place() {
    let start = Instant::now();
    let held = Arc::new(Mutex::new(None));
    let step = Parallel::new("step")
        .limit(1)
        .on_branch_timeout(OnTimeout::Skip)
        .branch("first", async |_| Ok(1))
        .with_branch(Branch::new("stuck", leaving(&held)).timeout(secs(2)).grace(secs(1)));
    let engine = engine();
    let flow = engine.submit(RunSpec::workflow("flow"), async move |ctx| step.run(&ctx).await);
    let flow = flow.unwrap();
    let root = flow.run().clone();
    assert_eq!(flow.await.unwrap().values, [Some(1), None]);
    assert_eq!(since(start), secs(4));
    let report = root.ended().await;
    assert!(!report.quiescent);
    assert_eq!(report.abandoned.len(), 1);
    drop(held.lock().unwrap().take());
    assert!(root.quiescent().await.quiescent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_branch_has_one_row_and_no_limit_is_exceeded(
        times in prop::collection::vec((0..5_u64, 0..3_u8), 0..12),
        limit in 1..5_usize,
        policy in 0..3_usize,
    ) {
        let policy = [Policy::all(), Policy::settle(), Policy::first_success()][policy].clone();
        let witness = Witness::default();
        let bodies = times.iter().copied().enumerate().map(|(n, (time, end))| {
            let witness = witness.clone();
            let body = async move |ctx: RunContext| {
                let _inside = witness.enter();
                match end {
                    0 => value_after(secs(time), n).await,
                    1 => failure_after(secs(time), "no").await,
                    _ => cleanup_for(ctx, millis(time), Ok(n)).await,
                }
            };
            (n.to_string(), body)
        });
        let step = Parallel::new("step")
            .policy(policy)
            .limit(limit)
            .branch_timeout(secs(3))
            .on_branch_timeout(OnTimeout::Partial)
            .branches(bodies);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(async { run(&engine(), step).await });
        prop_assert!(witness.most() <= limit, "{} ran at once", witness.most());
        prop_assert_eq!(witness.inside(), 0);
        if let Ok(settled) = outcome {
            let names: Vec<_> = settled.rows.iter().map(|row| row.name.to_string()).collect();
            let expected: Vec<_> = (0..times.len()).map(|n| n.to_string()).collect();
            prop_assert_eq!(names, expected);
            for (n, (row, value)) in settled.rows.iter().zip(&settled.values).enumerate() {
                prop_assert!(row.status.is_terminal());
                let is_ok = matches!(row.counted_as, CountedAs::Ok | CountedAs::Partial);
                prop_assert_eq!(*value, is_ok.then_some(n));
            }
        }
    }
}
