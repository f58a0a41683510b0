//! [`PlanPast`] is what a store tells of a plan's run whose process was lost: the steps that have
//! ended, and those that were cut.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use quell::store::{RunRecord, Store, StoreError};
use quell::{CauseKind, EventKind, Payload, RunId, RunKind, RunSpec, RunStatus, limits};
use sha2::{Digest as _, Sha256};

use super::link::LinkedPlan;
use super::memory::{AROUND, Ended, Memory, PLACE, Place};
use super::wait::place_of;
use crate::excerpt::excerpt;

/// What a run of a plan has behind it: of a new one nothing, of one that goes on after a crash what
/// its store tells.
///
/// [`LinkedPlan::recorded`] takes it.
///
/// # Examples
///
/// ```
/// # #[derive(Clone)]
/// # struct Nobody;
/// # impl quell_flow::Runner for Nobody {
/// #     async fn run(
/// #         &self,
/// #         _: quell::RunContext,
/// #         _: quell_flow::CommandStep,
/// #     ) -> Result<quell::Payload, quell::Failure> {
/// #         Err(quell::Failure::new("no"))
/// #     }
/// # }
/// use std::sync::Arc;
/// use quell::store::{MemoryStore, Store};
/// use quell::{Engine, EngineConfig, Recovery};
/// use quell_flow::{Catalog, Plan, PlanPast};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let plan = Plan::from_yaml("name: p\nsteps: [{ name: a, run: [make] }]\n").unwrap();
/// let plan = plan.link(&Catalog::new()).unwrap();
/// let store = Arc::new(MemoryStore::new());
/// let left = store.recover(quell::store::Page::first(100)).await.unwrap();
/// let mut past = None;
/// for run in left.items.into_iter().flatten().filter(|run| run.accepted.parent.is_none()) {
///     past = Some((run.run(), PlanPast::read(&*store, &plan, &run).await.unwrap()));
/// }
/// let engine = Engine::with_config(EngineConfig::new().store(store));
/// let recovered = engine.recover(|run| match past.take() {
///     Some((id, past)) if id == run.run() => {
///         let attempt = plan.clone().recorded(past, Nobody);
///         Recovery::resume(plan.recorded_spec(), move |ctx| {
///             let ended = attempt(ctx);
///             async { ended.await.map(drop) }
///         })
///     }
///     _ => Recovery::Fail,
/// });
/// assert_eq!(recovered.await.unwrap().resumed.len(), 0);
/// # });
/// ```
#[derive(Debug, Default)]
pub struct PlanPast {
    pub(super) memory: Memory,
}

/// Why a run of a plan does not go on.
///
/// # Examples
///
/// ```
/// let words = quell_flow::PastError::OtherPlan.to_string();
/// assert_eq!(words, "plan is not the one that the run began with");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PastError {
    /// It is no run that [`LinkedPlan::recorded_spec`] has begun.
    NoPlan,
    /// It is one of another plan, or the plan has changed since.
    OtherPlan,
    /// Its log has a gap: nobody knows which steps have ended.
    Gap,
    /// The store cannot be read.
    Store(StoreError),
}

impl std::fmt::Display for PastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoPlan => "run is none of a plan that can go on",
            Self::OtherPlan => "plan is not the one that the run began with",
            Self::Gap => "log of the run has a gap, so that nobody knows which steps have ended",
            Self::Store(_) => "store cannot be read",
        })
    }
}

impl std::error::Error for PastError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl LinkedPlan {
    /// As [`Plan::spec`](crate::Plan::spec), of a run that can go on after a crash: with the hash
    /// of the plan, by which it is known again.
    pub fn recorded_spec(&self) -> RunSpec {
        self.plan.spec().annotation(PLAN_HASH, self.hash().into())
    }

