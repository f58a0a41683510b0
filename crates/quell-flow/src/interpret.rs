//! Lowers a plan to runs.

use std::future::Future;
use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, FutureExt as _, select};
use quell::{Failure, Payload, RunContext, RunError, RunSpec, Stopped, Written};
use serde::{Serialize, Serializer};

use crate::parallel::{Driven, timed, words};
use crate::{
    Action, Branch, CommandStep, Parallel, ParallelStep, Plan, PlanRetry, PlanStep, Settled,
    StartNext,
};

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
/// assert_eq!(run.await.unwrap().as_str(), r#"{"greet":"echo hello"}"#);
/// # });
/// ```
pub trait Runner: Clone + Send + Sync + 'static {
    /// Runs one command as the body of its step and yields its output.
    ///
    /// A stop reaches the step as it reaches any body. What the runner had set as the step's output
    /// by then is its partial output.
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

    /// Runs the plan as the body of `ctx`'s run; every step becomes a child run.
    ///
    /// Yields a JSON object of the outputs of the steps by name, in their order: of a sequence and
    /// of a parallel step such an object again, the latter of the branches that have a value. Set
    /// as the output of the run as well; of a run that stopped or failed, the part that there is.
    ///
    /// # Errors
    ///
    /// Fails with the name of the step if one fails or is stopped alone, and if an output is over
    /// [`quell::limits::PAYLOAD_BYTES_MAX`]. What follows is not started.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts no further step and leaves the one that runs to `ctx`'s run.
    pub async fn run<R: Runner>(self, ctx: RunContext, runner: R) -> Result<Payload, Failure> {
        run_sequence(self.steps, ctx, runner).await
    }
}

/// The body of a step or branch, tried as often as it says.
fn body_of<R: Runner>(
    action: Action,
    retry: Option<PlanRetry>,
    runner: R,
    tell: Tell,
) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<Payload, Failure>> + Send + 'static {
    move |ctx| match retry {
        None => run_action(action, ctx, runner, tell),
        Some(retry) => {
            let again = move |ctx| run_action(action.clone(), ctx, runner.clone(), Box::new(drop));
            retry.to_retry().body(again)(ctx)
        }
    }
}

/// Boxed, since steps nest; plans bound how deep.
fn run_action<R: Runner>(
    action: Action,
    ctx: RunContext,
    runner: R,
    tell: Tell,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    match action {
        Action::Run(command) => run_command(command, ctx, runner).boxed(),
        Action::Sequence(steps) => run_sequence(steps.sequence, ctx, runner).boxed(),
        Action::Parallel(step) => run_parallel(step, ctx, runner, tell).boxed(),
    }
}

async fn run_command<R: Runner>(
    command: CommandStep,
    ctx: RunContext,
    runner: R,
) -> Result<Payload, Failure> {
    let output = runner.run(ctx.clone(), command).await?;
    set_output(&ctx, output)
}

async fn run_sequence<R: Runner>(
    steps: Vec<PlanStep>,
    ctx: RunContext,
    runner: R,
) -> Result<Payload, Failure> {
    let mut outputs = Outputs { ctx: ctx.clone(), entries: Vec::with_capacity(steps.len()) };
    for step in steps {
        ctx.checkpoint()?;
        let name = Arc::clone(&step.name);
        let output = match run_step(step, &ctx, runner.clone()).await {
            Ok(output) => output,
            Err(RunError::Stopped(Stopped { cause })) => {
                // Either the whole sequence stops, or this step alone was stopped.
                ctx.checkpoint()?;
                return Err(Failure::new(format!("step `{name}` was stopped ({cause})")));
            }
            Err(error) => {
                return Err(Failure::new(format!("step `{name}` failed: {}", words(&error))));
            }
        };
        match output {
            Ok(output) => outputs.entries.push((name, output)),
            Err(failure) => {
                return Err(Failure::new(format!("step `{name}` failed: {failure}")));
            }
        }
    }
    outputs.finish()
}

