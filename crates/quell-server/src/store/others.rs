//! What a server on a database does beside its own runs: it takes over from nodes that are gone.

use std::sync::Arc;

use quell::cluster::{Cluster as _, ForgottenWork};
use quell::store::{RunRecord, StoreError};
use quell::{Engine, HeldAttempts, Recovery};
use quell_postgres::PostgresNode;
use quell_report::text::printable;

use super::left_behind::{Failed, words};
use super::open::OpenStore;
use crate::signals::Signals;

impl OpenStore {
    /// Yields it as the node that it is, if others have it as well.
    pub(crate) fn node(&self) -> Option<Arc<PostgresNode>> {
        self.node.clone()
    }

    /// Tells whether others have it as well.
    pub(crate) const fn is_shared(&self) -> bool {
        self.node.is_some()
    }

    /// Says to the other nodes whether the programs of processes before this one have ended, and
    /// yields those of its own runs that have. If the database refuses it, none are known to, and
    /// it is [said again](Self::tell_again).
    ///
    /// # Errors
    ///
    /// Fails with a signal.
    pub(super) async fn tell(
        &self,
        have_ended: bool,
        signals: &mut Signals,
    ) -> Result<Vec<ForgottenWork>, String> {
        *self.untold.lock() = Some(have_ended);
        tokio::select! {
            biased;
            signal = signals.next() => {
                let name = signal.as_str();
                Err(format!("{name}: the database had not answered; nothing was started"))
            }
            told = self.tell_again() => Ok(told.unwrap_or_default()),
        }
    }

    /// Says to the other nodes what this one has found of the programs of processes before it, if
    /// they have not been told: runs that they have taken over may be quiescent by that. Yields
    /// those of its own runs that have ended.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. A further call says it again.
    pub(crate) async fn tell_again(&self) -> Result<Vec<ForgottenWork>, StoreError> {
        let (Some(node), Some(have_ended)) = (&self.node, *self.untold.lock()) else {
            return Ok(Vec::new());
        };
        let own = node.programs_before(have_ended).await?;
        *self.untold.lock() = None;
        Ok(own)
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
                "what node {} had begun may execute still, until it is started again and finds \
                 that it has ended: see `quell nodes`, and `quell help nodes forget` if it is gone \
                 for good",
                printable(name),
            ));
        }
        Ok(Some((held, lines)))
    }
}

/// How the name of a node ends that has given up what it had.
pub(crate) const DRAINED: &str = " (drained)";
