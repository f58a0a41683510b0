//! Teams: members that are runs of their own under one roof.

use std::sync::Arc;

use futures::future::BoxFuture;
use quell::{Failure, Outcome, Payload, RunContext, RunRef, RunSpec, ToolCall, join};
use serde_json::{Value, json};

use crate::catalog::{Component, Model, Part};
use crate::emit::Emit;

/// A team in the making: its members, and its leader's model.
///
/// `broadcast` gives every member the same task at once; the leader waits for all and speaks last.
/// A member that fails or is cancelled does not end the team: what it left is its result.
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
    id: String,
    leader: Option<Model>,
    verdict: String,
    members: Vec<Arc<Member>>,
}

struct Member {
    name: String,
    body: MemberBody,
}

type MemberBody =
    Box<dyn Fn(RunContext, Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync>;

impl Team {
    /// Makes a team whose members all get the task.
    pub fn broadcast(id: impl Into<String>) -> Self {
        Self { id: id.into(), leader: None, verdict: "done".into(), members: Vec::new() }
    }

    /// Adds a member. It runs as a child of kind `agent`.
    pub fn member<F, Fut>(mut self, name: impl Into<String>, body: F) -> Self
    where
        F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        let body =
            Box::new(move |ctx, task| -> BoxFuture<'static, _> { Box::pin(body(ctx, task)) });
        self.members.push(Arc::new(Member { name: name.into(), body }));
        self
    }

    /// Names the leader's model. Defaults to none: the leader then asks nobody.
    pub fn leader(mut self, model: Model) -> Self {
        self.leader = Some(model);
        self
    }

    /// Sets what the leader says when the members are through. Defaults to `done`.
    pub fn verdict(mut self, text: impl Into<String>) -> Self {
        self.verdict = text.into();
        self
    }

    /// Makes the component.
    pub fn into_component(self) -> Component {
        let parts = self.members.iter().map(|m| Part::agent(m.name.as_str(), m.name.as_str()));
        let parts: Vec<_> = parts.collect();
        let (id, leader) = (self.id.clone(), self.leader.clone());
        let team = Arc::new(self);
        let body = move |ctx, task| lead(Arc::clone(&team), ctx, task);
        let component = Component::team(id, body).members(parts);
        match leader {
            Some(model) => component.model(model),
            None => component,
        }
    }
}

async fn lead(team: Arc<Team>, ctx: RunContext, task: Payload) -> Result<Payload, Failure> {
    ask(&team, &ctx, None);
    let input = json!({ "task": task.parse::<Value>().unwrap_or(Value::Null) });
    let call = ToolCall::new(format!("call_{}", ctx.id()), DELEGATE, input.into());
    ctx.tool(call, delegate(&team, &ctx, &task)).await?;
    ask(&team, &ctx, Some(&team.verdict));
    Ok(Payload::from(team.verdict.as_str()))
}

/// The leader asks its model, which calls the tool or speaks.
fn ask(team: &Team, ctx: &RunContext, says: Option<&str>) {
    if let Some(Model { id, provider, .. }) = &team.leader {
        let (model, provider) = (id.clone(), provider.clone());
        Emit::ModelStarted { model, provider }.send(ctx);
    }
    if let Some(text) = says {
        Emit::content(text).send(ctx);
    }
    if let Some(Model { id, provider, .. }) = &team.leader {
        let (model, provider) = (id.clone(), provider.clone());
        Emit::ModelEnded { model, provider, input_tokens: 0, output_tokens: 0 }.send(ctx);
    }
}

async fn delegate(team: &Team, ctx: &RunContext, task: &Payload) -> Result<Payload, Failure> {
    let members = team.members.iter().map(|member| {
        let (this, task) = (Arc::clone(member), task.clone());
        let spec = RunSpec::agent(member.name.as_str()).input(task.clone());
        ctx.spawn(spec, move |ctx| run_member(this, ctx, task))
    });
    let members: Vec<_> = members.collect();
    let runs: Vec<RunRef> = members.iter().map(|member| member.run().clone()).collect();
    let outcomes = join::all(members).await;
    // Members that end because the team was stopped are no result: the leader speaks no more.
    ctx.checkpoint()?;
    let results = team.members.iter().zip(outcomes).zip(runs).map(|((member, outcome), run)| {
        let result = match outcome {
            Outcome::Failed(error) => json!({ "error": error.to_string() }),
            other => {
                // What a member that was stopped alone had to show is its result.
                let value = other.into_value().or_else(|| run.row().partial);
                value.and_then(|value| value.parse().ok()).unwrap_or_default()
            }
        };
        (member.name.clone(), result)
    });
    Ok(Value::Object(results.collect()).into())
}

async fn run_member(
    member: Arc<Member>,
    ctx: RunContext,
    task: Payload,
) -> Result<Payload, Failure> {
    let output = (member.body)(ctx.clone(), task).await?;
    ctx.set_output(output.clone());
    Ok(output)
}

/// The tool by which a leader hands its task to the members.
const DELEGATE: &str = "delegate_task_to_members";

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("id", &self.id).finish_non_exhaustive()
    }
}
