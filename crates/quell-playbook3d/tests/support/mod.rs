//! What the tests have in common.

#[path = "../../../quell-server/src/demo/agentos.rs"]
mod agentos;
#[path = "../../../quell-server/src/demo/playbook3d.rs"]
pub(crate) mod demo;
pub(crate) mod lab;
pub(crate) mod seeds;
#[path = "../../../quell-server/src/demo/witness.rs"]
pub(crate) mod witness;
#[path = "../../../quell-http/tests/writers.rs"]
pub(crate) mod writers;

use quell_flow::Catalog;

/// The workflows of the demo data.
pub(crate) fn catalog(witness: &witness::Witness) -> Catalog {
    demo::components(agentos::components(Catalog::new(), witness, ""), witness, "")
}
