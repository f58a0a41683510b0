//! [`Policy`]: when a parallel step is decided, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::decision::Decision;
use super::rules;
use super::so_far::SoFar;
use crate::foreign::Foreign;

/// When a parallel step is decided, and how.
///
/// | policy | decided when | outcome | losers |
/// |---|---|---|---|
/// | [`all`](Self::all) | all Ok, or first failure | values, or that failure | `SiblingFailed` |
/// | [`settle`](Self::settle) | all ended | every outcome | none |
/// | [`first_success`](Self::first_success) | first Ok, or none left | it, or errors | `RaceLost` |
/// | [`first_settled`](Self::first_settled) | first end | it, an error too | `RaceLost` |
/// | [`quorum`](Self::quorum) | k Ok, or impossible | k values, or none | `QuorumReached` |
/// | [`until`](Self::until) | a predicate says so | what has ended | `RaceLost` |
/// | [`best_effort`](Self::best_effort) | deadline, or all ended | what has ended | `Deadline` |
/// | [`hedge`](Self::hedge) | as `first_success` | one value | `RaceLost` |
///
/// It is asked before anything runs and after every end until it decides, so that the last of
/// [`SoFar::ended`] is the only one that it may not have seen.
///
/// # Examples
///
/// A policy of one's own: decided when half of the branches have ended, whatever they say.
///
/// ```
/// use quell::CauseKind;
/// use quell_flow::{Decision, End, Ended, Parallel, Policy, SoFar};
///
/// fn half<T: 'static>() -> Policy<T> {
///     Policy::new("half", |so_far: &SoFar<'_, T>| {
///         let by = so_far.ended.last()?.branch;
///         let is_enough = so_far.ended.len() * 2 >= so_far.branches;
///         is_enough.then(|| Decision::values(CauseKind::RaceLost).by(by))
///     })
/// }
///
/// // It is pure, and can be tested on its own.
/// let ended = [Ended::new(1, "b", End::Ok(7)), Ended::new(0, "a", End::Failed("no".into()))];
/// assert!(half().decide(&SoFar::new(4, &ended[..1])).is_none());
/// assert_eq!(half().decide(&SoFar::new(4, &ended)).unwrap().by, Some(0));
///
/// let step = Parallel::new("ask").policy(half()).branch("a", async |_| Ok(1));
/// # let _ = step;
/// ```
pub struct Policy<T> {
    /// For reports, with its numbers.
    name: Arc<str>,
    /// The pure function.
    decide: Foreign<Arc<Decide<T>>>,
    /// After which time from the start of the step it is asked once more.
    deadline: Option<Duration>,
    /// The time between two starts.
    stagger: Option<Duration>,
}

