//! [`View::reserve`]: remembers a stop for a run that does not exist yet.

use quell::{CancelRequest, Disposition, RunId, RunRef, StopScope};
use quell_flow::Component;

use crate::lookup_error::LookupError;
use crate::run_view::RunView;
use crate::service::{CancelOutcome, View};
use crate::wait::Wait;

/// Yields the scope of a component: stops that are remembered in it are for its runs alone.
pub fn scope_of(component: &Component) -> String {
    format!("{}:{}", component.kind(), component.id())
}

impl View {
    /// Remembers a stop for a run of the principal that does not exist yet, for as long as the
    /// request says ([`CancelRequest::remember_for`]): the first run that is started in the scope
    /// with this id ends cancelled, and its body is never polled. Each stop is used once, and lives
    /// for at most 24 h. At most 65,536 are remembered, of 64 MiB, and a quarter of both for the
    /// subject of one principal: beyond that the oldest are forgotten. [`Limits`](quell::Limits)
    /// moves the number and the share. Of several nodes on one store any may start the run: the
    /// stop is remembered in the store for all of them, and these bounds are for all of them
    /// together.
    ///
    /// The empty scope means any run; [`scope_of`] names the scope of a component; a start joins
    /// any other scope by [`Start::reserved_in`](crate::Start::reserved_in). If the run exists by
    /// now, it is cancelled as by [`View::cancel`]. If a run of another scope has the id, the
    /// answer is `Unknown` and nothing is remembered; so it is if a run of a scope that is not
    /// empty comes on another node in this moment, which [`View::find_by_id`] finds then. The
    /// answer is `Forbidden` if the principal may change nothing, or may not stop the run that
    /// exists.
    ///
    /// # Cancel safety
    ///
    /// As [`View::cancel`].
    pub async fn reserve(
        &self,
        scope: &str,
        id: RunId,
        request: CancelRequest,
        wait: Wait,
    ) -> CancelOutcome {
        if self.principal().is_read_only() {
            return CancelOutcome::without_run(Disposition::Forbidden);
        }
        let mut found = self.run_by_id(id).map(|run| self.in_scope(scope, run));
        if found.is_none() {
            let (in_scope, by) = (self.stop_scope(scope), self.attributed(request.clone()));
            // A run that is started meanwhile is found here, or finds the stop.
            let remembered = async {
                let engine = self.service().engine();
                let remembered = engine.remember_stop_anywhere(id, in_scope, by).await;
                remembered.map_err(|error| {
                    tracing::warn!(%error, "a stop could not be remembered");
                    LookupError::Unavailable
                })
            };
            match self.for_stop(remembered).await {
                Ok(Some(answer)) => return CancelOutcome::without_run(answer),
                Ok(None) => match self.for_stop(self.come(scope, id)).await {
                    Ok(come) => found = Some(come),
                    Err(_) => return CancelOutcome::not_stored(),
                },
                Err(_) => return CancelOutcome::not_stored(),
            }
        }
        match found.flatten() {
            Some(run) => self.cancel(&run, request, wait).await,
            None => CancelOutcome::without_run(Disposition::Unknown),
        }
    }

    /// Finds a run that has come since nobody had it. One of another node is found in the scope of
    /// any run alone: only its own node knows the others.
    async fn come(&self, scope: &str, id: RunId) -> Result<Option<RunView>, LookupError> {
        match self.run_by_id(id) {
            Some(run) => Ok(self.in_scope(scope, run)),
            None if scope.is_empty() => self.find_by_id(id).await,
            None => Ok(None),
        }
    }

    /// Yields a run if a stop for this scope means it. A step is its root's.
    fn in_scope(&self, scope: &str, run: RunRef) -> Option<RunView> {
        let is_meant = scope.is_empty() || run.root().is_in_stop_scope(self.stop_scope(scope));
        is_meant.then(|| run.into())
    }

    /// Yields what the engine knows a scope of the principal by.
    pub(crate) fn stop_scope(&self, scope: &str) -> StopScope {
        match self.principal().owner() {
            Some(owner) => StopScope::new(["owner", owner, scope]),
            None => StopScope::new(["nobody", scope]),
        }
    }
}
