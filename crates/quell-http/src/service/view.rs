//! [`View`]: a service as one principal sees it through one contract.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use quell::{CancelRequest, Disposition, ForgetError, RunFilter, RunId, RunRef, RunReport, RunRow};
use quell_flow::{COMPONENT, Component, ComponentKind, Contract};

use crate::access::{Principal, Teams};
use crate::ids::{RECORD, SESSION, TEAM, parse_id};
use crate::limits::TIME_MAX;
use crate::long_requests::LongRequestPermit;
use crate::run_state::RunState;
use crate::run_view::{RootFacts, RunView};
use crate::service::cancel_outcome::CancelOutcome;
use crate::service::for_stop::SlowStop;
use crate::service::service::Service;
use crate::transcript::Transcript;
use crate::wait::Wait;

/// A service as one principal sees it through one contract. Cheap to clone.
///
/// A run is visible if its component is exposed in the contract and it belongs to the principal.
/// Any other run is unknown. Members and steps are visible if their root is.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Payload};
/// use quell_flow::{Catalog, Component, ComponentKind};
/// use quell_http::{NATIVE, Principal, Service, Start, Wait};
///
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let service = Service::new(Engine::new(), catalog);
/// let view = service.view(NATIVE, Principal::anonymous());
/// let echo = view.component(ComponentKind::Agent, "echo").unwrap();
/// let run = view.start(Start::new(echo, Payload::from("hi")).id("r-1")).await.unwrap().run;
/// assert_eq!(view.run("r-1"), Some(run.clone()));
/// assert_eq!(Wait::terminal().of(&run).await.report.output, Some(Payload::from("hi")));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct View {
    service: Service,
    contract: Contract,
    principal: Principal,
    is_by_team: bool,
}

impl View {
    pub(crate) const fn new(service: Service, contract: Contract, principal: Principal) -> Self {
        Self { service, contract, principal, is_by_team: false }
    }

    /// Shows the runs of the principal's teams, of all owners, instead of the principal's own. The
    /// team of a run is its label [`SESSION`], if the caller who started it is a member.
    #[must_use]
    pub const fn by_team(mut self) -> Self {
        self.is_by_team = true;
        self
    }

