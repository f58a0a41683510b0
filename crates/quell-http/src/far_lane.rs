//! Lanes that another node has a run of: what is said of it.

use quell::SubmitError;

use crate::service::View;
use crate::start::Start;
use crate::start_error::StartError;

impl View {
    /// Says why the store has refused a run. If its lane has a run of another node, that is named
    /// to those who see it.
    pub(crate) async fn refused_by_store(&self, error: &SubmitError, start: &Start) -> StartError {
        let SubmitError::LaneBusy { run, .. } = error else {
            return StartError::from_submit(error, start.id.as_deref());
        };
        let seen = self.find_by_id(*run).await.ok().flatten();
        StartError::LaneBusy { run: seen.map(|run| run.external_id().into_owned()) }
    }
}
