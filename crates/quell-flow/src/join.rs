//! Policies: when a parallel step is decided, and how, from what has ended so far.
//!
//! A policy is a pure function. It reads no clock, starts nothing and stops nothing: it is asked
//! once before anything runs and once after every branch that ends, and the first decision that it
//! makes is final. Whatever ends later is noise to it. The idea is Loom's: a parallel step is a
//! scope with a *joiner*.

use std::fmt;
use std::sync::Arc;

use quell::CauseKind;

use crate::limits;

/// When a parallel step is decided, and how.
///
/// | policy | decided when | outcome | losers |
/// |---|---|---|---|
/// | [`all`](Self::all) | all Ok, or first failure | values, or that failure | `SiblingFailed` |
/// | [`settle`](Self::settle) | all ended | every outcome | none |
/// | [`first_success`](Self::first_success) | first Ok, or none left | it, or errors | `RaceLost` |
///
/// It is asked before anything runs and after every end until it decides, so that the last of
/// [`SoFar::ended`] is always the only one that it has not seen.
///
/// # Examples
///
/// A policy of one's own: decided when half of the branches have ended, whatever they say.
///
/// ```
/// use quell::CauseKind;
/// use quell_flow::{Decision, Policy, SoFar};
///
/// let half = Policy::new("half", |so_far: &SoFar<'_, u32>| {
///     (so_far.ended.len() * 2 >= so_far.branches).then(|| Decision::values(CauseKind::RaceLost))
/// });
/// assert_eq!(half.name(), "half");
/// assert!(half.decide(&SoFar::new(4, &[])).is_none());
/// ```
pub struct Policy<T> {
    name: Arc<str>,
    decide: Arc<Decide<T>>,
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
        Self { name: name.into(), decide: Arc::new(decide) }
    }

    /// Wants every branch: decided when all are Ok, or at the first failure.
    pub fn all() -> Self {
        Self::new("all", all)
    }

    /// Waits for every branch, whatever it says; never fails.
    pub fn settle() -> Self {
        Self::new("settle", settle)
    }

    /// Wants one branch: decided at the first that is Ok, or when none is left that could be.
    pub fn first_success() -> Self {
        Self::new("first_success", first_success)
    }

    /// Yields the name that reports show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Decides, if what has ended so far is enough to.
    pub fn decide(&self, so_far: &SoFar<'_, T>) -> Option<Decision> {
        (self.decide)(so_far)
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl<T> Clone for Policy<T> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), decide: Arc::clone(&self.decide) }
    }
}

impl<T> fmt::Debug for Policy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a policy may look at.
///
/// # Examples
///
/// ```
/// use quell_flow::{End, Ended, Policy, SoFar};
///
/// let ended = [Ended::new(1, "b", End::Ok(7))];
/// assert!(Policy::all().decide(&SoFar::new(2, &ended)).is_none());
/// assert!(Policy::first_success().decide(&SoFar::new(2, &ended)).is_some());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct SoFar<'a, T> {
    /// How many branches there are.
    pub branches: usize,
    /// Those that have ended, in the order in which they did.
    pub ended: &'a [Ended<T>],
}

impl<'a, T> SoFar<'a, T> {
    /// Puts together what a policy may look at.
    pub const fn new(branches: usize, ended: &'a [Ended<T>]) -> Self {
        Self { branches, ended }
    }

    /// Tells whether every branch has ended.
    pub const fn all_ended(&self) -> bool {
        self.ended.len() >= self.branches
    }
}

/// One branch that has ended.
///
/// # Examples
///
/// ```
/// use quell_flow::{End, Ended};
///
/// let ended: Ended<u32> = Ended::new(0, "left", End::Failed("no route".into()));
/// assert_eq!(&*ended.name, "left");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended<T> {
    /// Its place in the order of declaration, from 0.
    pub branch: usize,
    /// Its name.
    pub name: Arc<str>,
    /// What it counts as.
    pub end: End<T>,
}

impl<T> Ended<T> {
    /// Says which branch ended, and as what it counts.
    pub fn new(branch: usize, name: impl Into<Arc<str>>, end: End<T>) -> Self {
        Self { branch, name: name.into(), end }
    }
}

