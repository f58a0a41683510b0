//! The words of each kind of component.

use std::borrow::Cow;

use quell::RunKind;
use quell_http::AccessError;

/// The words of a kind of component.
#[derive(Debug)]
pub(crate) struct Words {
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

const AGENT: Words = Words {
    plural: "agents",
    no_component: "Agent not found",
    no_run_to_cancel: "Run not found",
    id_key: "agent_id",
    name_key: "agent_name",
    prefix: "Run",
    error_event: "RunError",
    inner_prefix: "",
};

const TEAM: Words = Words {
    plural: "teams",
    no_component: "Team not found",
    no_run_to_cancel: "Run not found",
    id_key: "team_id",
    name_key: "team_name",
    prefix: "TeamRun",
    error_event: "TeamRunError",
    inner_prefix: "Team",
};

const WORKFLOW: Words = Words {
    plural: "workflows",
    no_component: "Workflow not found",
    no_run_to_cancel: "Workflow or run not found",
    id_key: "workflow_id",
    name_key: "workflow_name",
    prefix: "Workflow",
    error_event: "WorkflowError",
    inner_prefix: "",
};

/// Yields the words of a kind.
pub(crate) const fn words(kind: RunKind) -> &'static Words {
    match kind {
        RunKind::Agent => &AGENT,
        RunKind::Team => &TEAM,
        RunKind::Workflow | RunKind::Step | RunKind::Branch | RunKind::Attempt => &WORKFLOW,
    }
}

/// Yields what is said to credentials that name nobody; tokens have other words than keys.
pub(crate) fn access_error(error: AccessError, by_token: bool) -> Cow<'static, str> {
    let text = match (error, by_token) {
        (AccessError::MissingClaim(claim), true) => {
            return format!("Invalid token: Token is missing the \"{claim}\" claim").into();
        }
        (AccessError::Missing, false) => "Authorization header required",
        (AccessError::Missing | AccessError::WrongScheme, true) => "Authorization header missing",
        (AccessError::Expired, true) => "Token has expired",
        (AccessError::WrongAudience, true) => {
            "Invalid token audience - token not valid for this AgentOS instance"
        }
        (AccessError::Invalid, true) => "Invalid token: Signature verification failed",
        (
            AccessError::WrongScheme
            | AccessError::Invalid
            | AccessError::Expired
            | AccessError::WrongAudience
            | AccessError::MissingClaim(_),
            false,
        ) => "Invalid authentication token",
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_words_of_the_documents() {
        let table = [
            (RunKind::Agent, "agents", "Agent not found", "Run not found"),
            (RunKind::Team, "teams", "Team not found", "Run not found"),
            (RunKind::Workflow, "workflows", "Workflow not found", "Workflow or run not found"),
        ];
        for (kind, plural, no_component, no_run) in table {
            let words = words(kind);
            assert_eq!(words.plural, plural);
            assert_eq!(words.no_component, no_component);
            assert_eq!(words.no_run_to_cancel, no_run);
        }
    }

    #[test]
    fn credentials_are_refused_in_the_words_of_the_contract() {
        let table = [
            (AccessError::Missing, false, "Authorization header required"),
            (AccessError::WrongScheme, false, "Invalid authentication token"),
            (AccessError::Invalid, false, "Invalid authentication token"),
            (AccessError::Missing, true, "Authorization header missing"),
            (AccessError::Expired, true, "Token has expired"),
            (AccessError::Invalid, true, "Invalid token: Signature verification failed"),
            (
                AccessError::MissingClaim("exp"),
                true,
                "Invalid token: Token is missing the \"exp\" claim",
            ),
            (AccessError::MissingClaim("exp"), false, "Invalid authentication token"),
        ];
        for (error, by_token, text) in table {
            assert_eq!(access_error(error, by_token), text, "{error:?} {by_token}");
        }
    }
}
