//! [`Parallel`]: a step whose branches run side by side until a policy has decided and all have
//! ended.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use quell::{Failure, Payload, RunContext, RunHandle, RunSpec};
use serde::de::DeserializeOwned;

use super::branch::Branch;
use super::delivery::{OnDecided, Undelivered};
use super::drive::{self, Driven};
use super::limiter::Limiter;
use super::options::{OnCancelled, OnLoser, OnTimeout, StartNext};
use super::partial;
use super::settled::Settled;
use super::terms::Shared;
use crate::foreign::Foreign;
use crate::join::Policy;

/// A parallel step: a run of kind `step` whose children are its branches, of kind `branch`.
///
/// The step is *decided* when its policy knows the outcome. The step then stops the branches that
/// still run, unless [`on_loser`](Self::on_loser) says otherwise. It is *settled* when every branch
/// has ended, and returns only then, unless [`start_next`](Self::start_next) says otherwise. The
/// timeout of one branch stops that branch gracefully and does not disturb the others. The report
/// records what ends after the decision; it changes nothing. A stop from outside beats any policy.
/// To try a branch again, make its body with [`Retry::body`](crate::Retry::body).
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
    /// The run of the step itself.
    spec: RunSpec,
    /// When the step is decided, and how.
    pub(super) policy: Policy<T>,
    /// How many branches run at once; none for all of them.
    pub(super) limit: Option<usize>,
    /// What else bounds how many branches run at once, together with those of other steps.
    pub(super) limiter: Option<Limiter>,
    /// The times of the branches that name none, and what a stop of one of these means.
    pub(super) shared: Shared<T>,
    /// What happens to the branches that run at the decision.
    pub(super) on_loser: OnLoser,
    /// Whether `run` returns when the step is settled or when it is decided.
    pub(super) start_next: StartNext,
    /// Makes a value of the partial output of a stopped branch.
    pub(super) partial_from: Foreign<Box<PartialFrom<T>>>,
    /// The branches, in the order of declaration.
    pub(super) branches: Vec<Branch<T>>,
}

/// Makes a value of a partial output, if it can.
pub(super) type PartialFrom<T> = dyn Fn(Payload) -> Option<T> + Send;

