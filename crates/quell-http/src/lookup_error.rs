//! [`LookupError`]: why a run cannot be looked up.

use quell::store::{StoreError, Unreadable};

/// Why a run cannot be looked up, or runs not be listed: there may be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The store does not answer, or is in trouble. The log says why.
    #[error("runs that are stored cannot be read now; ask again")]
    Unavailable,
    /// What is stored of the run cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<StoreError> for LookupError {
    /// Tells subscribers of `tracing` what is wrong with the store: that may name its file, and is
    /// not for callers.
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store could not be read");
        match error {
            StoreError::Unreadable(unreadable) => Self::Unreadable(unreadable),
            _ => Self::Unavailable,
        }
    }
}
