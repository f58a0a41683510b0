//! [`Component`] is a body with a name, by which adapters and the command line start runs of it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use quell::{Failure, Payload, RunContext};

use super::contract::Contract;
use super::kind::ComponentKind;
use super::lasting::{Lasting, OnWorkerLost, Output};
use super::part::{Model, Part};
use super::reducer::Reducers;
use crate::foreign::Foreign;

/// A named agent, team or workflow: a body that takes JSON, and what contracts list of it.
#[must_use = "a component does nothing until it is in a catalog"]
pub struct Component {
    pub(super) id: String,
    pub(super) kind: ComponentKind,
    /// As people read it; its id without one.
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    model: Option<Model>,
    members: Vec<Part>,
    steps: Vec<Part>,
    /// The contracts that expose it; none for all.
    contracts: Option<Vec<Contract>>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) reducers: Reducers,
    mode: Option<&'static str>,
    pub(super) is_resumable: bool,
    pub(super) is_unlimited: bool,
    pub(super) on_worker_lost: OnWorkerLost,
    /// What makes bodies that know what earlier attempts did, if it is a plan.
    pub(super) lasting: Option<Lasting>,
    pub(super) nodes: Vec<String>,
    /// How many earlier runs of its session a run gets.
    pub(super) history: usize,
    pub(super) body: Body,
}

type Body = Foreign<Box<dyn Fn(RunContext, Payload) -> Output + Send + Sync>>;

