//! What the calls have in common: who asks, for which team, about which run.

use std::time::SystemTime;

use axum::http::HeaderMap;
use quell::{RunFilter, RunId, RunRef, RunRow};
use quell_flow::{Component, Contract};
use quell_http::{Service, View, Wait, newest, shown_id};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::allocated::Allocated;
use crate::auth::Auth;
use crate::directory::{Directory, Standing, team_of};
use crate::options::{Operation, Options, Verdict};
use crate::wire::{OwnerObject, Refusal, RunObject, parse_uuid, result_of, seconds, status_word};

/// What every call needs.
pub(crate) struct App {
    service: Service,
    options: Options,
    pub(crate) auth: Auth,
    pub(crate) directory: Directory,
    pub(crate) allocated: Allocated,
    gates: [Mutex<()>; GATES],
}

impl App {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let auth = Auth::new(&service, &options);
        let directory = Directory::new(&options, service.catalog());
        let allocated = Allocated::new(service.limits_of().owner_share_percent);
        let gates = std::array::from_fn(|_| Mutex::new(()));
        Self { service, options, auth, directory, allocated, gates }
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// Lets a request in, and shows it the runs of its teams, whoever started them. A principal
    /// that is not in a team is shown nothing of it.
    pub(crate) async fn enter(&self, headers: &HeaderMap) -> Result<View, Refusal> {
        let principal = self.auth.enter(headers).await?;
        Ok(self.service.view(Contract::Playbook3d, principal).by_team())
    }

    /// Yields the name of a team of which whoever asks is a member.
    pub(crate) fn team(
        &self,
        view: &View,
        team: Uuid,
        operation: Operation,
    ) -> Result<String, Refusal> {
        match self.directory.standing(view.principal(), team) {
            Standing::Unknown => Err(Refusal::NotFound),
            Standing::Outsider => Err(forbidden(operation)),
            Standing::Member(name) => Ok(name),
        }
    }

    /// Refuses a component that whoever asks may not run.
    pub(crate) fn may_run(
        view: &View,
        component: &Component,
        operation: Operation,
    ) -> Result<(), Refusal> {
        if view.principal().may_run(component) { Ok(()) } else { Err(forbidden(operation)) }
    }

    /// Asks whether there is credit (contract, choice 2).
    pub(crate) async fn pay(
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

    /// Lets one request at a time start the run of an id, or remember a stop for it: a stop that
    /// is remembered while the run is being made would find it after its body was polled.
    pub(crate) async fn gate(&self, run: Uuid) -> MutexGuard<'_, ()> {
        let bytes = run.as_bytes();
        self.gates[usize::from(bytes[15] ^ bytes[7]) % GATES].lock().await
    }

    /// For how long a cancel waits.
    pub(crate) fn wait(&self) -> Wait {
        let time = self.options.cancel_wait;
        if time.is_zero() { Wait::none() } else { Wait::terminal().at_most(time) }
    }

    /// Lists the runs that are shown, newest first, each with its row.
    pub(crate) fn runs(view: &View) -> Vec<(RunRef, RunRow)> {
        let mut runs = view.runs(&RunFilter::new().roots());
        runs.retain(|run| may_read(view, run));
        newest(runs, usize::MAX).into_iter().map(|run| (run.clone(), run.row())).collect()
    }

    /// Writes a run as lists show it.
    pub(crate) fn object(&self, view: &View, run: &RunRef, row: &RunRow) -> RunObject {
        let team = team_of(run);
        let platform = run.label(PLATFORM).and_then(|text| serde_json::from_str(text).ok());
        RunObject {
            id: id_of(run),
            platform: platform.filter(|value: &Value| !value.is_null()),
            status: status_word(row.status),
            progress: view.progress(run),
            duration: seconds(row, SystemTime::now()),
            webhook_url: None,
            run_result: result_of(row),
            team: self.directory.team(team),
            owner: OwnerObject { name: run.owner().map(str::to_owned) },
            workflow: self.directory.workflow_of(run, team),
            quell: view.state(run),
        }
    }
}

/// Finds a run of a team: a run belongs to its team, and a step is no run here.
pub(crate) fn find(view: &View, team: Uuid, run: Uuid) -> Option<RunRef> {
    find_any(view, run).filter(|run| team_of(run) == team)
}

/// Finds a run of any team of whoever asks.
pub(crate) fn find_any(view: &View, run: Uuid) -> Option<RunRef> {
    view.run_by_id(RunId::from_uuid(run))
        .filter(|run| run.parent().is_none() && may_read(view, run))
}

/// Yields the id of a run as its caller spelt it. Other contracts let an id be any text; here it
/// is a UUID, so that `cancel` can name it.
pub(crate) fn id_of(run: &RunRef) -> String {
    let shown = shown_id(run);
    if parse_uuid(&shown).is_ok() { shown.into_owned() } else { run.id().to_string() }
}

fn may_read(view: &View, run: &RunRef) -> bool {
    view.component_of(run).is_none_or(|component| view.principal().may_read(component))
}

const fn forbidden(operation: Operation) -> Refusal {
    match operation {
        Operation::Run => Refusal::MayNotRun,
        Operation::Cancel => Refusal::MayNotCancel,
    }
}

/// Ids share gates; a gate is held for as long as it takes to start a run.
const GATES: usize = 64;

/// The label under which a run keeps from where it was run, as JSON.
pub(crate) const PLATFORM: &str = "playbook3d.platform";
