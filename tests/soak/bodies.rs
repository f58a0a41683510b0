//! Random bodies of all characters: cooperative, naive, stubborn, blocking, panicking, spawning.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::time::Duration;

use fastrand::Rng;
use quell::{
    CancelRequest, Failure, Payload, RunContext, RunHandle, RunSpec, StopDelivery, ToolCall, Work,
    join,
};
use quell_flow::{OnLoser, OnTimeout, Parallel, Policy};

use super::tree::Shared;
use crate::support::ms;

pub(super) type Boxed = Pin<Box<dyn Future<Output = Result<u32, Failure>> + Send>>;

/// A random body; at depth zero it spawns nothing.
pub(super) fn body(
    tree: Shared,
    seed: u64,
    depth: u32,
) -> impl FnOnce(RunContext) -> Boxed + Send + 'static {
    move |ctx| Box::pin(live(ctx, tree, Rng::with_seed(seed), depth))
}

/// Random limits and habits.
pub(super) fn spec(mut spec: RunSpec, rng: &mut Rng) -> RunSpec {
    if one_in(rng, 3) {
        spec = spec.timeout(some_time(rng, 30));
    }
    if one_in(rng, 6) {
        spec = spec.idle(some_time(rng, 20));
    }
    if one_in(rng, 10) {
        spec = spec.start_within(some_time(rng, 3));
    }
    if one_in(rng, 3) {
        spec = spec.grace(some_time(rng, 15));
    }
    match rng.u32(0..6) {
        0 => spec.stop_delivery(StopDelivery::Drop),
        1 => spec.stop_delivery(StopDelivery::Signal),
        _ => spec,
    }
}

async fn live(ctx: RunContext, tree: Shared, mut rng: Rng, depth: u32) -> Result<u32, Failure> {
    let _inside = tree.witness.enter();
    let _grumpy = one_in(&mut rng, 40).then(|| PanicsWhenDropped);
    if one_in(&mut rng, 3) {
        // A listener from here on; what it hears, it ignores.
        let _ = ctx.is_stopping();
    }
    if one_in(&mut rng, 4) {
        hook(&ctx, &tree, &mut rng);
    }
    for _ in 0..rng.u32(0..4) {
        if depth > 0 && rng.bool() {
            spawn(&ctx, &tree, &mut rng, depth - 1).await?;
        } else {
            act(&ctx, &tree, &mut rng).await?;
        }
    }
    match rng.u32(0..9) {
        0..4 => Ok(rng.u32(..)),
        4 => Err(Failure::new("no luck")),
        5 => resume_unwind(Box::new("a body panics")),
        6 | 7 => Err(Failure::new(ctx.stopped().await.to_string())),
        _ => pending().await,
    }
}

/// Does something that concerns nobody else.
async fn act(ctx: &RunContext, tree: &Shared, rng: &mut Rng) -> Result<(), Failure> {
    let time = some_time(rng, 8);
    match rng.u32(0..11) {
        // Naive.
        0 | 1 => tokio::time::sleep(time).await,
        // Cooperative.
        2 => ctx.run_until_stopped(tokio::time::sleep(time)).await?,
        3 => ctx.checkpoint()?,
        4 => {
            ctx.emit("a word");
            ctx.progress(0.5);
            ctx.set_output(Payload::from("so far"));
        }
        5 => drop(ctx.shield(guarded(tree, tokio::time::sleep(time))).await),
        // Stubborn.
        6 => {
            let _ = ctx.is_stopping();
            tokio::time::sleep(time * 5).await;
        }
        // Blocks a worker.
        7 => std::thread::sleep(time),
        8 => {
            let (inside, asks) = (tree.witness.enter(), rng.bool());
            let closure = ctx.spawn_blocking(move |blocking| {
                let _inside = inside;
                for _ in 0..8 {
                    if asks && blocking.is_stopping() {
                        break;
                    }
                    std::thread::sleep(time);
                }
            });
            closure.await?;
        }
        9 => {
            let call = ToolCall::new("call", "tool", Payload::from("in"));
            let output = async {
                tokio::time::sleep(time).await;
                Ok(Payload::from("out"))
            };
            drop(ctx.tool(call, guarded(tree, output)).await?);
        }
        _ => {
            let (hold, inside) = (ctx.hold(Work::Process, "process")?, tree.witness.enter());
            std::thread::spawn(move || {
                std::thread::sleep(time);
                drop((inside, hold));
            });
        }
    }
    Ok(())
}

