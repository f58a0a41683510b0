//! [`LinkedPlan::into_component`] makes a component of a plan.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::FutureExt as _;
use quell::store::{RunRecord, Store};
use quell::{Failure, Payload, RunContext};

use super::link::{LinkedPlan, Links};
use super::memory::{Memory, Recall};
use super::past::{PLAN_HASH, PlanPast};
use super::runner::Runner;
use crate::catalog::{Attempts, Behind, Lasting};
use crate::foreign::Foreign;
use crate::{Action, Component, ComponentKind, Part, PlanStep};

impl LinkedPlan {
    /// Makes a component of the plan: a workflow with its description and steps. If a step of it
    /// waits for an answer, runs of it may be paused; see [`Component::resumable`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quell::{Failure, Payload, RunContext};
    /// # use quell_flow::{Catalog, CommandStep, Plan, Runner};
    /// fn publish(catalog: Catalog, plan: Plan, runner: impl Runner) -> Catalog {
    ///     let plan = plan.link(&catalog).unwrap();
    ///     catalog.with(plan.into_component("publish", runner))
    /// }
    /// ```
    pub fn into_component<R: Runner>(self, id: impl Into<String>, runner: R) -> Component {
        let (parts, lasting) = (parts_of(self.plan.steps(), &self.links), self.lasting(&runner));
        let description = self.plan.description().map(str::to_owned);
        let component = Component::workflow(id, move |ctx, _| self.run(ctx, runner.clone()));
        let component = component.steps(parts).lasting(lasting);
        match description {
            Some(description) => component.describe(description),
            None => component,
        }
    }

    /// As [`into_component`](Self::into_component), an agent, of which nobody sees that it has
    /// steps.
    pub fn into_agent<R: Runner>(self, id: impl Into<String>, runner: R) -> Component {
        let lasting = self.lasting(&runner);
        let component = Component::agent(id, move |ctx, _| self.run(ctx, runner.clone()));
        component.lasting(lasting)
    }

    fn lasting<R: Runner>(&self, runner: &R) -> Lasting {
        let (plan, runner) = (self.clone(), Foreign::new(runner.clone()));
        let waits = self.plan.waits().into_iter().map(str::to_owned).collect();
        Lasting::new((PLAN_HASH, self.hash().into()), waits, move |behind| {
            plan.clone().attempts_behind(behind, runner.clone())
        })
    }

    /// Makes the body of one run. What an earlier process did is read when an attempt begins.
    fn attempts_behind<R: Runner>(self, behind: Behind, runner: Foreign<R>) -> Attempts {
        let known = match behind {
            Behind::Nothing => Known::Memory(Arc::default()),
            Behind::Stored => Known::Memory(Arc::new(Memory::default().recorded())),
            Behind::Process(store, run) => Known::Left(store, run.into()),
        };
        let known = Arc::new(Mutex::new(known));
        Box::new(move |ctx| {
            let (this, known, runner) = (self.clone(), Arc::clone(&known), runner.clone());
            let attempt = async move {
                let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
                let by_now = lock().clone();
                let memory = match by_now {
                    Known::Memory(memory) => memory,
                    Known::Left(store, run) => {
                        let past = PlanPast::read(&*store, &this, &run).await;
                        let memory = past.map_err(|error| cannot_go_on(&error))?.memory;
                        let memory = Arc::new(memory.recorded());
                        *lock() = Known::Memory(Arc::clone(&memory));
                        memory
                    }
                };
                this.next_attempt(ctx, runner, &memory).await
            };
            attempt.boxed()
        })
    }

    /// Runs an attempt, with the answer that the run was given if it was.
    pub(super) fn next_attempt<R: Runner>(
        &self,
        ctx: RunContext,
        runner: Foreign<R>,
        memory: &Arc<Memory>,
    ) -> futures::future::BoxFuture<'static, Result<Payload, Failure>> {
        if let Some(answer) = ctx.resumed_with() {
            memory.answer(answer);
        }
        self.attempt(ctx, runner, Recall::of(Arc::clone(memory)))
    }
}

/// What is known of the attempts before.
#[derive(Clone)]
enum Known {
    Memory(Arc<Memory>),
    /// As an earlier process has left it in a store.
    Left(Arc<dyn Store>, Arc<RunRecord>),
}

fn cannot_go_on(error: &dyn std::error::Error) -> Failure {
    let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(format!("the run cannot go on: {error}{why}"))
}

/// Lists steps as clients see them.
fn parts_of(steps: &[PlanStep], links: &Links) -> Vec<Part> {
    steps.iter().map(|step| part_of(step, links)).collect()
}

/// Lists one step. Recurses once per level of steps; the depth of a plan is bounded.
fn part_of(step: &PlanStep, links: &Links) -> Part {
    let name = &*step.name;
    match &step.action {
        Action::Component(inside) => match links.get(&inside.component) {
            Some(component) if component.kind() != ComponentKind::Workflow => {
                Part::of(name, component)
            }
            _ => Part::function(name),
        },
        Action::Parallel(inside) => Part::parallel(name, parts_of(&inside.branches, links)),
        Action::Workflow(inside) => Part::sequence(name, parts_of(inside.workflow.steps(), links)),
        action => {
            let inside = action.parts().into_iter().flat_map(|(_, steps)| parts_of(steps, links));
            Part::sequence(name, inside)
        }
    }
}
