//! What a server on a database does beside its own runs: it takes over from nodes that are gone.

use quell::store::{RunRecord, StoreError};
use quell::{Engine, HeldAttempts, Recovery};
use quell_report::text::printable;

use super::left_behind::{Failed, words};
use super::open::OpenStore;

impl OpenStore {
    /// Tells whether others have it as well.
    pub(crate) const fn is_shared(&self) -> bool {
        self.node.is_some()
    }

    /// Takes over from one node whose lease is over, if there is one, and decides its runs as
    /// [`recover`](Self::recover) does. Yields those that go on, which are held, and lines for the
    /// user.
    ///
    /// # Errors
    ///
    /// As [`Engine::take_over_held`].
    pub(crate) async fn take_over_from_others(
        &self,
        engine: &Engine,
        going_on: impl FnMut(&RunRecord) -> Option<Recovery> + Send,
    ) -> Result<Option<(HeldAttempts, Vec<String>)>, StoreError> {
        let mut failed = Failed::default();
        let taken = engine.take_over_held(failed.or_fail(going_on));
        let Some((taken, held)) = taken.await? else { return Ok(None) };
        let whose = match &taken.from {
            Some(name) => format!("node {}, which is gone,", printable(name)),
            None => "a node that is gone".to_owned(),
        };
        Ok(Some((held, words(&taken.recovered, &failed, &whose))))
    }
}