/// Runs a step to its end, or until it is decided if the next may start then; it stays a child.
///
/// # Cancel safety
///
/// Dropping the future leaves the step to `ctx`'s run; its output is lost.
async fn run_step<R: Runner>(
    step: PlanStep,
    ctx: &RunContext,
    runner: R,
) -> Result<Result<Payload, Failure>, RunError> {
    let is_early = matches!(&step.action, Action::Parallel(parallel)
        if parallel.options.start_next == StartNext::Decided);
    let spec = timed(RunSpec::step(step.name), step.timeout, step.grace, step.idle);
    if !is_early {
        let body = body_of(step.action, step.retry, runner, Box::new(drop));
        return ctx.spawn(spec, body).await.map(Ok);
    }
    let (tell, told) = oneshot::channel();
    let tell = Box::new(move |outcome| drop(tell.send(outcome)));
    let handle = ctx.spawn(spec, body_of(step.action, step.retry, runner, tell));
    // What was told first: a step that told ends without an output of its own.
    match select(told, handle).await {
        Either::Left((Ok(outcome), handle)) => {
            handle.into_ref();
            Ok(outcome)
        }
        Either::Left((Err(_), handle)) => handle.await.map(Ok),
        Either::Right((ended, _)) => ended.map(Ok),
    }
}

async fn run_parallel<R: Runner>(
    step: ParallelStep,
    ctx: RunContext,
    runner: R,
    tell: Tell,
) -> Result<Payload, Failure> {
    let names: Arc<[_]> = step.branches.iter().map(|branch| Arc::clone(&branch.name)).collect();
    let object = move |values: Vec<Option<Payload>>| {
        let all = names.iter().cloned().zip(values);
        let entries: Vec<_> = all.filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(Payload::json(&Object(&entries))?)
    };
    let object_early = object.clone();
    let on_decided = move |outcome: Result<Settled<Payload>, Failure>| {
        tell(outcome.and_then(|settled| object_early(settled.values)));
    };
    match lower(step, &runner).drive(&ctx, Box::new(on_decided)).await {
        Driven::Settled(settled) => object(settled.values),
        Driven::Told => object(Vec::new()),
        Driven::Failed(failure) => Err(failure),
        // The run ends as stopped whatever is returned; a value is its partial value.
        Driven::Stopped { values, .. } => object(values),
    }
}

fn lower<R: Runner>(step: ParallelStep, runner: &R) -> Parallel<Payload> {
    let options = step.options;
    let mut parallel = Parallel::new("branches of a plan")
        .policy(options.policy.to_policy())
        .on_branch_timeout(options.on_branch_timeout)
        .on_branch_cancelled(options.on_branch_cancelled)
        .on_loser(options.on_loser)
        .start_next(options.start_next)
        .partial_from(Some);
    if let Some(limit) = options.limit {
        parallel = parallel.limit(limit);
    }
    if let Some(timeout) = options.branch_timeout {
        parallel = parallel.branch_timeout(timeout);
    }
    if let Some(grace) = options.branch_grace {
        parallel = parallel.branch_grace(grace);
    }
    if let Some(idle) = options.branch_idle {
        parallel = parallel.branch_idle(idle);
    }
    for step in step.branches {
        let body = body_of(step.action, step.retry, runner.clone(), Box::new(drop));
        let branch = Branch::new(step.name, body).times(step.timeout, step.grace, step.idle);
        parallel = parallel.with_branch(branch);
    }
    parallel
}

/// Who hears of the output of a step that is decided and not settled.
type Tell = Box<dyn FnOnce(Result<Payload, Failure>) + Send>;

/// The outputs of a sequence so far. When it is dropped unfinished, in whatever way, they become
/// the partial output of its run.
struct Outputs {
    ctx: RunContext,
    entries: Vec<(Arc<str>, Payload)>,
}

impl Outputs {
    fn finish(mut self) -> Result<Payload, Failure> {
        let entries = std::mem::take(&mut self.entries);
        set_output(&self.ctx, Payload::json(&Object(&entries))?)
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        // What is too large, or too late, is in the reports of the steps.
        if let Ok(partial) = Payload::json(&Object(&self.entries)) {
            self.ctx.set_output(partial);
        }
    }
}

/// Outputs by name, in their order.
struct Object<'a>(&'a [(Arc<str>, Payload)]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, output)| (name, output)))
    }
}

fn set_output(ctx: &RunContext, output: Payload) -> Result<Payload, Failure> {
    if ctx.set_output(output.clone()) == Written::TooLarge {
        let (bytes, max) = (output.len(), quell::limits::PAYLOAD_BYTES_MAX);
        return Err(Failure::new(format!("output has {bytes} bytes; the limit is {max}")));
    }
    Ok(output)
}
