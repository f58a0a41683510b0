//! [`Team`] builds a team: its members, and its mode, which says who works on what.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{Failure, Payload, RunContext};
use serde::{Deserialize, Serialize};

use crate::catalog::{Component, Model};
use crate::foreign::Foreign;

use super::delegate::{Delegated, Members};
use super::lead;
use super::member::Member;

/// Builds a team: its members, its mode, and the model of its leader.
///
/// | mode | which members work, on what | the output of the team |
/// |---|---|---|
/// | [`broadcast`](Self::broadcast) | all at once, on the task | [combined](Self::combine) |
/// | [`route`](Self::route) | the chosen one, on the task | its output |
/// | [`sequence`](Self::sequence) | one after another, on the output before | the last output |
/// | [`coordinate`](Self::coordinate) | those that the leader asks, on its tasks | the leader's |
///
/// By default a member that fails or is cancelled does not end the team; its partial output is its
/// result. [`on_member_failed`](Self::on_member_failed) and
/// [`on_member_stopped`](Self::on_member_stopped) change that.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use quell::{Engine, Payload};
/// use quell_flow::Team;
///
/// let critics = Team::broadcast("critics")
///     .member("terse", async |_ctx, _task: Payload| Ok(Payload::from("no")))
///     .member("kind", async |_ctx, _task: Payload| Ok(Payload::from("nice, but no")))
///     .into_component();
/// let critics = Arc::new(critics);
/// let engine = Engine::new();
/// let run = critics.start(&engine, critics.spec(), Payload::from("draft")).unwrap();
/// assert_eq!(run.await.unwrap(), Payload::from("done"));
/// # });
/// ```
#[must_use = "a team does nothing until it is a component"]
pub struct Team {
    pub(super) id: String,
    pub(super) leader: Option<Model>,
    pub(super) verdict: Option<String>,
    pub(super) members: Vec<Arc<Member>>,
    pub(super) mode: Mode,
    pub(super) on_failed: OnMember,
    pub(super) on_stopped: OnMember,
}

/// What happens to a team when a member fails or is stopped.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::{OnMember, Team};
///
/// let strict = Team::sequence("strict")
///     .on_member_failed(OnMember::Fail)
///     .member("first", async |_ctx, task: Payload| Ok(task));
/// # let _ = strict;
/// assert_eq!(OnMember::default(), OnMember::GoOn);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnMember {
    /// The team continues. The result of the tool call has the error or the cause.
    #[default]
    GoOn,
    /// The team fails. The members that were asked together with this one are stopped, with cause
    /// `SiblingFailed`.
    Fail,
}

pub(super) enum Mode {
    Broadcast(Option<Combine>),
    Route(Choose),
    Sequence,
    Coordinate(Lead),
}

impl Mode {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Broadcast(_) => "broadcast",
            Self::Route(_) => "route",
            Self::Sequence => "sequence",
            Self::Coordinate(_) => "coordinate",
        }
    }
}

pub(super) type Answer = BoxFuture<'static, Result<Payload, Failure>>;
pub(super) type Combine = Foreign<Box<dyn Fn(RunContext, Vec<Delegated>) -> Answer + Send + Sync>>;
pub(super) type Choose = Foreign<
    Box<dyn Fn(RunContext, Payload) -> BoxFuture<'static, Result<String, Failure>> + Send + Sync>,
>;
pub(super) type Lead = Foreign<Box<dyn Fn(RunContext, Payload, Members) -> Answer + Send + Sync>>;

impl Team {
    fn new(id: impl Into<String>, mode: Mode) -> Self {
        Self {
            id: id.into(),
            leader: None,
            verdict: None,
            members: Vec::new(),
            mode,
            on_failed: OnMember::GoOn,
            on_stopped: OnMember::GoOn,
        }
    }

    /// Makes a team whose members all get the task at once. The team ends when all members have.
    pub fn broadcast(id: impl Into<String>) -> Self {
        Self::new(id, Mode::Broadcast(None))
    }

