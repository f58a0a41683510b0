//! [`RunView`]: a run as it can be looked at, in memory or only in the store.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{Accepted, RunRecord};
use quell::{
    Annotations, Labels, PauseState, Payload, QueuePosition, RunId, RunKind, RunRef, RunReport,
    RunRow, RunStatus,
};

use crate::ids::{EXTERNAL_ID, external_id};
use crate::report_part::part_of;

/// A run as it can be looked at: one that is in memory, or what the store has of one that is not,
/// of an earlier process or past its time in memory. Both answer the same questions, at once. Cheap
/// to clone.
///
/// [`View::find`](crate::View::find) finds one.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "it is in memory or it is not")]
pub enum RunView {
    /// It is in memory: live, or kept.
    Live(RunRef),
    /// It is only in the store.
    Stored(StoredRun),
}

/// What the store has of a run and of those above it, as it was when it was read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoredRun(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    record: RunRecord,
    /// The runs above it, its parent first.
    above: Vec<Accepted>,
    report: Arc<RunReport>,
    /// The report of its root, if that is another run and has ended.
    whole: Option<Arc<RunReport>>,
}

/// What is asked of the root of a run to tell who may see it, and through which contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RootFacts<'a> {
    pub(crate) kind: RunKind,
    pub(crate) owner: Option<&'a str>,
    labels: Option<&'a Labels>,
}

impl<'a> RootFacts<'a> {
    pub(crate) fn of(root: &'a RunRef) -> Self {
        Self { kind: root.kind(), owner: root.owner(), labels: root.labels() }
    }

    pub(crate) fn of_accepted(root: &'a Accepted) -> Self {
        Self { kind: root.kind, owner: root.owner.as_deref(), labels: Some(&root.labels) }
    }

    pub(crate) fn label(&self, key: &str) -> Option<&'a str> {
        self.labels?.get(key).map(String::as_str)
    }
}

impl RunView {
    /// Yields the run if it is in memory.
    pub const fn live(&self) -> Option<&RunRef> {
        match self {
            Self::Live(run) => Some(run),
            Self::Stored(_) => None,
        }
    }

    /// Yields the id.
    pub fn id(&self) -> RunId {
        match self {
            Self::Live(run) => run.id(),
            Self::Stored(stored) => stored.accepted().run,
        }
    }

    /// Yields the kind.
    pub fn kind(&self) -> RunKind {
        match self {
            Self::Live(run) => run.kind(),
            Self::Stored(stored) => stored.accepted().kind,
        }
    }

    /// Yields the name.
    pub fn name(&self) -> &str {
        match self {
            Self::Live(run) => run.name(),
            Self::Stored(stored) => &stored.accepted().name,
        }
    }

