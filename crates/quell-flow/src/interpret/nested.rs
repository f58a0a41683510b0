//! [`component`], [`workflow`] and [`team`] run steps that start a component, a plan or a team.

use std::sync::Arc;

use quell::{Failure, Outcome, Payload, RunContext, RunError, RunHandle, RunSpec, RunStatus};

use super::runner::{Runner, run_plan};
use super::scope::{Scope, Variable};
use super::sequence::Object;
use super::step::{StepRef, World, body_of};
use crate::excerpt::excerpt;
use crate::failures::message_of;
use crate::output::set_output;
use crate::team::{Tasks, rounds, tasks};
use crate::{
    Action, ComponentStep, Delegated, Expression, Member, Members, Team, TeamMode, TeamStep,
    WorkflowStep,
};

/// Runs a component of the catalog as a child of `ctx`'s run.
///
/// # Cancel safety
///
/// Dropping the future leaves the component to `ctx`'s run; its output is lost.
pub(super) async fn component<R: Runner>(
    step: ComponentStep,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let Some(component) = world.links.get(&step.component) else {
        return Err(step.origin.fault("this component was not linked").into());
    };
    let input = world.scope.input(step.input.as_ref())?;
    output_of(component.spawn(&ctx, component.spec(), input), &ctx).await
}

/// Runs a nested plan as a child of `ctx`'s run.
///
/// # Cancel safety
///
/// As [`component`].
pub(super) async fn workflow<R: Runner>(
    step: WorkflowStep,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let input = world.scope.input(step.input.as_ref())?;
    let spec = step.workflow.spec().input(input.clone());
    let inside = world.within(Scope::of_input(input));
    output_of(ctx.spawn(spec, move |ctx| run_plan(&step.workflow, inside, ctx)), &ctx).await
}

/// Waits for the one child that does the work of a run. The output of the child, whole or partial,
/// becomes that of the run.
///
/// # Cancel safety
///
/// Dropping the future leaves the child to `ctx`'s run; its output is lost.
pub(super) async fn output_of(
    work: RunHandle<Payload>,
    ctx: &RunContext,
) -> Result<Payload, Failure> {
    let run = work.run().clone();
    match work.outcome().await {
        Outcome::Completed(output) => set_output(ctx, output),
        // The run above asks for the same.
        Outcome::Failed(error @ RunError::Paused(_)) => Err(error.into()),
        Outcome::Failed(error) => {
            run.partial_output(None, Some).map(|partial| ctx.set_output(partial));
            Err(Failure::new(message_of(&error)))
        }
        Outcome::Stopped { cause, partial } => {
            run.partial_output(partial, Some).map(|partial| ctx.set_output(partial));
            // If this run is stopping as well, it returns `Stopped`. If somebody stopped the child
            // alone, that is a failure of this run.
            ctx.checkpoint()?;
            Err(Failure::new(format!(
                "{} `{}` was stopped ({cause})",
                run.kind(),
                excerpt(run.name())
            )))
        }
    }
}

/// Runs a team as a child of `ctx`'s run.
///
/// # Cancel safety
///
/// As [`component`].
pub(super) async fn team<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let Action::Team(inside) = &step.action else {
        return Err(Failure::new("the step has no members"));
    };
    let task = world.scope.input(inside.input.as_ref())?;
    let spec = RunSpec::team(Arc::clone(&step.name)).input(task.clone());
    // A member may be asked several times, so that a team is run again as a whole.
    let body = to_team(inside, &step.name, &world.forgetful()).into_body();
    output_of(
        ctx.spawn(spec, async move |ctx| {
            let output = body(ctx.clone(), task).await?;
            set_output(&ctx, output)
        }),
        &ctx,
    )
    .await
}

fn to_team<R: Runner>(step: &TeamStep, name: &str, world: &World<R>) -> Team {
    let team = match &step.team.mode {
        TeamMode::Broadcast => Team::broadcast(name).combine(async |_, all| by_name(&all)),
        TeamMode::Sequence => Team::sequence(name),
        TeamMode::Route { choose } => {
            let (choose, scope) = (choose.clone(), world.scope.clone());
            Team::route(name, move |_, task| {
                let chosen = on_task(&scope, &task, Vec::new()).eval(&choose);
                async move { Ok(chosen?.to_string()) }
            })
        }
        TeamMode::Coordinate { leader, delegate, max } => {
            let leader = Leader {
                step: find(step, leader),
                delegate: delegate.clone(),
                max: *max,
                world: world.clone(),
            };
            Team::coordinate(name, move |ctx, task, members| {
                leader.clone().lead(ctx, task, members)
            })
        }
    };
    let team = team
        .on_member_failed(step.team.on_member_failed)
        .on_member_stopped(step.team.on_member_stopped);
    let is_member = |name: &Arc<str>| match &step.team.mode {
        TeamMode::Coordinate { leader, .. } => name != leader,
        _ => true,
    };
    let members = (0..step.members.len()).map(|at| StepRef::of(&step.members, at));
    members
        .filter(|member| is_member(&member.name))
        .fold(team, |team, member| team.with_member(to_member(&member, world)))
}

