//! [`ParallelStep`] runs steps in parallel under a [`PlanPolicy`]; [`PlanRetry`] retries a step.

use std::sync::Arc;
use std::time::Duration;

use quell::Payload;
use serde::Serialize;

use super::expression::Expression;
use super::step::PlanStep;
use crate::{Backoff, OnCancelled, OnLoser, OnTimeout, Retry, StartNext};

/// Steps that run in parallel under a policy.
///
/// # Examples
///
/// ```
/// use quell_flow::{ParallelStep, PlanPolicy};
///
/// fn is_race(step: &ParallelStep) -> bool {
///     step.options.policy == PlanPolicy::FirstSuccess
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ParallelStep {
    /// The policy, and the options of the branches.
    #[serde(rename = "parallel")]
    pub options: ParallelOptions,
    /// The branches; never empty.
    pub branches: Arc<[PlanStep]>,
}

/// The options of a parallel step.
///
/// # Examples
///
/// ```
/// use quell_flow::{OnTimeout, ParallelOptions, PlanPolicy};
///
/// let options = ParallelOptions::default();
/// assert_eq!(options.policy, PlanPolicy::All);
/// assert_eq!(options.on_branch_timeout, OnTimeout::Fail);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ParallelOptions {
    /// The policy, which decides the step.
    #[serde(flatten)]
    pub policy: PlanPolicy,
    /// The number of branches that run at once. Defaults to all of them. Zero is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The timeout of a branch without its own. Defaults to none. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub branch_timeout: Option<Duration>,
    /// The grace of a branch without its own. Defaults to the engine's (5 s). Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub branch_grace: Option<Duration>,
    /// The idle limit of a branch without its own. Defaults to none. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub branch_idle: Option<Duration>,
    /// The outcome of a branch that times out. Defaults to a failure.
    pub on_branch_timeout: OnTimeout<Payload>,
    /// The outcome of a branch that alone is cancelled. Defaults to a failure.
    pub on_branch_cancelled: OnCancelled,
    /// What happens to branches that still run at the decision. Defaults to a cancel.
    pub on_loser: OnLoser,
    /// When the next step starts. Defaults to when this one is settled. It has no effect on a
    /// branch, which no step follows.
    pub start_next: StartNext,
}

/// The policies of a plan, with the further keys of each.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::PlanPolicy::FirstSuccess.as_str(), "first_success");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanPolicy {
    /// [`Policy::all`](crate::Policy::all).
    #[default]
    All,
    /// [`Policy::settle`](crate::Policy::settle).
    Settle,
    /// [`Policy::first_success`](crate::Policy::first_success).
    FirstSuccess,
    /// [`Policy::first_settled`](crate::Policy::first_settled).
    FirstSettled,
    /// [`Policy::quorum`](crate::Policy::quorum).
    Quorum {
        /// The number of branches that must succeed. Zero, and more than there are branches, are
        /// refused.
        quorum: usize,
    },
    /// [`Policy::until`](crate::Policy::until), with the predicate as an expression over
    /// `branches`, `ended`, `ok`, `failed` and `values`, the outputs of the branches by name. If
    /// the expression fails, the step fails.
    Until {
        /// The predicate.
        until: Expression,
    },
    /// [`Policy::best_effort`](crate::Policy::best_effort).
    BestEffort {
        /// Time from the start of the step. Zero is refused.
        #[serde(serialize_with = "super::duration::exact")]
        deadline: Duration,
        /// The number of branches that must succeed by then. Defaults to 1. With zero the step
        /// never fails; more than there are branches is refused.
        min: usize,
    },
    /// [`Policy::hedge`](crate::Policy::hedge).
    Hedge {
        /// Time between two starts. Zero is refused.
        #[serde(serialize_with = "super::duration::exact")]
        delay: Duration,
    },
}

impl PlanPolicy {
    /// Yields the name in a plan.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Settle => "settle",
            Self::FirstSuccess => "first_success",
            Self::FirstSettled => "first_settled",
            Self::Quorum { .. } => "quorum",
            Self::Until { .. } => "until",
            Self::BestEffort { .. } => "best_effort",
            Self::Hedge { .. } => "hedge",
        }
    }
}

/// The attempts of a step, and the pauses between them.
///
/// # Examples
///
/// ```
/// use quell_flow::Plan;
///
/// let plan = Plan::from_toml(r#"
///     name = "p"
///     [[steps]]
///     name = "fetch"
///     run = ["curl", "-f", "https://example.org"]
///     retry = { attempts = 3, backoff = "100ms", cap = "5s" }
/// "#).unwrap();
/// assert_eq!(plan.steps()[0].retry.unwrap().attempts, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct PlanRetry {
    /// The maximum number of attempts, including the first. Zero is refused.
    pub attempts: u32,
    /// The longest pause after the first failure. It doubles with each further one. Defaults to
    /// 100 ms. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
    /// The longest pause after any failure. Defaults to 30 s. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub cap: Option<Duration>,
    /// The shortest pause after any failure: a random part of the rest is added. Defaults to none,
    /// so that a pause may be of no length. Zero is refused, and so is more than `cap`.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub min: Option<Duration>,
    /// Time from the start of an attempt to its own deadline, after which the next attempt starts.
    /// Defaults to none. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<Duration>,
}

impl PlanRetry {
    /// Makes the retry.
    pub fn to_retry(self) -> Retry {
        let mut backoff = self.backoff.map_or_else(Backoff::default, Backoff::exponential);
        if let Some(cap) = self.cap {
            backoff = backoff.cap(cap);
        }
        if let Some(min) = self.min {
            backoff = backoff.min(min);
        }
        let retry = Retry::new(self.attempts).backoff(backoff);
        match self.attempt_timeout {
            Some(timeout) => retry.attempt_timeout(timeout),
            None => retry,
        }
    }
}
