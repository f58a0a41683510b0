//! Errors of the vocabulary.

use std::sync::Arc;

use crate::Cause;

/// What a body sees when it should give way: a stop was accepted, and this is why.
///
/// # Examples
///
/// ```
/// use quell_core::Stopped;
///
/// fn why(stopped: &Stopped) -> String {
///     stopped.cause.to_string()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped: {cause}")]
#[expect(clippy::exhaustive_structs, reason = "bodies match on it, and a cause is all there is")]
pub struct Stopped {
    /// Why.
    pub cause: Arc<Cause>,
}

/// A value could not be written as JSON, or JSON text did not have the expected shape.
#[derive(Debug, thiserror::Error)]
#[error("payload is not the expected JSON")]
pub struct PayloadError {
    /// What the JSON library says.
    source: serde_json::Error,
}

impl PayloadError {
    pub(crate) const fn new(source: serde_json::Error) -> Self {
        Self { source }
    }
}
