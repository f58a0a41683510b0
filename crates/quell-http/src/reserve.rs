//! [`View::reserve`]: remembers a stop for a run that does not exist yet.

use quell::{CancelRequest, Disposition, RunId, StopScope};
use quell_flow::Component;

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
    /// moves the number and the share.
    ///
    /// The empty scope means any run; [`scope_of`] names the scope of a component; a start joins
    /// any other scope by [`Start::reserved_in`](crate::Start::reserved_in). If the run exists by
    /// now, it is cancelled as by [`View::cancel`]. If a run of another scope has the id, the
    /// answer is `Unknown` and nothing is remembered. The answer is `Forbidden` if the principal
    /// may change nothing, or may not stop the run that exists.
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
        let in_scope = self.stop_scope(scope);
        let run = match self.run_by_id(id) {
            // A step is its root's.
            Some(run) if scope.is_empty() || run.root().is_in_stop_scope(in_scope) => run,
            Some(_) => return CancelOutcome::without_run(Disposition::Unknown),
            // A run that is started meanwhile is found here, or finds the stop.
            None => {
                let request = self.attributed(request.clone());
                match self.service().engine().remember_stop(id, in_scope, request) {
                    Ok(disposition) => return CancelOutcome::without_run(disposition),
                    Err(run) => run,
                }
            }
        };
        self.cancel(&run, request, wait).await
    }

    /// Yields what the engine knows a scope of the principal by.
    pub(crate) fn stop_scope(&self, scope: &str) -> StopScope {
        match self.principal().owner() {
            Some(owner) => StopScope::new(["owner", owner, scope]),
            None => StopScope::new(["nobody", scope]),
        }
    }
}
