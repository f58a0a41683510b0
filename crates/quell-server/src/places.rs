//! [`Place`]: what a program or a request has, because they need file descriptors.

use std::sync::LazyLock;

use quell::{RunContext, Stopped};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::descriptors::Shares;

/// A place for a program or a request.
pub(crate) type Place = SemaphorePermit<'static>;

/// Waits for a place, in the order of coming, while others have all the descriptors that are for
/// programs and requests. A stop of the run ends the wait.
pub(crate) async fn take(ctx: &RunContext) -> Result<Place, Stopped> {
    ctx.run_until_stopped(next()).await
}

/// As [`take`], also for what has to be done after a stop.
pub(crate) async fn next() -> Place {
    acquire(&PLACES).await
}

/// How many of the requests of one service may tell it again to stop a run: a sixteenth of the
/// places, so that one that does not confirm does not hold up others.
#[derive(Debug)]
pub(crate) struct Turns(LazyLock<Semaphore>);

impl Turns {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(|| Semaphore::new((places() / 16).max(1))))
    }

    /// Waits for a turn, and then for a place, both in the order of coming.
    pub(crate) async fn next(&self) -> (SemaphorePermit<'_>, Place) {
        (acquire(&self.0).await, next().await)
    }
}

async fn acquire(places: &Semaphore) -> SemaphorePermit<'_> {
    match places.acquire().await {
        Ok(place) => place,
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

fn places() -> usize {
    Shares::of_process().programs.min(Semaphore::MAX_PERMITS)
}

/// The places, of all plans and components, because the limit is that of this process. It is made
/// after the limit was raised.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(places()));
