//! [`Retry`]: how often something is tried, with which pauses, and after which failures.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, RunContext, RunSpec};

use super::backoff::Backoff;

/// How often something is tried, with which pauses, and after which failures.
///
/// # Examples
///
/// On its own:
///
/// ```
/// use std::time::Duration;
/// use quell::{Engine, Failure, RunContext, RunSpec};
/// use quell_flow::{Backoff, Retry};
///
/// async fn fetch(ctx: RunContext) -> Result<u32, Failure> {
///     if ctx.run().name() == "attempt 3" { Ok(7) } else { Err(Failure::new("no route")) }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::workflow("flow"), async |ctx| {
///     let retry = Retry::new(3)
///         .backoff(Backoff::exponential(Duration::from_millis(1)).cap(Duration::from_secs(5)))
///         .when(|failure| failure.to_string().contains("route"));
///     retry.run(&ctx, RunSpec::step("fetch").timeout(Duration::from_secs(60)), fetch).await
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), 7);
/// # });
/// ```
///
/// As the body of a branch, or of any other run:
///
/// ```
/// use std::time::Duration;
/// use quell_flow::{Parallel, Retry};
///
/// let retry = Retry::new(3).backoff(Duration::from_millis(100));
/// let step = Parallel::new("ask")
///     .branch("once", async |_| Ok(1))
///     .branch("again", retry.body(async |_| Ok(2)));
/// # let _ = step;
/// ```
#[derive(Clone)]
#[must_use = "a retry does nothing until it runs something"]
pub struct Retry {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) is_worth_it: Arc<dyn Fn(&Failure) -> bool + Send + Sync>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Option<Duration>,
    pub(super) seed: Option<u64>,
}

impl Retry {
    /// Tries at most so often, the first time included. Zero counts as one.
    pub fn new(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            backoff: Backoff::default(),
            is_worth_it: Arc::new(|failure| !failure.is_panic()),
            timeout: None,
            grace: None,
            seed: None,
        }
    }

    /// Sets the pauses. Defaults to up to 100 ms after the first failure, doubled with each, at
    /// most 30 s. A duration stands for [`Backoff::exponential`]. Zero never waits.
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        self.backoff = backoff.into();
        self
    }

    /// Says which failures are worth another attempt. Defaults to all but panics.
    pub fn when(mut self, is_worth_it: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.is_worth_it = Arc::new(is_worth_it);
        self
    }

    /// Sets the time from the start of an attempt to its own deadline; one that reaches it is
    /// followed by the next. Defaults to none. Zero stops every attempt as soon as it starts.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between the stop of an attempt and its abort. Defaults to the engine's (5 s).
    /// Zero drops its body at once.
    pub fn attempt_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Makes the pauses the same every time, for tests. Defaults to a random seed per use.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Runs a child of `ctx` whose body tries, and waits until it has ended. The timeout of `spec`
    /// is one for all attempts and pauses.
    ///
    /// # Errors
    ///
    /// Fails with the failure of the last attempt, and if the run was stopped; then
    /// [`Failure::stopped`] says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run, which stays a child of `ctx`; its value is lost.
    pub async fn run<T, F, Fut>(
        self,
        ctx: &RunContext,
        spec: RunSpec,
        body: F,
    ) -> Result<T, Failure>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        Ok(ctx.spawn(spec, self.body(body)).await?)
    }

    /// Makes a body that tries, for a branch or any run. What the last attempt set as its output
    /// becomes that of the run; of a run that is stopped, what it left by then.
    pub fn body<T, F, Fut>(
        self,
        body: F,
    ) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<T, Failure>> + Send + 'static
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        move |ctx| self.attempt_all(ctx, Arc::new(body)).boxed()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
