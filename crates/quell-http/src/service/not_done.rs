//! [`NotDone`]: why a pause, an answer or new limits are not known to be done.

use std::sync::Arc;

use quell::AskError;
#[cfg(doc)]
use quell::{PauseError, ResumeError};
use quell_flow::NoAnswer;

/// Why a client's pause, answer or new limits have changed nothing, as far as it is known:
/// [`PauseError`] or [`ResumeError`], unless no engine was asked, or none has said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum NotDone<E> {
    /// There is no such run for this principal; or an earlier process has left it behind, and
    /// nobody has decided about it.
    #[error("no run has this id")]
    Unknown,
    /// Another node of the cluster has the run, and has not taken the request in time: it never
    /// does, so that nothing has changed. It may be asked again.
    #[error("node `{owner}` has the run, and is silent: nothing has changed, ask again")]
    NotDecided {
        /// The name of that node.
        owner: Arc<str>,
    },
    /// Another node of the cluster has the run. It may have done it, or still do it: the run tells,
    /// when it is read.
    #[error("it is not known whether it is done, read the run: {what}")]
    NotKnown {
        /// What has happened.
        what: Arc<str>,
    },
    /// The principal sees the run, and may not start or stop runs of its component.
    #[error("credentials do not allow to pause or resume this run")]
    Forbidden,
    /// The answer is none to what the run asks: nothing has changed, and no attempt has had it.
    #[error("answer is none to what is asked: {0}")]
    NoAnswer(NoAnswer),
    /// The engine has refused.
    #[error(transparent)]
    Refused(#[from] E),
}

impl<E> From<AskError<E>> for NotDone<E> {
    fn from(error: AskError<E>) -> Self {
        match error {
            AskError::Unknown => Self::Unknown,
            AskError::Refused(error) => Self::Refused(error),
            AskError::NotDecided { owner } => Self::NotDecided { owner },
            AskError::NotKnown { what } => Self::NotKnown { what },
        }
    }
}
