//! [`Retry`]: how often something is tried, with which pauses, and after which failures.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, RunContext, RunSpec};

use super::attempts::Attempt;
use super::backoff::Backoff;
use crate::foreign::Foreign;

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
    /// How often at most, the first time included; at least 1.
    pub(super) attempts: u32,
    /// How long it waits between two attempts.
    pub(super) pauses: Pauses,
    /// Tells which failures are worth another attempt.
    pub(super) is_worth_it: Foreign<Arc<IsWorthIt>>,
    /// The timeout of each attempt.
    pub(super) timeout: Option<Duration>,
    /// The grace of each attempt.
    pub(super) grace: Option<Duration>,
    /// The seed of the jitter; none for one drawn per use.
    pub(super) seed: Option<u64>,
    /// The number of the first attempt; those before it were made in a former attempt of the run.
    pub(super) first: u32,
}

/// How long a retry waits between two attempts.
#[derive(Clone)]
pub(super) enum Pauses {
    /// As long as this says.
    Backoff(Backoff),
    /// As long as a function of the caller says.
    By(Foreign<Arc<PauseAfter>>),
}

type IsWorthIt = dyn Fn(&Failure) -> bool + Send + Sync;

type PauseAfter = dyn Fn(u32, &Failure) -> Duration + Send + Sync;

impl Pauses {
    /// Yields the pause after so many failures, counted from 1, the last of which is given.
    pub(super) fn after(&self, failures: u32, last: &Failure, seed: u64) -> Duration {
        match self {
            Self::Backoff(backoff) => backoff.delay(failures, seed),
            Self::By(pause) => pause(failures, last),
        }
    }
}

impl Retry {
    /// Tries at most so often, the first time included. Zero counts as one.
    pub fn new(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            pauses: Pauses::Backoff(Backoff::default()),
            is_worth_it: Foreign::new(Arc::new(|failure| !failure.is_panic())),
            timeout: None,
            grace: None,
            seed: None,
            first: 1,
        }
    }

    /// Goes on counting behind attempts that were made before. At least one more is made.
    pub(crate) const fn starting_at(mut self, number: u32) -> Self {
        self.first = number;
        self
    }

    /// Sets the pauses. Defaults to up to 100 ms after the first failure, doubled with each, at
    /// most 30 s. A duration stands for [`Backoff::exponential`]. Zero never waits.
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        self.pauses = Pauses::Backoff(backoff.into());
        self
    }

    /// Sets the pauses by a function of how many attempts have failed, counted from 1, and of the
    /// last failure. It replaces [`backoff`](Self::backoff): nothing caps what it yields, and
    /// nothing is drawn at random. Zero does not wait. A failure that is a
    /// [`RetryAfter`](crate::RetryAfter) still waits at least as long as that says.
    ///
    /// The function is not called after a failure that no attempt follows. If it panics, the run
    /// that is retried fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell_flow::Retry;
    ///
    /// // 1 s, 1 s, 2 s, 3 s, 5 s; a minute after a failure of the network.
    /// let pauses = [1, 1, 2, 3, 5].map(Duration::from_secs);
    /// let retry = Retry::new(6).backoff_by(move |failures, last| {
    ///     if last.to_string().contains("no route") {
    ///         return Duration::from_secs(60);
    ///     }
    ///     pauses[(failures as usize - 1).min(pauses.len() - 1)]
    /// });
    /// # let _ = retry;
    /// ```
    pub fn backoff_by(
        mut self,
        pause: impl Fn(u32, &Failure) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.pauses = Pauses::By(Foreign::new(Arc::new(pause)));
        self
    }

    /// Sets which failures are worth another attempt. Defaults to all but panics. If the function
    /// panics, the run that is retried fails.
    pub fn when(mut self, is_worth_it: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.is_worth_it = Foreign::new(Arc::new(is_worth_it));
        self
    }

    /// Sets the time from the start of an attempt to its own deadline. The next attempt follows one
    /// that reaches it. Defaults to none. Zero stops every attempt as soon as it starts.
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
        let body = Foreign::new(body);
        move |ctx| self.attempt_all(ctx, Arc::new(move |ctx, _| body(ctx))).boxed()
    }

    /// As [`run`](Self::run), with a body that gets an [`Attempt`]: its number, and a clone of
    /// `state`, which a closure that is called again could not move into its future.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    /// use quell::{Engine, Failure, RunSpec};
    /// use quell_flow::{Attempt, Retry};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let calls = Arc::new(AtomicU32::new(0));
    /// let counter = Arc::clone(&calls);
    /// let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| {
    ///     let retry = Retry::new(3).backoff(Duration::from_millis(1));
    ///     let body = async |_ctx, attempt: Attempt<Arc<AtomicU32>>| {
    ///         attempt.state.fetch_add(1, Ordering::Relaxed);
    ///         if attempt.is_last() { Ok(attempt.number) } else { Err(Failure::new("busy")) }
    ///     };
    ///     retry.run_with(&ctx, RunSpec::step("fetch"), counter, body).await
    /// }).unwrap();
    /// assert_eq!(run.await.unwrap(), 3);
    /// assert_eq!(calls.load(Ordering::Relaxed), 3);
    /// # });
    /// ```
    pub async fn run_with<S, T, F, Fut>(
        self,
        ctx: &RunContext,
        spec: RunSpec,
        state: S,
        body: F,
    ) -> Result<T, Failure>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(RunContext, Attempt<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        Ok(ctx.spawn(spec, self.body_with(state, body)).await?)
    }

    /// As [`body`](Self::body), with a body that gets an [`Attempt`], as in
    /// [`run_with`](Self::run_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Attempt, Parallel, Retry};
    ///
    /// let servers = ["near", "far"].map(String::from);
    /// let ask = async |_ctx, attempt: Attempt<[String; 2]>| {
    ///     // Another server at every attempt.
    ///     Ok(attempt.state[attempt.number as usize % 2].clone())
    /// };
    /// let step = Parallel::new("ask").branch("again", Retry::new(4).body_with(servers, ask));
    /// # let _ = step;
    /// ```
    pub fn body_with<S, T, F, Fut>(
        self,
        state: S,
        body: F,
    ) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<T, Failure>> + Send + 'static
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(RunContext, Attempt<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let attempts_max = self.attempts;
        let (body, state) = (Foreign::new(body), Foreign::new(state));
        let body =
            move |ctx, number| body(ctx, Attempt { number, attempts_max, state: S::clone(&state) });
        move |ctx| self.attempt_all(ctx, Arc::new(body)).boxed()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .field(
                "backoff",
                &match &self.pauses {
                    Pauses::Backoff(backoff) => Some(backoff),
                    Pauses::By(_) => None,
                },
            )
            .finish_non_exhaustive()
    }
}