    /// Yields the hash of all that the steps come from but the input. A plan always is JSON.
    pub(super) fn hash(&self) -> String {
        let text = serde_json::to_vec(&(&*self.plan, &*self.before)).unwrap_or_default();
        let mut hex = String::new();
        for byte in Sha256::digest(text) {
            // A text takes all that is written.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl PlanPast {
    /// Reads what the store has of a root, a run of the plan: to be called before the root is
    /// recovered.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`PastError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn read(
        store: &dyn Store,
        plan: &LinkedPlan,
        root: &RunRecord,
    ) -> Result<Self, PastError> {
        let hash = root.accepted.annotations.get(PLAN_HASH).ok_or(PastError::NoPlan)?;
        if *hash != Payload::from(plan.hash()) {
            return Err(PastError::OtherPlan);
        }
        let mut log = Log::read(store, root.run()).await?;
        if let Some(pause) = &root.paused {
            // A crash may have come between the pause and the event that tells of it. Whatever a
            // client has asked for, it is no question of the plan.
            let at = pause.asked_by.and_then(|_| place_of(&pause.request));
            log.pauses.push(Asked { at, begun: log.runs.len() });
        }
        let mut records = Vec::new();
        for run in &log.runs {
            match store.get(*run).await {
                Ok(record) => records.push(record),
                Err(error) => return Err(PastError::Store(error)),
            }
        }
        let asked = log.pauses.last().and_then(|pause| pause.at.clone());
        Ok(Self { memory: memory_of(&records, &log.pauses).asked_at(asked) })
    }
}

/// What the log of a root tells.
#[derive(Debug, Default)]
struct Log {
    /// The runs below it, in their order.
    runs: Vec<RunId>,
    pauses: Vec<Asked>,
}

/// A pause of the root.
#[derive(Debug)]
struct Asked {
    /// The place of the step that asked; none if a client did.
    at: Option<Place>,
    /// How many of the runs below the root were begun before. They had ended by then.
    begun: usize,
}

impl Log {
    async fn read(store: &dyn Store, root: RunId) -> Result<Self, PastError> {
        let (mut log, mut last) = (Self::default(), 0);
        loop {
            let events = store.events(root, last, limits::STORE_PAGE_MAX).await;
            let events = events.map_err(PastError::Store)?;
            if events.is_empty() {
                return Ok(log);
            }
            for event in events {
                let Ok(event) = event else { return Err(PastError::Gap) };
                last = event.seq;
                match event.kind {
                    EventKind::Lagged { .. } => return Err(PastError::Gap),
                    EventKind::Queued { .. } if event.run != root => log.runs.push(event.run),
                    EventKind::Paused { request } => {
                        log.pauses.push(Asked { at: place_of(&request), begun: log.runs.len() });
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Takes what the records of all attempts say of the steps.
fn memory_of(records: &[Option<RunRecord>], pauses: &[Asked]) -> Memory {
    let mut places: HashMap<RunId, Place> = HashMap::new();
    let (mut ended, mut begun, mut made) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let records = records.iter().enumerate();
    for (at, record) in records.filter_map(|(at, record)| Some((at, record.as_ref()?))) {
        let accepted = &record.accepted;
        if let Some(place) = accepted.annotations.get(PLACE).and_then(Payload::as_text) {
            let place = Place::of_text(place.into_owned());
            let asks = |pause: &&Asked| pause.at.as_ref().is_some_and(|it| it.is_inside(&place));
            match ended_of(record) {
                // It has ended because a step in it asked: it goes on. If it is around others, that
                // is known also where the process was lost before the pause of the root was stored.
                _ if passes_on(record)
                    && (accepted.annotations.contains_key(AROUND)
                        || pauses.iter().any(|pause| at < pause.begun && asks(&pause))) => {}
                Some(end) => drop(ended.insert(place.clone(), end)),
                None if record.started_at.is_some() => {
                    *begun.entry(place.clone()).or_insert(0) += 1;
                }
                None => {}
            }
            places.insert(record.run(), place);
        } else if let Some(place) = accepted.parent.and_then(|parent| places.get(&parent))
            && accepted.kind == RunKind::Attempt
            && let Some(number) = accepted.name.rsplit(' ').next().and_then(|it| it.parse().ok())
        {
            let last = made.entry(place.clone()).or_insert(0);
            *last = u32::max(*last, number);
        }
    }
    // Where attempts have numbers, these count, and not the runs that made them.
    begun.extend(made);
    Memory::after(ended, begun)
}

/// Tells whether a run has ended with the question of one below it. What a client asks for never
/// makes a run that has ended otherwise look like that.
fn passes_on(record: &RunRecord) -> bool {
    let Some(report) = &record.report else { return false };
    let row = report.own_row();
    let is_it = |error: &str| error.starts_with(ASKED_BEGIN) && error.ends_with(ASKED_END);
    row.status == RunStatus::Failed && row.error.as_deref().is_some_and(is_it)
}

/// Yields how a step has ended: by itself, or because it alone was stopped, as by its own timeout.
/// None if its process was lost, or what is above it was stopped.
fn ended_of(record: &RunRecord) -> Option<Ended> {
    let name = || excerpt(&record.accepted.name);
    if let Some(row) = record.report.as_ref().map(|report| report.own_row()) {
        match (row.status, &row.output, &row.error) {
            (RunStatus::Completed, Some(output), _) => {
                return Some(Ended::Completed(output.clone()));
            }
            (RunStatus::Completed, None, _) => {
                let words = "it had completed, and its output was not stored: it is too large";
                return Some(Ended::Failed(format!("step `{}` failed: {words}", name()).into()));
            }
            (RunStatus::Failed, _, Some(error)) if !error.starts_with(WORKER_LOST) => {
                return Some(Ended::Failed(format!("step `{}` failed: {error}", name()).into()));
            }
            _ => {}
        }
    }
    // A stop that was acknowledged is never undone, also if the process was lost before the end.
    let of_end = || record.report.as_ref()?.own_row().cause.as_ref();
    let cause = of_end().or_else(|| record.stop.as_ref().map(|stop| &stop.cause))?;
    let is_own = cause.origin == record.run() && cause.kind != CauseKind::LeaseLost;
    is_own.then(|| Ended::Failed(format!("step `{}` was stopped ({cause})", name()).into()))
}

/// The annotation of a root that has the hash of its plan.
pub(super) const PLAN_HASH: &str = "plan.sha256";

/// How the error of a run begins whose process was lost, as [`quell::Engine::recover`] writes it.
const WORKER_LOST: &str = "worker lost: ";

/// What is around the name of the run that asks, in the words of [`quell::PauseAsked`].
const ASKED_BEGIN: &str = "run `";
const ASKED_END: &str = "` waits for an answer";

#[cfg(test)]
mod tests;
