//! [`AskError`]: why a run that another node may have was not paused, resumed, or given new limits.

use std::sync::Arc;

/// Why a run was not paused, resumed, or given new limits, on whatever node it is.
///
/// # Examples
///
/// ```
/// use quell::{AskError, ResumeError, RunStatus};
///
/// let over = AskError::Refused(ResumeError::NotPaused(RunStatus::Completed));
/// assert_eq!(over.to_string(), "run is completed, not paused");
/// let silent = AskError::<ResumeError>::NotDecided { owner: "node-2".into() };
/// assert!(silent.to_string().contains("ask again"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum AskError<E> {
    /// No node has such a run that is live.
    #[error("no run has this id")]
    Unknown,
    /// The engine that has the run has refused.
    #[error(transparent)]
    Refused(E),
    /// The node that has the run has not taken the request in time, and does not take it any more:
    /// nothing has changed, and nothing will. It may be asked again.
    #[error("node `{owner}` has the run, and is silent: nothing has changed, ask again")]
    NotDecided {
        /// The name of the node.
        owner: Arc<str>,
    },
    /// It may be done, or still be done: the node that has the run has taken the request and not
    /// answered, or the store is in trouble. The run tells, when it is read.
    #[error("it is not known whether it is done, read the run: {what}")]
    NotKnown {
        /// What has happened.
        what: Arc<str>,
    },
}
