//! [`LinkedPlan`] runs a plan: every step becomes a child run of the run around it.
//!
//! | file | what it runs or holds |
//! |---|---|
//! | `runner` | [`Runner`], which runs commands, and the body of a whole plan |
//! | `link` | [`LinkedPlan`], the components that a plan names |
//! | `component` | a plan as a component itself |
//! | `part` | [`PlanPart`], some of the steps of a plan |
//! | `step` | the body of one step |
//! | `commands`, `sequence`, `parallel`, `choices`, `nested` | each kind of step |
//! | `cleanup` | the steps that run after a stop or a failure |
//! | `wait` | a step that waits for an answer |
//! | `past` | [`PlanPast`], what a store tells of the steps of a run |
//! | `memory` | what a further attempt knows of those before |
//! | `scope` | the values that expressions may read |
//! | `needed` | the outputs of branches that other branches read |

mod choices;
mod cleanup;
mod commands;
mod component;
mod link;
mod memory;
mod needed;
mod nested;
mod parallel;
mod part;
mod past;
mod runner;
mod scope;
mod sequence;
mod step;
mod wait;

pub use link::LinkedPlan;
pub use part::{MissingOutput, PartError, PlanPart};
pub use past::{PastError, PlanPast};
pub use runner::Runner;
#[cfg(feature = "test-util")]
pub(crate) use runner::render_over;
pub use wait::{ANSWER_IS_NO, NoAnswer, WaitAsked, check_answer, wait_asked};
