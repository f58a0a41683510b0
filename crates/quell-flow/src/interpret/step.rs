//! [`body_of`] makes the body of one step: its action, with retries and cleanup.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _, ready};
use quell::{Failure, Payload, RunContext, RunSpec};

use super::link::Links;
use super::memory::Recall;
use super::runner::Runner;
use super::scope::{Frame, Scope};
use super::{choices, cleanup, commands, nested, parallel, sequence, wait};
use crate::foreign::Foreign;
use crate::times::timed;
use crate::{Action, PlanStep, Retry, attempt_number};

/// What steps run with: the runner of commands, the components, the scope of expressions, and what
/// is known of former attempts.
#[derive(Clone)]
pub(super) struct World<R> {
    pub(super) runner: Foreign<R>,
    pub(super) links: Arc<Links>,
    pub(super) scope: Scope,
    pub(super) recall: Recall,
}

impl<R: Clone> World<R> {
    /// The same with another scope.
    pub(super) fn within(&self, scope: Scope) -> Self {
        let (runner, links) = (self.runner.clone(), Arc::clone(&self.links));
        Self { runner, links, scope, recall: self.recall.clone() }
    }

    /// The same one place further inside.
    pub(super) fn below(mut self, segment: impl Display) -> Self {
        self.recall = self.recall.below(segment);
        self
    }

    /// The same without a memory: what runs with it is run again.
    pub(super) fn forgetful(mut self) -> Self {
        self.recall = Recall::default();
        self
    }
}

/// A step of a shared list. It is cheap to clone: loops and retries run a step many times.
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

/// Called with the outcome of a parallel step when it is decided, before it is settled. A step that
/// no other follows has none: it yields its outcome when it is settled.
pub(super) type OnDecided = Box<dyn FnOnce(Result<Payload, Failure>) + Send>;

/// Makes the body of a step or branch, with its retries and its cleanup.
pub(super) fn body_of<R: Runner>(
    step: StepRef,
    world: World<R>,
    on_decided: Option<OnDecided>,
) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + 'static {
    move |ctx| {
        let frame = world.scope.frame();
        if step.cleanup.is_empty() {
            return tried(step, world, frame, ctx, on_decided);
        }
        let guard = cleanup::Guard {
            cleanup: step.cleanup.clone(),
            grace: step.grace,
            frame: Arc::clone(&frame),
            world: world.clone(),
        };
        let is_leaf = matches!(step.action, Action::Run(_)) && step.retry.is_none();
        if !is_leaf {
            return guard.run(ctx.clone(), tried(step, world, frame, ctx, on_decided)).boxed();
        }
        // Cleanup waits for the children of its run, but not for its work: a command may have
        // given way while a process or a hold of it goes on.
        let work = async move |ctx: RunContext| {
            let spec = RunSpec::step("work");
            let work = ctx.spawn(spec, move |ctx| tried(step, world, frame, ctx, on_decided));
            nested::output_of(work, &ctx).await
        };
        guard.run(ctx.clone(), work(ctx)).boxed()
    }
}

/// Runs the action of a step, as often as its retry allows.
fn tried<R: Runner>(
    step: StepRef,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
    on_decided: Option<OnDecided>,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    let is_leaf = matches!(step.action, Action::Run(_) | Action::Component(_));
    let first = match world.recall.begun() {
        0 => 1,
        begun if is_leaf => begun.saturating_add(1),
        // What had ended inside of the attempt that was cut is not run again.
        begun => begun,
    };
    let retry = match step.retry {
        Some(retry) => retry.to_retry(),
        None if is_leaf && first > 1 => Retry::new(1),
        None => return run_action(step, world, frame, ctx, on_decided),
    };
    let again = move |ctx: RunContext| {
        let frame = world.scope.frame();
        let world = world.clone().below(attempt_number(ctx.run()));
        run_action(step.clone(), world, frame, ctx, None)
    };
    retry.starting_at(first).body(again)(ctx)
}

/// Runs the action of a step. The future is boxed, since steps nest; the depth of a plan is
/// bounded.
fn run_action<R: Runner>(
    step: StepRef,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
    on_decided: Option<OnDecided>,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    match &step.action {
        Action::Run(_) => commands::run(step, world, ctx).boxed(),
        Action::Sequence(inside) => {
            sequence::run(Arc::clone(&inside.sequence), world, frame, ctx).boxed()
        }
        Action::Parallel(_) => parallel::run(step, world, ctx, on_decided).boxed(),
        Action::Loop(inside) => choices::repeat(inside.clone(), world, ctx).boxed(),
        Action::If(inside) => choices::condition(inside.clone(), world, frame, ctx).boxed(),
        Action::Route(inside) => choices::route(inside.clone(), world, ctx).boxed(),
        Action::Team(_) => nested::team(step, world, ctx).boxed(),
        Action::Component(inside) => nested::component(inside.clone(), world, ctx).boxed(),
        Action::Wait(inside) => ready(wait::answered(inside, &world, &ctx)).boxed(),
        Action::Workflow(inside) => nested::workflow(inside.clone(), world, ctx).boxed(),
    }
}
