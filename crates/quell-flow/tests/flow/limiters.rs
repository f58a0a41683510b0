//! Limiters: how many branches of several steps run at once, in which order, and when a permit is
//! given back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::{CancelRequest, Engine, RunHandle, RunSpec, RunStatus, testing};
use quell_flow::{Limiter, OnLoser, Parallel, Policy, StartNext};
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// Notes which branches start, and when.
#[derive(Clone)]
struct Starts {
    began: Instant,
    names: Arc<Mutex<Vec<(String, Duration)>>>,
    witness: Witness,
}

impl Starts {
    fn new() -> Self {
        let (began, names) = (Instant::now(), Arc::default());
        Self { began, names, witness: Witness::default() }
    }

    /// Adds a branch that runs for a time.
    fn branch(&self, step: Parallel<u32>, name: &'static str, time: Duration) -> Parallel<u32> {
        let this = self.clone();
        step.branch(name, async move |_| {
            let _inside = this.witness.enter();
            this.names.lock().unwrap().push((name.to_owned(), since(this.began)));
            value_after(time, 1).await
        })
    }

    fn seen(&self) -> Vec<(String, u64)> {
        let names = self.names.lock().unwrap();
        names.iter().map(|(name, at)| (name.clone(), at.as_secs())).collect()
    }
}

fn seen(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
}

/// Waits until a run is quiescent and its permits are back, and yields how it ended.
async fn over<T>(run: &RunHandle<T>) -> RunStatus {
    let report = run.run().quiescent().await;
    testing::check_trace(&testing::trace(run.run()).await).unwrap();
    sleep(millis(1)).await;
    report.status
}

