//! What a branch counts as that was stopped while nothing was decided.

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
