//! Agents, teams and workflows on top of runs: parallel policies and plans as data.
//!
//! A workflow in Rust is plain control flow over [`quell::RunContext::spawn`]. This crate adds what
//! that cannot say: a [`Parallel`] step whose [`Policy`] decides when enough branches have ended
//! and stops the others, each within its own timeout and grace; a [`Retry`] whose attempts never
//! overlap and never outlive a stop; and a [`Plan`], a workflow as TOML, JSON or YAML, that is
//! lowered to the same runs.

pub mod limits;
pub mod manual;

mod catalog;
mod command_example;
mod emit;
mod excerpt;
mod failures;
mod foreign;
mod graph;
mod guess;
mod harmless;
mod interpret;
mod join;
mod nodes;
mod output;
mod parallel;
mod plan;
mod retry;
mod skipped;
mod team;
#[cfg(feature = "test-util")]
pub mod testing;
mod times;

pub use catalog::{
    COMPONENT, Catalog, Component, ComponentKind, Contract, Model, OnWorkerLost, Part, Reducer,
    Reducers, unknown_component,
};
pub use command_example::command_example;
pub use emit::Emit;
pub use excerpt::{excerpt, is_braced, path_text, toml_words, unquoted};
pub use guess::guess;
pub use harmless::{is_plain, plain_begin, program_of};
pub use interpret::{
    ANSWER_IS_NO, LinkedPlan, MissingOutput, NoAnswer, PartError, PastError, PlanPart, PlanPast,
    Runner, WaitAsked, check_answer, wait_asked,
};
pub use join::{Decision, End, Ended, Policy, QuorumUnreachable, SoFar, Verdict};
pub use nodes::{NODES, Nodes, NodesAsked};
pub use parallel::{
    Branch, BranchRow, CountedAs, Limiter, OnCancelled, OnLoser, OnTimeout, Parallel, Settled,
    StartNext, StepSummary,
};
pub use plan::{
    Action, Cleanup, CommandStep, ComponentStep, Expression, IfStep, LineIndex, LoopOptions,
    LoopStep, OnMax, PLAN_PAGE, PLAN_SCHEMA, PLAN_TEMPLATES, ParallelOptions, ParallelStep, Plan,
    PlanError, PlanFormat, PlanPolicy, PlanRefusal, PlanRetry, PlanStep, RouteStep, SequenceStep,
    TeamMode, TeamOptions, TeamStep, WaitOptions, WaitStep, WorkflowStep, is_env, is_variable,
    variable_of,
};
pub use retry::{ABANDONED_ATTEMPTS, Attempt, Backoff, Retry, RetryAfter, attempt_number};
pub use skipped::{SkipReason, SkippedStep};
pub use team::{Delegated, Member, Members, OnMember, Team};
