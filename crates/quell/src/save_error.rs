//! [`SaveError`]: why a state was not saved, or is not read.

use quell_core::store::StoreError;

/// Why a state was not saved, or is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The engine has no store: see [`EngineConfig::store`](crate::EngineConfig::store).
    #[error("engine has no store that would keep a state")]
    NoStore,
    /// The run has ended: nothing of it is written any more.
    #[error("run has ended")]
    Ended,
    /// It is over its bound.
    #[error("state has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Too much of the run waits for the store: await one before the next.
    #[error("{max} states of the run wait for the store already")]
    TooMany {
        /// The bound.
        max: u16,
    },
    /// The store has not taken it, or cannot be read.
    #[error(transparent)]
    Store(StoreError),
}
