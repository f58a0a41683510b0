//! [`catalog`]: the components of a configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::path::Path;
use std::sync::Arc;

use quell_flow::{
    Catalog, Component, ComponentKind, ComponentStep, LinkedPlan, Plan, PlanError, excerpt, limits,
};
use quell_playbook3d::Workflow;

use super::access;
use super::check::in_order;
use super::components::{ComponentEntry, Lost, Source};
use super::executables::missing_of;
use super::file::Config;
use super::services::Asks;
use super::teams::{Fault, TeamEntry};
use crate::processes::Processes;
use crate::quoted::quoted;

/// Makes the catalog of a file, by default of `quell.toml`. Yields the variables with its secrets
/// as well, which programs do not get.
///
/// # Errors
///
/// Fails with every fault of the file and of its plans, or if there is no file.
pub(crate) fn catalog(path: Option<&Path>) -> Result<(Catalog, Arc<[String]>), Vec<PlanError>> {
    let Some(path) = path.or(default_file()) else { return Err(vec![no_file()]) };
    let (config, mut faults) = Config::read(Some(path), &[]);
    let (catalog, found) = config.components();
    faults.extend(found);
    if faults.is_empty() { Ok((catalog, config.secret_names())) } else { Err(in_order(faults)) }
}

/// Finds the components that a plan names in a file, by default in `quell.toml`. Yields the
/// variables with the secrets of that file as well, which the commands of the plan do not get: a
/// file that is named is read also if the plan names no component.
///
/// # Errors
///
/// As [`catalog`], if a file is named or the plan names a component; and with every name that is
/// not there.
pub(crate) fn linked(
    plan: Plan,
    path: Option<&Path>,
) -> Result<(LinkedPlan, Arc<[String]>), Vec<PlanError>> {
    if path.is_none() && plan.components().is_empty() {
        return Ok((plan.link(&Catalog::new())?, Arc::default()));
    }
    if path.or(default_file()).is_none() {
        let mut faults = plan.link(&Catalog::new()).err().unwrap_or_default();
        faults.push(no_file());
        return Err(faults);
    }
    let (catalog, secrets) = catalog(path)?;
    Ok((plan.link(&catalog)?, secrets))
}

/// Yields the file that is read if none is named, if it is there.
pub(crate) fn default_file() -> Option<&'static Path> {
    Some(Path::new(DEFAULT)).filter(|path| path.exists())
}

fn no_file() -> PlanError {
    PlanError::new(format!(
        "there is no {DEFAULT} in this folder, where components are named; `quell init` writes \
         one, and `--config FILE` reads another file"
    ))
}

impl Config {
    /// Makes the catalog of the file: programs and services, then teams of these, then plans, which
    /// may name all of those and each other, then the other teams. Yields every fault of them as
    /// well. What has a fault is there as a stand-in: what names it has no fault because of that.
    pub(super) fn components(&self) -> (Catalog, Vec<PlanError>) {
        let secrets = self.secret_names();
        let mut making = Making {
            config: self,
            secrets,
            catalog: Catalog::new(),
            faults: self.contract_faults(),
        };
        making.left_out();
        making.programs();
        let open = making.teams(self.teams.iter().collect());
        let open = making.without_faults(open);
        making.plans();
        for (id, _) in making.teams(open) {
            if making.is_full() {
                making.put("teams", id, Err(Vec::new()));
                continue;
            }
            let words = "the team contains itself, through its members; expected no circle";
            making.put("teams", id, Err(vec![self.fault(&["teams", id, "members"], words)]));
        }
        (making.catalog, making.faults)
    }

    /// Yields the variables with secrets, which programs do not get.
    fn secret_names(&self) -> Arc<[String]> {
        let agentos = self.agentos.security_key_env.as_ref();
        let components = self.agents.values().chain(self.workflows.values());
        let of_services = components.filter_map(ComponentEntry::asks).flat_map(Asks::secret_names);
        let others = agentos.into_iter().chain(of_services).chain(self.store_variables());
        access::secret_names(&self.keys, &self.tokens, others)
    }

