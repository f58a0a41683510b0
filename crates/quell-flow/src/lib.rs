//! Agents, teams and workflows on top of runs.

mod catalog;
mod emit;
mod team;

pub use catalog::{COMPONENT, Catalog, Component, Contract, Model, Part};
pub use emit::Emit;
pub use team::Team;
