//! [`PlanStep`] is one step of a plan, [`Action`] what it does, and [`Cleanup`] what follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::action::{
    ComponentStep, IfStep, LoopStep, Origin, RouteStep, TeamStep, WaitStep, WorkflowStep,
};
use super::error::PlanError;
use super::parallel::{ParallelStep, PlanRetry};

/// One step of a plan, or one branch of a parallel step.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_json(
///     r#"{"name": "p", "steps": [{"name": "s", "timeout": "2s", "run": ["true"]}]}"#,
/// ).unwrap();
/// let step = &plan.steps()[0];
/// assert_eq!(step.timeout, Some(Duration::from_secs(2)));
/// assert!(matches!(&step.action, Action::Run(run) if run.command == ["true"]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanStep {
    /// Its name, unique among its siblings.
    pub name: Arc<str>,
    /// The branches of the same parallel step that must complete before it starts; only a branch
    /// has any. Defaults to none. See [`Branch::needs`](crate::Branch::needs).
    #[serde(skip_serializing_if = "no_names")]
    pub needs: Arc<[Arc<str>]>,
    /// Time from its start to its own deadline. Defaults to none. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Time between the acceptance of its stop and abort. Defaults to the engine's (5 s), for a
    /// branch to `branch_grace`. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// Time without an event after which it is stopped. Defaults to none. Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Its retries. Defaults to none. The times of the step count over all attempts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<PlanRetry>,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
    /// The steps that run when it fails or is stopped. Defaults to none.
    #[serde(flatten)]
    pub cleanup: Cleanup,
    /// The steps at the top of the plan that it reads, if it is one of them itself.
    #[serde(skip)]
    pub(crate) reads: Arc<[Arc<str>]>,
}

/// What a step does.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_json(
///     r#"{"name": "p", "steps": [{"name": "s", "sequence": [{"name": "a", "run": ["true"]}]}]}"#,
/// ).unwrap();
/// let Action::Sequence(steps) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(steps.sequence.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Action {
    /// Runs a command.
    Run(CommandStep),
    /// Runs steps one after another.
    Sequence(SequenceStep),
    /// Runs steps in parallel.
    Parallel(ParallelStep),
    /// Runs steps in several rounds.
    Loop(LoopStep),
    /// Runs steps if a condition holds.
    If(IfStep),
    /// Runs one step of several.
    Route(RouteStep),
    /// Runs the members of a team.
    Team(TeamStep),
    /// Runs a component of the catalog.
    Component(ComponentStep),
    /// Runs a nested plan.
    Workflow(WorkflowStep),
    /// Waits for an answer.
    Wait(WaitStep),
}

impl Action {
    /// Yields the inner steps, with the key under which a plan has them, such as `branches`.
    ///
    /// The steps of a nested plan are not among them.
    pub fn parts(&self) -> Vec<(&'static str, &Arc<[PlanStep]>)> {
        match self {
            Self::Run(_) | Self::Component(_) | Self::Workflow(_) | Self::Wait(_) => Vec::new(),
            Self::Sequence(step) => vec![("sequence", &step.sequence)],
            Self::Parallel(step) => vec![("branches", &step.branches)],
            Self::Loop(step) => vec![("steps", &step.steps)],
            Self::If(step) => vec![("then", &step.then), ("else", &step.otherwise)],
            Self::Route(step) => vec![("routes", &step.routes)],
            Self::Team(step) => vec![("members", &step.members)],
        }
    }
}

/// The steps that run when a step, or a whole plan, fails or is stopped.
///
/// # Examples
///
/// ```
/// use quell_flow::Plan;
///
/// let plan = Plan::from_toml(r#"
///     name = "release"
///     steps = [{ name = "upload", run = ["upload", "--id", "{{ input.id }}"] }]
///     on_stop = [{ name = "withdraw", run = ["withdraw", "{{ input.id }}"] }]
/// "#).unwrap();
/// assert_eq!(plan.cleanup().on_stop.len(), 1);
/// assert!(plan.cleanup().on_failure.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cleanup {
    /// Steps that run one after another when it has failed, within its grace.
    #[serde(skip_serializing_if = "is_empty")]
    pub on_failure: Arc<[PlanStep]>,
    /// Steps that run one after another when it was stopped, until the hard deadline.
    #[serde(skip_serializing_if = "is_empty")]
    pub on_stop: Arc<[PlanStep]>,
}

impl Cleanup {
    /// Tells whether there are no such steps.
    pub fn is_empty(&self) -> bool {
        self.on_failure.is_empty() && self.on_stop.is_empty()
    }
}

/// A command, which a [`Runner`](crate::Runner) runs.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_toml(r#"
///     name = "greet"
///     [[steps]]
///     name = "hello"
///     run = ["cat"]
///     cwd = "/tmp"
///     env = { LANG = "C" }
///     input = "hello"
/// "#).unwrap();
/// let Action::Run(run) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(run.input.as_deref(), Some("hello"));
/// assert_eq!(run.env["LANG"], "C");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandStep {
    /// The program and its arguments. Neither the list nor the program is empty.
    #[serde(rename = "run")]
    pub command: Vec<String>,
    /// The directory to run in. Defaults to that of the runner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Variables to add to the environment. Defaults to none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whether the program gets nothing of the environment of the runner but what it takes to find
    /// programs, and `env`. Defaults to false.
    #[serde(skip_serializing_if = "is_false")]
    pub env_clear: bool,
    /// The standard input of the program. Defaults to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Whether one of its texts is a template. A runner gets the rendered command.
    #[serde(skip)]
    pub(crate) has_templates: bool,
    /// The place of the command.
    #[serde(skip)]
    pub(crate) origin: Arc<Origin>,
}

impl CommandStep {
    /// Makes a fault, or a warning, at the place of the command in the text of the plan.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let plan = Plan::from_yaml("name: p\nsteps:\n- { name: a, run: [maek] }\n").unwrap();
    /// let fault = plan.commands()[0].fault("no such program");
    /// assert_eq!(fault.to_string(), "line 3, column 19: no such program");
    /// ```
    pub fn fault(&self, message: impl Into<String>) -> PlanError {
        self.origin.fault(message)
    }
}

/// Steps that run one after another. If one fails, the sequence fails.
///
/// # Examples
///
/// ```
/// fn names(steps: &quell_flow::SequenceStep) -> Vec<&str> {
///     steps.sequence.iter().map(|step| &*step.name).collect()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SequenceStep {
    /// The steps; never empty.
    pub sequence: Arc<[PlanStep]>,
}

fn no_names(names: &Arc<[Arc<str>]>) -> bool {
    names.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(is_set: &bool) -> bool {
    !*is_set
}

pub(super) fn is_empty(steps: &Arc<[PlanStep]>) -> bool {
    steps.is_empty()
}
