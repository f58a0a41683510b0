//! [`take`]: a place for a program or a request, which need file descriptors.

use std::sync::LazyLock;

use quell::{RunContext, Stopped};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::descriptors::Shares;

/// Waits for a place, in the order of coming, while others have all the descriptors that are for
/// programs and requests. A stop of the run ends the wait.
pub(crate) async fn take(ctx: &RunContext) -> Result<SemaphorePermit<'static>, Stopped> {
    // It is never closed.
    let place = ctx.run_until_stopped(PLACES.acquire()).await?;
    match place {
        Ok(place) => Ok(place),
        Err(_) => std::future::pending().await,
    }
}

/// The places, of all plans and components, because the limit is that of this process. It is made
/// after the limit was raised.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(Shares::of_process().programs));
