//! [`Directory`]: the teams and workflows, and the principals that they are for.

use std::sync::Arc;

use quell::RunId;
use quell_flow::{COMPONENT, Catalog, Component};
use quell_http::{Principal, RunView, SESSION, Teams, scope_of};
use uuid::Uuid;

use crate::options::CONTRACT;
use crate::options::{Options, Team};
use crate::wire::{TeamObject, WorkflowObject};

/// The teams and workflows of the service.
///
/// Other contracts let any text be a session, that is, a team: the id of a team is its text if that
/// is a UUID, and else the UUID that the engine makes of it. So every run has a team and an id that
/// `cancel` can name.
#[derive(Debug)]
pub(crate) struct Directory {
    teams: Vec<Team>,
    offers: Vec<Offer>,
}

/// A component as it is offered here.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) id: Uuid,
    name: String,
    pub(crate) component: Arc<Component>,
    /// Empty: all.
    teams: Vec<Uuid>,
}

/// Whether a principal is a member of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// There is no such team.
    Unknown,
    /// The principal is not in it.
    Outsider,
    /// The principal is in it. Its runs name it so.
    Member(String),
}

impl Directory {
    pub(crate) fn new(options: &Options, catalog: &Catalog) -> Self {
        let mut offers: Vec<Offer> = Vec::new();
        for workflow in &options.workflows {
            if let Some(component) = workflow.component_in(catalog) {
                let (id, name) = (workflow.id, workflow.name.clone());
                let (component, teams) = (Arc::clone(component), workflow.teams.clone());
                offers.push(Offer { id, name, component, teams });
            }
        }
        for component in catalog.listed(CONTRACT) {
            if !offers.iter().any(|offer| offer.is_of(component)) {
                let id = uuid_of(&scope_of(component));
                let (name, component) = (component.id().to_owned(), Arc::clone(component));
                offers.push(Offer { id, name, component, teams: Vec::new() });
            }
        }
        Self { teams: options.teams.clone(), offers }
    }

    pub(crate) fn membership(&self, principal: &Principal, team: Uuid) -> Membership {
        let is_listed = self.teams.iter().any(|known| known.id == team);
        let named = match principal.teams() {
            // With open access and no teams configured, every team is one's own.
            Teams::All => self.teams.is_empty().then(|| team.to_string()),
            Teams::Some(names) => names.iter().find(|name| uuid_of(name) == team).cloned(),
        };
        match named {
            Some(name) => Membership::Member(name),
            None if !is_listed => Membership::Unknown,
            None if principal.is_member_of(&team.to_string()) => {
                Membership::Member(team.to_string())
            }
            None => Membership::Outsider,
        }
    }

    /// Lists the teams of a principal, configured ones first.
    pub(crate) fn teams_of(&self, principal: &Principal) -> Vec<TeamObject> {
        let is_own =
            |team: &&Team| matches!(self.membership(principal, team.id), Membership::Member(_));
        let listed = self.teams.iter().filter(is_own).map(|team| team.id);
        let mut ids: Vec<Uuid> = listed.collect();
        match principal.teams() {
            Teams::Some(names) => ids.extend(names.iter().map(|name| uuid_of(name))),
            Teams::All if ids.is_empty() => ids.push(no_team()),
            Teams::All => {}
        }
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids.into_iter().map(|id| self.team(id)).collect()
    }

    pub(crate) fn team(&self, id: Uuid) -> TeamObject {
        let known = self.teams.iter().find(|team| team.id == id);
        let name = match known {
            Some(team) => team.name.clone(),
            None if id == no_team() => "default".into(),
            None => id.to_string(),
        };
        TeamObject { id, name }
    }

    /// Finds a workflow that is offered to a team.
    pub(crate) fn workflow(&self, id: Uuid, team: Uuid) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.id == id && offer.is_for(team))
    }

    /// Yields the components of the workflows of all teams.
    pub(crate) fn components(&self) -> impl Iterator<Item = &Component> {
        self.offers.iter().map(|offer| &*offer.component)
    }

    /// Lists the workflows of teams, each once per team.
    pub(crate) fn workflows_of<'a>(
        &'a self,
        teams: &'a [TeamObject],
    ) -> impl Iterator<Item = (&'a Offer, WorkflowObject)> {
        self.offers.iter().flat_map(move |offer| {
            let teams = teams.iter().filter(|team| offer.is_for(team.id));
            teams.map(move |team| (offer, offer.in_team(team.id)))
        })
    }

    /// Says of which workflow a run is: the one that it was started as, or else the first one of
    /// its component.
    pub(crate) fn workflow_of(&self, run: &RunView, team: Uuid) -> WorkflowObject {
        let asked = run.label(WORKFLOW).and_then(|text| Uuid::try_parse(text).ok());
        let is_of_run = |offer: &&Offer| {
            offer.component.kind().run_kind() == run.kind()
                && run.label(COMPONENT) == Some(offer.component.id())
        };
        let mut offers = self.offers.iter().filter(is_of_run);
        let first = offers.clone().next();
        match offers.find(|offer| Some(offer.id) == asked).or(first) {
            Some(offer) => offer.in_team(team),
            None => WorkflowObject {
                id: uuid_of(run.name()),
                name: run.name().to_owned(),
                team_id: team,
            },
        }
    }
}

impl Offer {
    fn is_of(&self, component: &Component) -> bool {
        self.component.kind() == component.kind() && self.component.id() == component.id()
    }

    fn is_for(&self, team: Uuid) -> bool {
        self.teams.is_empty() || self.teams.contains(&team)
    }

    fn in_team(&self, team: Uuid) -> WorkflowObject {
        WorkflowObject { id: self.id, name: self.name.clone(), team_id: team }
    }
}

/// Yields the team of a run.
pub(crate) fn team_of(run: &RunView) -> Uuid {
    run.label(SESSION).map_or_else(no_team, uuid_of)
}

fn uuid_of(text: &str) -> Uuid {
    RunId::from_text(text).as_uuid()
}

/// The team of runs that have none: other contracts start such, and open access shows them.
fn no_team() -> Uuid {
    uuid_of("playbook3d: no team")
}

/// The label under which a run keeps the workflow that it was started as.
pub(crate) const WORKFLOW: &str = "playbook3d.workflow";
