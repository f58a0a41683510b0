//! [`NotDone`]: why nothing has changed.

#[cfg(doc)]
use quell::{PauseError, ResumeError};

#[cfg(doc)]
use crate::service::view::View;

/// Why a client's pause, answer or new limits have changed nothing: [`PauseError`] or
/// [`ResumeError`], unless the engine was not even asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum NotDone<E> {
    /// There is no such run for this principal; or an earlier process has left it behind, and
    /// nobody has decided about it.
    #[error("no run has this id")]
    Unknown,
    /// Another node of the cluster has the run, and only that one can do it:
    /// [`View::owner_of`] names it.
    #[error("another node has this run")]
    Elsewhere,
    /// The principal sees the run, and may not start or stop runs of its component.
    #[error("credentials do not allow to pause or resume this run")]
    Forbidden,
    /// The engine has refused.
    #[error(transparent)]
    Refused(#[from] E),
}
