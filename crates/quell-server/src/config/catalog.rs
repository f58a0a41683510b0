//! [`catalog`]: the components of a configuration.

use std::path::Path;
use std::sync::Arc;

use quell_flow::{Catalog, LinkedPlan, PlanError};

use super::access;
use super::components::{ComponentEntry, Source};
use super::file::Config;
use super::services::Asks;
use super::teams::TeamEntry;
use crate::processes::Processes;

/// Makes the catalog of a file, by default of `quell.toml` if that exists.
///
/// # Errors
///
/// Fails with every fault of the file and of its plans.
pub(crate) fn catalog(path: Option<&Path>) -> Result<Catalog, Vec<PlanError>> {
    let default = Path::new(DEFAULT);
    let path = path.or_else(|| default.exists().then_some(default));
    Config::load(path, &[])?.components(Catalog::new())
}

impl Config {
    /// Adds the components of the file to a catalog: programs and services, then teams of these,
    /// then plans, which may name all of those and each other, then the other teams.
    ///
    /// # Errors
    ///
    /// Fails with every component that is neither a program, a plan nor a service, or else every
    /// fault of a plan, or else every name of a component that is not there, and every plan that
    /// would run itself.
    pub(super) fn components(&self, catalog: Catalog) -> Result<Catalog, Vec<PlanError>> {
        let agentos = self.agentos.security_key_env.as_ref();
        let components = self.agents.values().chain(self.workflows.values());
        let of_services = components.filter_map(ComponentEntry::asks).flat_map(Asks::secret_names);
        let secrets =
            access::secret_names(&self.keys, &self.tokens, agentos.into_iter().chain(of_services));
        let source = Source { config: self, secrets: &secrets };
        let mut catalog = self.programs(catalog, source)?;
        let (early, late): (Vec<_>, Vec<_>) =
            self.teams.iter().partition(|(id, team)| team.component(id, &catalog).is_ok());
        catalog = self.with_teams(catalog, early)?;
        let mut plans = Vec::new();
        let mut faults = Vec::new();
        for (id, entry) in &self.workflows {
            match entry.plan(&self.folder) {
                Ok(plan) => plans.extend(plan.map(|plan| (id.clone(), plan))),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let make = |id: &str, plan: LinkedPlan| {
            let component = plan.into_component(id, Processes { without: Arc::clone(&secrets) });
            match self.workflows.get(id) {
                Some(entry) => entry.adjust(component),
                None => component,
            }
        };
        catalog = catalog.with_plans(plans, make)?;
        self.with_teams(catalog, late)
    }

    fn programs(
        &self,
        mut catalog: Catalog,
        source: Source<'_>,
    ) -> Result<Catalog, Vec<PlanError>> {
        let mut faults = Vec::new();
        for (kind, entries) in [("agents", &self.agents), ("workflows", &self.workflows)] {
            for (id, entry) in entries {
                match entry.component(kind, id, source) {
                    Ok(component) => catalog = component.into_iter().fold(catalog, Catalog::with),
                    Err(found) => faults.extend(found),
                }
            }
        }
        if faults.is_empty() { Ok(catalog) } else { Err(faults) }
    }

    /// Reads the plans once more, for their warnings.
    pub(crate) fn plan_warnings(&self) -> Vec<PlanError> {
        let entries = self.agents.values().chain(self.workflows.values());
        let plans = entries.filter_map(|entry| entry.plan(&self.folder).ok()?);
        plans.flat_map(|plan| plan.warnings().to_vec()).collect()
    }

    /// Finds the programs that cannot be started, and the secrets of services that are not there.
    pub(super) fn component_faults(&self) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let all = tables.into_iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        all.filter_map(|(kind, (id, entry))| {
            if let Some((key, message)) = entry.program_fault(&self.folder) {
                return Some(self.fault(&[kind, id, key, "0"], &message));
            }
            let (keys, message) = entry.asks()?.secret_fault()?;
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            Some(self.fault(&[&[kind, id], &*keys].concat(), &message))
        })
        .collect()
    }

    fn with_teams<'a>(
        &self,
        mut catalog: Catalog,
        teams: impl IntoIterator<Item = (&'a String, &'a TeamEntry)>,
    ) -> Result<Catalog, Vec<PlanError>> {
        let mut faults = Vec::new();
        for (id, team) in teams {
            match team.component(id, &catalog) {
                Ok(component) => catalog = catalog.with(component),
                Err(found) => faults.extend(found.into_iter().map(|(keys, message)| {
                    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                    self.fault(&[&["teams", id], &*keys].concat(), &message)
                })),
            }
        }
        if faults.is_empty() { Ok(catalog) } else { Err(faults) }
    }
}

/// The file that is read if none is named.
pub(crate) const DEFAULT: &str = "quell.toml";
