//! [`Guard`] runs steps that clean up after a failure or a stop.
//!
//! The steps of `on_stop` run in a hook of the run: once, after its body has ended in any way, and
//! until the hard deadline. The steps of `on_failure` run in a shield, for at most the grace of the
//! step that failed. If a stop comes meanwhile, it stops the current cleanup step. This step and
//! those after it then run again, until the hard deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quell::{Failure, Outcome, Payload, RunContext, RunSpec};

use super::runner::Runner;
use super::scope::{Frame, Scope, Variable, null};
use super::sequence;
use super::step::World;
use crate::failures::{is_pause, message_of};
use crate::skipped;
use crate::{Cleanup, PlanStep, SkipReason};

/// The cleanup of some work.
pub(super) struct Guard<R> {
    pub(super) cleanup: Cleanup,
    /// The time that `on_failure` has; none for the default grace.
    pub(super) grace: Option<Duration>,
    /// The outputs of the work, which cleanup may read.
    pub(super) frame: Arc<Frame>,
    pub(super) world: World<R>,
}

impl<R: Runner> Guard<R> {
    /// Runs the work, and cleans up if it fails or is stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work; cleanup after a stop runs all the same.
    pub(super) async fn run(
        self,
        ctx: RunContext,
        work: impl Future<Output = Result<Payload, Failure>> + Send,
    ) -> Result<Payload, Failure> {
        // The hook is registered before the work starts: a stop may drop this future at any await.
        self.register(&ctx);
        let failure = match work.await {
            Ok(output) => return Ok(output),
            Err(failure) if is_pause(&failure) => return Err(failure),
            Err(failure) => failure,
        };
        // After a stop the hook cleans up, not this.
        if self.cleanup.on_failure.is_empty() || ctx.checkpoint().is_err() {
            return Err(failure);
        }
        match self.on_failure(&ctx, &failure).await {
            Ok(()) => Err(failure),
            Err(words) => Err(Failure::new(format!("{failure}; cleanup failed: {words}"))),
        }
    }

    /// Registers the hook that runs the steps of `on_stop`.
    fn register(&self, ctx: &RunContext) {
        if self.cleanup.on_stop.is_empty() {
            return;
        }
        let steps = Arc::clone(&self.cleanup.on_stop);
        let (frame, here) = (Arc::clone(&self.frame), ctx.clone());
        let world = self.world.clone().forgetful();
        let waiting = Waiting { ctx: ctx.clone(), steps: Arc::clone(&steps), has_begun: false };
        ctx.on_stop(async move |cause| {
            let cause = Payload::json(&*cause)
                .map_or_else(|_| Variable::from(String::new()), |it| Variable::from(&it));
            let scope = frame.scope(vec![("cause", cause)]);
            let inside = scope.frame();
            let world = world.within(scope);
            let body = move |ctx| {
                waiting.begin();
                sequence::run(steps, world, inside, ctx)
            };
            // A failure of cleanup is in its own row of the report; the status of the stopped run
            // does not depend on it. What could not start is noted by `waiting`.
            drop(start(&here, RunSpec::step(ON_STOP), body).await);
        });
    }

    /// Runs the steps of `on_failure`. If a stop interrupts them, runs the rest a second time.
    async fn on_failure(&self, ctx: &RunContext, failure: &Failure) -> Result<(), String> {
        let error = Variable::from(failure.to_string());
        let scope = self.frame.scope(vec![("error", error)]);
        let grace = self.grace.unwrap_or(quell::limits::GRACE);
        let (frame, ended) = self.try_on_failure(ctx, scope, 0, Some(grace)).await;
        if !ctx.is_stopping() || !matches!(ended, Some(Outcome::Stopped { .. })) {
            return said(ended);
        }
        // The interrupted step has no output in the frame, so that it is the first to run again.
        let done = frame.with(<[_]>::len);
        let scope = frame.now();
        said(self.try_on_failure(ctx, scope, done, None).await.1)
    }

    async fn try_on_failure(
        &self,
        ctx: &RunContext,
        scope: Scope,
        from: usize,
        timeout: Option<Duration>,
    ) -> (Arc<Frame>, Option<Outcome<Payload>>) {
        let steps: Arc<[PlanStep]> = match from {
            0 => Arc::clone(&self.cleanup.on_failure),
            _ => self.cleanup.on_failure[from..].into(),
        };
        let frame = scope.frame();
        if steps.is_empty() {
            return (frame, Some(Outcome::Completed(null())));
        }
        let (world, inside) = (self.world.within(scope).forgetful(), Arc::clone(&frame));
        let mut spec = RunSpec::step(ON_FAILURE);
        if let Some(timeout) = timeout {
            spec = spec.timeout(timeout);
        }
        let cleanup = start(ctx, spec, move |ctx| sequence::run(steps, world, inside, ctx));
        (frame, cleanup.await)
    }
}

/// Runs cleanup as a child. The shield lets the child start although the run is stopping. Yields
/// none if the hard deadline comes first.
async fn start<F>(
    ctx: &RunContext,
    spec: RunSpec,
    body: impl FnOnce(RunContext) -> F + Send + 'static,
) -> Option<Outcome<Payload>>
where
    F: Future<Output = Result<Payload, Failure>> + Send + 'static,
{
    ctx.shield(async { ctx.spawn(spec, body).outcome().await }).await.ok()
}

/// The steps of `on_stop` until they begin. If this is dropped before although the run was stopped,
/// they had no time, and its summary says so.
struct Waiting {
    ctx: RunContext,
    steps: Arc<[PlanStep]>,
    has_begun: bool,
}

impl Waiting {
    fn begin(mut self) {
        self.has_begun = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The hook of a run that was not stopped is dropped uncalled: it was not needed.
        if !self.has_begun && self.ctx.run().row().stopped_at.is_some() {
            let names = self.steps.iter().map(|step| Arc::clone(&step.name));
            skipped::add(&self.ctx, names, SkipReason::GraceOver);
        }
    }
}

fn said(ended: Option<Outcome<Payload>>) -> Result<(), String> {
    match ended {
        Some(Outcome::Completed(_)) => Ok(()),
        Some(Outcome::Failed(error)) => Err(message_of(&error)),
        Some(Outcome::Stopped { cause, .. }) => Err(format!("it was stopped ({cause})")),
        None => Err("it had no time left".into()),
    }
}

/// The name of the run whose children are the steps of `on_failure`.
const ON_FAILURE: &str = "on_failure";

/// The name of the run whose children are the steps of `on_stop`.
const ON_STOP: &str = "on_stop";
