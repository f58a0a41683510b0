//! A parallel step: branches that run side by side until a policy has decided and all have ended.

mod board;
mod drive;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Payload, RunContext, RunError, RunSpec};

use crate::{OnCancelled, OnTimeout, Policy, Settled};

pub(crate) use drive::Driven;

/// A parallel step: a run of kind `step` whose children are its branches, of kind `branch`.
///
/// The step is *decided* when its policy knows the outcome; branches that still run are then
/// stopped. It is *settled*, and only then returns, when every branch has ended. A branch that
/// reaches its own timeout is stopped gracefully; the others are not disturbed. What ends after
/// the decision is recorded and changes nothing. A stop from outside beats any policy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::{Engine, RunSpec};
/// use quell_flow::{OnTimeout, Parallel, Policy};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::workflow("compare"), async |ctx| {
///     let answers = Parallel::new("ask")
///         .policy(Policy::all())
///         .limit(8)
///         .branch_timeout(Duration::from_secs(20))
///         .branch_grace(Duration::from_secs(2))
///         .on_branch_timeout(OnTimeout::Default(0))
///         .branch("two", async |_| Ok(2))
///         .branches((3..=4).map(|n| (n.to_string(), async move |_| Ok(n))))
///         .run(&ctx)
///         .await?;
///     Ok(answers.into_values())
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), [2, 3, 4]);
/// # });
/// ```
#[must_use = "a parallel step does nothing until it is run"]
pub struct Parallel<T> {
    spec: RunSpec,
    policy: Policy<T>,
    limit: Option<usize>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    on_timeout: Box<dyn Fn() -> OnTimeout<T> + Send>,
    on_cancelled: OnCancelled,
    partial_from: Box<PartialFrom<T>>,
    branches: Vec<Branch<T>>,
}

type PartialFrom<T> = dyn Fn(Payload) -> Option<T> + Send;

impl<T: Send + 'static> Parallel<T> {
    /// Names a step without branches, under [`Policy::all`].
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self::of(RunSpec::step(name))
    }

    /// Takes the spec of the step itself, for what [`new`](Self::new) leaves out: its own timeout,
    /// grace, labels.
    pub fn of(spec: RunSpec) -> Self {
        Self {
            spec,
            policy: Policy::all(),
            limit: None,
            timeout: None,
            grace: None,
            on_timeout: Box::new(|| OnTimeout::Fail),
            on_cancelled: OnCancelled::Fail,
            partial_from: Box::new(|_| None),
            branches: Vec::new(),
        }
    }

    /// Sets when the step is decided, and how. Defaults to [`Policy::all`].
    pub fn policy(mut self, policy: Policy<T>) -> Self {
        self.policy = policy;
        self
    }

    /// Bounds how many branches run at once; the others wait, in the order of declaration.
    /// Defaults to no bound. Zero counts as one.
    ///
    /// A branch gives its place back when it is quiescent: one that was abandoned keeps it for as
    /// long as something of it executes.
    pub fn limit(mut self, branches: usize) -> Self {
        self.limit = Some(branches.max(1));
        self
    }

    /// Sets the timeout of branches that name none, from the start of each. Defaults to none.
    /// Zero stops a branch as soon as it starts.
    pub fn branch_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between stop and abort of branches that name none. Defaults to the engine's
    /// (5 s). Zero drops the body at once.
    pub fn branch_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets what a branch counts as that reached its timeout or idle limit. Defaults to
    /// [`OnTimeout::Fail`]. For a `T` that is not `Clone`, see [`Branch::on_timeout`].
    pub fn on_branch_timeout(mut self, word: OnTimeout<T>) -> Self
    where
        T: Clone,
    {
        self.on_timeout = Box::new(move || word.clone());
        self
    }

    /// Sets what a branch counts as that somebody cancelled, and it alone. Defaults to
    /// [`OnCancelled::Fail`].
    pub fn on_branch_cancelled(mut self, word: OnCancelled) -> Self {
        self.on_cancelled = word;
        self
    }

    /// Sets how a value is made of what a stopped branch had set as its output, if its body
    /// returned none. Defaults to not at all. It matters where the word is `Partial`.
    pub fn partial_from(mut self, make: impl Fn(Payload) -> Option<T> + Send + 'static) -> Self {
        self.partial_from = Box::new(make);
        self
    }

    /// Adds a branch.
    pub fn branch<F, Fut>(self, name: impl Into<Arc<str>>, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.with_branch(Branch::new(name, body))
    }

    /// Adds branches of a name and a body each.
    pub fn branches<N, F, Fut>(mut self, branches: impl IntoIterator<Item = (N, F)>) -> Self
    where
        N: Into<Arc<str>>,
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.branches.extend(branches.into_iter().map(|(name, body)| Branch::new(name, body)));
        self
    }

    /// Adds a branch with times of its own.
    pub fn with_branch(mut self, branch: Branch<T>) -> Self {
        self.branches.push(branch);
        self
    }

    /// Runs the step as a child of `ctx` and waits until it is settled.
    ///
    /// The output of the step, in the report, is a summary: the policy, when the step was decided
    /// and settled, and one row per branch as in [`Settled::rows`]. It is there whatever the
    /// outcome, as far as known.
    ///
    /// # Errors
    ///
    /// Fails if the policy decided so, if it decided nothing although every branch had ended, or
    /// if the step was stopped; then [`Failure::stopped`] says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the step, which stays a child of `ctx`; its values are
    /// lost.
    pub async fn run(self, ctx: &RunContext) -> Result<Settled<T>, Failure> {
        let step = ctx.spawn(self.spec.clone(), async move |ctx| match self.drive(&ctx).await {
            Driven::Settled(settled) => Ok(settled),
            Driven::Failed(failure) => Err(failure),
            Driven::Stopped { stopped, .. } => Err(stopped.into()),
        });
        Ok(step.await?)
    }

    /// Runs the branches as children of `ctx`, whose run is the step. It does not listen to stops.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts no further branch and leaves those that run to `ctx`'s run; the
    /// summary is written as far as known.
    pub(crate) async fn drive(self, ctx: &RunContext) -> Driven<T> {
        drive::drive(self, ctx).await
    }
}

