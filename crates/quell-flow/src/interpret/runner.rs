//! [`Runner`] runs the commands of a plan, [`run_plan`] a whole plan.

use std::future::Future;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Payload, RunContext, RunSpec};

use super::link::LinkedPlan;
use super::memory::{Memory, Recall};
use super::past::PlanPast;
use super::scope::{Scope, null};
use super::step::World;
use super::{cleanup, sequence};
use crate::foreign::Foreign;
use crate::times::timed;
use crate::{Catalog, CommandStep, Plan};

/// Runs the commands of a plan.
///
/// # Examples
///
/// ```
/// use quell::{Engine, Failure, Payload, RunContext};
/// use quell_flow::{CommandStep, Plan, Runner};
///
/// #[derive(Clone)]
/// struct Echo;
///
/// impl Runner for Echo {
///     async fn run(&self, _ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
///         Ok(Payload::from(step.command.join(" ")))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let plan = Plan::from_toml(r#"
///     name = "hello"
///     [[steps]]
///     name = "greet"
///     run = ["echo", "hello"]
/// "#).unwrap();
/// let engine = Engine::new();
/// let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Echo)).unwrap();
/// assert_eq!(run.await.unwrap().as_json(), r#"{"greet":"echo hello"}"#);
/// # });
/// ```
pub trait Runner: Clone + Send + Sync + 'static {
    /// Runs one command as the body of its step and yields its output.
    ///
    /// A stop reaches the step as it reaches any body. The output that the runner has set by then
    /// is the partial output of the step.
    fn run(
        &self,
        ctx: RunContext,
        command: CommandStep,
    ) -> impl Future<Output = Result<Payload, Failure>> + Send;
}

impl Plan {
    /// Yields the spec under which the plan is submitted: a workflow of its name, timeout, grace.
    pub fn spec(&self) -> RunSpec {
        timed(RunSpec::workflow(Arc::clone(&self.name)), self.timeout, self.grace, None)
    }

    /// Runs the plan as the body of `ctx`'s run; every step becomes a child run. A plan that names
    /// components must be [linked](Self::link) first.
    ///
    /// Yields a JSON object with the outputs of the steps by name, in their order. The output of a
    /// sequence, and of a parallel step, is such an object as well; that of a parallel step has
    /// only the branches with a value. The object is also set as the output of the run. If the run
    /// stops or fails, its partial output has the steps that have ended.
    ///
    /// # Errors
    ///
    /// Fails with the name of the step if one fails or is stopped alone, if an expression fails,
    /// and if an output is over [`quell::limits::PAYLOAD_BYTES_MAX`]. Later steps do not start;
    /// the report lists them as [`SkippedStep`](crate::SkippedStep)s. Fails before anything starts
    /// if the plan names a component.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no further step starts, and the current one remains a child of
    /// `ctx`'s run.
    pub async fn run<R: Runner>(self, ctx: RunContext, runner: R) -> Result<Payload, Failure> {
        self.link(&Catalog::new()).map_err(first)?.run(ctx, runner).await
    }
}

impl LinkedPlan {
    /// Runs the plan as the body of `ctx`'s run, as [`Plan::run`] does.
    ///
    /// # Errors
    ///
    /// As [`Plan::run`].
    ///
    /// # Cancel safety
    ///
    /// As [`Plan::run`].
    pub fn run<R: Runner>(
        &self,
        ctx: RunContext,
        runner: R,
    ) -> impl Future<Output = Result<Payload, Failure>> + Send + use<R> {
        self.attempt(ctx, Foreign::new(runner), Recall::default())
    }