type Decide<T> = dyn Fn(&SoFar<'_, T>) -> Option<Decision> + Send + Sync;

impl<T: 'static> Policy<T> {
    /// Makes a policy of a name, for reports, and a pure function.
    ///
    /// A function that has decided nothing when every branch has ended makes the step fail; one
    /// that panics does so too, at once.
    pub fn new<F>(name: impl Into<Arc<str>>, decide: F) -> Self
    where
        F: Fn(&SoFar<'_, T>) -> Option<Decision> + Send + Sync + 'static,
    {
        Self {
            name: name.into(),
            decide: Foreign::new(Arc::new(decide)),
            deadline: None,
            stagger: None,
        }
    }

    /// Asks the policy once more at this time after the start of the step, if it has not decided by
    /// then; [`SoFar::is_over`] is true then. The deadline stops nothing by itself. Defaults to
    /// none. Zero asks so before anything starts.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Starts branches one after another: the next at this time after the latest start, or as soon
    /// as no branch runs. Defaults to all at once, as does zero.
    #[must_use]
    pub fn stagger(mut self, time: Duration) -> Self {
        self.stagger = Some(time);
        self
    }

    /// Needs every branch: decided when all are Ok, or at the first failure.
    pub fn all() -> Self {
        Self::new("all", rules::all)
    }

    /// Waits for every branch, Ok or not. Never fails.
    pub fn settle() -> Self {
        Self::new("settle", rules::settle)
    }

    /// Needs one branch: decided at the first that is Ok, or when all have ended and none is.
    pub fn first_success() -> Self {
        Self::new("first_success", rules::first_success)
    }

    /// Takes the first branch that ends, Ok or failed. The step fails if that branch failed, and if
    /// every branch was skipped.
    pub fn first_settled() -> Self {
        Self::new("first_settled", rules::first_settled)
    }

    /// Needs `wanted` branches: decided when that many are Ok, or, with
    /// [`QuorumUnreachable`](super::QuorumUnreachable), at the end that puts the quorum out of
    /// reach. The step then stops the other branches with the cause `SiblingFailed`.
    ///
    /// A quorum of zero, and one of more than there are branches, is decided before anything
    /// starts.
    ///
    /// # Examples
    ///
    /// Two of three, one of which hands over what it has when its time is up:
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::{Engine, Failure, RunContext, RunSpec};
    /// use quell_flow::{OnTimeout, Parallel, Policy};
    ///
    /// async fn draft(ctx: RunContext) -> Result<String, Failure> {
    ///     let mut text = String::from("once");
    ///     let step = Duration::from_millis(1);
    ///     while ctx.run_until_stopped(tokio::time::sleep(step)).await.is_ok() {
    ///         text.push_str(" upon");
    ///     }
    ///     Ok(text)
    /// }
    ///
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # runtime.enable_time().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::team("editors"), async |ctx| {
    ///     let team = Parallel::new("draft")
    ///         .policy(Policy::quorum(2))
    ///         .branch_timeout(Duration::from_millis(20))
    ///         .on_branch_timeout(OnTimeout::Partial)
    ///         .branch("terse", async |_| Ok(String::from("no")))
    ///         .branch("down", async |_| Err(Failure::new("no route")))
    ///         .branch("slow", draft);
    ///     Ok(team.run(&ctx).await?.into_values())
    /// }).unwrap();
    /// let drafts = run.await.unwrap();
    /// assert!(drafts.len() == 2 && drafts[1].starts_with("once"));
    /// # });
    /// ```
    pub fn quorum(wanted: usize) -> Self {
        let decide = move |so_far: &SoFar<'_, T>| rules::quorum(wanted, so_far);
        Self::new(format!("quorum({wanted})"), decide)
    }

    /// Takes what has ended as soon as a predicate over it is true. The step asks the predicate
    /// before anything runs, too. It fails if every branch has ended and the predicate is false.
    pub fn until<F>(is_enough: F) -> Self
    where
        F: Fn(&SoFar<'_, T>) -> bool + Send + Sync + 'static,
    {
        Self::new("until", move |so_far| rules::until(is_enough(so_far), so_far))
    }

    /// Takes what has ended when all branches have, or at `deadline` after the start of the step.
    /// Fails if fewer than `min` branches are Ok then.
    ///
    /// A deadline of zero is over before anything starts. A `min` of zero never fails.
    pub fn best_effort(deadline: Duration, min: usize) -> Self {
        let name = format!("best_effort({}, {min})", humantime::format_duration(deadline));
        Self::new(name, move |so_far| rules::best_effort(min, so_far)).deadline(deadline)
    }

    /// Needs one branch as [`first_success`](Self::first_success) does, and starts the next branch
    /// only after `delay`, or as soon as no branch runs. A delay of zero starts all at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::{Engine, RunSpec};
    /// use quell_flow::{CountedAs, Parallel, Policy};
    ///
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # runtime.enable_time().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::step("fetch"), async |ctx| {
    ///     let request = Parallel::new("request")
    ///         .policy(Policy::hedge(Duration::from_millis(1)))
    ///         .branch("near", async |_| std::future::pending().await)
    ///         .branch("far", async |_| Ok("from afar"))
    ///         .branch("spare", async |_| Ok("not needed"));
    ///     request.run(&ctx).await
    /// }).unwrap();
    /// let settled = run.await.unwrap();
    /// assert_eq!(settled.row("near").unwrap().counted_as, CountedAs::Ignored);
    /// assert!(settled.row("spare").unwrap().run.is_none());
    /// assert_eq!(settled.into_first(), Some("from afar"));
    /// # });
    /// ```
    pub fn hedge(delay: Duration) -> Self {
        let name = format!("hedge({})", humantime::format_duration(delay));
        Self::new(name, rules::first_success).stagger(delay)
    }

    /// Yields the name that reports show, with its numbers: `quorum(2)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Decides, if what has ended so far is enough to.
    pub fn decide(&self, so_far: &SoFar<'_, T>) -> Option<Decision> {
        (self.decide)(so_far)
    }

    /// Yields the time after which it is asked once more, if any.
    pub const fn deadline_after(&self) -> Option<Duration> {
        self.deadline
    }

    /// Yields the time between two starts, if any.
    pub const fn staggered_by(&self) -> Option<Duration> {
        self.stagger
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl<T> Clone for Policy<T> {
    fn clone(&self) -> Self {
        let (name, decide) = (Arc::clone(&self.name), self.decide.clone());
        Self { name, decide, deadline: self.deadline, stagger: self.stagger }
    }
}

impl<T> fmt::Debug for Policy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).finish_non_exhaustive()
    }
}
