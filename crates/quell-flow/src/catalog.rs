//! Named components, for those who start runs by name: adapters, the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quell::{Engine, Failure, Payload, RunContext, RunHandle, RunKind, RunSpec, SubmitError};

use crate::output::set_output;
use crate::parallel::timed;
use crate::reducer::Reducers;

/// The components of a service, by kind and id.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Payload, RunKind};
/// use quell_flow::{Catalog, Component};
///
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let echo = catalog.get(RunKind::Agent, "echo").unwrap();
/// let engine = Engine::new();
/// let run = echo.start(&engine, echo.spec(), Payload::from("hi")).unwrap();
/// assert_eq!(run.await.unwrap(), Payload::from("hi"));
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a catalog does nothing until it is served"]
pub struct Catalog {
    components: BTreeMap<(Sort, String), Arc<Component>>,
}

/// A contract in which a component may be exposed.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::Contract::ALL.len(), 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Contract {
    /// quell's own API.
    Native,
    /// `AgentOS`.
    AgentOs,
    /// The `LangGraph` Agent Server.
    LangGraph,
    /// `Playbook3D`.
    Playbook3d,
}

impl Contract {
    /// Every contract there is.
    pub const ALL: [Self; 4] = [Self::Native, Self::AgentOs, Self::LangGraph, Self::Playbook3d];
}

/// A named agent, team or workflow: a body over JSON input, and what is listed of it.
#[must_use = "a component does nothing until it is in a catalog"]
pub struct Component {
    id: String,
    kind: RunKind,
    description: Option<String>,
    model: Option<Model>,
    members: Vec<Part>,
    steps: Vec<Part>,
    contracts: Vec<Contract>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    pub(crate) reducers: Reducers,
    pub(crate) mode: Option<&'static str>,
    body: Body,
}

type Body = Box<dyn Fn(RunContext, Payload) -> Output + Send + Sync>;
type Output = Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>>;

/// The model of an agent or of a team's leader, as it is listed.
///
/// # Examples
///
/// ```
/// let model = quell_flow::Model::new("tick-model", "TickModel", "Fake");
/// assert_eq!(model.provider, "Fake");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who serves it.
    pub provider: String,
}

impl Model {
    /// Names a model.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        provider: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), name: name.into(), provider: provider.into() }
    }
}

/// A member of a team or a step of a workflow, as it is listed.
///
/// # Examples
///
/// ```
/// use quell_flow::Part;
///
/// let fan_out = Part::parallel("fan-out", [Part::function("a"), Part::agent("b", "writer")]);
/// assert_eq!(fan_out.parts.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The agent that does it, if one does.
    pub agent: Option<String>,
    /// Whether its parts run at once.
    pub is_parallel: bool,
    /// Its own parts.
    pub parts: Vec<Self>,
}

impl Part {
    /// A step that is plain code.
    pub fn function(name: impl Into<String>) -> Self {
        Self { name: name.into(), agent: None, is_parallel: false, parts: Vec::new() }
    }

    /// A member, or a step that an agent does.
    pub fn agent(name: impl Into<String>, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..Self::function(name) }
    }

    /// A step with steps of its own.
    pub fn sequence(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::function(name) }
    }

    /// Steps that run at once.
    pub fn parallel(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { is_parallel: true, parts: parts.into_iter().collect(), ..Self::function(name) }
    }
}