    /// Makes the body of one run whose next attempts go on behind the steps that have ended, as
    /// [`Engine::submit_resumable`](quell::Engine::submit_resumable) takes it. A plan with a `wait`
    /// needs it. What it knows of the steps that have ended goes with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Engine, Failure, Payload, RunContext};
    /// use quell_flow::{Catalog, CommandStep, Plan, Runner};
    ///
    /// #[derive(Clone)]
    /// struct Echo;
    ///
    /// impl Runner for Echo {
    ///     async fn run(&self, _: RunContext, step: CommandStep) -> Result<Payload, Failure> {
    ///         Ok(Payload::from(step.command.join(" ")))
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let text = "name: p\nsteps:\n- { name: build, run: [box 7] }\n\
    ///             - { name: ok, wait: 'send {{ steps.build.output }}?' }\n\
    ///             - { name: send, run: [send, '{{ steps.ok.output }}'] }\n";
    /// let plan = Plan::from_yaml(text).unwrap().link(&Catalog::new()).unwrap();
    /// let engine = Engine::new();
    /// let run = engine.submit_resumable(plan.plan().spec(), plan.resumable(Echo)).unwrap();
    /// let asked = run.run().paused().await.unwrap();
    /// assert_eq!(asked.as_json(), r#"{"step":"ok","ask":"send box 7?"}"#);
    /// run.run().resume("to ada").unwrap();
    /// let output = run.await.unwrap();
    /// assert_eq!(output.as_json(), r#"{"build":"box 7","ok":"to ada","send":"send to ada"}"#);
    /// # });
    /// ```
    pub fn resumable<R: Runner>(
        self,
        runner: R,
    ) -> impl Fn(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync + 'static
    {
        self.attempts(Memory::default(), runner)
    }

    /// As [`resumable`](Self::resumable), for a run that a store keeps: it goes on behind what it
    /// has behind it, and so does a run that is made of its records after a crash, see
    /// [`PlanPast::read`]. The spec of a new run is [`recorded_spec`](Self::recorded_spec).
    pub fn recorded<R: Runner>(
        self,
        past: PlanPast,
        runner: R,
    ) -> impl Fn(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync + 'static
    {
        self.attempts(past.memory.recorded(), runner)
    }

    fn attempts<R: Runner>(
        self,
        memory: Memory,
        runner: R,
    ) -> impl Fn(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync + 'static
    {
        let (runner, memory) = (Foreign::new(runner), Arc::new(memory));
        move |ctx| self.next_attempt(ctx, runner.clone(), &memory)
    }

    pub(super) fn attempt<R: Runner>(
        &self,
        ctx: RunContext,
        runner: Foreign<R>,
        recall: Recall,
    ) -> BoxFuture<'static, Result<Payload, Failure>> {
        let input = ctx.input().cloned().unwrap_or_else(null);
        let before = Scope::of_input(input).frame();
        for (name, output) in &*self.before {
            before.add(Arc::clone(name), output.clone());
        }
        let scope = before.now();
        let world = World { runner, links: Arc::clone(&self.links), scope, recall };
        run_plan(&self.plan, world, ctx)
    }
}

/// Runs a plan, at the top or nested in another.
pub(super) fn run_plan<R: Runner>(
    plan: &Plan,
    world: World<R>,
    ctx: RunContext,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    let frame = world.scope.frame();
    let steps = Arc::clone(&plan.steps);
    if plan.cleanup.is_empty() {
        return sequence::run(steps, world, frame, ctx).boxed();
    }
    let guard = cleanup::Guard {
        cleanup: plan.cleanup.clone(),
        grace: plan.grace,
        frame: Arc::clone(&frame),
        world: world.clone(),
    };
    guard.run(ctx.clone(), sequence::run(steps, world, frame, ctx)).boxed()
}

fn first(faults: Vec<crate::PlanError>) -> Failure {
    match faults.into_iter().next() {
        Some(fault) => fault.into(),
        None => Failure::new("the plan was refused without a reason"),
    }
}

/// Renders a text that may read `input` only.
#[cfg(feature = "test-util")]
pub(crate) fn render_over(input: &Payload, text: String) -> Result<String, Failure> {
    Scope::of_input(input.clone()).render("run", text)
}
