//! [`View::accepted`]: waits until the store has a run that was submitted, if there is one, and has
//! the run followed from then on.

use std::sync::Arc;

use quell::{RunRef, SubmitError};
use tokio::runtime::Handle;

use crate::run_log;
use crate::service::View;
use crate::start::{Start, Started};
use crate::when_accepted::WhenAccepted;

impl Start {
    /// Calls this with the run once that is accepted, also if the caller of [`View::start`] has
    /// left by then: for what has to follow it from its begin. It must not wait. It is not called
    /// for a run that an earlier request has started, nor for one that the store refuses.
    pub fn when_accepted(mut self, call: impl Fn(&RunRef) + Send + Sync + 'static) -> Self {
        self.when_accepted = Some(WhenAccepted(Arc::new(call)));
        self
    }
}

impl View {
    /// Waits until a run is accepted. A run that is new is followed from then on, also if this
    /// future was dropped.
    ///
    /// # Errors
    ///
    /// Fails if the store refuses the run.
    pub(crate) async fn accepted(
        &self,
        start: &Start,
        started: &Started,
    ) -> Result<(), SubmitError> {
        let new = (!started.is_replay).then_some(&started.run);
        let told = start.when_accepted.as_ref();
        let mut awaited = Awaited { view: self, new, told };
        let accepted = started.run.accepted().await;
        let new = awaited.new.take();
        if let Some(run) = new.filter(|_| accepted.is_ok()) {
            self.begun(run, told);
        }
        accepted
    }

    fn begun(&self, run: &RunRef, told: Option<&WhenAccepted>) {
        let service = self.service();
        service.shared().records.follow(service.engine(), run);
        run_log::started(run, self.contract());
        if let Some(WhenAccepted(call)) = told {
            call(run);
        }
    }
}

/// A new run that is waited for. Dropped meanwhile, it has the run followed once that is accepted.
struct Awaited<'a> {
    view: &'a View,
    new: Option<&'a RunRef>,
    told: Option<&'a WhenAccepted>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Some((run, runtime)) = self.new.zip(Handle::try_current().ok()) else { return };
        let (view, run, told) = (self.view.clone(), run.clone(), self.told.cloned());
        drop(runtime.spawn(async move {
            if run.accepted().await.is_ok() {
                view.begun(&run, told.as_ref());
            }
        }));
    }
}
