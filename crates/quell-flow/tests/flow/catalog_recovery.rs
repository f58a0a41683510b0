//! Runs of components that an earlier process has left behind, as the catalog has them go on.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use quell::store::{MemoryStore, Store};
use quell::testing::cluster::Nodes;
use quell::{
    Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunRef, RunSpec, RunStatus,
};
use quell_flow::{Catalog, Component, ComponentKind, OnWorkerLost, Plan};
use quell_test_support::{Valve, secs};

use crate::support::Script;

async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with() {
        None => Err(ctx.pause("may I?")),
        Some(_) => pending().await,
    }
}

async fn work(_ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    pending().await
}

/// An engine of a process on the store, whose deadlines follow the paused clock of the test.
fn engine(store: &Arc<MemoryStore>, boot: u32) -> (Engine, Arc<dyn Store>) {
    let port: Arc<dyn Store> = Valve::reopened(store, boot);
    let config = EngineConfig::new().control_on_runtime().store(Arc::clone(&port));
    (Engine::with_config(config), port)
}

fn catalog() -> Catalog {
    Catalog::new()
        .with(Component::agent("asks", ask).resumable())
        .with(Component::agent("works", work).on_worker_lost(OnWorkerLost::Continue))
        .with(Component::agent("fails", work))
}

/// Starts a run with times of its own, and has the next process go on with it.
async fn left_behind(id: &str) -> (Engine, Option<RunRef>) {
    let (store, catalog) = (Arc::new(MemoryStore::new()), catalog());
    let component = catalog.get(ComponentKind::Agent, id).unwrap();
    let (first, _) = engine(&store, 1);
    let spec = component.timed(component.spec(), Some(Duration::from_hours(1)), None);
    let run = component.start_durably(&first, spec, "x".into()).await.unwrap().into_ref();
    if id == "asks" {
        run.paused().await.unwrap();
    } else {
        while run.status() != RunStatus::Running {
            tokio::task::yield_now().await;
        }
    }
    run.stored().await.unwrap();
    let _: &'static mut Engine = Box::leak(Box::new(first));
    let (next, port) = engine(&store, 2);
    let recovery = |run: &_| catalog.recovery(run, &port).unwrap_or(Recovery::Fail);
    let recovered = next.recover(recovery).await.unwrap();
    let run = recovered.resumed.into_iter().chain(recovered.paused).next();
    (next, run)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_keeps_the_timeout_that_its_caller_gave_it() {
    for id in ["asks", "works"] {
        let (_engine, run) = left_behind(id).await;
        let run = run.expect("it goes on");
        if id == "asks" {
            run.resume("yes").unwrap();
        }
        assert_eq!(run.ended().await.status, RunStatus::TimedOut, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_after_a_crash_only_if_its_component_says_so() {
    let (_engine, run) = left_behind("works").await;
    assert_eq!(run.unwrap().attempt(), 2);
    assert!(left_behind("fails").await.1.is_none());
}

/// A catalog with a plan, whose commands a script runs.
fn planned(yaml: &str, script: &Script) -> Catalog {
    let plan = Plan::from_yaml(yaml).unwrap().link(&Catalog::new()).unwrap();
    Catalog::new().with(plan.into_component("p", script.clone()))
}

/// An engine that is one of several, and runs one root at once.
fn member(nodes: &Nodes, name: &str) -> (Engine, Arc<dyn Store>) {
    let node = nodes.join(name);
    let config = EngineConfig::new().node(Arc::clone(&node)).running_max(1).control_on_runtime();
    (Engine::with_config(config), node)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_begins_with_a_plan_that_has_changed_is_one_of_that_plan_from_then_on() {
    let (nodes, script) = (Nodes::new(secs(600)), Script::default());
    let old = planned("name: p\nsteps:\n- { name: one, run: [say, old] }\n", &script);
    let new = planned(
        "name: p\nsteps:\n- { name: one, run: [say, new] }\n- { name: ok, wait: 'go on?' }\n",
        &script,
    );
    let (a, _) = member(&nodes, "a");
    let busy = async |_| -> Result<(), Failure> { pending().await };
    let _busy = a.submit_durably(RunSpec::agent("busy"), busy).await.unwrap().into_ref();
    let component = old.get(ComponentKind::Workflow, "p").unwrap();
    let run = component.start_durably(&a, component.spec(), "x".into()).await.unwrap();
    let (id, mut last) = (run.run().id(), a);
    for name in ["b", "c"] {
        last.shutdown(Duration::ZERO).await;
        let (next, port) = member(&nodes, name);
        let decide = |run: &_| new.recovery(run, &port).unwrap_or(Recovery::Fail);
        while next.take_over(decide).await.unwrap().is_some() {}
        let run = next.get(id).unwrap();
        run.paused().await.unwrap();
        run.stored().await.unwrap();
        last = next;
    }
    let run = last.get(id).unwrap();
    run.resume("yes").unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    assert_eq!(script.started(), ["say new"], "the step before the question has run once");
}
