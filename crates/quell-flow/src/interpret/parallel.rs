//! [`run`] runs the branches of a parallel step.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object as Readable};
use quell::{CauseKind, Failure, Payload, RunContext};

use super::needed::{Needed, Outputs};
use super::runner::Runner;
use super::sequence::Object;
use super::step::{OnDecided, StepRef, World, body_of};
use crate::excerpt::excerpt;
use crate::output::set_output;
use crate::parallel::Driven;
use crate::plan::{below, read};
use crate::{
    Action, Branch, Decision, End, Expression, Parallel, ParallelStep, PlanPolicy, Policy, Settled,
    SoFar, StartNext,
};

/// Runs the branches of a parallel step as children of `ctx`'s run.
///
/// # Cancel safety
///
/// Dropping the future starts no further branch and leaves those that run to `ctx`'s run.
pub(super) async fn run<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: RunContext,
    on_decided: Option<OnDecided>,
) -> Result<Payload, Failure> {
    let Action::Parallel(parallel) = &step.action else {
        return Err(Failure::new("the step has no branches"));
    };
    let names: Arc<[_]> = parallel.branches.iter().map(|branch| Arc::clone(&branch.name)).collect();
    let object = move |values: Vec<Option<Payload>>| {
        let all = names.iter().cloned().zip(values);
        let entries: Vec<_> = all.filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(Payload::json(&Object(&entries))?)
    };
    // If the next step starts at the decision, the output of this run is made then.
    let (object_early, run) = (object.clone(), ctx.clone());
    let start_next =
        if on_decided.is_some() { parallel.options.start_next } else { StartNext::Settled };
    let deliver = move |outcome: Result<Settled<Payload>, Failure>| {
        if let Some(on_decided) = on_decided {
            let output = outcome.and_then(|settled| object_early(settled.values));
            on_decided(output.and_then(|output| set_output(&run, output)));
        }
    };
    let lowered = lower(parallel, &world.forgetful()).start_next(start_next);
    match lowered.drive(&ctx, Box::new(deliver)).await {
        Driven::Settled(settled) => set_output(&ctx, object(settled.values)?),
        Driven::Delivered => object(Vec::new()),
        Driven::Failed(failure) => Err(failure),
        // The run ends as stopped in any case; a value that is returned is its partial value.
        Driven::Stopped { values, .. } => object(values.into_inner()),
    }
}

fn lower<R: Runner>(step: &ParallelStep, world: &World<R>) -> Parallel<Payload> {
    let options = &step.options;
    let mut parallel = Parallel::new("branches of a plan")
        .policy(options.policy.to_policy())
        .on_branch_timeout(options.on_branch_timeout.clone())
        .on_branch_cancelled(options.on_branch_cancelled)
        .on_loser(options.on_loser)
        .partial_from(Some);
    if let Some(limit) = options.limit {
        parallel = parallel.limit(limit);
    }
    if let Some(timeout) = options.branch_timeout {
        parallel = parallel.branch_timeout(timeout);
    }
    if let Some(grace) = options.branch_grace {
        parallel = parallel.branch_grace(grace);
    }
    if let Some(idle) = options.branch_idle {
        parallel = parallel.branch_idle(idle);
    }
    let outputs = Outputs::of(&step.branches);
    for at in 0..step.branches.len() {
        parallel =
            parallel.with_branch(branch(StepRef::of(&step.branches, at), outputs.as_ref(), world));
    }
    parallel
}

fn branch<R: Runner>(
    step: StepRef,
    outputs: Option<&Arc<Outputs>>,
    world: &World<R>,
) -> Branch<Payload> {
    let name = Arc::clone(&step.name);
    let (timeout, grace, idle) = (step.timeout, step.grace, step.idle);
    let Some(outputs) = outputs.map(Arc::clone) else {
        let body = body_of(step, world.clone(), None);
        return Branch::new(name, body).times(timeout, grace, idle);
    };
    let (at, needs) = (step.at, Arc::clone(&step.needs));
    let needed = Needed { outputs: Arc::clone(&outputs), branch: at };
    let body = body_of(step, world.within(world.scope.needing(needed)), None);
    let body = move |ctx| outputs.keep(at, body(ctx));
    Branch::new(name, body).needs(needs.iter().cloned()).times(timeout, grace, idle)
}

impl PlanPolicy {
    /// Makes the policy.
    pub fn to_policy(&self) -> Policy<Payload> {
        match self {
            Self::All => Policy::all(),
            Self::Settle => Policy::settle(),
            Self::FirstSuccess => Policy::first_success(),
            Self::FirstSettled => Policy::first_settled(),
            Self::Quorum { quorum } => Policy::quorum(*quorum),
            Self::Until { until } => until_true(until.clone()),
            Self::BestEffort { deadline, min } => Policy::best_effort(*deadline, *min),
            Self::Hedge { delay } => Policy::hedge(*delay),
        }
    }
}

/// Makes a [`Policy::until`] that fails the step if the expression fails.
fn until_true(until: Expression) -> Policy<Payload> {
    let plain: Policy<Payload> = Policy::until(|_| true);
    let never: Policy<Payload> = Policy::until(|_| false);
    Policy::new("until", move |so_far: &SoFar<'_, Payload>| match until.eval(&known(so_far)) {
        Ok(value) if value.is_true() => plain.decide(so_far),
        Ok(_) => never.decide(so_far),
        Err(words) => {
            let words = format!("expression `{}`: {words}", excerpt(until.as_str()));
            Some(Decision::failed(words, CauseKind::SiblingFailed))
        }
    })
}

/// Makes the values that the expression of a policy may read.
fn known(so_far: &SoFar<'_, Payload>) -> Value {
    let values = so_far.ended.iter().filter_map(|one| match &one.end {
        End::Ok(value) => Some((Arc::clone(&one.name), value.clone())),
        End::Failed(_) | End::Skipped => None,
    });
    let values = Values(values.collect());
    Value::from_pairs([
        ("branches", Value::from(so_far.branches)),
        ("ended", Value::from(so_far.ended.len())),
        ("failed", Value::from(so_far.failed)),
        ("ok", Value::from(so_far.ok)),
        ("values", Value::from_object(values)),
    ])
}

/// The outputs of the branches by name. An output is parsed when an expression reads it.
#[derive(Debug)]
struct Values(Vec<(Arc<str>, Payload)>);

impl Readable for Values {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let (_, value) = self.0.iter().find(|(known, _)| &**known == name)?;
        Some(read(value, &below("values", name)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(&**name)).collect())
    }
}
