//! The body of one step of a plan: its action, tried as often as it says, with its cleanup.

use std::ops::Deref;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Payload, RunContext, RunSpec};

use super::link::Links;
use super::runner::Runner;
use super::scope::{Frame, Scope};
use super::{choices, cleanup, commands, nested, parallel, sequence};
use crate::foreign::Foreign;
use crate::times::timed;
use crate::{Action, PlanStep};

/// What steps run with: who runs commands, what components there are, what expressions may read.
#[derive(Clone)]
pub(super) struct World<R> {
    pub(super) runner: Foreign<R>,
    pub(super) links: Arc<Links>,
    pub(super) scope: Scope,
}

impl<R: Clone> World<R> {
    /// The same seen from further in.
    pub(super) fn within(&self, scope: Scope) -> Self {
        Self { runner: self.runner.clone(), links: Arc::clone(&self.links), scope }
    }
}

/// A step of a list that is shared with everybody who runs it: loops and retries do so often.
#[derive(Clone)]
pub(super) struct StepRef {
    pub(super) steps: Arc<[PlanStep]>,
    pub(super) at: usize,
}

impl StepRef {
    pub(super) fn of(steps: &Arc<[PlanStep]>, at: usize) -> Self {
        Self { steps: Arc::clone(steps), at }
    }

    pub(super) fn spec(&self, spec: RunSpec) -> RunSpec {
        timed(spec, self.timeout, self.grace, self.idle)
    }
}

impl Deref for StepRef {
    type Target = PlanStep;

    fn deref(&self) -> &PlanStep {
        &self.steps[self.at]
    }
}

/// Who hears of the output of a step that is decided and not settled.
pub(super) type Tell = Box<dyn FnOnce(Result<Payload, Failure>) + Send>;

/// The body of a step or branch, tried as often as it says, with its cleanup.
pub(super) fn body_of<R: Runner>(
    step: StepRef,
    world: World<R>,
    tell: Tell,
) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + 'static {
    move |ctx| {
        let frame = world.scope.frame();
        if step.cleanup.is_empty() {
            return tried(step, world, frame, ctx, tell);
        }
        let guard = cleanup::Guard {
            cleanup: step.cleanup.clone(),
            grace: step.grace,
            frame: Arc::clone(&frame),
            world: world.clone(),
        };
        let is_leaf = matches!(step.action, Action::Run(_)) && step.retry.is_none();
        if !is_leaf {
            return guard.run(ctx.clone(), tried(step, world, frame, ctx, tell)).boxed();
        }
        // A command in the run that cleans up would be told of the stop as one that listens.
        let work = async move |ctx: RunContext| {
            let spec = RunSpec::step("work");
            let work = ctx.spawn(spec, move |ctx| tried(step, world, frame, ctx, tell));
            nested::output_of(work, &ctx).await
        };
        guard.run(ctx.clone(), work(ctx)).boxed()
    }
}

fn tried<R: Runner>(
    step: StepRef,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
    tell: Tell,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    let Some(retry) = step.retry else { return run_action(step, world, frame, ctx, tell) };
    let again = move |ctx| {
        let frame = world.scope.frame();
        run_action(step.clone(), world.clone(), frame, ctx, Box::new(drop))
    };
    retry.to_retry().body(again)(ctx)
}

/// Boxed, since steps nest; plans bound how deep.
fn run_action<R: Runner>(
    step: StepRef,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
    tell: Tell,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    match &step.action {
        Action::Run(_) => commands::run(step, world, ctx).boxed(),
        Action::Sequence(inside) => {
            sequence::run(Arc::clone(&inside.sequence), world, frame, ctx).boxed()
        }
        Action::Parallel(_) => parallel::run(step, world, ctx, tell).boxed(),
        Action::Loop(inside) => choices::repeat(inside.clone(), world, ctx).boxed(),
        Action::If(inside) => choices::condition(inside.clone(), world, frame, ctx).boxed(),
        Action::Route(inside) => choices::route(inside.clone(), world, ctx).boxed(),
        Action::Team(_) => nested::team(step, world, ctx).boxed(),
        Action::Component(inside) => nested::component(inside.clone(), world, ctx).boxed(),
        Action::Workflow(inside) => nested::workflow(inside.clone(), world, ctx).boxed(),
    }
}
