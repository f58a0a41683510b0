//! [`AnnotateError`]: why annotations were not added.

use quell_core::store::StoreError;

use crate::failure::SubmitError;

/// Why a body could not add annotations to its run: none of them was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// The run has ended, or is paused: nothing of it is written any more.
    #[error("run has ended")]
    Ended,
    /// The run has one of this key: what it has stays as it is.
    #[error("run has an annotation `{0}` already")]
    Taken(String),
    /// A bound would be exceeded: the same as of a spec that has all of them.
    #[error(transparent)]
    Bound(SubmitError),
    /// Too much of the run waits for the store.
    #[error("{max} entries of the run wait for the store already")]
    TooMany {
        /// The bound.
        max: u16,
    },
    /// The store is in trouble, and as much waits for it as may.
    #[error(transparent)]
    Store(StoreError),
}
