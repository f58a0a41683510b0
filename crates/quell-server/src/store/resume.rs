//! [`Left`]: a run of a plan that `quell run --resume` goes on with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quell::store::RunRecord;
use quell::{Payload, RunKind, RunStatus};
use quell_flow::{COMPONENT, LinkedPlan, PastError, PlanPast, excerpt, path_text};

use super::kept_runs::KeptRuns;
use super::open::OpenStore;
use super::over_http::answering;
use super::place::Place;
use super::runs::id;

/// A run of a plan whose process was killed, or has left it paused, as its store has it.
#[derive(Debug)]
pub(crate) struct Left {
    record: RunRecord,
    place: Place,
}

impl Left {
    /// Finds the run by its id, or by what the UUID of no other root begins with.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there is none, or it has nothing left to do.
    pub(crate) fn find(store: &Path, run: &str) -> Result<Self, String> {
        let place = Place::File(store.to_owned());
        let record = KeptRuns::open(place.clone())?.root(run)?;
        is_live(&record)?;
        Ok(Self { record, place })
    }

    /// Yields the run.
    pub(crate) const fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Yields the file that its plan was read from.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there was none.
    pub(crate) fn plan(&self) -> Result<PathBuf, String> {
        let name = excerpt(&id(&self.record));
        if let Some(words) = self.no_plan() {
            return Err(words);
        }
        let file = self.record.accepted.annotations.get(PLAN_FILE);
        let file = file.and_then(|file| file.as_text().map(|text| PathBuf::from(&*text)));
        let Some(file) = file else {
            return Err(format!(
                "run `{name}` is of a plan that was no file; name the same plan: \
                 `quell run PLAN --resume {name} --store …`"
            ));
        };
        match file.try_exists() {
            Ok(false) => Err(format!(
                "the plan of run `{name}` is not at {} any more; put it back there, or name where \
                 it is: `quell run PLAN --resume {name} --store …`",
                path_text(&file)
            )),
            _ => Ok(file),
        }
    }

    /// Yields the time that the command line gave the run when it began, if it did.
    pub(crate) fn time(&self, key: &str) -> Option<Duration> {
        let text = self.record.accepted.annotations.get(key)?.as_text()?;
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
        let name = excerpt(&id(&self.record));
        // Until the store was opened, another process may have had it.
        let found = store.store.get(self.record.run()).await;
        let found = found.map_err(|error| store.place.told(&error))?;
        let record = found.ok_or_else(|| format!("run `{name}` is no longer in the store"))?;
        is_live(&record)?;
        PlanPast::read(&*store.store, plan, &record).await.map_err(|error| match error {
            PastError::Store(error) => store.place.told(&error),
            PastError::OtherPlan => self.other_plan(&name, plan),
            PastError::NoPlan => self.no_plan().unwrap_or_else(|| {
                format!("run `{name}` is none of a plan; start it anew, without `--resume`")
            }),
            PastError::Gap => format!(
                "run `{name}` cannot go on: its log has a gap, so that nobody knows which of its \
                 steps have ended; run the plan anew"
            ),
            error => format!("run `{name}` cannot go on: {error}"),
        })
    }
}

impl Left {
    /// Says that the plan is not the one that the run began with, and what to do.
    fn other_plan(&self, run: &str, plan: &LinkedPlan) -> String {
        let (was, is) = (&*self.record.accepted.name, plan.plan().name());
        if was != is {
            let (was, is) = (excerpt(was), excerpt(is));
            return format!(
                "run `{run}` is one of plan `{was}`, and this is plan `{is}`; name the one that it \
                 began with, under its former name, or run this one anew, without `--resume`"
            );
        }
        format!(
            "run `{run}` cannot go on with this plan: its text has changed since, or `--from`, \
             `--only` or `--outputs` were others; put it back, or run the plan anew, without \
             `--resume`"
        )
    }
}

impl Left {
    /// Says of a run that it is none of a plan, so that nothing tells which of it has ended; none
    /// if it may be one.
    fn no_plan(&self) -> Option<String> {
        let Self { record, place } = self;
        let name = excerpt(&id(record));
        let component = record.accepted.labels.get(COMPONENT);
        let (what, instead) = match component {
            Some(component) => {
                let component = excerpt(component);
                let instead = match &record.paused {
                    Some(_) => format!("answer it {}", answering(record, place)),
                    None => GOES_ON.to_owned(),
                };
                (format!("component `{component}`"), instead)
            }
            None if record.accepted.kind == RunKind::Step => {
                ("a command".to_owned(), "start the command anew, without `--resume`".to_owned())
            }
            None => return None,
        };
        Some(format!("run `{name}` is one of {what}, and `--resume` goes on with plans; {instead}"))
    }
}

/// When a run of a server goes on that is not paused.
const GOES_ON: &str = "`quell serve` goes on with it if `on_worker_lost = 'continue'` says so";

/// Refuses a run that has ended.
fn is_live(record: &RunRecord) -> Result<(), String> {
    if !record.status.is_terminal() {
        return Ok(());
    }
    let name = excerpt(&id(record));
    let row = record.row();
    let is_lost = row.error.as_deref().is_some_and(|error| error.starts_with(WORKER_LOST));
    let why = if row.status == RunStatus::Failed && is_lost { LEFT_BEHIND } else { "" };
    Err(format!("run `{name}` has ended, {}: it cannot go on{why}", record.status))
}

/// How the error of a run begins that has failed because its process was gone.
const WORKER_LOST: &str = "worker lost";

/// Why a run has failed that was left behind.
const LEFT_BEHIND: &str = "; what an earlier process left behind fails as soon as another one \
                           opens the store without `--resume`, unless it is paused";

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
