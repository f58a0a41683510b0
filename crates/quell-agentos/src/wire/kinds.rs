//! [`KindNames`]: the names of each kind of component in the contract.

use quell_flow::ComponentKind;

/// The names of a kind of component in the contract.
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
    /// The prefix of the events of its run.
    pub(crate) prefix: &'static str,
    /// The event of a failed run.
    pub(crate) error_event: &'static str,
    /// The field of the answer to a paused run.
    pub(crate) answer: &'static str,
    /// The prefix of its model and tool events.
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
    answer: "tools",
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
    answer: "requirements",
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
    answer: "step_requirements",
    inner_prefix: "",
};

/// Yields the names of a kind.
pub(crate) const fn names_of(kind: ComponentKind) -> &'static KindNames {
    match kind {
        ComponentKind::Agent => &AGENT,
        ComponentKind::Team => &TEAM,
        ComponentKind::Workflow => &WORKFLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_names_of_the_documents() {
        let table = [
            (ComponentKind::Agent, "agents", "Agent not found", "Run not found"),
            (ComponentKind::Team, "teams", "Team not found", "Run not found"),
            (
                ComponentKind::Workflow,
                "workflows",
                "Workflow not found",
                "Workflow or run not found",
            ),
        ];
        for (kind, plural, no_component, no_run) in table {
            let names = names_of(kind);
            assert_eq!(names.plural, plural);
            assert_eq!(names.no_component, no_component);
            assert_eq!(names.no_run_to_cancel, no_run);
        }
    }
}
