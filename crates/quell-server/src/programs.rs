//! [`run`]: a program, when there are file descriptors for it.

use quell::{Failure, RunContext};
use quell_process::{Process, ProcessOutput};

use crate::places;

/// Runs a program, as [`Process::run`]. While others have all the descriptors that are for
/// programs, it waits until one of them has ended; a stop of the run ends that.
pub(crate) async fn run(process: Process, ctx: RunContext) -> Result<ProcessOutput, Failure> {
    let _place = places::take(&ctx).await?;
    process.run(ctx).await
}