impl<T> fmt::Debug for Parallel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parallel")
            .field("spec", &self.spec)
            .field("policy", &self.policy)
            .field("limit", &self.limit)
            .field("branches", &self.branches)
            .finish_non_exhaustive()
    }
}

/// A branch with times of its own.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_flow::{Branch, Parallel};
///
/// let step = Parallel::new("fetch")
///     .branch_timeout(Duration::from_secs(5))
///     .branch("near", async |_| Ok(1))
///     .with_branch(Branch::new("far", async |_| Ok(2)).timeout(Duration::from_secs(20)));
/// # let _ = step;
/// ```
#[must_use = "a branch does nothing until its step is run"]
pub struct Branch<T> {
    name: Arc<str>,
    body: Body<T>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    idle: Option<Duration>,
    on_timeout: Option<OnTimeout<T>>,
}

type Body<T> =
    Box<dyn FnOnce(RunContext) -> BoxFuture<'static, Result<T, Failure>> + Send + 'static>;

impl<T> Branch<T> {
    /// Names a branch and gives it its body.
    pub fn new<F, Fut>(name: impl Into<Arc<str>>, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        Self {
            name: name.into(),
            body: Box::new(move |ctx| body(ctx).boxed()),
            timeout: None,
            grace: None,
            idle: None,
            on_timeout: None,
        }
    }

    /// Sets the time from its start to its own deadline. Defaults to that of the step's branches.
    /// Zero stops it as soon as it starts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between its stop and abort. Defaults to that of the step's branches. Zero
    /// drops its body at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Bounds the time without a sign of life in it. Defaults to none. Zero stops it as soon as it
    /// starts.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// Sets the three times at once, or leaves them to the step.
    pub(crate) fn times(
        self,
        timeout: Option<Duration>,
        grace: Option<Duration>,
        idle: Option<Duration>,
    ) -> Self {
        Self { timeout, grace, idle, ..self }
    }

    /// Sets what it counts as if it reaches its timeout or idle limit. Defaults to the word for
    /// the step's branches.
    pub fn on_timeout(mut self, word: OnTimeout<T>) -> Self {
        self.on_timeout = Some(word);
        self
    }
}

impl<T> fmt::Debug for Branch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// Sets those times of a spec that are given.
pub(crate) fn timed(
    mut spec: RunSpec,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    idle: Option<Duration>,
) -> RunSpec {
    if let Some(timeout) = timeout {
        spec = spec.timeout(timeout);
    }
    if let Some(grace) = grace {
        spec = spec.grace(grace);
    }
    if let Some(idle) = idle {
        spec = spec.idle(idle);
    }
    spec
}

/// The words of a failed run without its name, which whoever quotes them adds.
pub(crate) fn words(error: &RunError) -> String {
    match error {
        RunError::Failed(failed) => failed.failure.to_string(),
        other => other.to_string(),
    }
}
