//! [`App::recover`]: takes in the runs that the engine has from before, with their threads.

use std::sync::Arc;

use quell::{RunFilter, RunRef};
use quell_http::{Principal, SESSION};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::options::CONTRACT;
use crate::threads::{Thread, Tracked};
use crate::wire::asked::Asked;

impl App {
    /// Takes in the runs of this contract that the engine has, each into its thread, so that they
    /// are shown as if this service had made them: what a run keeps of its request is all that is
    /// needed. What threads were given besides, their own metadata, is not in their runs.
    pub(crate) fn recover(&self) {
        let mut runs = self.engine().runs(&RunFilter::new().roots());
        runs.sort_by_key(|run| (run.queued_at(), run.id()));
        let known = runs.iter().filter_map(|run| self.adopt(run));
        let mut threads: Vec<_> = known.collect();
        threads.sort_by_key(|thread| thread.id);
        threads.dedup_by_key(|thread| thread.id);
        for thread in threads {
            self.hold_values(&thread);
        }
    }

    /// Adds a run to its thread, which is made if it is not there; none if the run is not of this
    /// contract, or its thread takes no more.
    fn adopt(&self, run: &RunRef) -> Option<Arc<Thread>> {
        let asked = Asked::of(&run.into())?;
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        let fresh = Thread::of(session, run, asked.is_temporary);
        let thread = self.threads().add(self.engine(), fresh).ok()?;
        let thread = thread.unwrap_or_else(|known| known);
        if thread.owner.as_deref() != run.owner() {
            return None;
        }
        let view = self.service().view(CONTRACT, Principal::anonymous());
        let within = self.within(session, view.component_of(run));
        let tracked = Arc::new(Tracked::of(&run.into(), within));
        if !thread.add(&tracked) {
            return None;
        }
        // Outside of a runtime readers do what follows from its end.
        if Handle::try_current().is_ok() {
            self.follow(Arc::clone(&thread), tracked, run.clone());
        }
        Some(thread)
    }
}
