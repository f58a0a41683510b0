//! A workflow as data: what to run, in which order, side by side, and how long it may take.
//!
//! [`Plan`] is the whole, [`PlanStep`] a step and [`Action`] what it does. `parse` reads plans and
//! `draw` displays them. `expression` evaluates what stands in their texts.

mod action;
mod document;
mod draw;
mod duration;
mod error;
mod excerpt;
mod expression;
mod format;
mod parallel;
mod parse;
mod step;

pub(crate) use action::Origin;
pub use action::{
    ComponentStep, IfStep, LoopOptions, LoopStep, OnMax, RouteStep, TeamMode, TeamOptions,
    TeamStep, WorkflowStep,
};
pub use document::Plan;
pub use error::PlanError;
pub(crate) use excerpt::excerpt;
pub use expression::Expression;
#[cfg(feature = "test-util")]
pub(crate) use expression::check_template;
pub(crate) use expression::{is_template, only_expression, read, render};
pub use format::{PLAN_SCHEMA, PlanFormat};
pub use parallel::{ParallelOptions, ParallelStep, PlanPolicy, PlanRetry};
pub use step::{Action, Cleanup, CommandStep, PlanStep, SequenceStep};
