//! Destructors that panic, several at once: the second one must not end the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::{CancelRequest, Engine, EngineConfig, Failure, Limits, Payload, RunHandle, RunSpec};
use quell::{RunStatus, testing};
use quell_flow::{Branch, Component, OnTimeout, Parallel, Policy, Retry, Settled, StartNext, Team};
use tokio::time::sleep;

use crate::support::*;

/// Counts how often it is dropped, and panics each time.
#[derive(Clone)]
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("in a destructor");
    }
}

/// Makes bombs, and knows how many went off.
#[derive(Clone, Default)]
struct Bombs(Arc<AtomicUsize>);

impl Bombs {
    fn one(&self) -> Bomb {
        Bomb(Arc::clone(&self.0))
    }

    fn dropped(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A branch that never ends by itself and holds a bomb.
    fn branch(&self, name: usize) -> Branch<u32> {
        let bomb = self.one();
        Branch::new(name.to_string(), async move |_| {
            let _bomb = &bomb;
            value_after(secs(60), 2).await
        })
    }
}

/// The step called `step` and three branches with bombs, which wait for a place.
fn three_waiting(bombs: &Bombs, step: Parallel<u32>) -> Parallel<u32> {
    (0..3).fold(step.limit(1), |step, n| step.with_branch(bombs.branch(n)))
}

/// Waits for the end of a run, after which the engine still works.
async fn status_of<T: Send + 'static>(engine: &Engine, run: RunHandle<T>) -> RunStatus {
    let report = run.run().quiescent().await;
    testing::check_trace(&testing::trace(run.run()).await).unwrap();
    drop(run);
    let next = engine.submit(RunSpec::agent("next"), async |_| Ok(1)).unwrap();
    assert_eq!(next.await.unwrap(), 1);
    report.status
}

#[tokio::test(start_paused = true)]
async fn i26_branches_that_are_given_up_for_a_need_may_panic_in_their_destructors() {
    let (engine, bombs) = (engine(), Bombs::default());
    let step = Parallel::new("step").policy(Policy::settle());
    let step = step.branch("need", async |_| failure_after(secs(1), "no").await);
    let step = (0..3).fold(step, |step, n| step.with_branch(bombs.branch(n).needs(["need"])));
    let run = submit(&engine, step);
    let root = run.run().clone();
    let failure = run.await.unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "run `step` failed: panicked: in a destructor");
    assert_eq!(bombs.dropped(), 3);
    let summary = summary(&*root.quiescent().await);
    for name in ["0", "1", "2"] {
        assert_eq!(branch(&summary, name)["unmet"], "need");
    }
}

#[tokio::test(start_paused = true)]
async fn i26_branches_that_never_start_may_panic_in_their_destructors() {
    let (engine, bombs) = (engine(), Bombs::default());
    let step = Parallel::new("step").policy(Policy::first_success());
    let step = step.branch("wins", async |_| value_after(secs(1), 1).await);
    let run = submit(&engine, three_waiting(&bombs, step));
    let root = run.run().clone();
    let failure = run.await.unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "run `step` failed: panicked: in a destructor");
    assert_eq!(bombs.dropped(), 3);
    let summary = summary(&*root.quiescent().await);
    assert_eq!(summary["decided_by"], "wins");
    for name in ["0", "1", "2"] {
        let row = branch(&summary, name);
        assert_eq!((&row["status"], &row["counted_as"]), (&"cancelled".into(), &"skipped".into()));
        assert_eq!(row["cause"]["kind"], "race-lost");
    }
}

