//! [`View::reserve`]: remembers a stop for a run that does not exist yet.

use std::time::Duration;

use quell::{CancelRequest, Disposition, RunId};

use crate::reservations::ReservationKey;
use crate::service::View;

impl View {
    /// Remembers a stop for a run of the principal that does not exist yet: the first run that is
    /// started in the scope with this id ends cancelled, and its body is never polled. At most
    /// 65,536 stops are remembered, a quarter of them for one owner, for at most 24 h.
    ///
    /// The empty scope means any run; [`scope_of`](crate::scope_of) names the scope of a component;
    /// a start joins any other scope by [`Start::reserved_in`](crate::Start::reserved_in). If the
    /// run exists by now, it is cancelled. If a run of another scope has the id, the answer is
    /// `Unknown` and nothing is remembered. The answer is `Forbidden` if the principal may change
    /// nothing, or may not stop the run that exists.
    pub fn reserve(
        &self,
        scope: &str,
        id: RunId,
        request: CancelRequest,
        keep: Duration,
    ) -> Disposition {
        if self.principal().is_read_only() {
            return Disposition::Forbidden;
        }
        let shared = self.service().shared();
        let request = self.attributed(request);
        let run = {
            // Held until the stop is remembered: a start with this id waits, and then finds it.
            let _alone = shared.reservations.lock_id(id);
            match self.run_by_id(id) {
                None => {
                    shared.reservations.put(self.reservation_key(scope, id), &request, keep);
                    return Disposition::Reserved;
                }
                Some(run) => run,
            }
        };
        if scope.is_empty() || shared.records.has_scope(&run, scope) {
            return if self.may_stop(&run) { run.cancel(request) } else { Disposition::Forbidden };
        }
        Disposition::Unknown
    }

    pub(crate) fn reservation_key(&self, scope: &str, id: RunId) -> ReservationKey {
        ReservationKey { owner: self.principal().owner().cloned(), scope: scope.into(), id }
    }
}