impl Component {
    /// Names an agent.
    pub fn agent<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(ComponentKind::Agent, id, body)
    }

    /// Names a team whose body runs the members.
    pub fn team<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(ComponentKind::Team, id, body)
    }

    /// Names a workflow whose body runs the steps.
    pub fn workflow<F, Fut>(id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(ComponentKind::Workflow, id, body)
    }

    /// Makes a component in the place of one that has a fault, so that what names it has no fault
    /// because of that. A run of it yields its input.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Catalog, Component, ComponentKind};
    ///
    /// let broken = Component::stand_in(ComponentKind::Agent, "writer");
    /// assert!(Catalog::new().with(broken).named("agent/writer").is_ok());
    /// ```
    pub fn stand_in(kind: ComponentKind, id: impl Into<String>) -> Self {
        Self::new(kind, id, async |_, input| Ok(input))
    }

    fn new<F, Fut>(kind: ComponentKind, id: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self {
            id: id.into(),
            kind,
            display_name: None,
            description: None,
            model: None,
            members: Vec::new(),
            steps: Vec::new(),
            contracts: None,
            timeout: None,
            grace: None,
            idle: None,
            reducers: Reducers::default(),
            mode: None,
            is_resumable: false,
            is_unlimited: false,
            on_worker_lost: OnWorkerLost::Fail,
            lasting: None,
            nodes: Vec::new(),
            history: 0,
            body: Foreign::new(Box::new(move |ctx, input| Box::pin(body(ctx, input)))),
        }
    }

    /// Makes one for a run whose body learns what it works on when the run begins, not when it is
    /// made: as this one, but with another body, which may call that of this one
    /// ([`go_on`](Self::go_on)) with whatever input. The run is known by the id of this one, and
    /// what it was made with is its input still. It is for such runs, not for a catalog: it has the
    /// times, the contracts, and what becomes of runs that pause or are lost, and nothing that
    /// contracts list, no reducers and no nodes. Of a plan it is no plan, and cannot be paused.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use quell::{Engine, Payload};
    /// use quell_flow::{Component, NodesAsked};
    ///
    /// let echo = Arc::new(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
    /// let stock = Arc::new(AtomicU32::new(7));
    /// let (own, now) = (Arc::clone(&echo), Arc::clone(&stock));
    /// let late = echo.with_body(move |ctx, asked| {
    ///     let (own, now) = (Arc::clone(&own), Arc::clone(&now));
    ///     async move {
    ///         let input = format!("{} {}", asked.parse::<String>()?, now.load(Ordering::SeqCst));
    ///         own.go_on(ctx, input.into(), NodesAsked::default()).await
    ///     }
    /// });
    /// let late = Arc::new(late);
    ///
    /// let engine = Engine::new();
    /// let run = late.start(&engine, late.spec(), "stock".into()).unwrap();
    /// stock.store(3, Ordering::SeqCst); // Before the run begins.
    /// assert_eq!(run.await.unwrap(), "stock 3".into());
    /// # });
    /// ```
    pub fn with_body<F, Fut>(&self, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self {
            contracts: self.contracts.clone(),
            timeout: self.timeout,
            grace: self.grace,
            idle: self.idle,
            is_resumable: self.is_resumable && !self.is_plan(),
            is_unlimited: self.is_unlimited,
            on_worker_lost: self.on_worker_lost,
            ..Self::new(self.kind, self.id.clone(), body)
        }
    }

    /// Tells whether it is a plan: each of its bodies knows what earlier attempts of the run have
    /// done.
    pub const fn is_plan(&self) -> bool {
        self.lasting.is_some()
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
        self.contracts = Some(contracts.into_iter().collect());
        self
    }

    /// Sets the time from the start of a run to its own deadline. Defaults to none. Zero stops
    /// every run as it starts.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between a stop and abort. Defaults to the engine's (5 s). Zero drops the body
    /// at once.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets the longest time without a sign of life, as [`RunSpec::idle`](quell::RunSpec::idle):
    /// then a run of it is stopped and ends `TimedOut`. Defaults to none. Zero stops every run as
    /// it starts.
    pub const fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// Names the mode of a team, as contracts list it: `broadcast`, `route`, `sequence` or
    /// `coordinate`. Defaults to that of the [`Team`](crate::Team) that the component was made
    /// from; a team with a body of its own has none.
    pub const fn mode(mut self, mode: &'static str) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Lets runs of it be paused, by their bodies ([`RunContext::pause`]) and by clients, whose
    /// pause takes hold at the next checkpoint. Each attempt calls the body anew, with the same
    /// input: it reads the answer with [`RunContext::resumed_with`]. Defaults to no: then a run of
    /// it fails that asks, and a client's pause is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::{Engine, Payload, RunContext};
    /// use quell_flow::Component;
    ///
    /// let clerk = Component::agent("clerk", async |ctx: RunContext, _input: Payload| {
    ///     ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
    /// });
    /// let clerk = Arc::new(clerk.resumable());
    /// let engine = Engine::new();
    /// let run = clerk.start(&engine, clerk.spec(), "hi".into()).unwrap();
    /// run.run().paused().await.unwrap();
    /// run.run().resume("yes").unwrap();
    /// assert_eq!(run.await.unwrap(), "yes".into());
    /// # });
    /// ```
    pub const fn resumable(mut self) -> Self {
        self.is_resumable = true;
        self
    }

    /// Lets runs of it pass by the limits on how many run and how many wait, as
    /// [`RunSpec::unlimited`](quell::RunSpec::unlimited): for what ends at once. Defaults to no.
    pub const fn unlimited(mut self) -> Self {
        self.is_unlimited = true;
        self
    }

    /// Tells whether runs of it may be paused.
    pub const fn is_resumable(&self) -> bool {
        self.is_resumable
    }

    /// Yields the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Yields the name: kind and id, `agent/writer`. No other component of a catalog has it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    /// Yields the kind: agent, team or workflow.
    pub const fn kind(&self) -> ComponentKind {
        self.kind
    }

    /// Yields the model.
    pub const fn model_of(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// Yields the members of a team, or the steps of a workflow.
    pub fn parts(&self) -> &[Part] {
        if self.kind == ComponentKind::Team { &self.members } else { &self.steps }
    }

    /// Yields the mode of a team.
    pub const fn mode_of(&self) -> Option<&'static str> {
        self.mode
    }

    /// Tells whether a contract exposes it.
    pub fn is_exposed_in(&self, contract: Contract) -> bool {
        self.contracts.as_ref().is_none_or(|contracts| contracts.contains(&contract))
    }

    /// Tells whether no contract may expose it.
    pub fn is_exposed_nowhere(&self) -> bool {
        self.contracts.as_ref().is_some_and(Vec::is_empty)
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
