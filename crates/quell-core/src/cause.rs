//! Why a run was stopped.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::RunId;

/// What kind of thing stopped a run.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_core::CauseKind::UserRequest.to_string(), "user-request");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CauseKind {
    /// Somebody asked for it.
    UserRequest,
    /// An ancestor was stopped; the origin says which run and why.
    ParentStopped,
    /// The parent failed while this run was live.
    ParentFailed,
    /// A sibling failed, and the policy of the parallel step stops the others.
    SiblingFailed,
    /// A sibling was first.
    RaceLost,
    /// Enough siblings had succeeded.
    QuorumReached,
    /// A newer run took its place.
    Superseded,
    /// Its own deadline, the deadline of a policy, or the end of the time of the hook that has
    /// spawned it.
    Deadline,
    /// Nothing happened in its subtree for as long as its idle limit.
    IdleTimeout,
    /// It used up its budget.
    BudgetExceeded,
    /// The client that waited for it went away.
    Disconnected,
    /// The engine shuts down.
    Shutdown,
    /// The worker lost its lease on the run. The engine never makes this cause, because it
    /// knows no leases. It is for the requests of a store that keeps them.
    LeaseLost,
    /// A token from outside, to which the run or the engine is linked, was cancelled.
    ExternalToken,
    /// A client has asked for a pause. Not a stop: what a checkpoint fails with.
    PauseRequested,
}

impl CauseKind {
    /// Every kind once, in the order of declaration: the one at `i` is `i` as a number. More may
    /// come.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::CauseKind;
    ///
    /// let named = CauseKind::ALL.iter().find(|kind| kind.as_str() == "race-lost");
    /// assert_eq!(named, Some(&CauseKind::RaceLost));
    /// assert!((0..).zip(CauseKind::ALL).all(|(place, kind)| place == *kind as usize));
    /// ```
    pub const ALL: &'static [Self] = &[
        Self::UserRequest,
        Self::ParentStopped,
        Self::ParentFailed,
        Self::SiblingFailed,
        Self::RaceLost,
        Self::QuorumReached,
        Self::Superseded,
        Self::Deadline,
        Self::IdleTimeout,
        Self::BudgetExceeded,
        Self::Disconnected,
        Self::Shutdown,
        Self::LeaseLost,
        Self::ExternalToken,
        Self::PauseRequested,
    ];

    /// Yields the name on the wire: kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserRequest => "user-request",
            Self::ParentStopped => "parent-stopped",
            Self::ParentFailed => "parent-failed",
            Self::SiblingFailed => "sibling-failed",
            Self::RaceLost => "race-lost",
            Self::QuorumReached => "quorum-reached",
            Self::Superseded => "superseded",
            Self::Deadline => "deadline",
            Self::IdleTimeout => "idle-timeout",
            Self::BudgetExceeded => "budget-exceeded",
            Self::Disconnected => "disconnected",
            Self::Shutdown => "shutdown",
            Self::LeaseLost => "lease-lost",
            Self::ExternalToken => "external-token",
            Self::PauseRequested => "pause-requested",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a run was stopped: the first accepted stop, never overwritten.
///
/// A descendant of the stopped run has the kind [`CauseKind::ParentStopped`] and the same `origin`,
/// so that any leaf answers "why" in one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Cause {
    /// What kind of thing it was.
    pub kind: CauseKind,
    /// The words that came with it.
    pub message: Option<Arc<str>>,
    /// Who asked, as the caller named them.
    pub by: Option<Arc<str>>,
    /// When the stop was accepted.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall"))]
    pub at: SystemTime,
    /// The run at which the stop began.
    pub origin: RunId,
}

impl Cause {
    /// Says why, when, and where it began.
    pub const fn new(kind: CauseKind, at: SystemTime, origin: RunId) -> Self {
        Self { kind, message: None, by: None, at, origin }
    }

    /// Derives what a descendant is told: another kind, the same words, actor, instant and origin.
    #[must_use]
    pub fn inherited(&self, kind: CauseKind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// Yields how many bytes its texts have.
    pub fn bytes(&self) -> usize {
        text_bytes(&[&self.message, &self.by])
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(by) = &self.by {
            write!(f, " (by {by})")?;
        }
        Ok(())
    }
}

/// Yields how many bytes these texts have.
pub(crate) fn text_bytes(texts: &[&Option<Arc<str>>]) -> usize {
    texts.iter().filter_map(|text| text.as_deref()).map(str::len).sum()
}