impl<T: Send + 'static> Parallel<T> {
    /// Names a step without branches, under [`Policy::all`].
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self::of(RunSpec::step(name))
    }

    /// Makes a step without branches from the spec of its run, which sets the timeout, the grace
    /// and the labels of the step itself.
    pub fn of(spec: RunSpec) -> Self {
        Self {
            spec,
            policy: Policy::all(),
            limit: None,
            limiter: None,
            shared: Shared {
                timeout: None,
                grace: None,
                idle: None,
                on_timeout: Foreign::new(Box::new(|| OnTimeout::Fail)),
                on_cancelled: OnCancelled::Fail,
            },
            on_loser: OnLoser::Cancel,
            start_next: StartNext::Settled,
            partial_from: Foreign::new(Box::new(partial::read)),
            branches: Vec::new(),
        }
    }

    /// Sets when the step is decided, and how. Defaults to [`Policy::all`].
    pub fn policy(mut self, policy: Policy<T>) -> Self {
        self.policy = policy;
        self
    }

    /// Bounds how many branches run at once. The others wait, in the order of declaration. A branch
    /// that waits for those that it [needs](Branch::needs) takes no place, and others overtake it.
    /// Defaults to no bound. Zero counts as one.
    ///
    /// A branch gives its place back when it is quiescent. A branch that was abandoned keeps its
    /// place for as long as something of it executes.
    pub fn limit(mut self, branches: usize) -> Self {
        self.limit = Some(branches.max(1));
        self
    }

    /// Bounds how many branches run at once together with those of the other steps that share the
    /// limiter. Defaults to none. A bound of the step's own, [`limit`](Self::limit), holds as well.
    ///
    /// A branch keeps its permit while it waits for a step below it. If that step shares the
    /// limiter, branches may hold all permits and wait for each other for ever: give nested steps
    /// another limiter.
    pub fn limiter(mut self, limiter: Limiter) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Sets the timeout of the branches that name none, from the start of each branch. Defaults to
    /// none. Zero stops a branch as soon as it starts.
    pub fn branch_timeout(mut self, timeout: Duration) -> Self {
        self.shared.timeout = Some(timeout);
        self
    }

    /// Sets the time between stop and abort for the branches that name none. Defaults to the
    /// engine's (5 s). Zero drops the body at once.
    pub fn branch_grace(mut self, grace: Duration) -> Self {
        self.shared.grace = Some(grace);
        self
    }

    /// Sets the idle limit of the branches that name none: the longest time without a sign of life.
    /// Defaults to none. Zero stops a branch as soon as it starts.
    pub fn branch_idle(mut self, time: Duration) -> Self {
        self.shared.idle = Some(time);
        self
    }

    /// Sets the outcome of a branch whose timeout or idle limit fires. Defaults to
    /// [`OnTimeout::Fail`]. For a `T` that is not `Clone`, see [`Branch::on_timeout`].
    pub fn on_branch_timeout(mut self, counts_as: OnTimeout<T>) -> Self
    where
        T: Clone,
    {
        self.shared.on_timeout = Foreign::new(Box::new(move || counts_as.clone()));
        self
    }

    /// Sets the outcome of a branch that a caller cancels alone. Defaults to
    /// [`OnCancelled::Fail`].
    pub fn on_branch_cancelled(mut self, counts_as: OnCancelled) -> Self {
        self.shared.on_cancelled = counts_as;
        self
    }

    /// Sets what happens to the branches that still run at the decision. Defaults to
    /// [`OnLoser::Cancel`].
    pub fn on_loser(mut self, on_loser: OnLoser) -> Self {
        self.on_loser = on_loser;
        self
    }

    /// Sets when [`run`](Self::run) returns. Defaults to [`StartNext::Settled`].
    pub fn start_next(mut self, start_next: StartNext) -> Self {
        self.start_next = start_next;
        self
    }

    /// Sets the function that makes a value of a stopped branch's partial output: what the branch
    /// had set as its output, or, if its body returned nothing, the list of what it emitted; see
    /// [`RunRef::partial_output`]. If `T` is a [`Payload`] or a [`serde_json::Value`], it defaults
    /// to that; otherwise to none: only what bodies return counts, unless
    /// [`partial_from_json`](Self::partial_from_json) says otherwise. It is called where
    /// [`OnTimeout::Partial`] or [`OnCancelled::Partial`] applies.
    ///
    /// [`RunRef::partial_output`]: quell::RunRef::partial_output
    pub fn partial_from(mut self, make: impl Fn(Payload) -> Option<T> + Send + 'static) -> Self {
        self.partial_from = Foreign::new(Box::new(make));
        self
    }

    /// Reads the partial output of a stopped branch as JSON. What is no `T` counts as none.
    ///
    /// It is a setter and not the default: without specialisation, code for any `T` cannot ask
    /// whether that `T` is [`DeserializeOwned`], and with a bound on [`new`](Self::new) a step
    /// could have no values of other types.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::{Engine, RunSpec};
    /// use quell_flow::{OnTimeout, Parallel};
    ///
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # runtime.enable_time().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::workflow("flow"), async |ctx| {
    ///     let step = Parallel::new("find")
    ///         .branch_timeout(Duration::from_millis(1))
    ///         .on_branch_timeout(OnTimeout::Partial)
    ///         .partial_from_json()
    ///         .branch("slow", async |ctx| {
    ///             ctx.set_output(serde_json::json!(["first", "second"]).into());
    ///             std::future::pending::<Result<Vec<String>, _>>().await
    ///         });
    ///     Ok(step.run(&ctx).await?.into_first())
    /// }).unwrap();
    /// assert_eq!(run.await.unwrap().unwrap(), ["first", "second"]);
    /// # });
    /// ```
    pub fn partial_from_json(self) -> Self
    where
        T: DeserializeOwned,
    {
        self.partial_from(|partial| partial.parse().ok())
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

    /// Adds a branch with times or [needs](Branch::needs) of its own.
    pub fn with_branch(mut self, branch: Branch<T>) -> Self {
        self.branches.push(branch);
        self
    }

    /// Runs the step as a child of `ctx` and waits until it is settled, or only decided if
    /// [`start_next`](Self::start_next) says so.
    ///
    /// The row of the step in the report has a [`summary`](quell::RunRow::summary): the policy,
    /// when the step was decided and settled, and one row per branch as in [`Settled::rows`]. It is
    /// there whatever the outcome, as far as known:
    /// [`StepSummary::of`](crate::StepSummary::of) reads it, also of a step that was stopped.
    /// The log has the events [`Decided`](quell::EventKind::Decided) and
    /// [`Settled`](quell::EventKind::Settled) of the step, with the same instants.
    ///
    /// # Errors
    ///
    /// Fails if the policy decided so, if it decided nothing although every branch had ended, if a
    /// branch [needs](Branch::needs) one that there is not or branches would wait for each other,
    /// or if the step was stopped; then [`Failure::stopped`] says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the step, which stays a child of `ctx`; its values are
    /// lost.
    pub async fn run(self, ctx: &RunContext) -> Result<Settled<T>, Failure> {
        let whole = |settled: Option<Undelivered<T>>| match settled {
            Some(settled) => Ok(settled.deliver()),
            None => Err(Failure::new("outcome of a parallel step was lost")),
        };
        if self.start_next == StartNext::Settled {
            return whole(self.spawn(ctx, Box::new(drop)).await?);
        }
        let (sender, decided) = oneshot::channel();
        let step = self.spawn(
            ctx,
            Box::new(move |outcome| {
                drop(sender.send(outcome.map(Undelivered::new)));
            }),
        );
        // The channel first: when both are ready, the step has ended without a value because it
        // had delivered the outcome.
        match select(decided, step).await {
            Either::Left((Ok(outcome), step)) => {
                step.into_ref();
                outcome.map(Undelivered::deliver)
            }
            Either::Left((Err(_), step)) => whole(step.await?),
            Either::Right((settled, _)) => whole(settled?),
        }
    }

    fn spawn(
        self,
        ctx: &RunContext,
        on_decided: OnDecided<T>,
    ) -> RunHandle<Option<Undelivered<T>>> {
        ctx.spawn(self.spec.clone(), async move |ctx| match self.drive(&ctx, on_decided).await {
            Driven::Settled(settled) => Ok(Some(Undelivered::new(settled))),
            Driven::Delivered => Ok(None),
            Driven::Failed(failure) => Err(failure),
            Driven::Stopped { stopped, .. } => Err(stopped.into()),
        })
    }

    /// Runs the branches as children of `ctx`, whose run is the step. It does not listen to stops.
    /// If the next step starts at the decision, `on_decided` gets the outcome then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts no further branch and leaves those that run to `ctx`'s run; the
    /// summary is written as far as known.
    pub(crate) async fn drive(self, ctx: &RunContext, on_decided: OnDecided<T>) -> Driven<T> {
        drive::drive(self, ctx, on_decided).await
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
