//! What an embedder holds: where runs are submitted, found and stopped.

mod engine;
pub(crate) mod filter;
mod limit;
pub(crate) mod shutdown;

pub use engine::Engine;
