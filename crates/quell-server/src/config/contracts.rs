//! The contracts of a component: each is one that this server serves.

use quell_flow::{Catalog, Contract, PlanError, limits};
use quell_http::Jwt;

use super::access::for_header;
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

    /// Finds the secrets of `Playbook3D` that sign nothing, or that no request can bring.
    pub(super) fn platform_faults(&self) -> Vec<PlanError> {
        let quell_playbook3d::Options { token_secret, platform_key, .. } = &self.playbook3d;
        // Empty ones count as none.
        let secret = token_secret.as_deref().filter(|it| !it.is_empty());
        let secret = secret.and_then(|it| Jwt::hs256(it).err());
        let secret = secret.map(|error| ("token_secret", error.to_string()));
        let key = platform_key.clone().and_then(|it| for_header(it).err());
        let key = key.map(|words| ("platform_key", words));
        let fault = |(key, words): (&str, String)| self.fault(&["playbook3d", key], &words);
        secret.into_iter().chain(key).map(fault).collect()
    }

    /// Warns that one contract asks for a key, and others start and show the same runs without one.
    pub(super) fn open_warning(&self, catalog: &Catalog) -> Option<PlanError> {
        if self.agentos.security_key_env.is_none() || self.names_keys() {
            return None;
        }
        let is_open = |contract: &Contract| match *contract {
            quell_agentos::CONTRACT => false,
            quell_playbook3d::CONTRACT => !self.playbook3d.workflows.is_empty(),
            contract => catalog.components().any(|it| it.is_exposed_in(contract)),
        };
        let open = SERVED.into_iter().filter(is_open);
        let open: Vec<_> = open.map(|contract| format!("`{}`", contract.name())).collect();
        let words = format!(
            "is the key of `agentos` alone, and {} on the same port ask for none; expected \
             `[[keys]]`, which all contracts ask for, or `contracts = [\"agentos\"]` in each \
             component",
            open.join(", ")
        );
        (!open.is_empty()).then(|| self.fault(&["agentos", "security_key_env"], &words))
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
