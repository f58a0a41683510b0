//! The contracts of a component: each is one that this server serves.

use quell_flow::{Contract, PlanError, limits};

use super::file::Config;
use crate::quoted::quoted;

impl Config {
    /// Finds the names in `contracts` that no contract has: there their component would be exposed
    /// nowhere.
    pub(super) fn contract_faults(&self) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let all = tables.into_iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        let names = all.flat_map(|(kind, (id, entry))| {
            let names = entry.contracts.iter().flatten().enumerate();
            names.map(move |(at, name)| (kind, id, at, name))
        });
        let unknown = names.filter(|(.., name)| served(name).is_none());
        let fault = |(kind, id, at, name): (&str, &String, usize, &String)| {
            let known = SERVED.map(|contract| format!("`{}`", contract.name())).join(", ");
            let words = format!("unknown contract `{}`; expected one of {known}", quoted(name));
            self.fault(&[kind, id, "contracts", &at.to_string()], &words)
        };
        unknown.map(fault).take(limits::PLAN_FAULTS_MAX).collect()
    }
}

/// Finds the contract with this name.
pub(super) fn served(name: &str) -> Option<Contract> {
    SERVED.into_iter().find(|contract| contract.name() == name)
}

/// Every contract of the server.
const SERVED: [Contract; 4] = [
    quell_http::NATIVE,
    quell_agentos::CONTRACT,
    quell_langgraph::CONTRACT,
    quell_playbook3d::CONTRACT,
];
