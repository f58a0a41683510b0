//! [`StopList`]: the stops that are under way.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{Abandoned, CleaningUp, RunId, RunReport, RunRow, StopStanding};
use serde::Serialize;
use utoipa::ToSchema;

use crate::native::wire::response::component_of;
use crate::run_state::{RunCause, RunState, written};
use crate::run_view::RunView;

/// The stops that are under way, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StopList {
    /// When this was looked at: RFC 3339, UTC, milliseconds; so are the others.
    at: String,
    /// Those within the limit.
    stops: Vec<StopObject>,
    /// Whether there are more, or may be: the store, which tells of other nodes, cannot be read.
    more: bool,
}

/// A stop that is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StopObject {
    /// The run at which it began, as its caller knows it.
    id: String,
    /// The same, as the event log knows it.
    uuid: String,
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `agent`, `team`, `workflow`, `step`, `branch` or `attempt`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// The name of its component, `agent/writer`; null if it has none.
    component: Option<String>,
    /// The root of its tree, as its caller knows it.
    root: String,
    /// `stopping`; how it has ended, if something of it executes still; or, of a stop that is only
    /// recorded, how it stands.
    #[schema(value_type = String)]
    status: &'static str,
    /// Why it stops.
    cause: Option<RunCause>,
    /// When its stop was accepted; null if it is only recorded.
    accepted_at: Option<String>,
    /// When a stop was asked for that the node which has the run has not decided yet: it is
    /// recorded, and honoured at the latest when another node takes over. Null if none waits.
    recorded_at: Option<String>,
    /// The node that has it, or had it last, if that is another one: then only the stop is known
    /// here.
    #[schema(value_type = Option<String>)]
    pub(crate) node: Option<Arc<str>>,
    /// How it stands. Of a run that another node has it is as far as the store tells, and null if
    /// its node has not decided the stop, or the store cannot be read.
    standing: Option<StandingObject>,
}

/// How a stop stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StandingObject {
    /// When bodies and hooks that have not ended are aborted.
    hard_deadline: Option<String>,
    /// When what still executes is given up.
    given_up_at: Option<String>,
    /// Runs that have not ended, the run itself included.
    live: usize,
    /// Those of them that are told to stop; others are of cleanup.
    signalled: usize,
    /// What it waits for: bodies whose children have ended, hooks, and other work.
    cleaning_up: Vec<WorkObject>,
    /// Runs whose body was dropped at the hard deadline.
    aborted: Vec<RunName>,
    /// What was executing when its run became terminal, of runs of which something executes still.
    abandoned: Vec<WorkObject>,
    /// How many names are left out: each list has at most 100.
    omitted: usize,
    /// Whether this is as far as the store tells, because another node has the run, or had it:
    /// hooks and closures are not named, and a run of which no child is live is told as its body.
    of_store: bool,
    /// Whether the tree has more runs than were looked at, so that there may be more of all.
    more: bool,
}

/// A piece of work.
#[derive(Debug, Serialize, ToSchema)]
struct WorkObject {
    /// The run whose work it is.
    run: String,
    /// The name of the hook, closure, process or service, if it has one; else that of the run.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `body`, `hook`, `blocking`, `process`, `remote` or `node`.
    #[schema(value_type = String)]
    what: &'static str,
    /// Since when its run has been told to stop; null if that is over.
    since: Option<String>,
}

/// A run by name.
#[derive(Debug, Serialize, ToSchema)]
struct RunName {
    /// Its id as the event log knows it.
    run: String,
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
}

impl StopList {
    pub(crate) fn new(at: SystemTime, stops: Vec<StopObject>, more: bool) -> Self {
        Self { at: written(at), stops, more }
    }
}

impl StopObject {
    pub(crate) fn new(
        run: &RunView,
        row: &RunRow,
        state: RunState,
        standing: Option<StopStanding>,
    ) -> Self {
        Self {
            id: run.external_id().into_owned(),
            uuid: run.id().to_string(),
            name: Arc::clone(&row.name),
            kind: row.kind.as_str(),
            component: component_of(run),
            root: run.root_external_id(),
            status: state.status,
            cause: state.cause,
            accepted_at: row.stopped_at.map(written),
            recorded_at: None,
            node: None,
            standing: standing.map(StandingObject::of),
        }
    }

    /// Says how it stands, as far as the store tells.
    pub(crate) fn stands(&mut self, standing: StopStanding) {
        self.standing = Some(StandingObject::of(standing));
    }

    /// Says that a stop waits for the node that has the run.
    pub(crate) fn is_recorded_at(&mut self, at: SystemTime) {
        self.recorded_at = Some(written(at));
    }
}

impl StandingObject {
    fn of(standing: StopStanding) -> Self {
        let aborted = standing.aborted.into_iter();
        Self {
            hard_deadline: standing.hard_deadline.map(written),
            given_up_at: standing.given_up_at.map(written),
            live: standing.live,
            signalled: standing.signalled,
            cleaning_up: standing.cleaning_up.into_iter().map(WorkObject::cleaning_up).collect(),
            aborted: aborted.map(|(run, name)| RunName { run: run.to_string(), name }).collect(),
            abandoned: standing.abandoned.into_iter().map(WorkObject::abandoned).collect(),
            omitted: standing.omitted,
            of_store: standing.of_store,
            more: standing.more,
        }
    }
}

impl WorkObject {
    fn new(run: RunId, name: Arc<str>, what: &'static str, since: Option<SystemTime>) -> Self {
        Self { run: run.to_string(), name, what, since: since.map(written) }
    }

    fn cleaning_up(one: CleaningUp) -> Self {
        Self::new(one.run, one.name, one.what.as_str(), Some(one.since))
    }

    fn abandoned(left: Abandoned) -> Self {
        Self::new(left.run, left.name, left.what.as_str(), None)
    }
}

/// Yields how the stop of a run stands that has ended, as far as its report says.
pub(crate) fn abandoned_by(report: &RunReport) -> StopStanding {
    let mut standing = StopStanding::default();
    standing.abandoned = report.abandoned.iter().take(NAMES_MAX).cloned().collect();
    standing.omitted = report.abandoned.len() - standing.abandoned.len();
    standing.of_store = true;
    standing
}

/// Names in each list of a standing, as the engine has them.
const NAMES_MAX: usize = 100;

/// Estimates the bytes of what is told of a stop.
pub(crate) fn stop_bytes(standing: Option<&StopStanding>) -> usize {
    const NAME: usize = 256;
    standing.map_or(0, |standing| {
        let cleaning_up = standing.cleaning_up.iter().map(|one| NAME + one.name.len());
        let aborted = standing.aborted.iter().map(|(_, name)| NAME + name.len());
        let abandoned = standing.abandoned.iter().map(|left| NAME + left.name.len());
        cleaning_up.chain(aborted).chain(abandoned).sum()
    })
}
