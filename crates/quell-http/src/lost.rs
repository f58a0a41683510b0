//! [`is_loss`] and [`is_lost`]: whether another node, or a later process, has a run by now.

use futures::FutureExt as _;
use quell::RunRef;
use quell::store::StoreError;

/// Tells whether a store has refused something since this node has lost its lease, or since another
/// one has the run: that one says how it ends.
///
/// # Examples
///
/// ```
/// use quell::store::StoreError;
///
/// assert!(quell_http::is_loss(&StoreError::LeaseLost { node: "a".into() }));
/// assert!(!quell_http::is_loss(&StoreError::Closed));
/// ```
pub const fn is_loss(error: &StoreError) -> bool {
    matches!(error, StoreError::LeaseLost { .. } | StoreError::Superseded { .. })
}

/// Tells whether it is known by now that this node has lost a run so ([`is_loss`]). What it has
/// given up then is on its way to the store no more.
pub(crate) fn is_lost(run: &RunRef) -> bool {
    matches!(run.stored().now_or_never(), Some(Err(error)) if is_loss(&error))
}
