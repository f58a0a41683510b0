//! [`Nodes`]: where a component is that has nodes, and what is asked of them.
//!
//! A component with nodes says after each step what the state is and which nodes come next, in one
//! event, [`Emit::Step`]: so no stop comes between the two. That is all that a contract with
//! checkpoints needs. It has a run begin at other nodes than the first ones, or end before or after
//! some, by what the run keeps under [`NODES`].

use std::time::Duration;

use futures::FutureExt as _;
use quell::{EventKind, Payload, RunContext, RunEvent, Written, limits};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::emit::Emit;

/// What a run is asked of its nodes.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::NodesAsked;
///
/// let text = r#"{"next":["slow"],"interrupt_before":["*"]}"#;
/// let asked: NodesAsked = Payload::from_json_text(text).unwrap().parse().unwrap();
/// assert_eq!(asked.next, ["slow"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodesAsked {
    /// The nodes at which it begins, where another run has come to; empty for its first ones.
    pub next: Vec<String>,
    /// Nodes before which it ends; `*` is every one.
    pub interrupt_before: Vec<String>,
    /// Nodes after which it ends; `*` is every one.
    pub interrupt_after: Vec<String>,
}

impl NodesAsked {
    /// Reads what the run of a body is asked: for bodies that hand it on to something else. In the
    /// body itself, not in a task that it spawns.
    pub fn of(ctx: &RunContext) -> Self {
        let told = ASKED.try_with(Clone::clone).ok();
        let kept = || ctx.run().annotation(NODES)?.parse().ok();
        told.or_else(kept).unwrap_or_default()
    }

    /// Tells whether a run ends when a step of these nodes has ended and those come next. One that
    /// goes on does not end before the nodes at which it begins.
    pub fn holds(&self, ended: &[String], next: &[String]) -> bool {
        let has_any = |asked: &[String], nodes: &[String]| {
            nodes.iter().any(|node| asked.iter().any(|name| name == "*" || name == node))
        };
        has_any(&self.interrupt_after, ended) || has_any(&self.interrupt_before, next)
    }
}

tokio::task_local! {
    /// What a run is asked that could not keep it: it was not known yet when the run was made.
    pub(crate) static ASKED: NodesAsked;
}

/// The annotation of a run that has its [`NodesAsked`].
pub const NODES: &str = "nodes";

/// A component with nodes at work: a state machine whose states are nodes, all of one step at once.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use std::sync::Arc;
/// use quell::{Engine, Failure, Payload, RunContext};
/// use quell_flow::{Component, Nodes};
///
/// async fn count(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
///     let mut nodes = Nodes::begin(&ctx, input, ["one"]).await;
///     while let Some(now) = nodes.now() {
///         let n: u32 = nodes.state().parse()?;
///         let next = if now == ["one"] { Some("two") } else { None };
///         nodes.leave(Payload::json(&(n + 1))?, next);
///     }
///     Ok(nodes.into_state())
/// }
///
/// let count = Arc::new(Component::workflow("count", count).nodes(["one", "two"]));
/// let engine = Engine::new();
/// let run = count.start(&engine, count.spec(), Payload::json(&0).unwrap());
/// assert_eq!(run.unwrap().await.unwrap(), Payload::json(&2).unwrap());
/// # });
/// ```
#[derive(Debug)]
pub struct Nodes {
    ctx: RunContext,
    asked: NodesAsked,
    now: Vec<String>,
    state: Payload,
    /// The run is asked to end here.
    is_held: bool,
}

impl Nodes {
    /// Begins on an input at the first nodes, or where the run is to go on; an attempt goes on
    /// where the one before it was, also if that was in an earlier process or on another node. Then
    /// it waits for the store, for as long as that is in trouble.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what it says it says last.
    pub async fn begin<N: Into<String>>(
        ctx: &RunContext,
        input: Payload,
        first: impl IntoIterator<Item = N>,
    ) -> Self {
        let asked = NodesAsked::of(ctx);
        let (ctx, is_held) = (ctx.clone(), false);
        let left = if ctx.attempt() > 1 { left(&ctx).await } else { None };
        if let Some((now, state)) = left {
            let state = state.unwrap_or(input);
            return Self { ctx, asked, now, state, is_held };
        }
        let first = first.into_iter().map(Into::into);
        let is_new = asked.next.is_empty();
        let now = if is_new { first.collect() } else { asked.next.clone() };
        Emit::Step { values: None, next: now.clone() }.send(&ctx);
        let is_held = is_new && asked.holds(&[], &now);
        Self { ctx, asked, now, state: input, is_held }
    }

    /// Yields the nodes of the step that comes now; none if there are none, or if the run is asked
    /// to end here. Then the body returns, and another run goes on.
    pub fn now(&self) -> Option<&[String]> {
        (!self.is_held && !self.now.is_empty()).then_some(&*self.now)
    }

    /// Yields the state.
    pub const fn state(&self) -> &Payload {
        &self.state
    }

    /// Yields the state, which is what the body returns.
    pub fn into_state(self) -> Payload {
        self.state
    }

    /// Says that all nodes of the step have ended: what the state is, and which nodes come next.
    pub fn leave<N: Into<String>>(
        &mut self,
        state: Payload,
        next: impl IntoIterator<Item = N>,
    ) -> Written {
        let next: Vec<String> = next.into_iter().map(Into::into).collect();
        self.is_held = self.asked.holds(&self.now, &next);
        (self.state, self.now) = (state.clone(), next.clone());
        Emit::Step { values: Some(state), next }.send(&self.ctx)
    }
}

/// What attempts have left: the nodes that come next, and the state, if they have changed it.
#[derive(Default)]
struct Left {
    next: Option<Vec<String>>,
    state: Option<Payload>,
}

/// Yields what the attempts before this one have left, as their run said.
async fn left(ctx: &RunContext) -> Option<(Vec<String>, Option<Payload>)> {
    let (mut events, mut left) = (ctx.run().events(), Left::default());
    while let Some(event) = events.next().now_or_never().flatten() {
        match event.kind {
            EventKind::Lagged { from, to } => left.take_stored(ctx, from, to).await,
            _ => left.take(ctx, &event),
        }
    }
    left.next.map(|next| (next, left.state))
}

impl Left {
    fn take(&mut self, ctx: &RunContext, event: &RunEvent) {
        if let EventKind::Emitted(said) = &event.kind
            && event.run == ctx.id()
            && let Some(Emit::Step { values, next }) = Emit::read(said)
        {
            (self.next, self.state) = (Some(next), values.or(self.state.take()));
        }
    }

    /// Takes in the events between these that the log in memory does not have.
    async fn take_stored(&mut self, ctx: &RunContext, from: u64, to: u64) {
        let mut after = from.saturating_sub(1);
        while after < to {
            let Ok(events) = ctx.stored_events(after, limits::STORE_PAGE_MAX).await else {
                sleep(STORE_REST).await;
                continue;
            };
            let last = events.iter().flatten().map(RunEvent::last_seq).max();
            for event in events.iter().flatten().filter(|event| event.seq <= to) {
                self.take(ctx, event);
            }
            // There are no more, or none that can be read.
            let Some(last) = last.filter(|last| *last > after) else { return };
            after = last;
        }
    }
}

/// The time between two tries to read a store that is in trouble.
const STORE_REST: Duration = Duration::from_secs(1);
