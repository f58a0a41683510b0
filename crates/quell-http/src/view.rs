//! A service as one principal sees it through one contract.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures::future::join_all;
use quell::{
    CancelRequest, Cause, Disposition, ForgetError, RunFilter, RunId, RunKind, RunRef, RunReport,
    RunRow, RunStatus,
};
use quell_flow::{COMPONENT, Component, Contract};
use tokio::runtime::Handle;

use crate::access::{Principal, Teams};
use crate::ids::{SESSION, TEAM, parse_id};
use crate::places::LongPlace;
use crate::service::Service;
use crate::start::TIME_MAX;
use crate::state::{State, write_headers};
use crate::transcript::Transcript;
use crate::wait::Wait;

/// A service as one principal sees it through one contract. Cheap to clone.
///
/// A run is visible if its component is exposed in the contract and it belongs to the principal;
/// any other run is as unknown. Members and steps are visible as their root is.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Payload, RunKind};
/// use quell_flow::{Catalog, Component, Contract};
/// use quell_http::{Principal, Service, Start, Wait};
///
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let service = Service::new(Engine::new(), catalog);
/// let view = service.view(Contract::AgentOs, Principal::anonymous());
/// let echo = view.component(RunKind::Agent, "echo").unwrap();
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

/// What came of a request to cancel, and of the wait after it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cancelled {
    /// The engine's answer.
    pub disposition: Disposition,
    /// Why the run stops, or stopped; none if it was not stopped.
    pub cause: Option<Arc<Cause>>,
    /// Whether what was waited for came to pass. True if nothing was; false too if there was no
    /// place to wait in.
    pub is_reached: bool,
    /// Whether nothing of the run executes; none if nothing was waited for.
    pub quiescent: Option<bool>,
    /// How the run itself stands after the wait; none for a run that is not there.
    pub row: Option<RunRow>,
}

impl View {
    pub(crate) const fn new(service: Service, contract: Contract, principal: Principal) -> Self {
        Self { service, contract, principal, is_by_team: false }
    }

    /// Sees the runs of the principal's teams, whoever started them, instead of the principal's
    /// own. The team of a run is its label [`SESSION`], if whoever started it is a member.
    #[must_use]
    pub const fn by_team(mut self) -> Self {
        self.is_by_team = true;
        self
    }

