//! [`DetachError`]: why a run could not leave its parent.

/// Why a run could not leave its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetachError {
    /// It has no parent.
    #[error("run is a root")]
    IsRoot,
    /// It is being stopped; what it inherited stays with it.
    #[error("run is stopping")]
    Stopping,
    /// It, or a run above it, has an id that is another run's: nothing of it is stored.
    #[error("its id, or that of a run above it, is another run's")]
    IdTaken,
    /// It has ended.
    #[error("run has ended")]
    Ended,
}
