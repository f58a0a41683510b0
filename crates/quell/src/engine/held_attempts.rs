//! [`HeldAttempts`]: the next attempts of runs that go on, until they may start.

use std::fmt;
use std::sync::Arc;

use quell_core::RunId;

use crate::engine::Engine;
use crate::node::Node;

/// The next attempts of the runs that [`Engine::recover_held`](crate::Engine::recover_held) or
/// [`Engine::take_over_held`](crate::Engine::take_over_held) lets go on. Their runs are queued,
/// with what they hold: they can be read, found and stopped. Dropped without
/// [`start`](Self::start), they stay so until a further call of `recover_held` or of `recover`.
#[derive(Default)]
#[must_use = "the runs do not go on before `start`"]
pub struct HeldAttempts(pub(super) Vec<Arc<Node>>);

impl HeldAttempts {
    /// Lets them start, each when it has its turn in its lane and among the limits.
    pub fn start(self) {
        self.0.iter().for_each(|node| node.let_start());
    }

    /// Yields how many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for HeldAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldAttempts").field("count", &self.count()).finish()
    }
}

impl Engine {
    /// Yields a run that goes on when it may.
    pub(super) fn held(&self, run: RunId) -> Option<Arc<Node>> {
        let node = Arc::clone(self.get(run)?.node());
        node.is_held().then_some(node)
    }
}
