//! [`repeat`] runs a loop, [`condition`] an `if` and [`route`] one step of several.

use std::sync::Arc;

use minijinja::Value;
use quell::{Failure, Payload, RunContext, RunSpec};

use super::nested::output_of;
use super::runner::Runner;
use super::scope::{Frame, Variable, null};
use super::sequence::{self, run_step};
use super::step::{StepRef, World};
use crate::excerpt::excerpt;
use crate::output::set_output;
use crate::skipped;
use crate::{IfStep, LoopStep, OnMax, PlanStep, RouteStep, SkipReason};

/// Runs a loop. Every round is a child run.
///
/// # Cancel safety
///
/// Dropping the future starts no further round and leaves the one that runs to `ctx`'s run.
pub(super) async fn repeat<R: Runner>(
    step: LoopStep,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let options = &step.options;
    let mut last = null();
    for index in 1..=options.max {
        ctx.checkpoint()?;
        let variables = vec![("index", index.into()), ("last", Variable::from(&last))];
        let scope = world.scope.with(variables);
        let frame = scope.frame();
        let (steps, inside, within) =
            (Arc::clone(&step.steps), Arc::clone(&frame), world.within(scope).below(index));
        let spec = RunSpec::step(format!("round {index}"));
        let round = ctx.spawn(spec, move |ctx| sequence::run(steps, within, inside, ctx));
        last = output_of(round, &ctx).await?;
        let Some(until) = &options.until else { continue };
        // `until` is evaluated in the frame of the round, which has the outputs of its steps by
        // now.
        let output = vec![("output", Variable::from(&last))];
        if frame.scope(output).eval(until)?.is_true() {
            return Ok(last);
        }
    }
    match (&options.until, options.on_max) {
        (Some(until), OnMax::Fail) => {
            let max = options.max;
            Err(Failure::new(format!(
                "`{}` has not become true in {max} rounds",
                excerpt(until.as_str())
            )))
        }
        _ => Ok(last),
    }
}

/// Runs one of two lists of steps.
///
/// # Cancel safety
///
/// As [`sequence::run`].
pub(super) async fn condition<R: Runner>(
    step: IfStep,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let holds = world.scope.eval(&step.condition)?.is_true();
    let (side, steps, other, reason) = if holds {
        ("then", step.then, step.otherwise, SkipReason::ConditionTrue)
    } else {
        ("else", step.otherwise, step.then, SkipReason::ConditionFalse)
    };
    skipped::add(&ctx, other.iter().map(|step| Arc::clone(&step.name)), reason);
    if steps.is_empty() {
        return set_output(&ctx, null());
    }
    sequence::run(steps, world.below(side), frame, ctx).await
}

/// Runs one step of several.
///
/// # Cancel safety
///
/// Dropping the future leaves the step to `ctx`'s run; its output is lost.
pub(super) async fn route<R: Runner>(
    step: RouteStep,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let name = name_of(&world.scope.eval(&step.route)?);
    let found = find(&step.routes, &name).or_else(|| find(&step.routes, step.otherwise.as_ref()?));
    let Some(at) = found else {
        let names: Vec<String> = step.routes.iter().map(|route| excerpt(&route.name)).collect();
        let (name, names) = (excerpt(&name), names.join("`, `"));
        let expression = excerpt(step.route.as_str());
        return Err(Failure::new(format!(
            "no route to `{name}`, which `{expression}` says; there are `{names}`"
        )));
    };
    let others = step.routes.iter().enumerate().filter(|(other, _)| *other != at);
    let others = others.map(|(_, route)| Arc::clone(&route.name));
    skipped::add(&ctx, others, SkipReason::OtherRoute);
    let output = run_step(StepRef::of(&step.routes, at), world, &ctx).await?;
    set_output(&ctx, output)
}

/// Yields the name of a step that a value stands for.
fn name_of(value: &Value) -> String {
    value.to_string()
}

fn find(steps: &[PlanStep], name: &str) -> Option<usize> {
    steps.iter().position(|step| &*step.name == name)
}