#[tokio::test(start_paused = true)]
async fn i26_a_stop_drops_branches_that_wait_whatever_their_destructors_do() {
    for (grace, listens) in [(secs(5), true), (secs(0), false)] {
        let (engine, bombs) = (engine(), Bombs::default());
        let step = Parallel::of(RunSpec::step("step").grace(grace)).policy(Policy::settle());
        let step = step.branch("runs", async move |ctx| {
            if listens {
                return cleanup_for(ctx, secs(1), Ok(1)).await;
            }
            value_after(secs(60), 1).await
        });
        let run = submit(&engine, three_waiting(&bombs, step));
        sleep(secs(1)).await;
        run.cancel(CancelRequest::because("enough"));
        let summary = summary(&*run.run().quiescent().await);
        for name in ["0", "1", "2"] {
            let row = branch(&summary, name);
            assert_eq!(
                (&row["status"], &row["counted_as"]),
                (&"cancelled".into(), &"noise".into())
            );
        }
        assert_eq!(status_of(&engine, run).await, RunStatus::Cancelled);
        assert_eq!(bombs.dropped(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn i26_a_policy_that_panics_drops_all_that_the_step_holds() {
    let (engine, bombs) = (engine(), Bombs::default());
    let (in_policy, in_partial) = (bombs.one(), bombs.one());
    let policy = Policy::new("panics", move |so_far| {
        let _bomb = &in_policy;
        if so_far.ended.len() > 1 { panic!("no idea") } else { None }
    });
    // Two values, two defaults and two closures beside the branches that wait.
    let value = |bomb: Bomb| async move |_| Ok(bomb);
    let mut step = Parallel::new("step").policy(policy).limit(1).partial_from(move |_| {
        let _bomb = &in_partial;
        None
    });
    for name in ["a", "b", "c", "d"] {
        let branch = Branch::new(name, value(bombs.one()));
        step = step.with_branch(branch.on_timeout(OnTimeout::Default(bombs.one())));
    }
    let body = async move |ctx| step.run(&ctx).await.map(drop);
    let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
    assert_eq!(status_of(&engine, run).await, RunStatus::Failed);
    assert_eq!(bombs.dropped(), 10);
}

#[tokio::test(start_paused = true)]
async fn i26_a_branch_that_is_refused_has_a_row_even_if_its_destructor_panics() {
    let bombs = Bombs::default();
    let limits = Limits::default().children_max(1);
    let engine = Engine::with_config(EngineConfig::new().control_on_runtime().limits(limits));
    let step = Parallel::new("step").policy(Policy::settle());
    let step = step.branch("runs", async |_| value_after(secs(1), 1).await);
    let step = (0..2).fold(step, |step, n| step.with_branch(bombs.branch(n)));
    let run = submit(&engine, step);
    let root = run.run().clone();
    assert!(run.await.unwrap().is_err());
    assert_eq!(bombs.dropped(), 2);
    let summary = summary(&*root.quiescent().await);
    for name in ["0", "1"] {
        let row = branch(&summary, name);
        assert_eq!((&row["status"], &row["counted_as"]), (&"cancelled".into(), &"noise".into()));
        assert_eq!(row["run"], serde_json::Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn i26_values_that_nobody_reads_are_dropped_one_by_one() {
    for start_next in [StartNext::Settled, StartNext::Decided] {
        let (engine, bombs) = (engine(), Bombs::default());
        let mut step = Parallel::new("step").start_next(start_next);
        for name in ["a", "b", "c"] {
            let bomb = bombs.one();
            step = step.branch(name, async move |_| value_after(secs(1), bomb).await);
        }
        // The caller gives the step up, and with it the three values.
        let body = async move |ctx| {
            drop(tokio::time::timeout(secs(0), step.run(&ctx)).await);
            value_after(secs(2), ()).await
        };
        let run = engine.submit(RunSpec::workflow("flow"), body).unwrap();
        let _ = status_of(&engine, run).await;
        assert_eq!(bombs.dropped(), 3, "{start_next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn i26_a_step_that_never_runs_is_dropped_whole() {
    let (engine, bombs) = (engine(), Bombs::default());
    let step = three_waiting(&bombs, Parallel::new("step"));
    let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| {
        ctx.stopped().await;
        // Nothing is started any more.
        step.run(&ctx).await.map(drop)
    });
    let run = run.unwrap();
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(status_of(&engine, run).await, RunStatus::Cancelled);
    assert_eq!(bombs.dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn i26_a_retry_drops_its_closures_and_its_state() {
    let (engine, bombs) = (engine(), Bombs::default());
    let (in_when, in_pause, in_body) = (bombs.one(), bombs.one(), bombs.one());
    let retry = Retry::new(3)
        .when(move |_| {
            let _bomb = &in_when;
            true
        })
        .backoff_by(move |_, _| {
            let _bomb = &in_pause;
            panic!("no pause")
        });
    // Every attempt has a clone of the state, which it forgets.
    let state = Arc::new(bombs.one());
    let body = retry.body_with(state, move |_, attempt| {
        let _bomb = &in_body;
        drop(attempt);
        async { Err::<u32, _>(Failure::new("no route")) }
    });
    let run = engine.submit(RunSpec::step("tries"), body).unwrap();
    assert_eq!(status_of(&engine, run).await, RunStatus::Failed);
    assert_eq!(bombs.dropped(), 4);
}

#[tokio::test(start_paused = true)]
async fn i26_a_team_drops_its_members_and_its_leader() {
    let (engine, bombs) = (engine(), Bombs::default());
    let (in_leader, in_first, in_second) = (bombs.one(), bombs.one(), bombs.one());
    let team = Team::coordinate("team", move |_, _, _| {
        let _bomb = &in_leader;
        async { panic!("no leader") }
    });
    let team = team
        .member("first", move |_, task| {
            let _bomb = &in_first;
            async { Ok(task) }
        })
        .member("second", move |_, task| {
            let _bomb = &in_second;
            async { Ok(task) }
        });
    let component: Arc<Component> = Arc::new(team.into_component());
    let run = component.start(&engine, component.spec(), Payload::from("task")).unwrap();
    // The run has the last claim on the team.
    drop(component);
    assert_eq!(status_of(&engine, run).await, RunStatus::Failed);
    assert_eq!(bombs.dropped(), 3);
}

/// The value of a step is the caller's own: it is what the branches returned.
#[tokio::test(start_paused = true)]
async fn what_a_step_settled_for_is_whole() {
    let step =
        Parallel::new("step").branches((0..2).map(|n| (n.to_string(), async move |_| Ok(n))));
    let settled: Settled<i32> = run(step).await.outcome.unwrap();
    assert_eq!(settled.into_values(), [0, 1]);
}
