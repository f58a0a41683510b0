//! What a server on a database does beside its own runs: it takes over from nodes that are gone.

use std::sync::Arc;

use quell::cluster::Cluster as _;
use quell::store::{RunRecord, StoreError};
use quell::{Engine, HeldAttempts, Recovery};
use quell_postgres::PostgresNode;
use quell_report::text::printable;

use super::left_behind::{Failed, words};
use super::open::OpenStore;

impl OpenStore {
    /// Yields it as the node that it is, if others have it as well.
    pub(crate) fn node(&self) -> Option<Arc<PostgresNode>> {
        self.node.clone()
    }

    /// Tells whether others have it as well.
    pub(crate) const fn is_shared(&self) -> bool {
        self.node.is_some()
    }

    /// Says to the other nodes what this one has found of the programs of processes before it, if
    /// they have not been told: runs that they have taken over may be quiescent by that.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. A further call says it again.
    pub(crate) async fn tell_of_programs(&self) -> Result<(), StoreError> {
        let (Some(node), Some(have_ended)) = (&self.node, *self.untold.lock()) else {
            return Ok(());
        };
        node.programs_before(have_ended).await?;
        *self.untold.lock() = None;
        Ok(())
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
        let mut lines = words(&taken.recovered, &failed, &whose);
        let lost = taken.from.as_deref().filter(|name| !name.ends_with(DRAINED));
        if let Some(name) = lost.filter(|_| !lines.is_empty()) {
            lines.push(format!(
                "what node {} had begun may execute still, until it is back: see `quell nodes`, \
                 and `quell help nodes forget` if it is gone for good",
                printable(name),
            ));
        }
        Ok(Some((held, lines)))
    }
}

/// How the name of a node ends that has given up what it had.
const DRAINED: &str = " (drained)";
