//! [`components`] of every contract at once.

use quell_flow::Catalog;

use crate::{Witness, agentos, langgraph, native, playbook3d};

/// Adds the demo components of every contract to a catalog, under their ids with a prefix.
pub fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let catalog = agentos::components(catalog, witness, prefix);
    let catalog = langgraph::components(catalog, witness, prefix);
    let catalog = playbook3d::components(catalog, witness, prefix);
    native::components(catalog, witness, prefix)
}
