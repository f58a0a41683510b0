//! Trying again: attempts that never overlap, and never outlive a stop.
//!
//! Attempts are runs of kind `attempt`, children of the run that is retried. The next one starts
//! when the last is quiescent; or abandoned, in which case it is terminal, so that whatever it
//! still writes is refused, and the next one says so in a label (I19). A stop of the run that is
//! retried, also between two attempts, ends it at once (I20). An attempt that is stopped alone is
//! not tried again (I5), unless by the retry's own timeout for attempts.

mod after;
mod backoff;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Outcome, RunContext, RunError, RunRef, RunSpec, RunStatus, Stopped};

use crate::parallel::timed;

pub use after::RetryAfter;
pub use backoff::Backoff;

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
    attempts: u32,
    backoff: Backoff,
    is_worth_it: Arc<dyn Fn(&Failure) -> bool + Send + Sync>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    seed: Option<u64>,
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

    /// The body of the run that is retried.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts no further attempt and leaves the one that runs to `ctx`'s run.
    async fn attempt_all<T, F, Fut>(self, ctx: RunContext, body: Arc<F>) -> Result<T, Failure>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let mut made = Attempts { ctx: ctx.clone(), last: None, restless: Vec::new() };
        for number in 1.. {
            ctx.checkpoint()?;
            let body = Arc::clone(&body);
            let attempt = ctx.spawn(self.spec(number, &mut made), move |ctx| body(ctx));
            made.last = Some(attempt.run().clone());
            let outcome = attempt.outcome().await;
            made.note_end();
            let failure = match self.weigh(&made, number, outcome) {
                Next::Return(result) => return result,
                Next::Try(failure) => failure,
            };
            let asked = RetryAfter::of(&failure).map_or(Duration::ZERO, RetryAfter::after);
            let pause = self.backoff.delay(number, seed).max(asked);
            if !pause.is_zero() {
                ctx.run_until_stopped(tokio::time::sleep(pause)).await?;
            }
        }
        Err(Failure::new("attempts ran out of numbers"))
    }

    fn spec(&self, number: u32, made: &mut Attempts) -> RunSpec {
        let spec = RunSpec::attempt(format!("attempt {number}"));
        let spec = timed(spec, self.timeout, self.grace, None);
        match made.still_restless() {
            Some(names) => spec.label(ABANDONED_ATTEMPTS, names),
            None => spec,
        }
    }

    /// Says what follows from the end of an attempt.
    fn weigh<T>(&self, made: &Attempts, number: u32, outcome: Outcome<T>) -> Next<T> {
        let failure = match outcome {
            Outcome::Completed(value) => return Next::Return(Ok(value)),
            Outcome::Stopped { cause, partial } if made.is_stopped() => {
                // A value that comes after the stop is the partial value of the run.
                return Next::Return(partial.ok_or_else(|| Stopped { cause }.into()));
            }
            Outcome::Stopped { cause, .. } if self.timeout.is_some() && made.has_timed_out() => {
                Failure::new(format!("attempt {number} timed out ({cause})"))
            }
            Outcome::Stopped { cause, .. } => {
                let words = format!("attempt {number} was stopped ({cause})");
                return Next::Return(Err(Failure::new(words)));
            }
            Outcome::Failed(RunError::Failed(failed)) => {
                if !(self.is_worth_it)(&failed.failure) {
                    return Next::Return(Err(failed.failure));
                }
                failed.failure
            }
            Outcome::Failed(refused) => return Next::Return(Err(refused.into())),
        };
        if number >= self.attempts { Next::Return(Err(failure)) } else { Next::Try(failure) }
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

/// The label under which an attempt carries the names of earlier ones that were abandoned and still
/// execute.
///
/// # Examples
///
/// ```
/// fn overlaps(attempt: &quell::RunRef) -> bool {
///     attempt.label(quell_flow::ABANDONED_ATTEMPTS).is_some()
/// }
/// ```
pub const ABANDONED_ATTEMPTS: &str = "abandoned_attempts";

/// What follows from the end of an attempt.
enum Next<T> {
    Return(Result<T, Failure>),
    Try(Failure),
}

/// The attempts that were made. When it is dropped, in whatever way, the output of the last one
/// becomes that of the run.
struct Attempts {
    ctx: RunContext,
    last: Option<RunRef>,
    /// Those that had ended and were not quiescent then.
    restless: Vec<RunRef>,
}

impl Attempts {
    /// Tells whether the run that is retried is to stop.
    fn is_stopped(&self) -> bool {
        self.ctx.run().status() != RunStatus::Running
    }

    /// Tells whether the last attempt reached its own deadline.
    fn has_timed_out(&self) -> bool {
        self.last.as_ref().is_some_and(|run| run.status() == RunStatus::TimedOut)
    }

    fn note_end(&mut self) {
        let is_restless = |run: &&RunRef| !run.report().quiescent;
        self.restless.extend(self.last.as_ref().filter(is_restless).cloned());
    }

    /// Names those that still execute, the first ones if there are many.
    fn still_restless(&mut self) -> Option<String> {
        self.restless.retain(|run| !run.report().quiescent);
        let names = self.restless.iter().take(NAMES_MAX).map(RunRef::name);
        let names = names.collect::<Vec<_>>().join(", ");
        Some(names).filter(|names| !names.is_empty())
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let Some(last) = &self.last else { return };
        let report = last.report();
        // One that is too late is in the report of the attempt.
        if let Some(output) = report.output.clone().or_else(|| report.partial.clone()) {
            self.ctx.set_output(output);
        }
    }
}

/// Names of abandoned attempts that a label holds.
const NAMES_MAX: usize = 32;