fn to_member<R: Runner>(step: &StepRef, world: &World<R>) -> Member {
    let (body, world) = (step.clone(), world.clone());
    let mut member = Member::new(Arc::clone(&step.name), move |ctx: RunContext, task| {
        let scope = on_task(&world.scope, &task, Vec::new());
        body_of(body.clone(), world.within(scope), None)(ctx)
    });
    if let Some(timeout) = step.timeout {
        member = member.timeout(timeout);
    }
    if let Some(grace) = step.grace {
        member = member.grace(grace);
    }
    if let Some(idle) = step.idle {
        member = member.idle(idle);
    }
    member
}

/// Makes the scope of a member or leader: `task`, and further variables.
fn on_task(scope: &Scope, task: &Payload, more: Vec<(&'static str, Variable)>) -> Scope {
    let mut variables = more;
    variables.push(("task", task.into()));
    scope.with(variables)
}

/// Makes the output of a broadcast: the result of each member, by name.
fn by_name(all: &[Delegated]) -> Result<Payload, Failure> {
    let result = |one: &Delegated| match &one.output {
        Some(output) if one.status == RunStatus::Completed => output.clone(),
        _ => one.to_detailed_json().into(),
    };
    let results: Vec<_> = all.iter().map(|one| (Arc::clone(&one.member), result(one))).collect();
    Ok(Payload::json(&Object(&results))?)
}

fn find(step: &TeamStep, name: &str) -> StepRef {
    let at = step.members.iter().position(|member| &*member.name == name);
    StepRef::of(&step.members, at.unwrap_or_default())
}

/// The leader of a coordinated team: its outputs name the next tasks and members.
#[derive(Clone)]
struct Leader<R> {
    step: StepRef,
    delegate: Expression,
    max: usize,
    world: World<R>,
}

impl<R: Runner> Leader<R> {
    /// Runs the leader until it hands out no more tasks.
    async fn lead(
        self,
        ctx: RunContext,
        task: Payload,
        members: Members,
    ) -> Result<Payload, Failure> {
        let ask = |round, results| self.clone().hand_out(ctx.clone(), task.clone(), round, results);
        rounds(&self.step.name, self.max, &members, ask).await
    }

    /// Asks the leader for the tasks of a round.
    async fn hand_out(
        self,
        ctx: RunContext,
        task: Payload,
        round: usize,
        results: Payload,
    ) -> Result<(Payload, Tasks), Failure> {
        let known = vec![("results", Variable::from(&results)), ("round", round.into())];
        let scope = on_task(&self.world.scope, &task, known);
        let output = self.ask(&ctx, scope.clone()).await?;
        let scope = scope.with(vec![("output", Variable::from(&output))]);
        let tasks = delegated(&scope, &self.delegate)?;
        Ok((output, tasks))
    }

    async fn ask(&self, ctx: &RunContext, scope: Scope) -> Result<Payload, Failure> {
        let step = self.step.clone();
        let spec = step.spec(RunSpec::agent(Arc::clone(&step.name)));
        let body = body_of(step, self.world.within(scope), None);
        let name = excerpt(&self.step.name);
        match ctx.spawn(spec, body).outcome().await {
            Outcome::Completed(output) => Ok(output),
            Outcome::Failed(error) => {
                Err(Failure::new(format!("leader `{name}` failed: {}", message_of(&error))))
            }
            Outcome::Stopped { cause, .. } => {
                ctx.checkpoint()?;
                Err(Failure::new(format!("leader `{name}` was stopped ({cause})")))
            }
        }
    }
}

/// Reads the members and tasks that a leader hands out; null is an empty list.
fn delegated(scope: &Scope, expression: &Expression) -> Result<Tasks, Failure> {
    let Some(value) = scope.eval_if_any(expression)? else { return Ok(Vec::new()) };
    tasks(serde_json::to_value(value)?).ok_or_else(|| {
        let right = "expected a list of `{ member, task }`";
        let expression = excerpt(expression.as_str());
        Failure::new(format!("what the leader hands out, `{expression}`, is no such list; {right}"))
    })
}