    /// Finds the components that `Playbook3D` is to offer and that are not in its catalog.
    pub(super) fn offer_faults(&self, catalog: &Catalog) -> Vec<PlanError> {
        let offers = self.playbook3d.workflows.iter().enumerate();
        let missing = offers.filter(|(_, workflow)| workflow.component_in(catalog).is_none());
        let fault = |(at, workflow): (usize, &Workflow)| {
            let name = &workflow.component;
            let words = match catalog.named_as(name, &quoted(name)) {
                Ok(_) => {
                    format!("`{}` is not exposed in `playbook3d`, by its `contracts`", quoted(name))
                }
                Err(words) => words,
            };
            self.fault(&["playbook3d", "workflows", &at.to_string(), "component"], &words)
        };
        missing.map(fault).take(limits::PLAN_FAULTS_MAX).collect()
    }

    /// Reads the plans once more, for their warnings and for programs that are not there.
    pub(super) fn plan_warnings(&self, catalog: &Catalog) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let entries = tables.iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        let plans = entries.filter_map(|(kind, (id, entry))| match entry.plan(kind, id, self) {
            Ok(plan) => plan,
            Err(refusal) => refusal.rest().cloned(),
        });
        let of_plan =
            |plan: Plan| [plan.warnings(), &missing_of(&plan), &asking_of(&plan, catalog)].concat();
        in_order(plans.flat_map(of_plan).collect())
    }

    /// Warns of each member of a team that waits for an answer, which nobody can give it.
    pub(super) fn member_warnings(&self, catalog: &Catalog) -> Vec<PlanError> {
        let members = self.teams.iter().flat_map(|(id, team)| {
            team.members().iter().enumerate().map(move |(at, member)| (id, at, member))
        });
        let warning = |(id, at, member): (&String, usize, &String)| {
            let component = catalog.named(member).ok()?;
            let step = excerpt(component.waits().first()?);
            let name = excerpt(&component.name());
            let words = format!(
                "step `{step}` of `{name}` waits for an answer, which a member of a team cannot: \
                 it fails there; expected a member without `wait`"
            );
            Some(self.fault(&["teams", id, "members", &at.to_string()], &words))
        };
        members.filter_map(warning).take(limits::PLAN_FAULTS_MAX).collect()
    }

    /// Warns of each component whose runs are to go on after a crash although no store has them.
    pub(super) fn lost_warnings(&self, has_store: bool) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let entries = tables.iter().flat_map(|(kind, all)| all.iter().map(move |one| (*kind, one)));
        let words = "there is no store, without which no run goes on; expected `path` or `url` in \
                     `[store]`, or `quell serve --store FILE`";
        let goes_on =
            entries.filter(|(_, (_, entry))| entry.on_worker_lost == Some(Lost::Continue));
        let warnings =
            goes_on.map(|(kind, (id, _))| self.fault(&[kind, id, "on_worker_lost"], words));
        if has_store { Vec::new() } else { warnings.take(limits::PLAN_FAULTS_MAX).collect() }
    }

    /// Finds the programs that cannot be started, and the secrets of services that are not there.
    pub(super) fn component_faults(&self) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let all = tables.into_iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        all.filter_map(|(kind, (id, entry))| {
            let fault = entry.program_fault(&self.folder);
            // Without its first word another one seems to be the program.
            let is_other = |key: &str| key == "run" && self.is_torn(&[kind, id, "run"]);
            if let Some((key, message)) = fault.filter(|(key, _)| !is_other(key)) {
                return Some(self.fault(&[kind, id, key, "0"], &message));
            }
            let (keys, message) = entry.asks()?.secret_fault()?;
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            Some(self.fault(&[&[kind, id], &*keys].concat(), &message))
        })
        .take(limits::PLAN_FAULTS_MAX)
        .collect()
    }
}

type Team<'a> = (&'a String, &'a TeamEntry);

