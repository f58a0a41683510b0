//! A [`Hook`] is cleanup that a body has registered, as long as it waits for its turn.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quell_core::Cause;

/// A stop hook that waits for its turn.
pub(crate) struct Hook {
    /// Its place in the order of registration, by which events and reports name it.
    pub(crate) number: u32,
    /// Makes its future. Called once, when the hooks registered after it have ended.
    pub(crate) start: Start,
}

/// Makes the future of a hook from why its run stops.
pub(crate) type Start =
    Box<dyn FnOnce(Arc<Cause>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.number)
    }
}
