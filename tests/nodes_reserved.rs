//! Several engines on one store: stops that one of them remembers for runs that another one will
//! have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, Engine, Recovery, RunId, RunSpec, RunStatus, StopScope, SubmitError,
};
use quell_core::limits;

use crate::support::{Fault, Shaky, ms, secs, soon, within};

fn stop(by: &str) -> CancelRequest {
    CancelRequest::because("early").by(by).remember_for(secs(60))
}

fn run(name: &str) -> RunId {
    RunId::from_text(name)
}

/// Submits a run, and yields it when it has ended, with how often its body was polled.
async fn begun(engine: &Engine, spec: RunSpec) -> (quell::RunRef, usize) {
    let polls = Arc::new(AtomicUsize::new(0));
    let polled = Arc::clone(&polls);
    let body = async move |_| {
        polled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let run = engine.submit_durably(spec, body).await.unwrap().into_ref();
    within("it ends", run.quiescent()).await;
    run.stored().await.unwrap();
    (run, polls.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn i22_a_stop_that_one_node_remembers_reaches_the_run_that_another_one_accepts_once() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let id = run("r");
    assert_eq!(a.cancel_anywhere(id, stop("ada")).await, Ok(Disposition::Reserved));
    // The first cause stands (I6).
    assert_eq!(b.cancel_anywhere(id, stop("bob")).await, Ok(Disposition::Reserved));
    let (ended, polls) = begun(&b, RunSpec::agent("one").id(id)).await;
    assert_eq!((ended.status(), polls), (RunStatus::Cancelled, 0));
    let stored = nodes.read(id).await.unwrap();
    assert_eq!(stored.stop.unwrap().cause.by.as_deref(), Some("ada"));
    let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
    assert_eq!(a.cancel_anywhere(id, stop("bob")).await, Ok(over));
    // It is used up: the next run of the id is another one.
    b.forget(id).unwrap();
    while nodes.read(id).await.is_some() {
        tokio::time::sleep(ms(1)).await;
    }
    let (next, polls) = begun(&a, RunSpec::agent("two").id(id)).await;
    assert_eq!((next.status(), polls), (RunStatus::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn i22_a_remembered_stop_that_the_append_of_a_refused_run_used_up_is_for_the_next_one() {
    let nodes = Nodes::new(secs(60));
    let node_a = Shaky::join(&nodes, "a");
    let a = node_a.engine();
    let (id, of_ada) = (run("r"), StopScope::new(["ada"]));
    let spec = || RunSpec::agent("r").id(id).stop_scope(of_ada);
    let stop = stop("ada").remember_for(secs(600));
    let answer = a.remember_stop_anywhere(id, of_ada, stop).await;
    assert_eq!(answer, Ok(Some(Disposition::Reserved)));
    node_a.set(Fault::AppendDoubted);
    let refused = a.submit_durably(spec(), async |_| Ok(())).await.unwrap_err();
    assert!(matches!(refused, SubmitError::NotStored(_)), "{refused:?}");
    assert!(nodes.read(id).await.is_some(), "the store has it");
    while nodes.read(id).await.is_some() {
        tokio::time::sleep(ms(1)).await;
    }
    // Not for a run of another scope, as before.
    let (other, _) = begun(&a, RunSpec::agent("other").id(id)).await;
    assert_eq!(other.status(), RunStatus::Completed);
    a.forget(id).unwrap();
    while nodes.read(id).await.is_some() {
        tokio::time::sleep(ms(1)).await;
    }
    let (next, polls) = begun(&a, spec()).await;
    assert_eq!((next.status(), polls), (RunStatus::Cancelled, 0));
    let stored = nodes.read(id).await.unwrap();
    assert_eq!(stored.stop.unwrap().cause.by.as_deref(), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn i22_all_stops_that_the_append_of_a_refused_run_used_up_are_for_the_next_ones() {
    let nodes = Nodes::new(secs(60));
    let node_a = Shaky::join(&nodes, "a");
    let a = node_a.engine();
    let (id, scopes) = (run("r"), ["ada", "bob"].map(|by| StopScope::new([by])));
    for (by, scope) in ["ada", "bob"].into_iter().zip(scopes) {
        let stop = stop(by).remember_for(secs(600));
        let answer = a.remember_stop_anywhere(id, scope, stop).await;
        assert_eq!(answer, Ok(Some(Disposition::Reserved)));
    }
    node_a.set(Fault::AppendDoubted);
    let spec = scopes.iter().fold(RunSpec::agent("r").id(id), |spec, it| spec.stop_scope(*it));
    a.submit_durably(spec, async |_| Ok(())).await.unwrap_err();
    assert!(nodes.read(id).await.is_some(), "the store has it");
    for (by, scope) in ["bob", "ada"].into_iter().zip(scopes.into_iter().rev()) {
        while nodes.read(id).await.is_some() {
            tokio::time::sleep(ms(1)).await;
        }
        let (next, polls) = begun(&a, RunSpec::agent("r").id(id).stop_scope(scope)).await;
        assert_eq!((next.status(), polls), (RunStatus::Cancelled, 0), "{by}");
        let stored = nodes.read(id).await.unwrap();
        assert_eq!(stored.stop.unwrap().cause.by.as_deref(), Some(by));
        a.forget(id).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn i22_a_remembered_stop_is_for_runs_of_its_scope_alone() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let (of_ada, of_bob) = (StopScope::new(["ada"]), StopScope::new(["bob"]));
    for (name, scope, status) in
        [("hers", of_ada, RunStatus::Cancelled), ("his", of_bob, RunStatus::Completed)]
    {
        let id = run(name);
        let answer = a.remember_stop_anywhere(id, of_ada, stop("ada")).await;
        assert_eq!(answer, Ok(Some(Disposition::Reserved)));
        let (ended, _) = begun(&b, RunSpec::agent(name).id(id).stop_scope(scope)).await;
        assert_eq!(ended.status(), status);
        assert_eq!(a.remember_stop_anywhere(id, of_ada, stop("ada")).await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn remembered_stops_lapse_and_are_as_few_as_the_limits_say() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let mut config = node_a.config().control_on_runtime();
    config = config.limits(quell::Limits::default().reservations_max(8));
    let (a, b) = (Engine::with_config(config), node_b.engine());
    let brief = CancelRequest::because("early").remember_for(secs(1));
    assert_eq!(a.cancel_anywhere(run("late"), brief).await, Ok(Disposition::Reserved));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(begun(&b, RunSpec::agent("late").id(run("late"))).await.1, 1);
    // A quarter of eight is for each actor, and the oldest leave first.
    for (nth, by) in ["bob", "ada", "ada", "ada"].into_iter().enumerate() {
        let id = run(&format!("r{nth}"));
        assert_eq!(a.cancel_anywhere(id, stop(by)).await, Ok(Disposition::Reserved));
    }
    let mut polls = Vec::new();
    for nth in 0..4 {
        let spec = RunSpec::agent("one").id(run(&format!("r{nth}")));
        polls.push(begun(&b, spec).await.1);
    }
    assert_eq!(polls, [0, 1, 0, 0]);
    assert!(stop("ada").remembered_for() < limits::RESERVATIONS_TTL);
}

#[tokio::test(start_paused = true)]
async fn i34_a_remembered_stop_that_its_run_has_used_outlives_the_owner() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    assert_eq!(a.cancel_anywhere(run("r"), stop("ada")).await, Ok(Disposition::Reserved));
    // The node dies between the acceptance and its own record of the stop.
    node_b.set(Fault::AppendsUnanswered);
    _ = b.submit(RunSpec::agent("one").id(run("r")), async |_| Ok(())).unwrap();
    while nodes.read(run("r")).await.is_none() {
        tokio::time::sleep(ms(1)).await;
    }
    assert!(nodes.read(run("r")).await.unwrap().stop.is_none());
    node_b.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = a.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended.cancelled, 1);
    let cause = nodes.read(run("r")).await.unwrap().stop.unwrap().cause;
    assert_eq!(cause.by.as_deref(), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_be_stored_is_not_acknowledged() {
    let nodes = Nodes::new(secs(15));
    let node = Shaky::join(&nodes, "a");
    let a = node.engine();
    node.trouble(Trouble::All);
    assert!(a.cancel_anywhere(run("r"), stop("ada")).await.is_err());
    node.trouble(Trouble::None);
    assert_eq!(begun(&a, RunSpec::agent("one").id(run("r"))).await.1, 1);
    let refused = a.submit(RunSpec::agent("one").id(run("r")), async |_| Ok(()));
    assert!(matches!(refused.unwrap_err(), SubmitError::IdInUse(_)));
    soon("it is over", || a.get(run("r")).is_some_and(|run| run.row().quiescent)).await;
}