/// What a branch that has ended counts as. A branch that was stopped counts as the step's words
/// for timeouts and cancels say.
///
/// # Examples
///
/// ```
/// use quell_flow::End;
///
/// assert!(matches!(End::Ok(1), End::Ok(1)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a policy must know everything a branch can count as")]
pub enum End<T> {
    /// It has a value.
    Ok(T),
    /// It failed, with these words.
    Failed(Arc<str>),
    /// It is as if it had not been there.
    Skipped,
}

/// What a policy decided. It is final.
///
/// # Examples
///
/// ```
/// use quell::CauseKind;
/// use quell_flow::{Decision, Verdict};
///
/// let decision = Decision::failed("two of three are down", CauseKind::SiblingFailed).by(2);
/// assert!(matches!(decision.verdict, Verdict::Failed(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The outcome of the step.
    pub verdict: Verdict,
    /// Why the branches that still run are stopped.
    pub losers: CauseKind,
    /// The branch that decided it, if one did.
    pub by: Option<usize>,
}

impl Decision {
    /// Decides for the values of the branches that are Ok by now.
    pub const fn values(losers: CauseKind) -> Self {
        Self { verdict: Verdict::Values, losers, by: None }
    }

    /// Decides that the step fails, with these words.
    pub fn failed(message: impl Into<Arc<str>>, losers: CauseKind) -> Self {
        Self { verdict: Verdict::Failed(message.into()), losers, by: None }
    }

    /// Names the branch that decided it. Defaults to none.
    #[must_use]
    pub const fn by(mut self, branch: usize) -> Self {
        self.by = Some(branch);
        self
    }
}

/// The outcome of a parallel step.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_flow::Verdict::Values, quell_flow::Verdict::Failed("no".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a step has values or it has none")]
pub enum Verdict {
    /// The values of the branches that were Ok at the decision.
    Values,
    /// The step fails, with these words.
    Failed(Arc<str>),
}

fn all<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    let failed = find(so_far, |ended| matches!(ended.end, End::Failed(_)));
    if let Some(Ended { branch, name, end: End::Failed(error) }) = failed {
        let message = format!("branch `{name}` failed: {error}");
        return Some(Decision::failed(message, CauseKind::SiblingFailed).by(*branch));
    }
    so_far.all_ended().then(|| last_decides(so_far, CauseKind::SiblingFailed))
}

fn settle<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    so_far.all_ended().then(|| last_decides(so_far, CauseKind::RaceLost))
}

fn first_success<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    if let Some(first) = find(so_far, |ended| matches!(ended.end, End::Ok(_))) {
        return Some(Decision::values(CauseKind::RaceLost).by(first.branch));
    }
    if !so_far.all_ended() {
        return None;
    }
    let decision = Decision::failed(aggregate(so_far.ended), CauseKind::RaceLost);
    Some(Decision { by: so_far.ended.last().map(|last| last.branch), ..decision })
}

/// Finds the first branch of a kind. Whoever asks does so after every end, so that only the last
/// one is news; all are looked at when there will be no more.
fn find<'a, T>(
    so_far: &SoFar<'a, T>,
    is_wanted: impl Fn(&Ended<T>) -> bool,
) -> Option<&'a Ended<T>> {
    let last = so_far.ended.last().map_or(&[][..], std::slice::from_ref);
    let news = if so_far.all_ended() { so_far.ended } else { last };
    news.iter().find(|ended| is_wanted(ended))
}

fn last_decides<T>(so_far: &SoFar<'_, T>, losers: CauseKind) -> Decision {
    Decision { by: so_far.ended.last().map(|last| last.branch), ..Decision::values(losers) }
}

/// Quotes the failures in the order of declaration, up to the bound.
fn aggregate<T>(ended: &[Ended<T>]) -> String {
    let mut failures: Vec<_> = ended
        .iter()
        .filter_map(|ended| match &ended.end {
            End::Failed(error) => Some((ended.branch, &ended.name, error)),
            End::Ok(_) | End::Skipped => None,
        })
        .collect();
    failures.sort_unstable_by_key(|(branch, ..)| *branch);
    let quoted = failures.iter().take(limits::AGGREGATE_ERRORS_MAX);
    let mut parts: Vec<String> =
        quoted.map(|(_, name, error)| format!("`{name}`: {error}")).collect();
    if failures.len() > parts.len() {
        parts.push(format!("and {} more", failures.len() - parts.len()));
    }
    let start = format!("none of {} branches succeeded", ended.len());
    if parts.is_empty() { start } else { format!("{start}: {}", parts.join("; ")) }
}
