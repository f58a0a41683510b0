//! What a step can do besides running a command, a sequence or branches.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use quell::Payload;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::document::Plan;
use super::error::{Place, PlanError};
use super::expression::Expression;
use super::step::{PlanStep, is_empty};
use crate::OnMember;

/// Steps that run one after another, again and again. The output is that of the last round.
///
/// In a round, `index` is its number, from 1, and `last` the output of the round before, or none.
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
    /// How often.
    #[serde(rename = "loop")]
    pub options: LoopOptions,
    /// The steps of a round; never empty.
    pub steps: Arc<[PlanStep]>,
}

/// How often a loop goes round: a number of times, or until something is true.
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
    /// What ends it, looked at after each round. It sees the steps of the round, `output`, which is
    /// all of their outputs, and `index`.
    pub until: Option<Expression>,
    /// How often at most; without `until`, how often, and then called `count` in a plan.
    pub max: usize,
    /// What it means that `until` has not become true.
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

/// What it means that a loop has gone round as often as it may and is not through.
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
    /// It fails.
    #[default]
    Fail,
    /// It is through.
    Accept,
}

/// Steps that run one after another if a condition holds, and others if not.
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
    /// What runs if it holds; never empty.
    pub then: Arc<[PlanStep]>,
    /// What runs if it does not.
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
    /// What names the step.
    pub route: Expression,
    /// The steps of which one runs; never empty.
    pub routes: Arc<[PlanStep]>,
    /// The one that runs if none has the name. Defaults to none: the route then fails.
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
    #[serde(skip)]
    pub(crate) origin: Origin,
}

/// A plan inside of a plan: it sees its own input and its own steps, and none of those around it.
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
    /// How they work together.
    pub team: TeamOptions,
    /// The task, in which texts may be templates. Defaults to the input of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// The members; never empty. They see `task`, what they are asked to do.
    pub members: Arc<[PlanStep]>,
}

/// How the members of a team work together, and what it means to the team how they end.
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
    /// Who works, on what.
    #[serde(flatten)]
    pub mode: TeamMode,
    /// What a member that failed means. Defaults to [`OnMember::GoOn`].
    pub on_member_failed: OnMember,
    /// What a member that was cancelled alone, or timed out, means. Defaults to
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
    /// All get the task.
    Broadcast,
    /// Each gets what the one before has made of the task.
    Sequence,
    /// One gets the task.
    Route {
        /// What names the member.
        choose: Expression,
    },
    /// A leader hands out tasks until it is content.
    Coordinate {
        /// The member that leads. It sees `round`, from 1, and `results`, a list of
        /// `{ member, result }`, what came of what it has handed out last.
        leader: Arc<str>,
        /// What it hands out, over its `output`: a list of `{ member, task }`. Defaults to
        /// `delegate` of the output. If there is none, its output is that of the team.
        delegate: Expression,
        /// How often it is asked at most. More fails the team.
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

/// Where something was read. It makes no difference to what it is: all origins are equal.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: Option<Arc<Path>>,
    pub(crate) place: Place,
}

impl Origin {
    pub(crate) fn fault(&self, message: impl Into<String>) -> PlanError {
        let error = PlanError::new(message).at(self.place);
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

impl fmt::Display for TeamMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
