//! The words of a parallel step: what a stopped branch counts as, what becomes of the losers, and
//! when what follows may start.

use serde::Serialize;

/// What a branch counts as that reached its own timeout or idle limit.
///
/// # Examples
///
/// ```
/// use quell_flow::OnTimeout;
///
/// assert_eq!(OnTimeout::<u32>::default(), OnTimeout::Fail);
/// assert_ne!(OnTimeout::Default(7), OnTimeout::Default(8));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnTimeout<T> {
    /// As a branch that failed.
    #[default]
    Fail,
    /// As if it had not been there.
    Skip,
    /// As a branch that is Ok with its partial value; as if it had not been there if it left none.
    Partial,
    /// As a branch that is Ok with this value.
    Default(T),
}

/// What a branch counts as that somebody cancelled, and it alone.
///
/// # Examples
///
/// ```
/// use quell_flow::OnCancelled;
///
/// assert_eq!(OnCancelled::default(), OnCancelled::Fail);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnCancelled {
    /// As a branch that failed.
    #[default]
    Fail,
    /// As if it had not been there.
    Skip,
    /// As a branch that is Ok with its partial value; as if it had not been there if it left none.
    Partial,
}

/// What becomes of the branches that still run when the step is decided. One that was not started
/// never is.
///
/// # Examples
///
/// ```
/// use quell_flow::OnLoser;
///
/// assert_eq!(OnLoser::default(), OnLoser::Cancel);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnLoser {
    /// It is stopped, with the cause that the policy names and within its own grace.
    #[default]
    Cancel,
    /// It goes on to its end, which changes nothing.
    LetFinish,
    /// It leaves the step and becomes a root of its own, with its own timeout. One that is stopping
    /// already stays and ends first.
    Detach,
}

/// When what follows a parallel step may start.
///
/// # Examples
///
/// ```
/// use quell_flow::StartNext;
///
/// assert_eq!(StartNext::default(), StartNext::Settled);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StartNext {
    /// When every branch has ended.
    #[default]
    Settled,
    /// When the outcome is known. Losers that still run stay attached to the step, and the step to
    /// the run around it, which does not end before them.
    Decided,
}
