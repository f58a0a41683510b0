//! The demo components that the contracts list, and the witness of what they really do.

mod agentos;
mod bench;
mod langgraph;
mod native;
pub(crate) mod playbook3d;
mod witness;

pub(crate) use bench::router as witness_router;
use quell_flow::Catalog;
pub(crate) use witness::Witness;

/// Adds the demo components of every contract to a catalog, under their ids with a prefix.
pub(crate) fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let catalog = agentos::components(catalog, witness, prefix);
    let catalog = langgraph::components(catalog, witness, prefix);
    let catalog = playbook3d::components(catalog, witness, prefix);
    native::components(catalog, witness, prefix)
}