    /// Yields the status.
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Live(run) => run.status(),
            Self::Stored(stored) => stored.record().status,
        }
    }

    /// Yields the number of its attempt.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Live(run) => run.attempt(),
            Self::Stored(stored) => stored.record().attempt,
        }
    }

    /// Yields the answer to its last pause; none while it is paused, and if it never was.
    pub fn last_answer(&self) -> Option<Payload> {
        match self {
            Self::Live(run) => run.last_answer(),
            Self::Stored(stored) => stored.record().answer.clone(),
        }
    }

    /// Yields the input.
    pub fn input(&self) -> Option<&Payload> {
        match self {
            Self::Live(run) => run.input(),
            Self::Stored(stored) => stored.accepted().input.as_ref(),
        }
    }

    /// Yields the owner.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Live(run) => run.owner(),
            Self::Stored(stored) => stored.accepted().owner.as_deref(),
        }
    }

    /// Yields the key of its lane, as the engine has it, if it has one.
    pub fn lane(&self) -> Option<&str> {
        match self {
            Self::Live(run) => run.lane(),
            Self::Stored(stored) => stored.accepted().lane.as_deref(),
        }
    }

    /// Yields the value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key).map(String::as_str)
    }

    /// Yields all labels.
    pub fn labels(&self) -> Option<&Labels> {
        match self {
            Self::Live(run) => run.labels(),
            Self::Stored(stored) => Some(&stored.accepted().labels),
        }
    }

    /// Yields what [`Start::annotation`](crate::Start::annotation) kept under a key.
    pub fn annotation(&self, key: &str) -> Option<&Payload> {
        self.annotations()?.get(key)
    }

    /// Yields all annotations.
    pub fn annotations(&self) -> Option<&Annotations> {
        match self {
            Self::Live(run) => run.annotations(),
            Self::Stored(stored) => Some(&stored.accepted().annotations),
        }
    }

    /// Yields the id as its caller knows it.
    pub fn external_id(&self) -> Cow<'_, str> {
        match self {
            Self::Live(run) => external_id(run),
            Self::Stored(stored) => stored_id(stored.accepted()),
        }
    }

    /// Yields the parent; none for a root.
    pub fn parent(&self) -> Option<RunId> {
        match self {
            Self::Live(run) => run.parent().map(|parent| parent.id()),
            Self::Stored(stored) => stored.accepted().parent,
        }
    }

    /// Tells whether it has no parent.
    pub fn is_root(&self) -> bool {
        self.parent().is_none()
    }

    /// Yields when it was accepted.
    pub fn queued_at(&self) -> SystemTime {
        match self {
            Self::Live(run) => run.queued_at(),
            Self::Stored(stored) => stored.accepted().at,
        }
    }

    /// Yields the report, as it stands or as it is stored.
    pub fn report(&self) -> Arc<RunReport> {
        match self {
            Self::Live(run) => run.report(),
            Self::Stored(stored) => Arc::clone(stored.report()),
        }
    }

    /// Yields the run's own row of the report.
    pub fn row(&self) -> RunRow {
        match self {
            Self::Live(run) => run.row(),
            Self::Stored(stored) => stored.report().own_row().clone(),
        }
    }

    /// Tells where it waits for its start; none if it does not, or is not in memory.
    pub fn queue_position(&self) -> Option<QueuePosition> {
        self.live()?.queue_position()
    }

    /// Tells whether it was stopped so that what it has done is taken back
    /// ([`CancelRequest::rollback`](quell::CancelRequest::rollback)): it is forgotten when nothing
    /// of it executes any more.
    pub fn is_rolled_back(&self) -> bool {
        match self {
            Self::Live(run) => run.is_rolled_back(),
            Self::Stored(stored) => stored.record().is_rolled_back(),
        }
    }

    /// Yields its pause, if it is paused.
    pub fn pause_state(&self) -> Option<PauseState> {
        match self {
            Self::Live(run) => run.pause_state(),
            Self::Stored(stored) => stored.record().paused.as_ref().map(PauseState::from),
        }
    }

    /// Yields the value of a label of the root of its tree.
    pub fn root_label(&self, key: &str) -> Option<String> {
        self.of_root(|root| root.label(key).map(str::to_owned))
    }

    /// Yields the id of the root of its tree, as its caller knows it.
    pub fn root_external_id(&self) -> String {
        match self {
            Self::Live(run) => external_id(&run.root()).into_owned(),
            Self::Stored(stored) => stored_id(stored.root()).into_owned(),
        }
    }

    /// Asks something of the root of its tree.
    pub(crate) fn of_root<T>(&self, ask: impl FnOnce(RootFacts<'_>) -> T) -> T {
        match self {
            Self::Live(run) => ask(RootFacts::of(&run.root())),
            Self::Stored(stored) => ask(RootFacts::of_accepted(stored.root())),
        }
    }

    /// Tells whether it or a run above it has this kind, and a label of this value.
    pub(crate) fn is_below(&self, kind: RunKind, (key, value): (&str, &str)) -> bool {
        let is_it = |facts: RootFacts<'_>| facts.kind == kind && facts.label(key) == Some(value);
        match self {
            Self::Live(run) => {
                let line = std::iter::successors(Some(run.clone()), RunRef::parent);
                line.into_iter().any(|run| is_it(RootFacts::of(&run)))
            }
            Self::Stored(stored) => stored.line().any(|run| is_it(RootFacts::of_accepted(run))),
        }
    }
}

