//! The options of a parallel step: what a stopped branch counts as, what happens to the losers, and
//! when the next step may start.

use serde::Serialize;

/// What a branch counts as when its timeout or idle limit fires.
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
    /// As if the step did not have the branch.
    Skip,
    /// As a branch that is Ok with its partial value, or like `Skip` if it left none.
    Partial,
    /// As a branch that is Ok with this value.
    Default(T),
}

/// What a branch counts as when a caller cancels this branch alone.
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
    /// As if the step did not have the branch.
    Skip,
    /// As a branch that is Ok with its partial value, or like `Skip` if it left none.
    Partial,
}

/// What happens to the branches that still run when the step is decided. A branch that still waits
/// never starts, whatever this says.
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
    /// The step stops the branch, with the cause that the policy names and within the grace of the
    /// branch.
    #[default]
    Cancel,
    /// The branch runs to its end, which changes nothing.
    LetFinish,
    /// The branch leaves the step and becomes a root, with its own timeout. A branch that is
    /// already stopping stays and ends first.
    Detach,
}

/// When the next step may start.
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
    /// its parent, which does not end before them.
    Decided,
}
