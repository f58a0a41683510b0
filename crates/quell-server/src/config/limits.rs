//! [`LimitsEntry`]: how many runs may run at once, and how many may wait, `[limits]`.

use quell::{RunKind, RunLimits, Scope};
use quell_flow::PlanError;
use serde::Deserialize;

use super::all_nodes::AllNodes;
use super::file::Config;

/// `[limits]`: of all runs, of those of each owner, and of those of each kind. Unset, nothing is
/// bounded but by `server.running_max`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsEntry {
    running: Option<usize>,
    queued: Option<usize>,
    each_owner: Limit,
    agents: Limit,
    teams: Limit,
    workflows: Limit,
    pub(super) all_nodes: AllNodes,
}

/// The limits of one scope. Zero lets none run, or none wait.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limit {
    pub(super) running: Option<usize>,
    pub(super) queued: Option<usize>,
}

impl Config {
    /// Yields the limits of every scope that has some, `running` at once in all, unless the file
    /// has another number.
    pub(super) fn run_limits(&self, running: Option<usize>) -> Vec<(Scope, RunLimits)> {
        let limits = &self.limits;
        let running = limits.running.or(running);
        let mut all = vec![
            (Scope::All, Limit { running, queued: limits.queued }),
            (Scope::EachOwner, limits.each_owner),
            (Scope::Kind(RunKind::Agent), limits.agents),
            (Scope::Kind(RunKind::Team), limits.teams),
            (Scope::Kind(RunKind::Workflow), limits.workflows),
        ];
        let kinds = [(RunKind::Agent, &self.agents), (RunKind::Workflow, &self.workflows)];
        for (kind, entries) in kinds {
            let limits = entries.iter().map(|(id, entry)| (id, entry.limit()));
            all.extend(limits.map(|(id, limit)| (Scope::component(kind, id.as_str()), limit)));
        }
        let teams = self.teams.iter().map(|(id, entry)| (id, entry.limit()));
        all.extend(teams.map(|(id, limit)| (Scope::component(RunKind::Team, id.as_str()), limit)));
        let limits = all.into_iter().filter_map(|(scope, limit)| Some((scope, limit.limits()?)));
        limits.collect()
    }

    /// Says that the file bounds the runs of all twice.
    pub(super) fn limits_fault(&self) -> Option<PlanError> {
        self.limits.running.filter(|_| self.server.running_max.is_some())?;
        let words = "`running_max` of `[server]` says it as well; expected one of them";
        Some(self.fault(&["limits", "running"], words))
    }
}

impl Limit {
    /// Yields the limits, if there are some.
    fn limits(self) -> Option<RunLimits> {
        let mut limits = RunLimits::new();
        (limits.running_max, limits.queued_max) = (self.running, self.queued);
        (limits != RunLimits::new()).then_some(limits)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use toml::Table;

    use super::*;

    #[test]
    fn every_limit_of_the_file_is_one_of_the_engine_and_the_others_are_not_set() {
        let text = "
            [limits]
            queued = 100
            [limits.each_owner]
            running = 4
            queued = 10
            [limits.teams]
            running = 0
            [agents.writer]
            run = ['cat']
            running = 2
            [agents.reader]
            run = ['cat']
            [teams.desk]
            members = ['writer']
            queued = 3
            [workflows.daily]
            plan = 'daily.toml'
            running = 1";
        let config = Config::deserialize(text.parse::<Table>().expect("TOML")).expect("a file");
        let limits = RunLimits::new();
        assert_eq!(
            config.run_limits(Some(7)),
            [
                (Scope::All, limits.running_max(7).queued_max(100)),
                (Scope::EachOwner, limits.running_max(4).queued_max(10)),
                (Scope::Kind(RunKind::Team), limits.running_max(0)),
                (Scope::component(RunKind::Agent, "writer"), limits.running_max(2)),
                (Scope::component(RunKind::Workflow, "daily"), limits.running_max(1)),
                (Scope::component(RunKind::Team, "desk"), limits.queued_max(3)),
            ]
        );
        let text = "limits = { running = 3 }";
        let config = Config::deserialize(text.parse::<Table>().expect("TOML")).expect("a file");
        assert_eq!(config.run_limits(Some(7)), [(Scope::All, limits.running_max(3))]);
        assert_eq!(Config::default().run_limits(None), []);
    }
}