    /// Yields the service.
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Yields the principal.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) const fn contract(&self) -> Contract {
        self.contract
    }

    /// Finds a component that the contract exposes.
    pub fn component(&self, kind: ComponentKind, id: &str) -> Option<&Arc<Component>> {
        let component = self.service.catalog().get(kind, id)?;
        component.is_exposed_in(self.contract).then_some(component)
    }

    /// Finds the first component of any kind that the contract exposes.
    pub fn find_component(&self, id: &str) -> Option<&Arc<Component>> {
        self.service.catalog().find(self.contract, id)
    }

    /// Lists the components that the contract exposes.
    pub fn components(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.service.catalog().listed(self.contract)
    }

    /// Yields the component of a run's root; `None` if it is not in the catalog.
    pub fn component_of(&self, run: impl Into<RunView>) -> Option<&Arc<Component>> {
        run.into().of_root(|root| self.component_of_root(root))
    }

    fn component_of_root(&self, root: RootFacts<'_>) -> Option<&Arc<Component>> {
        let kind = ComponentKind::of_run(root.kind);
        self.service.catalog().get(kind, root.label(COMPONENT)?)
    }

    /// Finds a visible run that is in memory by the text of its id; `None` also if the text is not
    /// an id. [`View::find`] finds those that are only in the store, too.
    pub fn run(&self, id: &str) -> Option<RunRef> {
        self.run_by_id(parse_id(id).ok()?)
    }

    /// Finds a visible run that is in memory.
    pub fn run_by_id(&self, id: RunId) -> Option<RunRef> {
        self.service.engine().get(id).filter(|run| self.sees(run))
    }

    /// Finds a visible run that is in memory, of a component or below a run of it.
    pub fn run_of(&self, component: &Component, id: &str) -> Option<RunRef> {
        let own = (COMPONENT, component.id());
        let is_below = |run: &RunRef| RunView::from(run).is_below(component.kind().run_kind(), own);
        self.run(id).filter(is_below)
    }

    /// Lists the visible runs in memory that match a filter, in order of their ids.
    pub fn runs(&self, filter: &RunFilter) -> Vec<RunRef> {
        let mut runs = self.service.engine().runs(filter);
        runs.retain(|run| self.sees(run));
        runs
    }

    /// Tells whether a run is visible.
    pub fn sees(&self, run: &RunRef) -> bool {
        let root = run.root();
        self.sees_root(RootFacts::of(&root)) && !root.is_forgotten()
    }

    /// Tells whether the runs of a tree are visible: the one place that says so, of live and of
    /// stored runs.
    pub(crate) fn sees_root(&self, root: RootFacts<'_>) -> bool {
        self.is_shown(root) && self.owns(root)
    }

    /// Tells whether the contract shows the runs of a root's component.
    fn is_shown(&self, root: RootFacts<'_>) -> bool {
        match self.component_of_root(root) {
            Some(component) => self.exposes(component),
            None => self.contract == NATIVE && root.label(RECORD).is_none(),
        }
    }

    pub(crate) fn exposes(&self, component: &Component) -> bool {
        component.is_exposed_in(self.contract)
    }

    fn owns(&self, root: RootFacts<'_>) -> bool {
        if self.is_by_team {
            return match self.principal.teams() {
                Teams::All => true,
                Teams::Some(_) => {
                    team_of(root).is_some_and(|team| self.principal.is_member_of(team))
                }
            };
        }
        self.principal.sees_all() || root.owner == self.principal.subject()
    }

    /// Yields the one owner whose runs the principal sees, if there is one: a list asks the store
    /// for no others.
    pub(crate) fn own_owner(&self) -> Option<&str> {
        if self.is_by_team || self.principal.sees_all() { None } else { self.principal.subject() }
    }

    /// Tells whether the principal may stop a run. The right to read is not enough, also where the
    /// stop is a policy, as [`OnDisconnect::Cancel`](crate::OnDisconnect::Cancel).
    pub fn may_stop(&self, run: impl Into<RunView>) -> bool {
        !self.principal.is_read_only()
            && self.component_of(run).is_none_or(|component| self.principal.may_run(component))
    }

    /// Says what a principal who may not stop a run lacks: for the text of a refusal.
    pub fn lack_to_stop(&self, run: impl Into<RunView>) -> String {
        self.principal.lack_to_run(self.component_of(run).map(AsRef::as_ref))
    }

    /// Cancels a run in the name of the principal, on whatever node of the cluster that is, and
    /// waits.
    ///
    /// A run that is only in the store, and that another node has, is stopped by its owner: the
    /// disposition is what that has decided, or [`Disposition::Recorded`] if it is silent. For such
    /// a run a wait reads the store after 10 ms, and then in pauses that grow to 250 ms: nodes do
    /// not tell each other of the ends of runs. So it is late by a pause, and takes 4 reads a
    /// second. While the store is in trouble it goes on, once a second. A run that names a node
    /// that is lost is not waited for to be quiescent.
    ///
    /// A wait holds its connection, so it needs a permit of a long request
    /// ([`Service::long_request_permit`]). If none is left it does not wait.
    ///
    /// If the principal may not stop the run ([`View::may_stop`]), it changes nothing, and the
    /// disposition is `Forbidden`, or `Unknown` for a run that the principal does not see. A run
    /// that an earlier process has left behind, and that nobody has decided about, is `Unknown`,
    /// and [`CancelOutcome::stored`] fails; so it is if the owner could not be asked.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped while it waits, the stop goes on. If it is dropped before, a run of another
    /// node may be stopped or not.
    pub async fn cancel(
        &self,
        run: impl Into<RunView>,
        request: CancelRequest,
        wait: Wait,
    ) -> CancelOutcome {
        let run = run.into();
        if let Some(refusal) = self.refusal(&run) {
            return CancelOutcome::without_run(refusal);
        }
        let run = match &run {
            RunView::Live(run) => run,
            // On the heap: for a run that is here nobody pays for its size.
            RunView::Stored(run) => return Box::pin(self.cancel_stored(run, request, wait)).await,
        };
        let disposition = run.cancel(self.attributed(request));
        let (wait, _permit) = self.with_permit(wait);
        let slow = SlowStop::new(&self.service);
        CancelOutcome::after(&slow, disposition, run, wait).await
    }

    /// Cancels all of these runs before it waits for any; the cap of the wait is for all together.
    /// Queued runs are cancelled first, the newest first: otherwise the end of one could start the
    /// next. The answers are in the order of the runs. Runs that other nodes have are stopped by
    /// those, 64 at once, when the runs that are here are stopped, and waited for 64 at once.
    ///
    /// # Cancel safety
    ///
    /// Once polled, all of them are asked to stop although the future was dropped.
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime of tokio if a run is none of this node.
    pub async fn cancel_all(
        &self,
        runs: impl IntoIterator<Item = impl Into<RunView>>,
        request: CancelRequest,
        wait: Wait,
    ) -> Vec<CancelOutcome> {
        let request = self.attributed(request);
        let runs: Vec<RunView> = runs.into_iter().map(Into::into).collect();
        let (mut here, mut there, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for (at, run) in runs.iter().enumerate() {
            match (self.refusal(run), run) {
                (Some(refusal), _) => outcomes.push((at, CancelOutcome::without_run(refusal))),
                (None, RunView::Live(run)) => here.push((at, run.clone())),
                (None, RunView::Stored(run)) => there.push((at, run.clone())),
            }
        }
        let live: Vec<_> = here.iter().map(|(_, run)| run.clone()).collect();
        let given = self.service.engine().cancel_each(&live, request.clone());
        let ((wait, _permit), over_at) = (self.with_permit(wait), wait.over_at());
        let slow = &SlowStop::new(&self.service);
        let own = join_all(here.into_iter().zip(given).map(async |((at, run), given)| {
            (at, CancelOutcome::after(slow, given, &run, wait).await)
        }));
        if there.is_empty() {
            outcomes.extend(own.await);
        } else {
            // A stop is total: who asked may have gone before all are asked.
            let view = self.clone();
            let others = tokio::spawn(async move {
                view.cancel_all_stored(there, &request, (wait, over_at)).await
            });
            let (own, others) = join(own, others).await;
            let others = others.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            outcomes.extend(own.into_iter().chain(others));
        }
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Takes the permit that a wait needs. Without one the wait looks once.
    pub(super) fn with_permit(&self, wait: Wait) -> (Wait, Option<LongRequestPermit>) {
        let permit = if wait.is_none() { None } else { self.service.long_request_permit() };
        let wait = if permit.is_some() { wait } else { wait.at_most(Duration::ZERO) };
        (wait, permit)
    }

    /// Says why the principal may not stop a run. A run that was deleted meanwhile is not refused.
    pub(crate) fn refusal(&self, run: &RunView) -> Option<Disposition> {
        if !run.of_root(|root| self.sees_root(root)) {
            return Some(Disposition::Unknown);
        }
        (!self.may_stop(run)).then_some(Disposition::Forbidden)
    }

    /// Attributes a request to the principal, and bounds its grace.
    pub(crate) fn attributed(&self, request: CancelRequest) -> CancelRequest {
        let request = match request.grace_asked() {
            Some(grace) => request.grace(grace.min(TIME_MAX)),
            None => request,
        };
        match self.principal.subject() {
            Some(subject) => request.by(subject),
            None => request,
        }
    }

    /// Deletes the tree of a run for every contract, if nothing of it executes. Tells whether it is
    /// deleted. Its id is free then; a later run with that id is another run, and stays.
    pub fn forget(&self, run: &RunRef) -> bool {
        matches!(run.root().forget(), Ok(()) | Err(ForgetError::Unknown))
    }

    /// Yields the transcript of a run so far: its text, tool calls and last values.
    pub fn transcript(&self, run: &RunRef) -> Transcript {
        self.service.shared().records.transcript(run)
    }

    /// As [`View::transcript`], of a run of a tree that this engine may never have had: an earlier
    /// process, or another node, began it. None if it has said nothing, as far as that was read
    /// ([`View::tree_said_of`]).
    pub fn transcript_in(&self, tree: &RunRef, run: RunId) -> Option<Transcript> {
        self.service.shared().records.read(tree, |fold| fold.of(run))
    }

    /// Yields the progress of a run, from 0 to 1; `None` if it has reported none.
    pub fn progress(&self, run: &RunRef) -> Option<f32> {
        self.service.shared().records.progress(run)
    }

    /// Yields the transcript of every run of a tree so far, parents before children.
    pub fn tree_transcripts(&self, run: &RunRef) -> Vec<Transcript> {
        self.service.shared().records.tree(run)
    }

    /// Yields the object `quell` of a run.
    pub fn state(&self, run: &RunRef) -> RunState {
        self.state_of(&run.report())
    }

    /// As [`View::state`], from a report.
    pub fn state_of(&self, report: &RunReport) -> RunState {
        let run = self.service.engine().get(report.own_row().run);
        let is_cut = |run: &RunRef| self.service.shared().records.is_cut(run);
        let truncated = run.as_ref().is_some_and(is_cut);
        RunState { truncated, ..RunState::of(report, |id| self.service.external_id(id)) }
    }

    /// As [`View::state`], from the run's own row, at the same cost for a tree of any size:
    /// abandoned work of descendants and a cut transcript do not show.
    pub fn state_of_row(&self, row: &RunRow) -> RunState {
        RunState::of_row(row, |id| self.service.external_id(id))
    }

    /// As [`View::state_of_row`], of a run that may be only in the store: the runs that its row
    /// names are those that the store has of it.
    pub(crate) fn state_of_row_of(&self, run: &RunView, row: &RunRow) -> RunState {
        match run {
            RunView::Live(_) => self.state_of_row(row),
            RunView::Stored(stored) => RunState::of_row(row, |id| stored.external_id_of(id)),
        }
    }
}

/// Yields the team of a run. A run without an owner, of open access, belongs to the team it names.
fn team_of(root: RootFacts<'_>) -> Option<&str> {
    root.label(if root.owner.is_none() { SESSION } else { TEAM })
}

/// quell's own contract. It also shows runs whose component is not in the catalog.
pub const NATIVE: Contract = Contract::named("native");
