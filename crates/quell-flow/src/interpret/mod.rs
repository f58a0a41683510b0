//! Lowers a plan to runs: every step becomes a child run of the run around it.
//!
//! [`Runner`] runs commands, `step` the body of one step, `sequence` steps in turn; `parallel`,
//! `choices` and `nested` run steps that hold others, and `cleanup` what follows a stop or a
//! failure. `scope` holds what expressions may read, and
//! [`LinkedPlan`] the components that a plan names.

mod choices;
mod cleanup;
mod commands;
mod link;
mod nested;
mod parallel;
mod runner;
mod scope;
mod sequence;
mod step;

pub use link::LinkedPlan;
pub use runner::Runner;
#[cfg(feature = "test-util")]
pub(crate) use runner::render_over;
