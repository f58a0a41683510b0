//! [`catalog`]: the components of a configuration.

use std::path::Path;
use std::sync::Arc;

use quell_flow::{Catalog, LinkedPlan};

use super::access;
use super::components::Source;
use super::file::Config;
use super::teams::TeamEntry;
use crate::faults::listed;
use crate::processes::Processes;

/// Makes the catalog of a file, by default of `quell.toml` if that exists.
///
/// # Errors
///
/// Fails if the file is wrong.
pub(crate) fn catalog(path: Option<&Path>) -> Result<Catalog, String> {
    let default = Path::new("quell.toml");
    let path = path.or_else(|| default.exists().then_some(default));
    Config::load(path, &[])?.components(Catalog::new())
}

impl Config {
    /// Adds the components of the file to a catalog: programs, then teams of these, then plans,
    /// which may name all of those and each other, then the other teams.
    ///
    /// # Errors
    ///
    /// Fails if one is neither a program nor a plan, if a plan is wrong, if a component is named
    /// that is not there, or if plans would run themselves.
    pub(crate) fn components(&self, catalog: Catalog) -> Result<Catalog, String> {
        let agentos = self.agentos.security_key_env.as_ref();
        let secrets = access::secret_names(&self.keys, &self.tokens, agentos);
        let source = Source { folder: &self.folder, secrets: &secrets };
        let mut catalog = self.programs(catalog, source)?;
        let (early, late): (Vec<_>, Vec<_>) =
            self.teams.iter().partition(|(id, team)| team.component(id, &catalog).is_ok());
        catalog = with_teams(catalog, early)?;
        let mut plans = Vec::new();
        for (id, entry) in &self.workflows {
            let plan = entry.plan(&self.folder).transpose();
            plans.extend(plan.map(|plan| plan.map(|plan| (id.clone(), plan))));
        }
        let plans = plans.into_iter().collect::<Result<Vec<_>, String>>()?;
        let make = |id: &str, plan: LinkedPlan| {
            let component = plan.into_component(id, Processes { without: Arc::clone(&secrets) });
            match self.workflows.get(id) {
                Some(entry) => entry.adjust(component),
                None => component,
            }
        };
        catalog = catalog.with_plans(plans, make).map_err(|faults| listed(&faults, 0))?;
        with_teams(catalog, late)
    }

    fn programs(&self, mut catalog: Catalog, source: Source<'_>) -> Result<Catalog, String> {
        for (kind, entries) in [("agents", &self.agents), ("workflows", &self.workflows)] {
            for (id, entry) in entries {
                let made = entry.component(kind, id, source);
                if let Some(component) = made.map_err(|error| format!("[{kind}.{id}]: {error}"))? {
                    catalog = catalog.with(component);
                }
            }
        }
        Ok(catalog)
    }
}

fn with_teams<'a>(
    mut catalog: Catalog,
    teams: impl IntoIterator<Item = (&'a String, &'a TeamEntry)>,
) -> Result<Catalog, String> {
    for (id, team) in teams {
        let component =
            team.component(id, &catalog).map_err(|error| format!("[teams.{id}]: {error}"))?;
        catalog = catalog.with(component);
    }
    Ok(catalog)
}
