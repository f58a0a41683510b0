//! [`WhenAccepted`]: what is called when a run is accepted.

use std::fmt;
use std::sync::Arc;

use quell::RunRef;

/// What is called with a run once that is accepted.
#[derive(Clone)]
pub(crate) struct WhenAccepted(pub(crate) Arc<dyn Fn(&RunRef) + Send + Sync>);

impl fmt::Debug for WhenAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhenAccepted")
    }
}
