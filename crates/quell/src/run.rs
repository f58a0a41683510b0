//! [`RunRef`] is a run from outside, without its value: what any caller may hold.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::{
    Annotations, CancelRequest, Cause, Disposition, Labels, LimitsOutcome, NewLimits, Payload,
    RunEvent, RunId, RunKind, RunReport, RunRow, RunStatus,
};

use crate::detach_error::DetachError;
use crate::failure::ForgetError;
use crate::metadata::Metadata;
use crate::node::wait::Wait;
use crate::node::{Node, State};
use crate::queue::QueuePosition;
use crate::step::cancel::cancel_each;
use crate::stop_scope::StopScope;
use crate::stream::EventStream;

/// A run, without its value: what adapters and lists hold.
///
/// # Examples
///
/// ```
/// use quell::{CancelRequest, Disposition, RunRef};
///
/// fn stop(run: &RunRef) -> Disposition {
///     run.cancel(CancelRequest::because("no longer needed"))
/// }
/// ```
#[derive(Clone)]
pub struct RunRef {
    node: Arc<Node>,
}

impl RunRef {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    pub(crate) const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Yields the id.
    pub fn id(&self) -> RunId {
        self.node.id
    }

    /// Yields the kind.
    pub fn kind(&self) -> RunKind {
        self.node.kind
    }

    /// Yields the status. One atomic load.
    pub fn status(&self) -> RunStatus {
        self.node.status()
    }

    /// Yields the name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Yields the input.
    pub fn input(&self) -> Option<&Payload> {
        self.node.input()
    }

