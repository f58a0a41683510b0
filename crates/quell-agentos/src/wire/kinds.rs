//! What the contract calls each kind of component.

use quell::RunKind;

/// What the contract calls a kind of component.
#[derive(Debug)]
pub(crate) struct KindNames {
    /// The first part of the path, and of a scope.
    pub(crate) plural: &'static str,
    /// 404 of a component.
    pub(crate) no_component: &'static str,
    /// 404 of a run to be cancelled.
    pub(crate) no_run_to_cancel: &'static str,
    /// The key of the component's id in a run.
    pub(crate) id_key: &'static str,
    /// The key of the component's name in a run.
    pub(crate) name_key: &'static str,
    /// How the names of its run's own events begin.
    pub(crate) prefix: &'static str,
    /// The event of a failed run.
    pub(crate) error_event: &'static str,
    /// How the names of its model and tool events begin.
    pub(crate) inner_prefix: &'static str,
}

const AGENT: KindNames = KindNames {
    plural: "agents",
    no_component: "Agent not found",
    no_run_to_cancel: "Run not found",
    id_key: "agent_id",
    name_key: "agent_name",
    prefix: "Run",
    error_event: "RunError",
    inner_prefix: "",
};

const TEAM: KindNames = KindNames {
    plural: "teams",
    no_component: "Team not found",
    no_run_to_cancel: "Run not found",
    id_key: "team_id",
    name_key: "team_name",
    prefix: "TeamRun",
    error_event: "TeamRunError",
    inner_prefix: "Team",
};

const WORKFLOW: KindNames = KindNames {
    plural: "workflows",
    no_component: "Workflow not found",
    no_run_to_cancel: "Workflow or run not found",
    id_key: "workflow_id",
    name_key: "workflow_name",
    prefix: "Workflow",
    error_event: "WorkflowError",
    inner_prefix: "",
};

/// Yields the names of a kind.
pub(crate) const fn names_of(kind: RunKind) -> &'static KindNames {
    match kind {
        RunKind::Agent => &AGENT,
        RunKind::Team => &TEAM,
        RunKind::Workflow | RunKind::Step | RunKind::Branch | RunKind::Attempt => &WORKFLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_names_of_the_documents() {
        let table = [
            (RunKind::Agent, "agents", "Agent not found", "Run not found"),
            (RunKind::Team, "teams", "Team not found", "Run not found"),
            (RunKind::Workflow, "workflows", "Workflow not found", "Workflow or run not found"),
        ];
        for (kind, plural, no_component, no_run) in table {
            let names = names_of(kind);
            assert_eq!(names.plural, plural);
            assert_eq!(names.no_component, no_component);
            assert_eq!(names.no_run_to_cancel, no_run);
        }
    }
}
