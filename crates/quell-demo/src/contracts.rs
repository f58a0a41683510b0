//! The contracts that show demo components, by the names that their adapters give them.

use quell_flow::Contract;

pub(crate) const AGENTOS: Contract = Contract::named("agentos");
pub(crate) const LANGGRAPH: Contract = Contract::named("langgraph");
pub(crate) const PLAYBOOK3D: Contract = Contract::named("playbook3d");