impl Component {
    /// Names an agent.
    pub fn agent<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(RunKind::Agent, id, body)
    }

    /// Names a team whose body runs the members.
    pub fn team<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(RunKind::Team, id, body)
    }

    /// Names a workflow whose body runs the steps.
    pub fn workflow<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(RunKind::Workflow, id, body)
    }

    fn new<F, Fut>(kind: RunKind, id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self {
            id: id.into(),
            kind,
            description: None,
            model: None,
            members: Vec::new(),
            steps: Vec::new(),
            contracts: Contract::ALL.to_vec(),
            timeout: None,
            grace: None,
            reducers: Reducers::default(),
            mode: None,
            body: Box::new(move |ctx, input| Box::pin(body(ctx, input))),
        }
    }

    /// Describes it. Defaults to nothing.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Names its model. Defaults to none.
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Lists the members of a team. Defaults to none.
    pub fn members(mut self, members: impl IntoIterator<Item = Part>) -> Self {
        self.members = members.into_iter().collect();
        self
    }

    /// Lists the steps of a workflow. Defaults to none.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Part>) -> Self {
        self.steps = steps.into_iter().collect();
        self
    }

    /// Names the contracts that expose it. Defaults to all.
    pub fn exposed_in(mut self, contracts: impl IntoIterator<Item = Contract>) -> Self {
        self.contracts = contracts.into_iter().collect();
        self
    }

    /// Stops every run of it after this time. Defaults to no limit. Zero: as it starts.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between a stop and abort. Defaults to that of the engine. Zero: none.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Yields the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Yields the kind: agent, team or workflow.
    pub const fn kind(&self) -> RunKind {
        self.kind
    }

    /// Yields the description.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Yields the model.
    pub const fn model_of(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// Yields the members of a team, or the steps of a workflow.
    pub fn parts(&self) -> &[Part] {
        if self.kind == RunKind::Team { &self.members } else { &self.steps }
    }

    /// Tells whether a contract exposes it.
    pub fn is_exposed_in(&self, contract: Contract) -> bool {
        self.contracts.contains(&contract)
    }

    /// Makes the spec of a run of it: its kind, name and times, and the label [`COMPONENT`] with
    /// its id.
    pub fn spec(&self) -> RunSpec {
        self.spec_named(self.id.as_str())
    }

    /// As [`spec`](Self::spec), for a run that goes by another name.
    pub(crate) fn spec_named(&self, name: impl Into<Arc<str>>) -> RunSpec {
        let spec = RunSpec::new(self.kind, name).label(COMPONENT, self.id.as_str());
        timed(spec, self.timeout, self.grace, None)
    }

    /// Starts a run of it. What its body returns becomes the output of the run.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit`].
    pub fn start(
        self: &Arc<Self>,
        engine: &Engine,
        spec: RunSpec,
        input: Payload,
    ) -> Result<RunHandle<Payload>, SubmitError> {
        engine.submit(spec.input(input), self.to_body())
    }

    /// Starts a run of it as a child of `ctx`: a member of a team, a step of a workflow. What its
    /// body returns becomes the output of the run.
    pub fn spawn(
        self: &Arc<Self>,
        ctx: &RunContext,
        spec: RunSpec,
        input: Payload,
    ) -> RunHandle<Payload> {
        ctx.spawn(spec.input(input), self.to_body())
    }

    /// Makes the body of one run, which reads its input and sets its output.
    fn to_body(self: &Arc<Self>) -> impl FnOnce(RunContext) -> Output + Send + use<> {
        let this = Arc::clone(self);
        move |ctx| {
            let input = ctx.input().cloned().unwrap_or_else(|| serde_json::Value::Null.into());
            let output = (this.body)(ctx.clone(), input);
            Box::pin(async move {
                let output = output.await?;
                set_output(&ctx, output)
            })
        }
    }
}

impl Catalog {
    /// Makes an empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component; one of the same kind and id is replaced.
    pub fn with(mut self, component: Component) -> Self {
        let key = (Sort::of(component.kind), component.id.clone());
        self.components.insert(key, Arc::new(component));
        self
    }

    /// Finds a component.
    pub fn get(&self, kind: RunKind, id: &str) -> Option<&Arc<Component>> {
        self.components.get(&(Sort::of(kind), id.to_owned()))
    }

    /// Finds the first component of any kind with this id that a contract exposes.
    pub fn find(&self, contract: Contract, id: &str) -> Option<&Arc<Component>> {
        self.listed(contract).find(|component| component.id == id)
    }

    /// Lists all components: agents, teams, workflows, each by id.
    pub fn components(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.components.values()
    }

    /// Lists the components that a contract exposes: agents, teams, workflows, each by id.
    pub fn listed(&self, contract: Contract) -> impl Iterator<Item = &Arc<Component>> {
        self.components.values().filter(move |component| component.is_exposed_in(contract))
    }
}

/// The label under which a run carries the id of its component.
pub const COMPONENT: &str = "component";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Agent,
    Team,
    Workflow,
}

impl Sort {
    const fn of(kind: RunKind) -> Self {
        match kind {
            RunKind::Agent => Self::Agent,
            RunKind::Team => Self::Team,
            RunKind::Workflow | RunKind::Step | RunKind::Branch | RunKind::Attempt => {
                Self::Workflow
            }
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