/// Does something with children.
async fn spawn(ctx: &RunContext, tree: &Shared, rng: &mut Rng, depth: u32) -> Result<(), Failure> {
    match rng.u32(0..8) {
        0 => drop(join::all(children(ctx, tree, rng, depth)).await),
        1 => drop(join::try_all(children(ctx, tree, rng, depth)).await?),
        2 => drop(join::first_ok(children(ctx, tree, rng, depth)).await),
        3 => drop(children(ctx, tree, rng, depth)),
        4 => children(ctx, tree, rng, depth).into_iter().for_each(|run| drop(run.into_ref())),
        5 => {
            for run in children(ctx, tree, rng, depth) {
                let run = run.into_ref();
                if run.detach().is_ok() {
                    tree.detached.lock().unwrap().push(run);
                }
            }
        }
        6 => {
            for run in children(ctx, tree, rng, depth) {
                run.cancel(CancelRequest::because("changed its mind"));
                drop(run.outcome().await);
            }
        }
        _ => drop(parallel(tree, rng, depth).run(ctx).await?),
    }
    Ok(())
}

fn children(ctx: &RunContext, tree: &Shared, rng: &mut Rng, depth: u32) -> Vec<RunHandle<u32>> {
    let one = |rng: &mut Rng| {
        let spec = spec(RunSpec::step("child"), rng);
        ctx.spawn(spec, body(tree.clone(), rng.u64(..), depth))
    };
    (0..rng.u32(1..4)).map(|_| one(rng)).collect()
}

/// A parallel step under some policy.
fn parallel(tree: &Shared, rng: &mut Rng, depth: u32) -> Parallel<u32> {
    let policy = match rng.u32(0..7) {
        0 => Policy::all(),
        1 => Policy::settle(),
        2 => Policy::first_success(),
        3 => Policy::first_settled(),
        4 => Policy::quorum(2),
        5 => Policy::best_effort(some_time(rng, 10), 0),
        _ => Policy::hedge(some_time(rng, 3)),
    };
    let mut step = Parallel::new("parallel").policy(policy).branch_timeout(some_time(rng, 20));
    if rng.bool() {
        step = step.limit(2).on_branch_timeout(OnTimeout::Skip);
    }
    if one_in(rng, 4) {
        step = step.on_loser(OnLoser::LetFinish);
    }
    for branch in 0..rng.u32(2..5) {
        step = step.branch(format!("{branch}"), body(tree.clone(), rng.u64(..), depth));
    }
    step
}

fn hook(ctx: &RunContext, tree: &Shared, rng: &mut Rng) {
    let (tree, time, panics) = (tree.clone(), some_time(rng, 10), one_in(rng, 4));
    let cleanup = async move {
        let _inside = tree.witness.enter();
        tokio::time::sleep(time).await;
        if panics {
            resume_unwind(Box::new("a hook panics"));
        }
    };
    if one_in(rng, 2) {
        ctx.on_stop(move |_| cleanup);
    } else {
        ctx.on_end(move |_| cleanup);
    }
}

/// Lets the witness know of a future.
async fn guarded<T>(tree: &Shared, future: impl Future<Output = T>) -> T {
    let _inside = tree.witness.enter();
    future.await
}

/// Panics in its destructor, but not on top of another panic.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            resume_unwind(Box::new("a destructor panics"));
        }
    }
}

fn some_time(rng: &mut Rng, ms_max: u64) -> Duration {
    ms(rng.u64(0..=ms_max))
}

fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}