    /// Yields the service.
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Yields who looks.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Finds a component that the contract exposes.
    pub fn component(&self, kind: RunKind, id: &str) -> Option<&Arc<Component>> {
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

    /// Yields the component of a run: that of its root. None if it is not in the catalog.
    pub fn component_of(&self, run: &RunRef) -> Option<&Arc<Component>> {
        let root = run.root();
        self.service.catalog().get(root.kind(), root.label(COMPONENT)?)
    }

    /// Finds a visible run by the text of its id; none too if the text is no id.
    pub fn run(&self, id: &str) -> Option<RunRef> {
        self.run_by_id(parse_id(id).ok()?)
    }

    /// Finds a visible run.
    pub fn run_by_id(&self, id: RunId) -> Option<RunRef> {
        self.service.engine().get(id).filter(|run| self.sees(run))
    }

    /// Finds a visible run that is of a component, or of whose ancestors one is.
    pub fn run_of(&self, component: &Component, id: &str) -> Option<RunRef> {
        self.run(id).filter(|run| belongs(run, component))
    }

    /// Lists the visible runs that a filter lets through, in order of their ids.
    pub fn runs(&self, filter: &RunFilter) -> Vec<RunRef> {
        let mut runs = self.service.engine().runs(filter);
        runs.retain(|run| self.sees(run));
        runs
    }

    /// Tells whether a run is visible.
    pub fn sees(&self, run: &RunRef) -> bool {
        let root = run.root();
        self.is_shown(&root) && self.owns(&root) && !root.is_forgotten()
    }

    /// Tells whether the contract shows the runs of a root's component.
    fn is_shown(&self, root: &RunRef) -> bool {
        match self.component_of(root) {
            Some(component) => self.exposes(component),
            None => self.contract == Contract::Native,
        }
    }

    pub(crate) fn exposes(&self, component: &Component) -> bool {
        component.is_exposed_in(self.contract)
    }

    fn owns(&self, root: &RunRef) -> bool {
        if self.is_by_team {
            return match self.principal.teams() {
                Teams::All => true,
                Teams::Some(_) => {
                    team_of(root).is_some_and(|team| self.principal.is_member_of(team))
                }
            };
        }
        self.principal.sees_all() || root.owner() == self.principal.subject()
    }

    /// Tells whether the principal may stop a run: reading is not enough, whichever way it is
    /// asked for, a policy of [`OnDisconnect::Cancel`](crate::OnDisconnect::Cancel) included.
    pub fn may_stop(&self, run: &RunRef) -> bool {
        !self.principal.is_read_only()
            && self.component_of(run).is_none_or(|component| self.principal.may_run(component))
    }

    /// Asks a run to stop, in the name of the principal, and waits.
    ///
    /// Whoever waits holds a connection: the wait takes a place of those of long requests
    /// ([`Service::long_place`]). If none is left it does not wait.
    ///
    /// Only if they may ([`View::may_stop`]): otherwise it changes nothing, and the disposition is
    /// `Forbidden`, or `Unknown` for a run that they do not see.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it leaves the stop as it is: it stands.
    pub async fn cancel(&self, run: &RunRef, request: CancelRequest, wait: Wait) -> Cancelled {
        if let Some(refusal) = self.refusal(run) {
            return Cancelled::without_run(refusal);
        }
        let disposition = run.cancel(self.signed(request));
        let (wait, _place) = self.placed(wait);
        Cancelled::after(disposition, run, wait).await
    }

    /// Asks every one of these runs to stop before it waits for any; the cap is for all together.
    /// Those that wait for their turn are asked first, the last one first: none of them starts
    /// because another one has ended. The answers are in the order of the runs.
    ///
    /// # Cancel safety
    ///
    /// As [`View::cancel`].
    pub async fn cancel_all(
        &self,
        runs: &[RunRef],
        request: CancelRequest,
        wait: Wait,
    ) -> Vec<Cancelled> {
        let request = self.signed(request);
        let mut order: Vec<_> = (0..runs.len()).collect();
        order.sort_by_cached_key(|&at| {
            (runs[at].status() != RunStatus::Queued, Reverse(runs[at].id()))
        });
        let mut asked: Vec<_> =
            order.into_iter().map(|at| (at, self.ask(&runs[at], &request))).collect();
        asked.sort_by_key(|(at, _)| *at);
        let answers = asked.into_iter().map(|(at, answer)| (answer, &runs[at]));
        let (wait, _place) = self.placed(wait);
        join_all(answers.map(async |(answer, run)| match answer {
            Ok(answer) => Cancelled::after(answer, run, wait).await,
            Err(refusal) => Cancelled::without_run(refusal),
        }))
        .await
    }

    fn ask(&self, run: &RunRef, request: &CancelRequest) -> Result<Disposition, Disposition> {
        match self.refusal(run) {
            Some(refusal) => Err(refusal),
            None => Ok(run.cancel(request.clone())),
        }
    }

    /// Takes the place that a wait needs. Without one it looks once.
    fn placed(&self, wait: Wait) -> (Wait, Option<LongPlace>) {
        let place = if wait.is_none() { None } else { self.service.long_place() };
        let wait = if place.is_some() { wait } else { wait.at_most(Duration::ZERO) };
        (wait, place)
    }

    /// Says why the principal may not stop a run. One that was deleted meanwhile they may.
    fn refusal(&self, run: &RunRef) -> Option<Disposition> {
        let root = run.root();
        if !self.is_shown(&root) || !self.owns(&root) {
            return Some(Disposition::Unknown);
        }
        (!self.may_stop(run)).then_some(Disposition::Forbidden)
    }

    pub(crate) fn signed(&self, request: CancelRequest) -> CancelRequest {
        let request = match request.grace_asked() {
            Some(grace) => request.grace(grace.min(TIME_MAX)),
            None => request,
        };
        match self.principal.subject() {
            Some(subject) => request.by(subject),
            None => request,
        }
    }

    /// Deletes the tree of a run for every contract, if nothing of it executes; tells whether it
    /// is deleted. Its id is free then; a later run of that id is another run, and stays.
    pub fn forget(&self, run: &RunRef) -> bool {
        matches!(run.root().forget(), Ok(()) | Err(ForgetError::Unknown))
    }

    /// As [`View::forget`], as soon as nothing of the run executes; at once if that is so.
    pub fn forget_when_quiescent(&self, run: &RunRef) {
        if self.forget(run) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (view, run) = (self.clone(), run.clone());
            drop(runtime.spawn(async move {
                run.quiescent().await;
                view.forget(&run);
            }));
        }
    }

