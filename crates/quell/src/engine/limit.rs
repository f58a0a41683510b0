//! [`Engine::set_limit`] changes how many roots may run and wait while the engine runs.

use std::sync::Arc;

use crate::engine::Engine;
use crate::node::{Node, flags};
use crate::queue::{RunLimits, Scope};

impl Engine {
    /// Sets both limits of a scope: what `limits` leaves out is bounded no longer. Where there is
    /// room now, runs that wait start at once, the best first. Where there is too little, nobody is
    /// stopped and nobody who waits is refused: slots fall as runs end.
    ///
    /// A scope that had no limits before counts the roots that are live: this call then takes time
    /// in proportion to them, and its limits apply when it is through. Else it takes no longer
    /// than the runs that it starts; for [`Scope::EachOwner`], than the owners that have live
    /// roots. However long it takes, it holds up nobody else.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, RunKind, RunLimits, RunSpec, Scope};
    ///
    /// let engine = Engine::new();
    /// let agents = Scope::Kind(RunKind::Agent);
    /// engine.set_limit(agents.clone(), RunLimits::new().running_max(0));
    /// let run = engine.submit(RunSpec::agent("later"), async |_| Ok(())).unwrap().into_ref();
    /// assert!(run.queue_position().is_some());
    ///
    /// engine.set_limit(agents.clone(), engine.limit(&agents).running_max(1));
    /// run.ended().await;
    /// # });
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a scope is made to be given away")]
    pub fn set_limit(&self, scope: Scope, limits: RunLimits) {
        let shared = self.shared();
        let live = || shared.registry.list(|node| node.is_root() && !node.is_over());
        let now = shared.clock.now();
        shared.admission.set_limit(&scope, limits, now, live, count_in);
    }

    /// Yields the limits of a scope as they are now; none are set by default.
    pub fn limit(&self, scope: &Scope) -> RunLimits {
        self.shared().admission.limits(scope).unwrap_or_default()
    }
}

/// Has admission count a root that it may not know. One that was stopped while it waited has left
/// already, and has no slot.
fn count_in(root: &Arc<Node>) {
    let state = root.lock();
    // Lanes and slots are for runs that were submitted, not for children that left their parents.
    let is_detached = state.extra.as_ref().is_some_and(|extra| extra.detached_from.is_some());
    let waits = root.flags() & flags::AWAITS_ADMISSION != 0;
    let passes_by = root.gate().is_some_and(|gate| gate.is_unlimited);
    if !is_detached && !passes_by && !waits && !state.life.is_quiescent() && !state.life.is_paused()
    {
        // Set under the lock: the end, which is decided under it later, tells admission.
        root.set(flags::GATED);
        root.shared.admission.count_in(root);
    }
}