#[tokio::test(start_paused = true)]
async fn steps_that_share_a_limiter_run_no_more_branches_than_it_allows() {
    for (permits, most) in [(0, 1), (1, 1), (2, 2), (5, 5), (usize::MAX, 9)] {
        let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(permits));
        let runs: Vec<_> = (0..3)
            .map(|_| {
                let step = Parallel::new("step").limiter(limiter.clone());
                let step = ["a", "b", "c"]
                    .into_iter()
                    .fold(step, |step, name| starts.branch(step, name, secs(1)));
                submit(&engine, step)
            })
            .collect();
        for run in runs {
            assert_eq!(over(&run).await, RunStatus::Completed);
            assert_eq!(run.await.unwrap().unwrap().into_values(), [1, 1, 1]);
        }
        assert_eq!((starts.witness.most(), starts.witness.entered()), (most, 9), "{permits}");
        assert!(limiter.available() >= most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_step_holds_beside_the_limiter() {
    let (starts, limiter) = (Starts::new(), Limiter::new(3));
    let step = Parallel::new("step").limiter(limiter.clone()).limit(2);
    let names = ["a", "b", "c", "d"];
    let step = names.into_iter().fold(step, |step, name| starts.branch(step, name, secs(1)));
    assert!(run(step).await.outcome.is_ok());
    assert_eq!(starts.witness.most(), 2);
    sleep(millis(1)).await;
    assert_eq!(limiter.available(), 3);
}

#[tokio::test(start_paused = true)]
async fn steps_get_permits_in_the_order_in_which_they_asked() {
    let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(1));
    let long = Parallel::new("step").limiter(limiter.clone());
    let long =
        ["a0", "a1", "a2"].into_iter().fold(long, |step, name| starts.branch(step, name, secs(2)));
    let long = submit(&engine, long);
    sleep(secs(1)).await;
    let short = Parallel::new("step").limiter(limiter.clone());
    let short = submit(&engine, starts.branch(short, "b0", secs(2)));
    assert_eq!(over(&short).await, RunStatus::Completed);
    assert_eq!(over(&long).await, RunStatus::Completed);
    assert_eq!(starts.seen(), seen(&[("a0", 0), ("a1", 2), ("b0", 4), ("a2", 6)]));
    assert_eq!(limiter.available(), 1);
}

/// A step that waits in the queue while a branch of it cleans up, and one behind it.
async fn behind(engine: &Engine, front: Parallel<u32>, stop: bool) {
    let (starts, limiter) = (Starts::new(), Limiter::new(2));
    let first = Parallel::new("step").limiter(limiter.clone());
    let first = submit(engine, starts.branch(first, "first", secs(10)));
    let front = front.limiter(limiter.clone());
    let front = front.branch("cleans up", async |ctx| cleanup_for(ctx, secs(60), Ok(1)).await);
    let front = submit(engine, starts.branch(front, "never", secs(1)));
    sleep(secs(1)).await;
    let last = Parallel::new("step").limiter(limiter.clone());
    let last = submit(engine, starts.branch(last, "last", secs(1)));
    sleep(secs(1)).await;
    assert_eq!(limiter.available(), 0);
    if stop {
        front.cancel(CancelRequest::because("enough").grace(secs(100)));
    }
    assert_eq!(over(&last).await, RunStatus::Completed);
    assert_eq!(over(&first).await, RunStatus::Completed);
    assert_eq!(starts.seen(), seen(&[("first", 0), ("last", 10)]));
    assert_eq!(limiter.available(), 1);
    over(&front).await;
    assert_eq!(limiter.available(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_step_leaves_the_queue_while_its_branches_clean_up() {
    let front = Parallel::of(RunSpec::step("step").grace(secs(100))).branch_grace(secs(100));
    behind(&engine(), front, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_decided_step_leaves_the_queue_while_its_losers_clean_up() {
    let policy = Policy::best_effort(secs(2), 0);
    for start_next in [StartNext::Settled, StartNext::Decided] {
        let front = Parallel::new("step").policy(policy.clone()).branch_grace(secs(100));
        behind(&engine(), front.start_next(start_next), false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_step_that_waits_for_a_permit_at_once() {
    let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(1));
    let first = Parallel::new("step").limiter(limiter.clone());
    let first = submit(&engine, starts.branch(first, "first", secs(10)));
    sleep(secs(1)).await;
    let waits = Parallel::new("step").limiter(limiter.clone());
    let waits = submit(&engine, starts.branch(waits, "never", secs(1)));
    sleep(secs(1)).await;
    waits.cancel(CancelRequest::because("enough"));
    assert_eq!(over(&waits).await, RunStatus::Cancelled);
    assert_eq!(since(starts.began).as_secs(), 2);
    over(&first).await;
    assert_eq!((starts.witness.entered(), limiter.available()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_is_aborted_gives_its_permit_back() {
    let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(1));
    let step = Parallel::of(RunSpec::step("step").grace(secs(0))).limiter(limiter.clone());
    let step = starts.branch(step.branch_grace(secs(0)), "deaf", secs(60));
    let run = submit(&engine, starts.branch(step, "never", secs(60)));
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(over(&run).await, RunStatus::Cancelled);
    assert_eq!((starts.witness.entered(), limiter.available()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_detached_branch_keeps_its_permit_until_it_is_quiescent() {
    let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(2));
    let step = Parallel::new("step").policy(Policy::first_success()).on_loser(OnLoser::Detach);
    let step = starts.branch(step.limiter(limiter.clone()), "wins", secs(1));
    let race = submit(&engine, starts.branch(step, "leaves", secs(60)));
    assert_eq!(over(&race).await, RunStatus::Completed);
    assert_eq!(limiter.available(), 1);
    let next = Parallel::new("step").limiter(limiter.clone());
    let names = ["a", "b", "c"];
    let next = names.into_iter().fold(next, |step, name| starts.branch(step, name, secs(1)));
    assert_eq!(over(&submit(&engine, next)).await, RunStatus::Completed);
    assert_eq!(starts.witness.most(), 2);
    sleep(secs(60)).await;
    assert_eq!(limiter.available(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_permit_outlives_a_branch_whose_closure_still_executes() {
    let (engine, limiter) = (engine(), Limiter::new(1));
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = std::sync::mpsc::channel();
    let step = Parallel::new("step").limiter(limiter.clone()).branch_grace(secs(1));
    let step = step.branch("blocks", async move |ctx| {
        ctx.spawn_blocking(move |_| begins.send(()).is_ok() && blocked.recv().is_ok()).await?;
        Ok(1)
    });
    let run = submit(&engine, step.branch_timeout(secs(1)));
    // A closure that is stopped before a thread takes it up never executes.
    while begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    // Blocking work stops the paused clock: its deadline has to be waited for in small steps.
    while !run.run().status().is_terminal() {
        tokio::time::advance(millis(100)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(limiter.available(), 0);
    release.send(()).unwrap();
    run.run().quiescent().await;
    while limiter.available() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_staggered_step_waits_for_its_time_and_for_its_turn() {
    let (engine, starts, limiter) = (engine(), Starts::new(), Limiter::new(2));
    let hedge = Parallel::new("step").policy(Policy::hedge(secs(3))).limiter(limiter.clone());
    let other = Parallel::new("step").limiter(limiter.clone());
    let other = submit(&engine, starts.branch(other, "other", secs(10)));
    sleep(secs(1)).await;
    let hedge = starts.branch(starts.branch(hedge, "one", secs(20)), "two", secs(1));
    let hedge = submit(&engine, hedge);
    assert_eq!(over(&hedge).await, RunStatus::Completed);
    over(&other).await;
    assert_eq!(starts.seen(), seen(&[("other", 0), ("one", 1), ("two", 10)]));
    assert_eq!(limiter.available(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_as_many_bodies_run_at_once_as_there_are_permits_and_no_more() {
    const PERMITS: usize = 3;
    let (engine, limiter, witness) = (Engine::new(), Limiter::new(PERMITS), Witness::new());
    // A body goes on when as many are inside as there are permits: fewer would wait for ever.
    let together = Arc::new(Barrier::new(PERMITS));
    let step = || {
        let bodies = (0..10).map(|n| {
            let (witness, together) = (witness.clone(), Arc::clone(&together));
            let body = async move |_| {
                let _inside = witness.enter();
                together.wait().await;
                Ok(n)
            };
            (n.to_string(), body)
        });
        Parallel::new("step").limiter(limiter.clone()).branches(bodies.collect::<Vec<_>>())
    };
    for _ in 0..100 {
        let runs: Vec<_> = (0..PERMITS).map(|_| submit(&engine, step())).collect();
        for run in runs {
            assert_eq!(run.await.unwrap().unwrap().into_values(), (0..10).collect::<Vec<_>>());
        }
    }
    assert_eq!((witness.most(), witness.inside()), (PERMITS, 0));
    assert_eq!(witness.entered(), 100 * PERMITS * 10);
    while limiter.available() < PERMITS {
        tokio::task::yield_now().await;
    }
}
