//! [`Catalog::recovery`] says how runs of components go on in a later process.

use std::sync::Arc;

use quell::store::RunRecord;
use quell::{OnBusy, Recovery, RunStatus};

use super::component::COMPONENT;
use super::kind::ComponentKind;
use super::registry::Catalog;

impl Catalog {
    /// Yields how a root goes on that an earlier process has left paused, or that had its answer
    /// there and had not started again: if it is of a [resumable](super::Component::resumable)
    /// component, with the body, the times and the lane of that. None for every other root: what
    /// ran in the earlier process is not run again. It is for [`Engine::recover`].
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, Recovery};
    /// use quell_flow::Catalog;
    ///
    /// let (engine, catalog) = (Engine::new(), Catalog::new());
    /// let recovered = engine.recover(|run| catalog.recovery(run).unwrap_or(Recovery::Fail)).await;
    /// assert_eq!(recovered.unwrap().paused.len(), 0);
    /// # });
    /// ```
    ///
    /// [`Engine::recover`]: quell::Engine::recover
    pub fn recovery(&self, run: &RunRecord) -> Option<Recovery> {
        if run.status != RunStatus::Paused && !run.is_answered() {
            return None;
        }
        let accepted = &run.accepted;
        let id = accepted.labels.get(COMPONENT)?;
        let component = self.get(ComponentKind::of_run(accepted.kind), id);
        let component = component.filter(|component| component.is_resumable())?;
        let mut spec = component.spec_named(Arc::clone(&accepted.name));
        if let Some(lane) = &accepted.lane {
            spec = spec.lane(&**lane, OnBusy::Enqueue);
        }
        let body = component.to_body();
        Some(Recovery::resumable(spec, move |ctx| {
            let output = body(ctx);
            async move { output.await.map(drop) }
        }))
    }
}
