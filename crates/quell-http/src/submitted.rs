//! [`View::accepted`]: waits until the store has a run that was submitted, if there is one, and has
//! the run followed from then on.

use quell::{RunRef, SubmitError};
use tokio::runtime::Handle;

use crate::run_log;
use crate::service::View;
use crate::start::Started;

impl View {
    /// Waits until a run is accepted. A run that is new is followed from then on, also if this
    /// future was dropped.
    ///
    /// # Errors
    ///
    /// Fails if the store refuses the run.
    pub(crate) async fn accepted(&self, started: &Started) -> Result<(), SubmitError> {
        let new = (!started.is_replay).then_some(&started.run);
        let mut awaited = Awaited { view: self, new };
        let accepted = started.run.accepted().await;
        let new = awaited.new.take();
        if let Some(run) = new.filter(|_| accepted.is_ok()) {
            self.begun(run);
        }
        accepted
    }

    fn begun(&self, run: &RunRef) {
        let service = self.service();
        service.shared().records.follow(service.engine(), run);
        run_log::started(run, self.contract());
    }
}

/// A new run that is waited for. Dropped meanwhile, it has the run followed once that is accepted.
struct Awaited<'a> {
    view: &'a View,
    new: Option<&'a RunRef>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Some((run, runtime)) = self.new.zip(Handle::try_current().ok()) else { return };
        let (view, run) = (self.view.clone(), run.clone());
        drop(runtime.spawn(async move {
            if run.accepted().await.is_ok() {
                view.begun(&run);
            }
        }));
    }
}