    /// Makes a team of which one member gets the task: the one that `choose` names. The team fails
    /// if no member has that name, and if `choose` fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::{Engine, Payload};
    /// use quell_flow::Team;
    ///
    /// let desk = Team::route("desk", async |_ctx, task: Payload| {
    ///     Ok(if task.as_json().contains("refund") { "billing" } else { "support" })
    /// });
    /// let desk = desk
    ///     .member("billing", async |_ctx, _task| Ok(Payload::from("paid back")))
    ///     .member("support", async |_ctx, _task| Ok(Payload::from("turn it off and on")));
    /// let desk = Arc::new(desk.into_component());
    /// let engine = Engine::new();
    /// let run = desk.start(&engine, desk.spec(), Payload::from("a refund, please")).unwrap();
    /// assert_eq!(run.await.unwrap(), Payload::from("paid back"));
    /// # });
    /// ```
    pub fn route<F, Fut, N>(id: impl Into<String>, choose: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<N, Failure>> + Send + 'static,
        N: Into<String> + 'static,
    {
        let choose: Choose = Foreign::new(Box::new(move |ctx, task| {
            let chosen = choose(ctx, task);
            async move { Ok(chosen.await?.into()) }.boxed()
        }));
        Self::new(id, Mode::Route(choose))
    }

    /// Makes a team whose members work one after another: the first on the task, each other on the
    /// output of the one before. After a member without an output, the next one gets the same task.
    pub fn sequence(id: impl Into<String>) -> Self {
        Self::new(id, Mode::Sequence)
    }

    /// Makes a team whose leader is a body. It asks members any number of times, one or several at
    /// once. [`led_by`](Self::led_by) has a component as its leader.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::{Engine, Payload};
    /// use quell_flow::{Members, Team};
    ///
    /// let desk = Team::coordinate("desk", async |_ctx, task, members: Members| {
    ///     let draft = members.ask("writer", task).await?.into_output();
    ///     let opinions = members.ask_all(draft.clone()).await?;
    ///     let objections = opinions.iter().filter(|one| one.error.is_some()).count();
    ///     Ok(if objections == 0 { draft } else { Payload::from("nothing to say") })
    /// });
    /// let desk = desk
    ///     .member("writer", async |_ctx, _task| Ok(Payload::from("once upon a time")))
    ///     .member("editor", async |_ctx, draft| Ok(draft));
    /// let desk = Arc::new(desk.into_component());
    /// let engine = Engine::new();
    /// let run = desk.start(&engine, desk.spec(), Payload::from("a story")).unwrap();
    /// assert_eq!(run.await.unwrap(), Payload::from("once upon a time"));
    /// # });
    /// ```
    pub fn coordinate<F, Fut>(id: impl Into<String>, leader: F) -> Self
    where
        F: Fn(RunContext, Payload, Members) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        let lead: Lead =
            Foreign::new(Box::new(move |ctx, task, members| leader(ctx, task, members).boxed()));
        Self::new(id, Mode::Coordinate(lead))
    }

    /// Adds a member, which runs as a child of kind `agent`. If two members have the same name,
    /// requests by name find the first.
    pub fn member<F, Fut>(self, name: impl Into<Arc<str>>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        self.with_member(Member::new(name, body))
    }

    /// Adds a [`Member`]: one with times of its own, or a component.
    pub fn with_member(mut self, member: Member) -> Self {
        self.members.push(Arc::new(member));
        self
    }

    /// Names the model of the leader. Defaults to none: then the log has no events of a model.
    pub fn leader(mut self, model: Model) -> Self {
        self.leader = Some(model);
        self
    }

    /// Sets the text that the leader emits after the members have ended, and the output of the
    /// team. Defaults to `done` for a broadcast, with each member that did not complete and the
    /// reason; for a route and a sequence, to the output of the last member. It changes nothing for
    /// a coordinated team, whose leader yields the output.
    pub fn verdict(mut self, text: impl Into<String>) -> Self {
        self.verdict = Some(text.into());
        self
    }

    /// Sets the function that makes the output of a broadcast from the results of the members, in
    /// the order of declaration. Defaults to the [`verdict`](Self::verdict). It changes nothing for
    /// the other modes.
    pub fn combine<F, Fut>(mut self, combine: F) -> Self
    where
        F: Fn(RunContext, Vec<Delegated>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        if let Mode::Broadcast(slot) = &mut self.mode {
            let combine = move |ctx, results| combine(ctx, results).boxed();
            *slot = Some(Foreign::new(Box::new(combine)));
        }
        self
    }

    /// Sets what happens to the team when a member fails. Defaults to [`OnMember::GoOn`].
    pub fn on_member_failed(mut self, word: OnMember) -> Self {
        self.on_failed = word;
        self
    }

    /// Sets what happens to the team when a member alone is cancelled, or reaches its own timeout.
    /// Defaults to [`OnMember::GoOn`].
    pub fn on_member_stopped(mut self, word: OnMember) -> Self {
        self.on_stopped = word;
        self
    }

    /// Makes a component whose parts are the members.
    pub fn into_component(self) -> Component {
        let parts: Vec<_> = self.members.iter().map(|member| member.to_part()).collect();
        let (id, leader, mode) = (self.id.clone(), self.leader.clone(), self.mode.as_str());
        let component = Component::team(id, self.into_body()).members(parts).mode(mode);
        match leader {
            Some(model) => component.model(model),
            None => component,
        }
    }

    /// Makes the body, for a team that is a child of another run.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, Payload, RunSpec};
    /// use quell_flow::Team;
    ///
    /// let pair = Team::sequence("pair")
    ///     .member("draft", async |_ctx, _task| Ok(Payload::from("draft")))
    ///     .member("check", async |_ctx, draft| Ok(draft))
    ///     .into_body();
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| {
    ///     Ok(ctx.spawn(RunSpec::team("pair"), move |ctx| pair(ctx, "task".into())).await?)
    /// }).unwrap();
    /// assert_eq!(run.await.unwrap(), Payload::from("draft"));
    /// # });
    /// ```
    pub fn into_body(self) -> impl Fn(RunContext, Payload) -> Answer + Send + Sync + 'static {
        let team = Arc::new(self);
        move |ctx, task| lead::lead(Arc::clone(&team), ctx, task).boxed()
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("id", &self.id)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
