//! Agents, teams and workflows on top of runs: parallel policies and plans as data.
//!
//! A workflow in Rust is plain control flow over [`quell::RunContext::spawn`]. This crate adds what
//! that cannot say: a [`Parallel`] step whose [`Policy`] decides when enough branches have ended
//! and stops the others, each within its own timeout and grace; and a [`Plan`], a workflow as TOML
//! or JSON, that is lowered to the same runs.

pub mod limits;

mod catalog;
mod emit;
mod interpret;
mod join;
mod parallel;
mod plan;
mod settled;
mod team;
mod words;

pub use catalog::{COMPONENT, Catalog, Component, Contract, Model, Part};
pub use emit::Emit;
pub use interpret::Runner;
pub use join::{Decision, End, Ended, Policy, SoFar, Verdict};
pub use parallel::{Branch, Parallel};
pub use plan::{
    Action, CommandStep, ParallelOptions, ParallelStep, Plan, PlanError, PlanPolicy, PlanStep,
    SequenceStep,
};
pub use settled::{BranchRow, CountedAs, Settled};
pub use team::Team;
pub use words::{OnCancelled, OnTimeout};
