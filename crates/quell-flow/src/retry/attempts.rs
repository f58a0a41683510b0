//! The body of a run that is retried: makes one attempt after another.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quell::{Failure, Outcome, RunContext, RunError, RunKind, RunRef, RunSpec, RunStatus, Stopped};

use super::after::RetryAfter;
use super::options::Retry;
use crate::foreign::Foreign;
use crate::times::timed;

/// One attempt, as its body gets it from [`Retry::run_with`] and [`Retry::body_with`].
///
/// # Examples
///
/// ```
/// use quell_flow::Attempt;
///
/// /// Asks for less after every failure.
/// fn page_len(attempt: &Attempt<usize>) -> usize {
///     attempt.state >> (attempt.number - 1)
/// }
/// # let _ = page_len;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt<S> {
    /// Its number, from 1.
    pub number: u32,
    /// How many attempts there are at most.
    pub attempts_max: u32,
    /// A clone of the state that all attempts share.
    pub state: S,
}

impl<S> Attempt<S> {
    /// Tells whether no other attempt follows this one, however it ends.
    pub const fn is_last(&self) -> bool {
        self.number >= self.attempts_max
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

/// Yields the number, from 1, of the attempt of a [`Retry`] that a run is or belongs to: of several
/// that of the innermost, and 1 if nothing around it is retried.
///
/// # Examples
///
/// ```
/// fn is_tried_again(ctx: &quell::RunContext) -> bool {
///     quell_flow::attempt_number(ctx.run()) > 1
/// }
/// ```
pub fn attempt_number(run: &RunRef) -> u32 {
    let number_of = |run: &RunRef| {
        let number = run.name().strip_prefix(NAME).filter(|_| run.kind() == RunKind::Attempt);
        number?.parse().ok()
    };
    std::iter::successors(Some(run.clone()), RunRef::parent)
        .find_map(|run| number_of(&run))
        .unwrap_or(1)
}

impl Retry {
    /// The body of the run that is retried.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts no further attempt and leaves the one that runs to `ctx`'s run.
    pub(super) async fn attempt_all<T, F, Fut>(
        self,
        ctx: RunContext,
        body: Arc<F>,
    ) -> Result<T, Failure>
    where
        F: Fn(RunContext, u32) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let mut made = Attempts { ctx: ctx.clone(), last: None, non_quiescent: Vec::new() };
        for number in self.first.. {
            // The run may have been stopped while nothing of it was awaited.
            ctx.checkpoint()?;
            let body = Arc::clone(&body);
            let attempt = ctx.spawn(self.spec(number, &mut made), move |ctx| body(ctx, number));
            // Before the wait: if this future is dropped in it, `made` still has the output.
            made.last = Some(attempt.run().clone());
            let outcome = attempt.outcome().await;
            made.note_end();
            let failure = match self.weigh(&made, number, outcome) {
                Next::Return(result) => return result,
                Next::Try(failure) => Foreign::new(failure),
            };
            let asked = RetryAfter::of(&failure).map_or(Duration::ZERO, RetryAfter::after);
            let pause = self.pauses.after(number, &failure, seed).max(asked);
            if !pause.is_zero() {
                ctx.run_until_stopped(tokio::time::sleep(pause)).await?;
            }
        }
        Err(Failure::new("attempts ran out of numbers"))
    }

    fn spec(&self, number: u32, made: &mut Attempts) -> RunSpec {
        let spec = RunSpec::attempt(format!("{NAME}{number}"));
        let spec = timed(spec, self.timeout, self.grace, None);
        match made.still_executing() {
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
                let failure = Foreign::new(failed.failure);
                if !(self.is_worth_it)(&failure) {
                    return Next::Return(Err(failure.into_inner()));
                }
                failure.into_inner()
            }
            Outcome::Failed(refused) => return Next::Return(Err(refused.into())),
        };
        if number >= self.attempts { Next::Return(Err(failure)) } else { Next::Try(failure) }
    }
}

/// What follows from the end of an attempt.
enum Next<T> {
    /// The run ends like this.
    Return(Result<T, Failure>),
    /// Another attempt, after this failure.
    Try(Failure),
}

/// The attempts that were made. When it is dropped, in whatever way, the output of the last one
/// becomes that of the run.
struct Attempts {
    /// The run that is retried.
    ctx: RunContext,
    /// The latest attempt; none before the first.
    last: Option<RunRef>,
    /// The attempts that had ended and were not quiescent then.
    non_quiescent: Vec<RunRef>,
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
        let is_non_quiescent = |run: &&RunRef| !run.report().quiescent;
        self.non_quiescent.extend(self.last.as_ref().filter(is_non_quiescent).cloned());
    }

    /// Yields the names of the attempts that still execute, the first ones if there are many.
    fn still_executing(&mut self) -> Option<String> {
        self.non_quiescent.retain(|run| !run.report().quiescent);
        let names = self.non_quiescent.iter().take(NAMES_MAX).map(RunRef::name);
        let names = names.collect::<Vec<_>>().join(", ");
        Some(names).filter(|names| !names.is_empty())
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let Some(last) = &self.last else { return };
        let report = last.report();
        // An output that the run refuses, because it is too late, is in the report of the attempt.
        if let Some(output) = report.output.clone().or_else(|| report.partial.clone()) {
            self.ctx.set_output(output);
        }
    }
}

/// What precedes the number in the name of an attempt.
const NAME: &str = "attempt ";

/// Names of abandoned attempts that a label holds.
const NAMES_MAX: usize = 32;
