//! [`run`]: a program, when there are file descriptors for it.

use std::sync::LazyLock;

use quell::{Failure, RunContext};
use quell_process::{Process, ProcessOutput};
use tokio::sync::Semaphore;

use crate::descriptors::Shares;

/// Runs a program, as [`Process::run`]. While other programs have all the descriptors that are for
/// programs, it waits until one of them has ended; a stop of the run ends that.
pub(crate) async fn run(process: Process, ctx: RunContext) -> Result<ProcessOutput, Failure> {
    let _place = ctx.run_until_stopped(PLACES.acquire()).await?;
    process.run(ctx).await
}

/// The places of programs, of all plans and components, because the limit is that of this process.
/// In the order of their coming. It is made after the limit was raised, and never closed.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(Shares::of_process().programs));
