//! One branch of a parallel step, as it is declared.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, RunContext};

use super::options::{OnCancelled, OnTimeout};
use crate::foreign::Foreign;

/// A branch with times, or needs, of its own.
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
    /// The name of its run, and of its row.
    pub(super) name: Arc<str>,
    /// Its work, until it starts.
    pub(super) body: Foreign<Body<T>>,
    /// What it does not leave to the step. In a box: most branches leave all to it, and a step
    /// moves its branches about (bench `parallel`).
    pub(super) own: Option<Box<Own<T>>>,
}

/// What a branch declares besides its name and body.
pub(super) struct Own<T> {
    /// The branches that must complete before it starts, by name.
    pub(super) needs: Vec<Arc<str>>,
    /// Its own timeout; none for the step's default, as with all that follow.
    pub(super) timeout: Option<Duration>,
    /// Its own time between stop and abort.
    pub(super) grace: Option<Duration>,
    /// Its own idle limit.
    pub(super) idle: Option<Duration>,
    /// What it counts as when its timeout or idle limit fires.
    pub(super) on_timeout: Option<Foreign<OnTimeout<T>>>,
    /// What it counts as when a caller cancels it alone.
    pub(super) on_cancelled: Option<OnCancelled>,
}

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self {
            needs: Vec::new(),
            timeout: None,
            grace: None,
            idle: None,
            on_timeout: None,
            on_cancelled: None,
        }
    }
}

pub(super) type Body<T> =
    Box<dyn FnOnce(RunContext) -> BoxFuture<'static, Result<T, Failure>> + Send + 'static>;

impl<T> Branch<T> {
    /// Names a branch and gives it its body.
    pub fn new<F, Fut>(name: impl Into<Arc<str>>, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let body: Body<T> = Box::new(move |ctx| body(ctx).boxed());
        Self { name: name.into(), body: Foreign::new(body), own: None }
    }

    /// Yields the branches that must complete before it starts.
    pub(super) fn needed(&self) -> &[Arc<str>] {
        self.own.as_ref().map_or(&[], |own| &own.needs)
    }

    fn own(&mut self) -> &mut Own<T> {
        self.own.get_or_insert_default()
    }

    /// Sets the branches of the same step that must complete before it starts, by name, in any
    /// order of declaration. Of several with the same name the first is meant. Defaults to none.
    ///
    /// If one of them fails, is stopped alone or is not started itself, this branch is never
    /// started: it counts as skipped, and [`BranchRow::unmet`](crate::BranchRow::unmet) names the
    /// one. A branch that is stopped does not complete, whatever it counts as. The step fails
    /// before anything starts if it has no branch of a name, or if branches would wait for each
    /// other.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Engine, Failure, RunSpec};
    /// use quell_flow::{Branch, Parallel, Policy};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::workflow("release"), async |ctx| {
    ///     let step = Parallel::new("parts")
    ///         .policy(Policy::settle())
    ///         .branch("build", async |_| Ok("box"))
    ///         .branch("test", async |_| Err(Failure::new("two tests failed")))
    ///         .with_branch(Branch::new("docs", async |_| Ok("pages")).needs(["build"]))
    ///         .with_branch(Branch::new("ship", async |_| Ok("gone")).needs(["docs", "test"]));
    ///     step.run(&ctx).await
    /// }).unwrap();
    /// let settled = run.await.unwrap();
    /// assert_eq!(settled.row("ship").unwrap().unmet.as_deref(), Some("test"));
    /// assert_eq!(settled.into_values(), ["box", "pages"]);
    /// # });
    /// ```
    pub fn needs<N: Into<Arc<str>>>(mut self, branches: impl IntoIterator<Item = N>) -> Self {
        self.own().needs = branches.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the time from its start to its own deadline. Defaults to that of the step's branches.
    /// Zero stops it as soon as it starts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.own().timeout = Some(timeout);
        self
    }

    /// Sets the time between its stop and abort. Defaults to that of the step's branches. Zero
    /// drops its body at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.own().grace = Some(grace);
        self
    }

    /// Sets its idle limit: the longest time without a sign of life. Defaults to that of the step's
    /// branches. Zero stops it as soon as it starts.
    pub fn idle(mut self, time: Duration) -> Self {
        self.own().idle = Some(time);
        self
    }

    /// Sets the three times at once, or leaves them to the step.
    pub(crate) fn times(
        mut self,
        timeout: Option<Duration>,
        grace: Option<Duration>,
        idle: Option<Duration>,
    ) -> Self {
        let own = self.own();
        (own.timeout, own.grace, own.idle) = (timeout, grace, idle);
        self
    }

    /// Sets its outcome when its timeout or idle limit fires. Defaults to that of the step's
    /// branches.
    pub fn on_timeout(mut self, counts_as: OnTimeout<T>) -> Self {
        self.own().on_timeout = Some(Foreign::new(counts_as));
        self
    }

    /// Sets its outcome when a caller cancels this branch alone. Defaults to that of the step's
    /// branches.
    pub fn on_cancelled(mut self, counts_as: OnCancelled) -> Self {
        self.own().on_cancelled = Some(counts_as);
        self
    }
}

impl<T> fmt::Debug for Branch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch")
            .field("name", &self.name)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("needs", &self.needs)
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
