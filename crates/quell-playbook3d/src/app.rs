//! [`App`]: the state that the routes share, with teams, quota, and how they find runs.

use std::collections::HashSet;
use std::sync::OnceLock;

use axum::body::Bytes;
use quell::{RunFilter, RunId, RunRow};
use quell_flow::Component;
use quell_http::{LookupError, RunView, Service, View, Wait, newest};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Auth;
use crate::directory::{Directory, Membership, Offer, team_of};
use crate::options::{Operation, Options, Verdict};
use crate::wire::{OwnerObject, Refusal, RunObject, parse_uuid, result_of, seconds, status_word};

/// The state of the routes.
pub(crate) struct App {
    pub(crate) service: Service,
    options: Options,
    pub(crate) auth: Auth,
    pub(crate) directory: Directory,
    /// What describes the contract, as text; empty until somebody has asked for it.
    pub(crate) document: OnceLock<Bytes>,
}

impl App {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let auth = Auth::new(&service, &options);
        let directory = Directory::new(&options, service.catalog());
        Self { service, options, auth, directory, document: OnceLock::new() }
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// Yields the name of a team of which the caller is a member.
    pub(crate) fn team(
        &self,
        view: &View,
        team: Uuid,
        operation: Operation,
    ) -> Result<String, Refusal> {
        match self.directory.membership(view.principal(), team) {
            Membership::Unknown => Err(Refusal::NotFound),
            Membership::Outsider => Err(forbidden(operation)),
            Membership::Member(name) => Ok(name),
        }
    }

    /// Finds a workflow of a team that the caller may run. That there is none is told to a caller
    /// who may use every workflow: another one gets the same answer whether it is there or not.
    pub(crate) fn workflow(&self, view: &View, id: Uuid, team: Uuid) -> Result<&Offer, Refusal> {
        let who = view.principal();
        let may_use = |component: &Component| who.may_run(component) || who.may_read(component);
        match self.directory.workflow(id, team) {
            Some(offer) if who.may_run(&offer.component) => Ok(offer),
            None if self.directory.components().all(may_use) => Err(Refusal::NotFound),
            _ => Err(forbidden(Operation::Run)),
        }
    }

    /// Asks whether there is credit (contract, choice 2).
    pub(crate) async fn check_quota(
        &self,
        view: &View,
        team: Uuid,
        operation: Operation,
    ) -> Result<(), Refusal> {
        let principal = view.principal();
        let verdict = match &self.options.quota {
            Some(hook) => hook(principal.clone(), team, operation).await,
            None if operation == Operation::Run && self.has_no_credits(principal.subject()) => {
                Verdict::Refuse
            }
            None => Verdict::Allow,
        };
        if verdict == Verdict::Allow { Ok(()) } else { Err(Refusal::NoCredits) }
    }

    fn has_no_credits(&self, subject: Option<&str>) -> bool {
        subject.is_some_and(|name| self.options.without_credits.contains(name))
    }

    /// For how long a cancel waits.
    pub(crate) fn wait(&self) -> Wait {
        let time = self.options.cancel_wait;
        if time.is_zero() { Wait::none() } else { Wait::terminal().at_most(time) }
    }

    /// Lists the runs that are shown, newest first, each with its row: all that are in memory, and
    /// the newest of those that are only in the store: about 2,048 of them, if there are so many
    /// among the newest 16,384 of all teams.
    pub(crate) async fn runs(view: &View) -> Result<Vec<(RunView, RunRow)>, Refusal> {
        let (roots, shown) = (RunFilter::new().roots(), |run: &RunView| may_read(view, run));
        let (mut runs, mut listed, mut next) = (Vec::new(), HashSet::new(), None);
        for _ in 0..PARTS_MAX {
            let page = view.list(roots.clone(), usize::MAX, next, shown).await?;
            // One that has left memory since it was listed is in the store.
            runs.extend(page.runs.into_iter().filter(|run| listed.insert(run.id())));
            next = page.next;
            let stored = runs.iter().filter(|run| run.live().is_none()).count();
            if next.is_none() || stored >= STORED_MAX {
                break;
            }
        }
        if next.is_some() {
            // Those in memory that are older than what was read of the store, but for what another
            // node has forgotten.
            let older = view.runs(&roots).into_iter().filter(|run| !listed.contains(&run.id()));
            let older = newest(older, usize::MAX);
            let gone = view.service().engine().forgotten_elsewhere(&older).await;
            let gone = gone.map_err(LookupError::from)?;
            let there = older.into_iter().zip(gone).filter(|(_, is_gone)| !is_gone);
            runs.extend(there.map(|(run, _)| RunView::Live(run)).filter(shown));
        }
        Ok(runs.into_iter().map(|run| (run.clone(), run.row())).collect())
    }

    /// Writes a run as lists show it. How far a run came that is only in the store is not shown: a
    /// list does not read what each run has said.
    pub(crate) fn object(&self, view: &View, run: &RunView, row: &RunRow) -> RunObject {
        let team = team_of(run);
        let platform = run.label(PLATFORM).and_then(|text| serde_json::from_str(text).ok());
        let (progress, quell) = match run {
            RunView::Live(run) => (view.progress(run), view.state(run)),
            RunView::Stored(_) => (None, view.state_in_list(run, row)),
        };
        RunObject {
            id: id_of(run),
            platform: platform.filter(|value: &Value| !value.is_null()),
            status: status_word(row.status),
            progress,
            duration: seconds(row, view.service().engine().time()),
            webhook_url: None,
            run_result: result_of(row),
            team: self.directory.team(team),
            owner: OwnerObject { name: run.owner().map(str::to_owned) },
            workflow: self.directory.workflow_of(run, team),
            quell,
        }
    }
}

/// Finds a run of a team: a run belongs to its team, and a step is no run here.
pub(crate) async fn find(view: &View, team: Uuid, run: Uuid) -> Result<Option<RunView>, Refusal> {
    Ok(find_any(view, run).await?.filter(|run| team_of(run) == team))
}

/// Finds a run of any team of the caller.
pub(crate) async fn find_any(view: &View, run: Uuid) -> Result<Option<RunView>, Refusal> {
    let found = view.find_by_id(RunId::from_uuid(run)).await?;
    Ok(found.filter(|run| run.is_root() && may_read(view, run)))
}

/// Yields the id of a run as its caller spelt it. Other contracts let an id be any text; here it
/// is a UUID, so that `cancel` can name it.
pub(crate) fn id_of(run: &RunView) -> String {
    let id = run.external_id();
    if parse_uuid(&id).is_ok() { id.into_owned() } else { run.id().to_string() }
}

fn may_read(view: &View, run: &RunView) -> bool {
    view.component_of(run).is_none_or(|component| view.principal().may_read(component))
}

const fn forbidden(operation: Operation) -> Refusal {
    match operation {
        Operation::Run => Refusal::MayNotRun,
        Operation::Cancel => Refusal::MayNotCancel,
    }
}

/// Parts of the list of all teams that are read for one answer, each of at most 2,048 stored runs.
const PARTS_MAX: usize = 8;

/// Stored runs behind which no further part is read.
const STORED_MAX: usize = 2_048;

/// The label under which a run keeps from where it was run, as JSON.
pub(crate) const PLATFORM: &str = "playbook3d.platform";