/// A catalog in the making.
struct Making<'a> {
    config: &'a Config,
    /// Variables with secrets, which programs do not get.
    secrets: Arc<[String]>,
    catalog: Catalog,
    faults: Vec<PlanError>,
}

impl<'a> Making<'a> {
    /// Adds a component, or a stand-in for one that has faults.
    fn put(&mut self, kind: &str, id: &str, made: Result<Component, Vec<PlanError>>) {
        let component = made.unwrap_or_else(|found| {
            self.faults.extend(found);
            stand_in(kind, id)
        });
        self.catalog = mem::take(&mut self.catalog).with(component);
    }

    /// Adds stand-ins for what was left out when the file was read.
    fn left_out(&mut self) {
        let Config { agents, teams, workflows, .. } = self.config;
        for (kind, known) in [
            ("agents", agents.keys().collect::<Vec<_>>()),
            ("teams", teams.keys().collect()),
            ("workflows", workflows.keys().collect()),
        ] {
            let known: BTreeSet<&String> = known.into_iter().collect();
            for id in self.config.ids_of(kind).iter().filter(|id| !known.contains(id)) {
                self.put(kind, id, Err(Vec::new()));
            }
        }
    }

    /// Adds what is no team, and no plan that may name others.
    fn programs(&mut self) {
        let config = self.config;
        let secrets = Arc::clone(&self.secrets);
        let source = Source { config, secrets: &secrets };
        for (kind, entries) in [("agents", &config.agents), ("workflows", &config.workflows)] {
            for (id, entry) in entries {
                if self.is_full() {
                    self.put(kind, id, Err(Vec::new()));
                } else if let Some(made) = entry.component(kind, id, source).transpose() {
                    self.put(kind, id, made);
                }
            }
        }
    }

