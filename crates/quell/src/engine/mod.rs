//! Where runs are submitted, admitted, found, kept and stopped.

pub(crate) mod admission;
pub(crate) mod config;
mod engine;
pub(crate) mod filter;
pub(crate) mod ids;
pub(crate) mod ledger;
pub(crate) mod registry;
pub(crate) mod reservations;
pub(crate) mod retention;
pub(crate) mod shutdown;
pub(crate) mod submit;

pub use engine::Engine;
pub(crate) use engine::Shared;
