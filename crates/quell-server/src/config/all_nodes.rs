//! [`AllNodes`]: how many runs may run at once on all nodes together, `[limits.all_nodes]`.

use std::collections::BTreeMap;

use quell::{RunKind, Scope};
use quell_flow::{PlanError, limits};
use serde::Deserialize;

use super::file::Config;

/// `[limits.all_nodes]`: of all runs, of those of each owner, of each kind, and of components.
/// Unset, nothing is bounded but by what each node has of its own. On a server that is no node,
/// they are limits of that server.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AllNodes {
    running: Option<usize>,
    each_owner: Running,
    agents: Running,
    teams: Running,
    workflows: Running,
    /// By `agent/ID`, `team/ID` and `workflow/ID`.
    components: BTreeMap<String, Running>,
}

/// The limit of one scope. Zero lets none run.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Running {
    running: Option<usize>,
}

impl Config {
    /// Yields the limits of all nodes.
    pub(super) fn limits_of_all_nodes(&self) -> Vec<(Scope, usize)> {
        let all = &self.limits.all_nodes;
        let named = all.components.iter().filter_map(|(name, limit)| {
            let (kind, id) = self.component(name)?;
            Some((Scope::component(kind, id), limit.running))
        });
        let scopes = [
            (Scope::All, all.running),
            (Scope::EachOwner, all.each_owner.running),
            (Scope::Kind(RunKind::Agent), all.agents.running),
            (Scope::Kind(RunKind::Team), all.teams.running),
            (Scope::Kind(RunKind::Workflow), all.workflows.running),
        ];
        let scopes = scopes.into_iter().chain(named);
        scopes.filter_map(|(scope, running)| Some((scope, running?))).collect()
    }

    /// Names the components that have a limit of all nodes and are not there.
    pub(super) fn all_nodes_faults(&self) -> Vec<PlanError> {
        let names = self.limits.all_nodes.components.keys();
        let unknown = names.filter(|name| self.component(name).is_none());
        let words = format!("no such component; {}", self.known_components());
        let fault = |name: &String| {
            self.fault(&["limits", "all_nodes", "components", name], words.as_str())
        };
        unknown.map(fault).take(limits::PLAN_FAULTS_MAX).collect()
    }

    /// Says which names of components there are.
    fn known_components(&self) -> String {
        let agents = self.agents.keys().map(|id| format!("`agent/{id}`"));
        let teams = self.teams.keys().map(|id| format!("`team/{id}`"));
        let workflows = self.workflows.keys().map(|id| format!("`workflow/{id}`"));
        let all: Vec<_> = agents.chain(teams).chain(workflows).collect();
        let more = match all.len().saturating_sub(NAMES_SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more: `quell list` has them"),
        };
        if all.is_empty() {
            return "expected `agent/ID`, `team/ID` or `workflow/ID`; the file has none".to_owned();
        }
        format!("expected one of {}{more}", all[..all.len().min(NAMES_SHOWN_MAX)].join(", "))
    }

    fn component<'a>(&self, name: &'a str) -> Option<(RunKind, &'a str)> {
        let (kind, id) = name.split_once('/')?;
        let (kind, is_there) = match kind {
            "agent" => (RunKind::Agent, self.agents.contains_key(id)),
            "team" => (RunKind::Team, self.teams.contains_key(id)),
            "workflow" => (RunKind::Workflow, self.workflows.contains_key(id)),
            _ => return None,
        };
        is_there.then_some((kind, id))
    }
}

/// The most names of components in one message.
const NAMES_SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use toml::Table;

    use super::*;

    #[test]
    fn every_limit_of_all_nodes_is_one_of_the_engine() {
        let text = "
            [limits.all_nodes]
            running = 100
            each_owner = { running = 4 }
            workflows = { running = 0 }
            [limits.all_nodes.components]
            'agent/writer' = { running = 2 }
            'agent/nobody' = { running = 2 }
            [agents.writer]
            run = ['cat']";
        let config = Config::deserialize(text.parse::<Table>().expect("TOML")).expect("a file");
        assert_eq!(
            config.limits_of_all_nodes(),
            [
                (Scope::All, 100),
                (Scope::EachOwner, 4),
                (Scope::Kind(RunKind::Workflow), 0),
                (Scope::component(RunKind::Agent, "writer"), 2),
            ]
        );
        let faults = config.all_nodes_faults();
        assert_eq!(faults.len(), 1);
        let says = "no such component; expected one of `agent/writer`";
        assert!(faults[0].to_string().contains(says), "{}", faults[0]);
        assert_eq!(config.run_limits(None), []);
        assert_eq!(Config::default().limits_of_all_nodes(), []);
    }
}
