//! [`Left`]: a run of a plan that `quell run --resume` goes on with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quell::Payload;
use quell::store::RunRecord;
use quell_flow::{LinkedPlan, PastError, PlanPast, excerpt};

use super::file::StoreFile;
use super::open::OpenStore;
use super::runs::id;

/// A run of a plan whose process was killed, or has left it paused, as its store has it.
#[derive(Debug)]
pub(crate) struct Left(RunRecord);

impl Left {
    /// Finds the run by its id, or by what the UUID of no other root begins with.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there is none, or it has nothing left to do.
    pub(crate) fn find(store: &Path, run: &str) -> Result<Self, String> {
        let record = StoreFile::open(store)?.root(run)?;
        is_live(&record)?;
        Ok(Self(record))
    }

    /// Yields the run.
    pub(crate) const fn record(&self) -> &RunRecord {
        &self.0
    }

    /// Yields the file that its plan was read from.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there was none.
    pub(crate) fn plan(&self) -> Result<PathBuf, String> {
        let file = self.0.accepted.annotations.get(PLAN_FILE);
        let file = file.and_then(|file| file.as_text().map(|text| PathBuf::from(&*text)));
        file.ok_or_else(|| {
            let name = excerpt(&id(&self.0));
            format!(
                "where the plan of `{name}` is, is not known; expected `quell run PLAN --resume …`"
            )
        })
    }

    /// Yields the time that the command line gave the run when it began, if it did.
    pub(crate) fn time(&self, key: &str) -> Option<Duration> {
        let text = self.0.accepted.annotations.get(key)?.as_text()?;
        humantime::parse_duration(&text).ok()
    }

    /// Reads which steps have ended. The plan has to be the one that the run began with.
    ///
    /// # Errors
    ///
    /// Fails with what to do if it is not, or the store cannot be read.
    pub(crate) async fn past(
        &self,
        store: &OpenStore,
        plan: &LinkedPlan,
    ) -> Result<PlanPast, String> {
        let name = excerpt(&id(&self.0));
        // Until the store was opened, another process may have had it.
        let found = store.store.get(self.0.run()).await;
        let found = found.map_err(|error| store.place.told(&error))?;
        let record = found.ok_or_else(|| format!("run `{name}` is no longer in the store"))?;
        is_live(&record)?;
        PlanPast::read(&*store.store, plan, &record).await.map_err(|error| match error {
            PastError::Store(error) => store.place.told(&error),
            PastError::OtherPlan => format!(
                "run `{name}` cannot go on with this plan: its text has changed since, or \
                 `--from`, `--only` or `--outputs` were others; put it back, or run the plan anew"
            ),
            error => format!("run `{name}` cannot go on: {error}"),
        })
    }
}

/// Refuses a run that has ended.
fn is_live(record: &RunRecord) -> Result<(), String> {
    if !record.status.is_terminal() {
        return Ok(());
    }
    let name = excerpt(&id(record));
    Err(format!(
        "run `{name}` has ended, {}: it cannot go on; what an earlier process left behind fails as \
         soon as another one opens the store without `--resume`, unless it is paused",
        record.status
    ))
}

/// The annotation of a run that has the file of its plan.
pub(crate) const PLAN_FILE: &str = "plan.file";

/// The annotation of a run that has the `--timeout` of its command line.
pub(crate) const TIMEOUT: &str = "run.timeout";

/// The annotation of a run that has the `--grace` of its command line.
pub(crate) const GRACE: &str = "run.grace";

/// Makes what [`Left::time`] reads.
pub(crate) fn as_annotation(time: Duration) -> Payload {
    humantime::format_duration(time).to_string().into()
}