    /// Yields the value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.about()?.labels.get(key).map(String::as_str)
    }

    /// Yields all labels, in the order of their keys; none if it has neither labels nor anything
    /// else of its own. Those of a run do not change.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, RunFilter, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let spec = RunSpec::agent("reply").label("team", "red").label("area", "north");
    /// let run = engine.submit(spec, async |_| Ok(())).unwrap().into_ref();
    ///
    /// assert_eq!(run.label("team"), Some("red"));
    /// let all: Vec<_> = run.labels().into_iter().flatten().collect();
    /// assert_eq!(all, [("area", &"north".to_owned()), ("team", &"red".to_owned())]);
    /// assert_eq!(engine.runs(&RunFilter::new().label("team", "red")), [run]);
    /// # });
    /// ```
    pub fn labels(&self) -> Option<&Labels> {
        self.node.about().map(|about| &about.labels)
    }

    /// Yields what [`RunSpec::annotation`](crate::RunSpec::annotation) kept under a key, or
    /// [`RunContext::annotate`](crate::RunContext::annotate) has added.
    pub fn annotation(&self, key: &str) -> Option<&Payload> {
        self.annotations()?.get(key)
    }

    /// Yields all annotations.
    pub fn annotations(&self) -> Option<&Annotations> {
        self.node.about().map(Metadata::annotations)
    }

    /// Yields the owner.
    pub fn owner(&self) -> Option<&str> {
        self.node.about()?.owner.as_deref()
    }

    /// Yields the key of its lane, if it has one.
    pub fn lane(&self) -> Option<&str> {
        Some(&self.node.gate()?.lane.as_ref()?.key)
    }

    /// Tells whether it was submitted into a scope of remembered stops.
    pub fn is_in_stop_scope(&self, scope: StopScope) -> bool {
        self.node.stop_scopes().contains(&scope)
    }

    /// Yields the parent; none for a root.
    pub fn parent(&self) -> Option<Self> {
        let parent = self.node.lock().parent.clone();
        parent.and_then(|parent| parent.upgrade()).map(Self::new)
    }

    /// Yields the root of its tree: of a root, the run itself.
    #[must_use]
    pub fn root(&self) -> Self {
        let mut root = self.clone();
        while let Some(parent) = root.parent() {
            root = parent;
        }
        root
    }

    /// Yields what the events that the log of its tree holds take, in bytes, about.
    pub fn log_bytes(&self) -> usize {
        self.node.log().lock().entries.bytes()
    }

    /// Lists the children: the live ones, and those ended ones that have a row in the report.
    pub fn children(&self) -> Vec<Self> {
        let state = self.node.lock();
        state.children.iter().map(|child| Self::new(Arc::clone(child))).collect()
    }

    /// Asks the run to stop. Returns when every live descendant is signalled; the work may still
    /// be ending then. Asking again changes nothing but to make it more urgent.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel(&self, request: CancelRequest) -> Disposition {
        self.node.cancel(&request)
    }

    /// Asks runs to stop, in their order, once all are listed. As [`cancel`](Self::cancel) of each,
    /// at less cost. Roots that wait behind each other are stopped by
    /// [`Engine::cancel_each`](crate::Engine::cancel_each).
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{CancelRequest, Engine, RunContext, RunRef, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let team = engine.submit(RunSpec::team("team"), async |ctx: RunContext| {
    ///     let body = async |ctx: RunContext| {
    ///         ctx.stopped().await;
    ///         Ok(())
    ///     };
    ///     let runs = [0; 3].map(|_| ctx.spawn(RunSpec::agent("member"), body));
    ///     RunRef::cancel_each(runs.iter().map(|run| run.run()), &CancelRequest::because("late"));
    ///     Ok(())
    /// });
    /// assert!(team.unwrap().await.is_ok());
    /// # });
    /// ```
    pub fn cancel_each<'a>(
        runs: impl IntoIterator<Item = &'a Self>,
        request: &CancelRequest,
    ) -> Vec<Disposition> {
        let nodes: Vec<_> = runs.into_iter().map(Self::node).collect();
        cancel_each(&nodes, request)
    }

    /// Sets the run's own timeout, which counts from its first start as before, or removes it. If
    /// it is over already the run is stopped at once. As [`set_limits`](Self::set_limits).
    pub fn set_timeout(&self, timeout: impl Into<Option<Duration>>) -> LimitsOutcome {
        self.set_limits(NewLimits::new().timeout(timeout))
    }

    /// Sets the run's own idle limit, or removes it. If the last sign of life of the subtree is too
    /// long ago the run is stopped at once. For a run that never had an idle limit the time counts
    /// from now, and this visits the runs below it once. As [`set_limits`](Self::set_limits).
    pub fn set_idle(&self, time: impl Into<Option<Duration>>) -> LimitsOutcome {
        self.set_limits(NewLimits::new().idle(time))
    }

    /// Gives the run other limits, all in one step, and tells what came of it. They replace those
    /// of its spec; the limits of its ancestors hold beside them, so that a run gets no longer than
    /// they allow. Changes nothing once a stop was accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::{LimitsOutcome, NewLimits, RunRef};
    ///
    /// /// Grants ten minutes in all, and one without a sign of life.
    /// fn grant(run: &RunRef) -> bool {
    ///     let limits = NewLimits::new()
    ///         .timeout(Duration::from_secs(600))
    ///         .idle(Duration::from_secs(60));
    ///     matches!(run.set_limits(limits), LimitsOutcome::Changed { .. })
    /// }
    /// ```
    pub fn set_limits(&self, limits: NewLimits) -> LimitsOutcome {
        self.node.set_limits(limits)
    }

    /// Reads the events of the run's subtree from the first one on. What is no longer held of them
    /// is a [`Lagged`](crate::EventKind::Lagged) in its place.
    pub fn events(&self) -> EventStream {
        EventStream::of_run(&self.node, 0)
    }

    /// Reads the events of the run's subtree after the one with this `seq` in the log of the tree
    /// to which the run belongs now. A run that is detached has a log with numbers of its own from
    /// then on: [`events_after`](Self::events_after) takes an event, which names its log.
    pub fn events_since(&self, seq: u64) -> EventStream {
        EventStream::of_run(&self.node, seq)
    }

    /// Reads the events of the run's subtree after this one, an event of this run's stream or of
    /// the engine's. If the run was detached since, what is left of the log before is read first,
    /// as far as it is held, and then the log of the run's own tree. An event of a log that is gone
    /// counts as none: all that is held is read.
    ///
    /// After a [`Lagged`](crate::EventKind::Lagged) of this run's stream it goes on where that
    /// ends.
    pub fn events_after(&self, event: &RunEvent) -> EventStream {
        EventStream::after(&self.node, event)
    }

    /// Yields the report as it stands, at any time.
    pub fn report(&self) -> Arc<RunReport> {
        Arc::new(crate::node::report::of(&self.node))
    }

    /// Yields the run's own row of the report as it stands, whatever the size of its tree.
    pub fn row(&self) -> RunRow {
        crate::node::report::row(&self.node)
    }

    /// Yields what the run leaves if it does not complete, in the one order that reports use, too:
    /// what it set as its output last, else `returned`, which its body yielded after the stop (see
    /// [`Outcome::Stopped`](crate::Outcome::Stopped)), else a list of what it emitted, as far as
    /// its log still holds that. A payload that cannot be read as a value counts as none.
    pub fn partial_output<T>(
        &self,
        returned: Option<T>,
        read: impl Fn(Payload) -> Option<T>,
    ) -> Option<T> {
        self.node.partial_output(returned, read)
    }

    /// Yields when the run was accepted, as its row says: for lists that show a part of all runs.
    pub fn queued_at(&self) -> SystemTime {
        self.node.began(&self.node.lock()).0
    }

    /// Tells where the run waits for its start, as it is now: what it waits for, and how many would
    /// start before it. None for a run that waits for nothing: it was let start, was stopped, or
    /// has a parent and no due time.
    ///
    /// Cheap, however long the queue: no more runs are counted than the position tells of.
    pub fn queue_position(&self) -> Option<QueuePosition> {
        let shared = &self.node.shared;
        shared.admission.position(&self.node, |due| shared.clock.wall(due))
    }

    /// Yields the cause of a stop that waits for the next checkpoint of the run
    /// ([`CancelRequest::after_step`]); none if there is none, and once the run is stopping.
    pub fn scheduled_stop(&self) -> Option<Arc<Cause>> {
        let state = self.node.lock();
        let scheduled = || state.extra.as_ref()?.scheduled.clone();
        if state.life.is_stopping() { None } else { scheduled() }
    }

    /// Tells whether the run was stopped so that what it has done is taken back
    /// ([`CancelRequest::rollback`]): the engine forgets it when nothing of it executes any more.
    pub fn is_rolled_back(&self) -> bool {
        self.node.lock().is_rollback()
    }

    /// Waits until the run is terminal. Something of it may still execute: the report says so.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> Arc<RunReport> {
        Wait::until(&self.node, |state| state.is_ended().then_some(())).await;
        self.report()
    }

    /// Waits until the run is terminal and yields its status. As [`ended`](Self::ended), without
    /// the cost of a report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended_status(&self) -> RunStatus {
        let told = |state: &State| state.is_ended().then(|| self.node.told_status(state));
        Wait::until(&self.node, told).await
    }

    /// Waits until the run is terminal and nothing of its subtree executes any more in this
    /// process.
    ///
    /// What an earlier process has left ([`RunContext::hold_durably`]) is not waited for: nothing
    /// tells of its end. The report has `quiescent = false` then, and names it.
    ///
    /// [`RunContext::hold_durably`]: crate::RunContext::hold_durably
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quiescent(&self) -> Arc<RunReport> {
        self.quiescent_status().await;
        self.report()
    }

    /// Waits until the run is terminal and nothing of its subtree executes any more, and yields its
    /// status. As [`quiescent`](Self::quiescent), without the cost of a report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quiescent_status(&self) -> RunStatus {
        let told = |state: &State| state.life.is_quiescent().then(|| self.node.told_status(state));
        Wait::until(&self.node, told).await
    }

    /// Lets the run outlive its parent: it becomes the root of its own tree, with a log of its
    /// own. It keeps its own timeout and loses the deadlines and stops that it would inherit.
    ///
    /// # Errors
    ///
    /// Fails for a root, when the run is stopping or has ended, and if its id is another run's.
    pub fn detach(&self) -> Result<(), DetachError> {
        crate::step::detach::detach(&self.node)
    }

    /// Forgets the tree of this very run, as [`Engine::forget`](crate::Engine::forget) does: not
    /// that of a later run of the same id.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the engine knows the run no longer, if it is not a root, or
    /// if it is not quiescent.
    pub fn forget(&self) -> Result<(), ForgetError> {
        if self.is_forgotten() {
            return Err(ForgetError::Unknown);
        }
        self.node.shared.forget_root(&self.node)
    }

    /// Tells whether the engine knows the run no longer: its time in memory is over, or it was
    /// forgotten before that. A later run may have its id.
    pub fn is_forgotten(&self) -> bool {
        let known = self.node.shared.registry.get(self.node.id);
        known.is_none_or(|node| !Arc::ptr_eq(&node, &self.node))
    }
}

impl PartialEq for RunRef {
    /// Whether both are of the same run: an id may stand for another one since.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }
}

impl Eq for RunRef {}

impl fmt::Debug for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.node, f)
    }
}
