//! [`Catalog::recovery`] says how runs of components go on in a later process.

use std::sync::Arc;

use quell::store::{RunRecord, Store};
use quell::{OnBusy, Recovery, RunStatus};

use super::component::COMPONENT;
use super::kind::ComponentKind;
use super::registry::Catalog;

impl Catalog {
    /// Yields how a root goes on that an earlier process has left behind in this store: if it is
    /// paused, or had its answer there and had not started again, and is of a
    /// [resumable](super::Component::resumable) component; or if its component is one whose runs
    /// [go on](super::OnWorkerLost::Continue). With the body, the times and the lane of that; a
    /// plan goes on behind the steps that have ended, which are read when it does. None for every
    /// other root, and for one of a plan that has changed since: what ran in the earlier process is
    /// not run again. It is for [`Engine::recover`].
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::{MemoryStore, Store};
    /// use quell::{Engine, EngineConfig, Recovery};
    /// use quell_flow::Catalog;
    ///
    /// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store)));
    /// let catalog = Catalog::new();
    /// let recovered = engine
    ///     .recover(|run| catalog.recovery(run, &store).unwrap_or(Recovery::Fail))
    ///     .await
    ///     .unwrap();
    /// assert_eq!(recovered.paused.len(), 0);
    /// # });
    /// ```
    ///
    /// [`Engine::recover`]: quell::Engine::recover
    pub fn recovery(&self, run: &RunRecord, store: &Arc<dyn Store>) -> Option<Recovery> {
        let accepted = &run.accepted;
        let id = accepted.labels.get(COMPONENT)?;
        let component = self.get(ComponentKind::of_run(accepted.kind), id)?;
        let has_asked = run.status == RunStatus::Paused || run.is_answered();
        if !(component.goes_on() || component.is_resumable() && has_asked) {
            return None;
        }
        let body = component.attempts_of(run, store)?;
        let mut spec = component.spec_named(Arc::clone(&accepted.name));
        if let Some(lane) = &accepted.lane {
            spec = spec.lane(&**lane, OnBusy::Enqueue);
        }
        let body = move |ctx| {
            let output = body(ctx);
            async move { output.await.map(drop) }
        };
        Some(if component.is_resumable() {
            Recovery::resumable(spec, body)
        } else {
            Recovery::resume(spec, body)
        })
    }
}
