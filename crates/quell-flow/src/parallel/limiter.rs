//! [`Limiter`] bounds how many branches of several steps run at once, and [`Turn`] is what a step
//! has of it.
//!
//! Invariant: a permit is in one place: with the semaphore, with the turn of a step that is about
//! to start a branch, or with the task that waits until the run of a branch is quiescent. A step
//! that may start nothing more holds none, and is not in the queue.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use quell::RunRef;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on the branches that several steps run at once. Cheap to clone: clones are one limiter.
///
/// A step needs a permit for each branch that it starts. Steps that wait get permits in the order
/// in which they asked. A stop or the decision of a step takes it out of the queue: its branches
/// that wait never start.
///
/// A permit comes back when the run of the branch is quiescent, also if that was detached or
/// abandoned. Until then a branch keeps it, also while it waits for a step below it: if that step
/// shares the limiter, branches may hold all permits and wait for each other for ever. Give nested
/// steps another limiter.
///
/// # Examples
///
/// ```
/// use quell::{Engine, RunSpec};
/// use quell_flow::{Limiter, Parallel};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// // At most two requests at once, over both runs.
/// let requests = Limiter::new(2);
/// let engine = Engine::new();
/// let ask = |limiter: Limiter| {
///     engine.submit(RunSpec::workflow("ask"), async move |ctx| {
///         let asked = (0..3).map(|n| (n.to_string(), async move |_| Ok(n)));
///         let step = Parallel::new("step").limiter(limiter).branches(asked);
///         Ok(step.run(&ctx).await?.into_values())
///     })
/// };
/// let (one, other) = (ask(requests.clone()).unwrap(), ask(requests.clone()).unwrap());
/// assert_eq!((one.await.unwrap(), other.await.unwrap()), (vec![0, 1, 2], vec![0, 1, 2]));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    permits: Arc<Semaphore>,
}

impl Limiter {
    /// Makes a limiter for at most this many branches at once. Zero counts as one.
    pub fn new(branches: usize) -> Self {
        let permits = Semaphore::new(branches.clamp(1, Semaphore::MAX_PERMITS));
        Self { permits: Arc::new(permits) }
    }

    /// Yields how many branches may start now without waiting.
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }
}

/// What a step has of its limiter, if it has one.
pub(super) struct Turn {
    limiter: Option<Limiter>,
    stage: Stage,
}

enum Stage {
    /// It has no permit, and does not wait for one.
    Idle,
    /// It is in the queue. The semaphore may have given it a permit that it has not seen.
    Waiting(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    /// It has the permit of the branch that it starts next.
    Ready(OwnedSemaphorePermit),
}

impl Turn {
    pub(super) const fn new(limiter: Option<Limiter>) -> Self {
        Self { limiter, stage: Stage::Idle }
    }

    /// Tells whether a branch may start now: nothing limits it, or the step has a permit or finds
    /// one that nobody waits for.
    pub(super) fn may_start(&mut self) -> bool {
        let Some(limiter) = &self.limiter else { return true };
        if let Stage::Idle = self.stage
            && let Ok(permit) = Arc::clone(&limiter.permits).try_acquire_owned()
        {
            self.stage = Stage::Ready(permit);
        }
        matches!(self.stage, Stage::Ready(_))
    }

    /// Waits until a branch may start.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.may_start() {
            return Poll::Ready(());
        }
        if let (Stage::Idle, Some(limiter)) = (&self.stage, &self.limiter) {
            let permits = Arc::clone(&limiter.permits);
            self.stage = Stage::Waiting(async { permits.acquire_owned().await.ok() }.boxed());
        }
        if let Stage::Waiting(permit) = &mut self.stage
            && let Poll::Ready(Some(permit)) = permit.poll_unpin(cx)
        {
            self.stage = Stage::Ready(permit);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Tells whether the step is in the queue.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    /// Gives the permit to the run of a branch, until that is quiescent.
    pub(super) fn give_to(&mut self, run: &RunRef) {
        let Stage::Ready(permit) = mem::replace(&mut self.stage, Stage::Idle) else { return };
        let run = run.clone();
        // A task of its own: the run may outlive the step.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(async move {
                run.quiescent_status().await;
                drop(permit);
            }));
        }
    }

    /// Leaves the queue, and gives back a permit that was not used.
    pub(super) fn leave(&mut self) {
        self.stage = Stage::Idle;
    }
}
