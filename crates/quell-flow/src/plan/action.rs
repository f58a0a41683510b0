//! [`LoopStep`], [`IfStep`], [`RouteStep`], [`ComponentStep`], [`WorkflowStep`], [`TeamStep`] and
//! [`WaitStep`] are the actions of a step besides a command, a sequence and parallel branches.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quell::Payload;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::document::Plan;
use super::error::{Place, PlanError};
use super::expression::Expression;
use super::step::{PlanStep, is_empty};
use super::unsaid::Unsaid;
use crate::OnMember;
use crate::excerpt::Line;

/// A question whose answer the run of the plan waits for: it is paused until then. The output is
/// the answer.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_yaml("name: p\nsteps:\n- { name: ok, wait: deploy? }\n").unwrap();
/// let Action::Wait(step) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(step.options.ask, "deploy?");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WaitStep {
    /// What is asked, and for how long.
    #[serde(rename = "wait")]
    pub options: WaitOptions,
    /// The place of the options.
    #[serde(skip)]
    pub(crate) origin: Origin,
}

/// What a step that waits asks, and for how long.
///
/// # Examples
///
/// ```
/// fn is_patient(options: &quell_flow::WaitOptions) -> bool {
///     options.expires.is_none()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitOptions {
    /// The question, which may be a template; not empty.
    pub ask: String,
    /// The time from the question to the answer, after which the run times out. Defaults to none.
    /// Zero is refused.
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Whether the answer is yes or no. The output is then `true`, and the step fails if the answer
    /// is no; what is neither is asked again. Defaults to false: any value is an answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub approve: bool,
}

/// Steps that run one after another, in several rounds. The output is that of the last round.
///
/// In a round, `index` is its number, from 1, and `last` the output of the round before, or null.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_toml(r#"
///     name = "p"
///     [[steps]]
///     name = "poll"
///     loop = { until = "steps.ask.output.exit_code == 0", max = 10 }
///     steps = [{ name = "ask", run = ["test", "-e", "ready"] }]
/// "#).unwrap();
/// let Action::Loop(step) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(step.options.max, 10);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoopStep {
    /// The number of rounds, or the condition that ends them.
    #[serde(rename = "loop")]
    pub options: LoopOptions,
    /// The steps of a round; never empty.
    pub steps: Arc<[PlanStep]>,
}

/// The end of a loop: a number of rounds, or a condition.
///
/// # Examples
///
/// ```
/// fn is_counted(options: &quell_flow::LoopOptions) -> bool {
///     options.until.is_none()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopOptions {
    /// The condition that ends the loop, evaluated after each round. It may read the steps of the
    /// round, `output`, which has the outputs of all of them, and `index`.
    pub until: Option<Expression>,
    /// The maximum number of rounds. Without `until` it is the number of rounds, and its key in a
    /// plan is `count`.
    pub max: usize,
    /// What happens if `until` has not become true after `max` rounds.
    pub on_max: OnMax,
}

impl Serialize for LoopOptions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Some(until) = &self.until else { return to.collect_map([("count", self.max)]) };
        let mut map = to.serialize_map(Some(3))?;
        map.serialize_entry("until", until)?;
        map.serialize_entry("max", &self.max)?;
        map.serialize_entry("on_max", &self.on_max)?;
        map.end()
    }
}

/// What happens to a loop whose condition has not become true after its last round.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::OnMax::default(), quell_flow::OnMax::Fail);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnMax {
    /// The loop fails.
    #[default]
    Fail,
    /// The loop completes, with the output of the last round.
    Accept,
}

/// Steps that run if a condition holds, and others that run if it does not.
///
/// The output is that of the steps that ran, or null.
///
/// # Examples
///
/// ```
/// fn is_one_sided(step: &quell_flow::IfStep) -> bool {
///     step.otherwise.is_empty()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IfStep {
    /// The condition.
    #[serde(rename = "if")]
    pub condition: Expression,
    /// The steps that run if it holds; never empty.
    pub then: Arc<[PlanStep]>,
    /// The steps that run if it does not; may be empty.
    #[serde(rename = "else", skip_serializing_if = "is_empty")]
    pub otherwise: Arc<[PlanStep]>,
}

/// One step of several, named by an expression. The output is that of the step that ran.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_toml(r#"
///     name = "p"
///     [[steps]]
///     name = "answer"
///     route = "input.language"
///     otherwise = "english"
///     routes = [{ name = "english", run = ["true"] }, { name = "german", run = ["true"] }]
/// "#).unwrap();
/// let Action::Route(step) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(step.otherwise.as_deref(), Some("english"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteStep {
    /// The expression whose value is the name of a step.
    pub route: Expression,
    /// The steps of which one runs; never empty.
    pub routes: Arc<[PlanStep]>,
    /// The name of the step that runs if none has that name. Defaults to none: the route then
    /// fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Arc<str>>,
}

