//! [`Decision`]: what a policy decided.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use quell::{CancelRequest, CauseKind, Failure};

use crate::failures;

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

    /// Decides that the step fails, with this message.
    pub fn failed(message: impl Into<Arc<str>>, losers: CauseKind) -> Self {
        Self { verdict: Verdict::Failed(message.into()), losers, by: None }
    }

    /// Makes the decision of a step whose policy decided nothing although all branches ended.
    pub(crate) fn undecided(policy: &str) -> Self {
        let words = format!("policy `{policy}` decided nothing although all branches ended");
        Self::failed(words, CauseKind::RaceLost)
    }

    /// Makes the stop of the branches that still run, of the names of the policy and of the branch
    /// that decided.
    pub(crate) fn dismissal(&self, policy: &str, by: Option<&str>) -> CancelRequest {
        let reason = match by {
            Some(by) => format!("policy `{policy}` was decided by branch `{by}`"),
            None => format!("policy `{policy}` was decided"),
        };
        CancelRequest::because(&reason).kind(self.losers)
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
#[non_exhaustive]
pub enum Verdict {
    /// The values of the branches that were Ok at the decision.
    Values,
    /// The step fails, with this message.
    Failed(Arc<str>),
    /// The step fails, since too few branches can still be Ok.
    Unreachable(QuorumUnreachable),
}

impl Verdict {
    /// Yields the failure of the step, if it is one.
    pub(crate) fn to_failure(&self) -> Option<Failure> {
        match self {
            Self::Values => None,
            Self::Failed(words) => Some(Failure::new(String::from(&**words))),
            Self::Unreachable(unreachable) => Some(unreachable.clone().into()),
        }
    }
}

/// The failure of a quorum, as of the end that put it out of reach.
///
/// # Examples
///
/// ```
/// use quell::{Engine, Failure, RunSpec};
/// use quell_flow::{Parallel, Policy, QuorumUnreachable};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::workflow("vote"), async |ctx| {
///     let vote = Parallel::new("ask")
///         .policy(Policy::quorum(2))
///         .branch("yes", async |_| Ok(true))
///         .branch("down", async |_| Err(Failure::new("no route")))
///         .branch("gone", async |_| Err(Failure::new("refused")));
///     let failure = vote.run(&ctx).await.unwrap_err();
///     Ok(QuorumUnreachable::of(&failure).map(|quorum| quorum.wanted))
/// }).unwrap();
/// assert_eq!(run.await.unwrap(), Some(2));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumUnreachable {
    /// How many branches had to be Ok.
    pub wanted: usize,
    /// How many branches were Ok.
    pub ok: usize,
    /// How many branches had not ended.
    pub open: usize,
    /// How many branches the step had.
    pub branches: usize,
    /// The errors by then, in the order of declaration, quoted up to a bound.
    pub errors: Arc<str>,
}

impl QuorumUnreachable {
    /// Finds it in the failure of a step, also where that went through handles of runs.
    pub fn of(failure: &Failure) -> Option<&Self> {
        failures::find(failure)
    }
}

impl fmt::Display for QuorumUnreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, ok, open, branches, errors } = self;
        write!(f, "quorum of {wanted} is unreachable: of {branches} branches {ok} succeeded")?;
        write!(f, " and {open} had not ended")?;
        if errors.is_empty() { Ok(()) } else { write!(f, ": {errors}") }
    }
}

impl Error for QuorumUnreachable {}