impl From<&RunRef> for RunView {
    fn from(run: &RunRef) -> Self {
        Self::Live(run.clone())
    }
}

impl From<&Self> for RunView {
    fn from(run: &Self) -> Self {
        run.clone()
    }
}

impl From<RunRef> for RunView {
    fn from(run: RunRef) -> Self {
        Self::Live(run)
    }
}

impl StoredRun {
    /// Puts together what was read: the record of the run, and of those above it, its parent first.
    pub(crate) fn new(record: RunRecord, mut above: Vec<RunRecord>) -> Self {
        let whole = above.last_mut().and_then(|root| root.report.take());
        let report = match &whole {
            Some(whole) => part_of(whole, &record),
            None => record.report_by_now(),
        };
        let above = above.into_iter().map(|run| run.accepted).collect();
        Self(Arc::new(Inner { record, above, report: report.into(), whole }))
    }

    /// As [`StoredRun::new`], below a root that was read before, and those between, the parent
    /// first.
    pub(crate) fn below(
        record: RunRecord,
        between: Vec<RunRecord>,
        (root, whole): (&Accepted, &Arc<RunReport>),
    ) -> Self {
        let between = between.into_iter().map(|run| run.accepted);
        let above = between.chain([root.clone()]).collect();
        let (report, whole) = (part_of(whole, &record).into(), Some(Arc::clone(whole)));
        Self(Arc::new(Inner { record, above, report, whole }))
    }

    /// Yields the report of its root, if that is another run and has ended.
    pub(crate) fn whole(&self) -> Option<&Arc<RunReport>> {
        self.0.whole.as_ref()
    }

    /// Puts a root together as lists show it: without the rows of those below.
    pub(crate) fn in_list(mut record: RunRecord) -> Self {
        let mut report = record.report_by_now();
        report.rows.truncate(1);
        record.report = None;
        let (above, report) = (Vec::new(), report.into());
        Self(Arc::new(Inner { record, above, report, whole: None }))
    }

    /// Yields what is stored of it.
    pub fn record(&self) -> &RunRecord {
        &self.0.record
    }

    /// Yields the report: of a run below a root its part of that of the root.
    pub fn report(&self) -> &Arc<RunReport> {
        &self.0.report
    }

    /// Tells whether the report has the rows of the runs below: the root has ended, whose report
    /// has them.
    pub(crate) fn has_whole_report(&self) -> bool {
        if self.0.above.is_empty() {
            self.0.record.report.is_some()
        } else {
            self.0.whole.is_some()
        }
    }

    /// Yields what is known of it since it was accepted.
    pub fn accepted(&self) -> &Accepted {
        &self.0.record.accepted
    }

    /// Yields it and those above it, the root last, each as it was accepted.
    pub fn line(&self) -> impl DoubleEndedIterator<Item = &Accepted> {
        std::iter::once(self.accepted()).chain(&self.0.above)
    }

    /// Yields the root of its tree.
    pub fn root(&self) -> &Accepted {
        self.0.above.last().unwrap_or(&self.0.record.accepted)
    }

    /// Yields the row of a run of its tree, if there is one.
    pub fn row_of(&self, run: RunId) -> Option<&RunRow> {
        self.report().row(run).or_else(|| self.0.whole.as_ref()?.row(run))
    }

    /// Yields how many children of a parent come before a run of its tree, as far as they have
    /// rows; none if it has none itself.
    pub fn ordinal_of(&self, run: RunId, parent: RunId) -> Option<usize> {
        let rows = &self.0.whole.as_ref().unwrap_or(self.report()).rows;
        rows.iter().filter(|row| row.parent == Some(parent)).position(|row| row.run == run)
    }

    /// Yields the id, as its caller knows it, of a run that it names.
    pub(crate) fn external_id_of(&self, id: RunId) -> String {
        let known = self.line().find(|run| run.run == id);
        known.map_or_else(|| id.to_string(), |run| stored_id(run).into_owned())
    }
}

/// Yields the id of a run as its caller knows it.
fn stored_id(run: &Accepted) -> Cow<'_, str> {
    match run.labels.get(EXTERNAL_ID) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(run.run.to_string()),
    }
}
