//! Stops for runs to come, remembered for all nodes of a cluster.

use quell_core::cluster::StopToCome;
use quell_core::store::StoreError;
use quell_core::{CancelRequest, Disposition, RunId};

use crate::cluster::Member;
use crate::engine::Engine;
use crate::stop_scope::StopScope;

impl Engine {
    /// As [`remember_stop`](Self::remember_stop), for a run that may be submitted on any node: the
    /// stop is remembered in the store, and is acknowledged when it is there. So it outlives this
    /// process, and the run ends cancelled on whatever node it is accepted. A root is stopped
    /// before its body is polled; a run below one, which does not wait for the store, soon after.
    /// Yields none, and changes nothing, if a run with this id is there by now, here or on another
    /// node: that one is to be cancelled. For an engine that is alone this is `remember_stop`.
    ///
    /// The bounds are those of an engine that is alone
    /// ([`Limits::reservations_max`](crate::Limits::reservations_max)), for all nodes together.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the stop may be remembered.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be remembered although the future was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{CancelRequest, Disposition, Engine, EngineConfig, RunId, RunSpec, RunStatus};
    /// use quell::StopScope;
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// let (id, of_ada) = (RunId::from_text("r-1"), StopScope::new(["ada"]));
    /// let stop = CancelRequest::because("early").remember_for(Duration::from_secs(60));
    /// let answer = a.remember_stop_anywhere(id, of_ada, stop.clone()).await.unwrap();
    /// assert_eq!(answer, Some(Disposition::Reserved));
    /// let hers = RunSpec::agent("hers").id(id).stop_scope(of_ada);
    /// let run = b.submit_durably(hers, async |_| Ok(())).await.unwrap().into_ref();
    /// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    /// assert_eq!(a.remember_stop_anywhere(id, of_ada, stop).await.unwrap(), None);
    /// # });
    /// ```
    pub async fn remember_stop_anywhere(
        &self,
        id: RunId,
        scope: StopScope,
        request: CancelRequest,
    ) -> Result<Option<Disposition>, StoreError> {
        match &self.shared().member {
            None => Ok(self.remember_stop(id, scope, request).ok()),
            Some(_) if self.accepted_here(id.into()).await.is_some() => Ok(None),
            Some(member) => self.remember_in_cluster(member, (id, Some(scope)), &request).await,
        }
    }

    /// Remembers a stop in the store, if the request says so. Yields none if there is a run with
    /// this id by now.
    pub(super) async fn remember_in_cluster(
        &self,
        member: &Member,
        (run, scope): (RunId, Option<StopScope>),
        request: &CancelRequest,
    ) -> Result<Option<Disposition>, StoreError> {
        let limits = &self.shared().config.limits;
        let (max, share_percent) = (limits.reservations_max, limits.owner_share_percent);
        if max == 0 || request.remembered_for().is_zero() {
            return Ok(Some(Disposition::Unknown));
        }
        // What this process remembers for itself alone would be used a second time.
        let (scope, request) = (scope.map(StopScope::bytes), request.clone());
        let stop = StopToCome { run, scope, request, max, share_percent };
        let is_kept = member.cluster.remember(stop).await?;
        Ok(is_kept.then_some(Disposition::Reserved))
    }
}