/// A component of the catalog, by name.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_toml(r#"
///     name = "p"
///     [[steps]]
///     name = "draft"
///     component = "agent/writer"
///     input = { topic = "{{ input.topic }}", words = 300 }
/// "#).unwrap();
/// let Action::Component(step) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(&*step.component, "agent/writer");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentStep {
    /// Its id, or its kind and its id: `agent/writer`.
    pub component: Arc<str>,
    /// Its input, in which texts may be templates. Defaults to the input of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// The place of the name, for the fault of a name that no catalog has.
    #[serde(skip)]
    pub(crate) origin: Origin,
}

impl ComponentStep {
    /// Makes a fault, or a warning, at the place of the name in the text of the plan.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let plan = Plan::from_yaml("name: p\nsteps:\n- { name: a, component: x }\n").unwrap();
    /// let fault = plan.components()[0].fault("no");
    /// assert_eq!(fault.to_string(), "line 3, column 25: no");
    /// ```
    pub fn fault(&self, message: impl Into<String>) -> PlanError {
        self.origin.fault(message)
    }
}

/// A plan nested in a plan. It may read its own input and its own steps, and none around it.
///
/// # Examples
///
/// ```
/// fn name(step: &quell_flow::WorkflowStep) -> &str {
///     step.workflow.name()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkflowStep {
    /// The plan.
    pub workflow: Arc<Plan>,
    /// Its input, in which texts may be templates. Defaults to the input of the plan around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
}

/// Members that work on one task.
///
/// # Examples
///
/// ```
/// fn size(team: &quell_flow::TeamStep) -> usize {
///     team.members.len()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TeamStep {
    /// The mode of the team, and its options.
    pub team: TeamOptions,
    /// The task, in which texts may be templates. Defaults to the input of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// The members; never empty. They may read `task`, the task that they are given.
    pub members: Arc<[PlanStep]>,
}

/// How the members of a team work together, and what happens if one fails or is stopped.
///
/// # Examples
///
/// ```
/// fn is_strict(team: &quell_flow::TeamOptions) -> bool {
///     team.on_member_failed == quell_flow::OnMember::Fail
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TeamOptions {
    /// Which members work, on what.
    #[serde(flatten)]
    pub mode: TeamMode,
    /// What happens when a member fails. Defaults to [`OnMember::GoOn`].
    pub on_member_failed: OnMember,
    /// What happens when a member alone is cancelled, or times out. Defaults to
    /// [`OnMember::GoOn`].
    pub on_member_stopped: OnMember,
}

/// How the members of a team work together.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::TeamMode::Broadcast.as_str(), "broadcast");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TeamMode {
    /// All members get the task.
    Broadcast,
    /// The first member gets the task, each other the output of the one before.
    Sequence,
    /// One member gets the task.
    Route {
        /// The expression whose value is the name of the member.
        choose: Expression,
    },
    /// A leader hands out tasks until it hands out none.
    Coordinate {
        /// The member that leads. It may read `round`, from 1, and `results`, a list of
        /// `{ member, result }` with the results of its last tasks.
        leader: Arc<str>,
        /// The expression that yields the next tasks, over the `output` of the leader: a list of
        /// `{ member, task }`. Defaults to `delegate` of the output. If it is null, the output of
        /// the leader is that of the team.
        delegate: Expression,
        /// The maximum number of rounds. The team fails if the leader needs more.
        max: usize,
    },
}

impl TeamMode {
    /// Yields the name in a plan.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Sequence => "sequence",
            Self::Route { .. } => "route",
            Self::Coordinate { .. } => "coordinate",
        }
    }
}

/// The place at which something was read. All origins are equal, so that the same plan read from
/// two texts is equal.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: Option<Arc<Path>>,
    pub(crate) place: Place,
    pub(crate) line: Line,
    /// The words of the text that no message says.
    pub(crate) unsaid: Arc<Unsaid>,
}

impl Origin {
    pub(crate) fn fault(&self, message: impl Into<String>) -> PlanError {
        let error = PlanError::new(self.unsaid.left_out(message.into()))
            .at(self.place)
            .showing(self.line.clone());
        match &self.file {
            Some(file) => error.in_file(file),
            None => error,
        }
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl fmt::Display for TeamMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
