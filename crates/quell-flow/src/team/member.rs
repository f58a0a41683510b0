//! [`Member`] declares one member of a team.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Payload, RunContext, RunHandle, RunSpec};

use crate::catalog::{Component, Model, Part};
use crate::foreign::Foreign;
use crate::output::set_output;
use crate::times::timed;

/// A member of a team: a body or a component, with times of its own.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use quell::Payload;
/// use quell_flow::{Component, Member, Team};
///
/// let writer = Arc::new(Component::agent("writer", async |_ctx, task: Payload| Ok(task)));
/// let desk = Team::sequence("desk")
///     .with_member(Member::of(&writer).timeout(Duration::from_secs(60)))
///     .with_member(Member::new("check", async |_ctx, it| Ok(it)).idle(Duration::from_secs(5)));
/// # let _ = desk;
/// ```
#[must_use = "a member does nothing until it is in a team"]
pub struct Member {
    name: Arc<str>,
    does: Does,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    idle: Option<Duration>,
    model: Option<Model>,
}

enum Does {
    Body(Body),
    Component(Arc<Component>),
}

type Body = Foreign<
    Arc<dyn Fn(RunContext, Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync>,
>;

impl Member {
    /// Makes a member of a body. It runs as a child of kind `agent`.
    pub fn new<F, Fut>(name: impl Into<Arc<str>>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        let body: Body = Foreign::new(Arc::new(move |ctx, task| body(ctx, task).boxed()));
        Self::that(name.into(), Does::Body(body))
    }

    /// Makes a member of a component: an agent, a workflow or another team. Its name and its kind
    /// are those of the component.
    pub fn of(component: &Arc<Component>) -> Self {
        Self::that(component.id().into(), Does::Component(Arc::clone(component)))
    }

    fn that(name: Arc<str>, does: Does) -> Self {
        Self { name, does, timeout: None, grace: None, idle: None, model: None }
    }

    /// Sets its name in this team. Defaults to the name that it was made with.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the time from its start to its own deadline. Defaults to none. Zero stops it as soon as
    /// it starts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between its stop and abort. Defaults to the engine's (5 s). Zero drops its
    /// body at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets the longest time without an event in its subtree. Defaults to none. Zero stops it as
    /// soon as it starts.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// Says which model it asks. Defaults to that of its component.
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Tells whether it is the component of this name, such as `agent/writer`.
    pub(super) fn is_of(&self, name: &str) -> bool {
        matches!(&self.does, Does::Component(component) if component.name() == name)
    }

    pub(super) fn to_part(&self) -> Part {
        let part = match &self.does {
            Does::Body(_) => Part::agent(&*self.name, &*self.name),
            Does::Component(component) => Part::of(&*self.name, component),
        };
        match &self.model {
            Some(model) => part.model(model.clone()),
            None => part,
        }
    }

    /// Starts it on a task.
    pub(super) fn start(&self, ctx: &RunContext, task: Payload) -> RunHandle<Payload> {
        match &self.does {
            Does::Body(body) => {
                let (body, input) = (body.clone(), task.clone());
                let spec = RunSpec::agent(Arc::clone(&self.name)).input(input);
                ctx.spawn(self.timed(spec), async move |ctx| {
                    let output = body(ctx.clone(), task).await?;
                    set_output(&ctx, output)
                })
            }
            Does::Component(component) => {
                let spec = component.spec_named(Arc::clone(&self.name));
                component.spawn(ctx, self.timed(spec), task)
            }
        }
    }

    fn timed(&self, spec: RunSpec) -> RunSpec {
        timed(spec, self.timeout, self.grace, self.idle)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
