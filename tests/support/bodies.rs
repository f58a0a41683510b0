//! Bodies of all characters.

use std::future::{Future, pending};
use std::hint::spin_loop;
use std::pin::Pin;

use quell::{Failure, RunContext, RunSpec};

use super::secs;

/// Waits for a stop and gives way.
pub(crate) async fn listener(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    Ok(())
}

/// Waits for a stop, and takes 4 s to give way.
pub(crate) async fn slow(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    tokio::time::sleep(secs(4)).await;
    Ok(())
}

/// Waits for ever and never asks about stops.
pub(crate) async fn naive(_: RunContext) -> Result<(), Failure> {
    pending().await
}

/// Asks about stops, and then ignores the answer for ever.
pub(crate) async fn ignorant(ctx: RunContext) -> Result<(), Failure> {
    let _ = ctx.is_stopping();
    pending().await
}

/// Spins for so many rounds.
pub(crate) fn spin_for(spins: u32) {
    for _ in 0..spins {
        spin_loop();
    }
}

type Boxed = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A chain of runs, `depth` below this one; each waits for its child, the last one runs `leaf`.
pub(crate) fn chain<F, Fut>(depth: u32, leaf: F) -> impl FnOnce(RunContext) -> Boxed + Send
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    move |ctx| match depth {
        0 => Box::pin(leaf(ctx)),
        _ => Box::pin(link(ctx, depth, leaf)),
    }
}

async fn link<F, Fut>(ctx: RunContext, depth: u32, leaf: F) -> Result<(), Failure>
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let child = ctx.spawn(RunSpec::step("link"), boxed(depth - 1, leaf));
    Ok(child.await?)
}

type Body = Box<dyn FnOnce(RunContext) -> Boxed + Send>;

fn boxed<F, Fut>(depth: u32, leaf: F) -> Body
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Box::new(chain(depth, leaf))
}
