//! [`Plan`] is a workflow as data: the steps to run, their order, and their times.
//!
//! [`PlanStep`] is one step and [`Action`] what it does. `parse` reads plans, `draw` displays them,
//! and `expression` evaluates the expressions and templates in their texts.

mod action;
mod document;
mod draw;
mod duration;
mod error;
mod expression;
mod format;
mod line_index;
mod parallel;
mod parse;
mod refusal;
mod step;
mod unsaid;
mod variable;

pub(crate) use action::Origin;
pub use action::{
    ComponentStep, IfStep, LoopOptions, LoopStep, OnMax, RouteStep, TeamMode, TeamOptions,
    TeamStep, WaitOptions, WaitStep, WorkflowStep,
};
pub use document::Plan;
pub use error::PlanError;
pub use expression::Expression;
#[cfg(feature = "test-util")]
pub(crate) use expression::check_template;
pub(crate) use expression::{below, is_template, only_expression, read, render};
pub use format::{PLAN_PAGE, PLAN_SCHEMA, PLAN_TEMPLATES, PlanFormat};
pub use line_index::LineIndex;
pub use parallel::{ParallelOptions, ParallelStep, PlanPolicy, PlanRetry};
pub use refusal::PlanRefusal;
pub use step::{Action, Cleanup, CommandStep, PlanStep, SequenceStep};
pub use variable::{is_env, is_variable, variable_of};