    /// Adds each team whose members are there. Yields the others.
    fn teams(&mut self, open: Vec<Team<'a>>) -> Vec<Team<'a>> {
        // Each team waits for the first member that is not there; those before it are.
        let mut waiting: BTreeMap<&str, Vec<(Team<'a>, usize)>> = BTreeMap::new();
        let mut ready: VecDeque<_> = open.into_iter().map(|team| (team, 0)).collect();
        let mut left = Vec::new();
        while let Some(((id, team), from)) = ready.pop_front() {
            let members = team.members();
            let missing = (from..members.len()).find(|at| !self.has(&members[*at]));
            if let Some(at) = missing {
                waiting.entry(&members[at]).or_default().push(((id, team), at));
                continue;
            }
            match team.component(id, &self.catalog) {
                Ok(component) => {
                    let name = component.name();
                    self.put("teams", id, Ok(component));
                    ready.extend(waiting.remove(id.as_str()).into_iter().flatten());
                    ready.extend(waiting.remove(name.as_str()).into_iter().flatten());
                }
                Err(_) => left.push((id, team)),
            }
        }
        left.extend(waiting.into_values().flatten().map(|(team, _)| team));
        left.sort_unstable_by_key(|(id, _)| *id);
        left
    }

    /// Tells whether a component of this name or id is there.
    fn has(&self, name: &str) -> bool {
        let is_there = |kind, id| self.catalog.get(kind, id).is_some();
        ComponentKind::ALL.into_iter().any(|kind| is_there(kind, name))
            || ComponentKind::split(name).is_some_and(|(kind, id)| is_there(kind, id))
    }

    /// Tells whether so many faults were found that no more are looked for.
    fn is_full(&self) -> bool {
        self.faults.len() >= limits::PLAN_FAULTS_MAX
    }

    /// Yields those of these teams that only lack members that are not made yet.
    fn without_faults(&mut self, open: Vec<Team<'a>>) -> Vec<Team<'a>> {
        let workflows = self.config.workflows.keys().map(|id| stand_in("workflows", id));
        let teams = open.iter().map(|(id, _)| stand_in("teams", id));
        let whole = workflows.chain(teams).fold(self.catalog.clone(), Catalog::with);
        let mut count = self.faults.len();
        let (late, faulty): (Vec<_>, Vec<_>) = open
            .into_iter()
            .map(|(id, team)| {
                // Beyond the bound it is enough that there is a fault.
                let made = if count < limits::PLAN_FAULTS_MAX {
                    team.component(id, &whole)
                } else {
                    Err(Vec::new())
                };
                count += made.as_ref().err().map_or(0, Vec::len);
                (id, team, made)
            })
            .partition(|(_, _, made)| made.is_ok());
        for (id, _, made) in faulty {
            let mut found = made.err().unwrap_or_default();
            // A key that is missing because it has a fault is no other fault.
            found.retain(|fault| fault.missing.is_none_or(|key| !self.is_lost(id, key)));
            let room = limits::PLAN_FAULTS_MAX.saturating_sub(self.faults.len());
            let found = found.into_iter().take(room).map(|Fault { keys, message, .. }| {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                self.config.fault(&[&["teams", id.as_str()], &*keys].concat(), &message)
            });
            let found = found.collect();
            self.put("teams", id, Err(found));
        }
        late.into_iter().map(|(id, team, _)| (id, team)).collect()
    }

    /// Tells whether a key of a team, or something in it, was left out because of a fault.
    fn is_lost(&self, id: &str, key: &str) -> bool {
        let keys = ["teams", id, key];
        self.config.is_lost(&keys) || self.config.is_torn(&keys)
    }

    /// Adds the workflows that are plans.
    fn plans(&mut self) {
        let config = self.config;
        let (mut plans, mut rests) = (Vec::new(), Vec::new());
        for (id, entry) in &config.workflows {
            match entry.plan("workflows", id, config) {
                Ok(plan) => plans.extend(plan.map(|plan| (id.clone(), plan))),
                Err(refusal) => {
                    rests.extend(refusal.rest().cloned());
                    self.put("workflows", id, Err(refusal.into_faults()));
                }
            }
        }
        let ids: Vec<String> = plans.iter().map(|(id, _)| id.clone()).collect();
        let make = |id: &str, plan: LinkedPlan| {
            let without = Arc::clone(&self.secrets);
            let component = plan.into_component(id, Processes { without });
            match config.workflows.get(id) {
                Some(entry) => entry.adjust(component),
                None => component,
            }
        };
        match self.catalog.clone().with_plans(plans, make) {
            Ok(catalog) => self.catalog = catalog,
            Err(found) => {
                self.faults.extend(found);
                for id in &ids {
                    self.put("workflows", id, Err(Vec::new()));
                }
            }
        }
        // A plan with faults may name what is not there as well.
        let unknown: Vec<PlanError> =
            rests.into_iter().flat_map(|rest| self.unknown_of(rest)).collect();
        self.faults.extend(unknown);
    }

    /// Yields a fault for each component that the rest of a plan names and that is not there.
    fn unknown_of(&self, rest: Plan) -> Vec<PlanError> {
        rest.link(&self.catalog).err().unwrap_or_default()
    }
}

/// Warns of each step of a plan that runs a component which waits for an answer: nobody can give it
/// one.
fn asking_of(plan: &Plan, catalog: &Catalog) -> Vec<PlanError> {
    let warning = |step: &ComponentStep| {
        let component = catalog.named(&step.component).ok()?;
        let (asks, name) = (excerpt(component.waits().first()?), excerpt(&component.name()));
        let words = format!(
            "step `{asks}` of `{name}` waits for an answer, which a component that a step runs \
             cannot: it fails there; expected the steps of that plan here, as a `workflow`"
        );
        Some(step.fault(words))
    };
    plan.components().into_iter().filter_map(warning).collect()
}

/// Makes a component for the name of one that has faults, in a table of the file.
fn stand_in(table: &str, id: &str) -> Component {
    let kind = match table {
        "agents" => ComponentKind::Agent,
        "teams" => ComponentKind::Team,
        _ => ComponentKind::Workflow,
    };
    Component::stand_in(kind, id)
}

/// The file that is read if none is named.
pub(crate) const DEFAULT: &str = "quell.toml";