    /// Yields what a run has said so far: its text, tool calls and last values.
    pub fn notes(&self, run: &RunRef) -> Transcript {
        self.service.shared().records.notes(run)
    }

    /// Yields how far a run has come, from 0 to 1; none if it never said.
    pub fn progress(&self, run: &RunRef) -> Option<f32> {
        self.service.shared().records.progress(run)
    }

    /// Yields what every run of a tree has said so far, parents before children.
    pub fn tree_notes(&self, run: &RunRef) -> Vec<Transcript> {
        self.service.shared().records.tree(run)
    }

    /// Yields the side channel `quell` of a run.
    pub fn state(&self, run: &RunRef) -> State {
        self.state_of(&run.report())
    }

    /// As [`View::state`], off a report.
    pub fn state_of(&self, report: &RunReport) -> State {
        let run = self.service.engine().get(report.own_row().run);
        let is_cut = |run: &RunRef| self.service.shared().records.is_cut(run);
        let truncated = run.as_ref().is_some_and(is_cut);
        State { truncated, ..State::of(report, |id| self.service.external_id(id)) }
    }

    /// As [`View::state`], off the run's own row, whatever the size of its tree: of what was
    /// abandoned, only what is the run's own, and nothing of what is missing of its words.
    pub fn state_of_row(&self, row: &RunRow) -> State {
        State::of_row(row, |id| self.service.external_id(id))
    }
}

impl Cancelled {
    /// Says that there is no such run, or that the stop is remembered.
    pub const fn without_run(disposition: Disposition) -> Self {
        Self { disposition, cause: None, is_reached: true, quiescent: None, row: None }
    }

    /// Writes the headers `quell-disposition`, `quell-cause` and `quell-quiescent`.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        write_headers(headers, &self.disposition, self.cause.as_deref(), self.quiescent);
    }

    async fn after(disposition: Disposition, run: &RunRef, wait: Wait) -> Self {
        // A report is of the whole tree, whose size is no part of what a cancel costs.
        let (is_reached, row) = if wait.is_none() {
            (true, run.row())
        } else {
            let waited = wait.of(run).await;
            (waited.is_reached, waited.report.own_row().clone())
        };
        let quiescent = (!wait.is_none()).then_some(row.quiescent);
        Self { disposition, cause: row.cause.clone(), is_reached, quiescent, row: Some(row) }
    }
}

/// Yields the team of a run. What nobody has started, with open access, is of the team it names.
fn team_of(root: &RunRef) -> Option<&str> {
    root.label(if root.owner().is_none() { SESSION } else { TEAM })
}

fn belongs(run: &RunRef, component: &Component) -> bool {
    let mut run = Some(run.clone());
    while let Some(at) = run {
        if at.kind() == component.kind() && at.label(COMPONENT) == Some(component.id()) {
            return true;
        }
        run = at.parent();
    }
    false
}
