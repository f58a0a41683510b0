//! Several engines on one store that keep limits together. What really runs is told by witnesses in
//! the bodies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::store::RunRecord;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    Engine, EngineConfig, Hold, Recovery, RunContext, RunKind, RunRef, RunSpec, RunStatus, Scope,
    Shutdown, Standing, Work,
};

use crate::foreign::subscriber::{heed, told_of};
use crate::support::{Witness, listener, ms, secs, soon, started, stop, within};

fn config(node: &Arc<Node>) -> EngineConfig {
    EngineConfig::new().node(Arc::clone(node)).control_on_runtime()
}

/// An engine as a node with one limit.
fn engine(nodes: &Nodes, name: &str, scope: Scope, max: usize) -> Engine {
    Engine::with_config(config(&nodes.join(name)).limit_of_all_nodes(scope, max))
}

/// Submits a run that takes so long, under the eyes of a witness.
fn submit(engine: &Engine, spec: RunSpec, witness: &Witness, time: Duration) -> RunRef {
    let witness = witness.clone();
    let body = async move |_: RunContext| {
        let _inside = witness.enter();
        tokio::time::sleep(time).await;
        Ok(())
    };
    engine.submit(spec, body).unwrap().into_ref()
}

fn agent() -> RunSpec {
    RunSpec::agent("a")
}

fn end(run: &RunRef) {
    run.cancel(stop());
}

async fn all_end(runs: impl IntoIterator<Item = RunRef>) {
    for run in runs {
        assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
    }
}

/// Yields the maximum, how many are taken, and how many this node has, of the only limit.
fn standing(engine: &Engine) -> (usize, usize, usize) {
    let Standing { slots, .. } = engine.standing();
    (slots[0].max, slots[0].taken, slots[0].held)
}

async fn nobody_has_any(engine: &Engine) {
    soon("all slots are given back", || standing(engine).1 == 0).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_execute_on_all_nodes_than_a_limit_lets_and_all_have_their_turn() {
    for (scope, max) in [
        (Scope::All, 5),
        (Scope::Kind(RunKind::Agent), 1),
        (Scope::component(RunKind::Agent, "a"), 7),
        (Scope::EachOwner, 2),
    ] {
        let (nodes, witness) = (Nodes::new(secs(15)), Witness::new());
        let engines = ["a", "b", "c"].map(|name| engine(&nodes, name, scope.clone(), max));
        let mut runs = Vec::new();
        for nth in 0..90 {
            let spec = agent().owner("ada");
            runs.push(submit(&engines[nth % 3], spec, &witness, ms(20 + nth as u64 % 7)));
        }
        all_end(runs).await;
        assert_eq!((witness.entered(), witness.most()), (90, max), "{scope}");
        for engine in &engines {
            nobody_has_any(engine).await;
            engine.shutdown(Shutdown::default()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_under_several_limits_starts_when_each_has_room_and_no_node_waits_for_another() {
    let (nodes, all, agents) = (Nodes::new(secs(15)), Witness::new(), Witness::new());
    let engines = ["a", "b", "c"].map(|name| {
        let config = config(&nodes.join(name)).limit_of_all_nodes(Scope::All, 2);
        let config = config.limit_of_all_nodes(Scope::Kind(RunKind::Agent), 2);
        let config = config.limit_of_all_nodes(Scope::component(RunKind::Agent, "a"), 1);
        Engine::with_config(config.limit_of_all_nodes(Scope::EachOwner, 2))
    });
    let mut runs = Vec::new();
    for nth in 0..60 {
        let engine = &engines[nth % 3];
        let spec = if nth % 2 == 0 { agent() } else { RunSpec::workflow("w") };
        let spec = spec.owner(if nth % 4 < 2 { "ada" } else { "bob" });
        let (all, agents) = (all.clone(), agents.clone());
        let is_agent = nth % 2 == 0;
        let body = async move |_: RunContext| {
            let _inside = (all.enter(), is_agent.then(|| agents.enter()));
            tokio::time::sleep(ms(10)).await;
            Ok(())
        };
        runs.push(engine.submit(spec, body).unwrap().into_ref());
    }
    all_end(runs).await;
    assert_eq!((all.entered(), all.most(), agents.most()), (60, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_keeps_for_a_moment_another_one_has_at_once() {
    let (nodes, witness) = (Nodes::new(secs(15)), Witness::new());
    let [a, b] = ["a", "b"].map(|name| engine(&nodes, name, Scope::All, 8));
    let runs: Vec<_> = (0..8).map(|_| submit(&a, agent(), &witness, ms(10))).collect();
    all_end(runs).await;
    assert_eq!(standing(&a), (8, 8, 8), "it keeps them");
    let began = tokio::time::Instant::now();
    let runs: Vec<_> = (0..8).map(|_| submit(&b, agent(), &witness, ms(10))).collect();
    all_end(runs).await;
    assert!(began.elapsed() < ms(30), "they were kept for {:?}", began.elapsed());
    assert_eq!(witness.most(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_queue_never_ends_leaves_others_their_share() {
    let (nodes, busy, late) = (Nodes::new(secs(15)), Witness::new(), Witness::new());
    let [a, b, c] = ["a", "b", "c"].map(|name| engine(&nodes, name, Scope::All, 6));
    let long: Vec<_> = (0..600).map(|_| submit(&a, agent(), &busy, ms(10))).collect();
    soon("it has all", || busy.inside() == 6).await;
    let more: Vec<_> = (0..300).map(|_| submit(&c, agent(), &busy, ms(10))).collect();
    let runs: Vec<_> = (0..20).map(|_| submit(&b, agent(), &late, ms(10))).collect();
    all_end(runs).await;
    assert!(busy.entered() < 100, "{} came before", busy.entered());
    all_end(long.into_iter().chain(more)).await;
    assert!(busy.most() <= 6);
}

#[tokio::test(start_paused = true)]
async fn a_single_slot_goes_round() {
    let (nodes, busy, late) = (Nodes::new(secs(15)), Witness::new(), Witness::new());
    let [a, b] = ["a", "b"].map(|name| engine(&nodes, name, Scope::All, 1));
    let long: Vec<_> = (0..50).map(|_| submit(&a, agent(), &busy, ms(10))).collect();
    soon("it has it", || busy.inside() == 1).await;
    let runs: Vec<_> = (0..5).map(|_| submit(&b, agent(), &late, ms(10))).collect();
    all_end(runs).await;
    assert!(busy.entered() < 15, "{} came before", busy.entered());
    all_end(long).await;
}

#[tokio::test(start_paused = true)]
async fn i27_a_run_that_ended_non_quiescent_keeps_its_slot_of_all_nodes() {
    let nodes = Nodes::new(secs(15));
    let [a, b] = ["a", "b"].map(|name| engine(&nodes, name, Scope::All, 1));
    let kept: Arc<Mutex<Option<Hold>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let body = async move |ctx: RunContext| {
        *keep.lock().unwrap() = Some(ctx.hold(Work::Process, "device")?);
        ctx.stopped().await;
        Ok(())
    };
    let run = a.submit(agent(), body).unwrap().into_ref();
    soon("it runs", || kept.lock().unwrap().is_some()).await;
    let next = b.submit(agent(), listener).unwrap().into_ref();
    end(&run);
    assert!(!run.ended().await.quiescent);
    tokio::time::sleep(secs(5)).await;
    assert_eq!((next.status(), standing(&b)), (RunStatus::Queued, (1, 1, 0)));
    kept.lock().unwrap().take();
    soon("it runs", || next.status() == RunStatus::Running).await;
    end(&next);
}

/// Lets the lease of a node run out.
async fn lose(node: &Node, engine: &Engine) {
    node.trouble(Trouble::All);
    within("it is lost", engine.lease_lost()).await;
    tokio::time::sleep(secs(15)).await;
}

fn resume(_: &RunRecord) -> Recovery {
    Recovery::resume(agent(), listener)
}

#[tokio::test(start_paused = true)]
async fn i27_slots_of_a_node_that_is_gone_go_with_its_runs_and_then_come_back() {
    let (nodes, scope) = (Nodes::new(secs(15)), Scope::All);
    let node = nodes.join("a");
    let a = Engine::with_config(config(&node).limit_of_all_nodes(scope.clone(), 3));
    let [b, c] = ["b", "c"].map(|name| engine(&nodes, name, scope.clone(), 3));
    for _ in 0..3 {
        started(&a, agent()).await;
    }
    let waits: Vec<_> = (0..2).map(|_| c.submit(agent(), listener).unwrap().into_ref()).collect();
    lose(&node, &a).await;
    assert_eq!(standing(&c), (3, 3, 0), "nobody has taken over");
    assert!(waits.iter().all(|run| run.status() == RunStatus::Queued));
    let (taken, held) = b.take_over_held(resume).await.unwrap().unwrap();
    tokio::time::sleep(secs(2)).await;
    assert!(waits.iter().all(|run| run.status() == RunStatus::Queued), "they are its runs'");
    assert_eq!(standing(&b), (3, 3, 3));
    held.start();
    let again = taken.recovered.resumed;
    soon("they go on", || again.iter().all(|run| run.status() == RunStatus::Running)).await;
    again.iter().for_each(end);
    soon("others run", || waits.iter().all(|run| run.status() == RunStatus::Running)).await;
    waits.iter().for_each(end);
    nobody_has_any(&c).await;
}

#[tokio::test(start_paused = true)]
async fn slots_that_no_run_needs_any_more_come_back_from_whoever_takes_over() {
    let (nodes, scope) = (Nodes::new(secs(15)), Scope::Kind(RunKind::Agent));
    let node = nodes.join("a");
    let a = Engine::with_config(config(&node).limit_of_all_nodes(scope.clone(), 2));
    // It knows of no limit.
    let b = Engine::with_config(config(&nodes.join("b")));
    let c = engine(&nodes, "c", scope, 2);
    started(&a, agent()).await;
    started(&a, agent()).await;
    lose(&node, &a).await;
    let next = c.submit(agent(), listener).unwrap().into_ref();
    tokio::time::sleep(secs(3)).await;
    assert_eq!(next.status(), RunStatus::Queued);
    b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    assert_eq!(standing(&c).0, 2);
    end(&next);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_again_has_its_slots_until_its_runs_are_decided() {
    let (nodes, scope) = (Nodes::new(secs(15)), Scope::EachOwner);
    let node = nodes.join("a");
    let a = Engine::with_config(config(&node).limit_of_all_nodes(scope.clone(), 2));
    let c = engine(&nodes, "c", scope.clone(), 2);
    started(&a, agent().owner("ada")).await;
    started(&a, agent().owner("ada")).await;
    let next = c.submit(agent().owner("ada"), listener).unwrap().into_ref();
    lose(&node, &a).await;
    let again = engine(&nodes, "a", scope, 2);
    tokio::time::sleep(secs(5)).await;
    assert_eq!((next.status(), standing(&c).1), (RunStatus::Queued, 2));
    again.recover(|_| Recovery::Fail).await.unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    end(&next);
}

#[tokio::test(start_paused = true)]
async fn of_different_maxima_that_of_the_node_that_joined_last_is_right() {
    let (nodes, witness) = (Nodes::new(secs(15)), Witness::new());
    let a = engine(&nodes, "a", Scope::All, 5);
    let runs: Vec<_> = (0..20).map(|_| submit(&a, agent(), &witness, ms(10))).collect();
    all_end(runs).await;
    assert_eq!(witness.most(), 5);
    let b = engine(&nodes, "b", Scope::All, 2);
    soon("it is heard of", || standing(&a).0 == 2 && standing(&b).0 == 2).await;
    nobody_has_any(&a).await;
    let witness = Witness::new();
    let runs: Vec<_> = (0..20).map(|_| submit(&a, agent(), &witness, ms(10))).collect();
    all_end(runs).await;
    assert_eq!((witness.most(), standing(&a).0), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_warns_once_of_a_maximum_that_is_not_its_own() {
    let scope = Scope::Component(RunKind::Agent, "of three maxima".into());
    let limit = scope.to_string();
    heed(&limit);
    let nodes = Nodes::new(secs(15));
    let _a = engine(&nodes, "a", scope.clone(), 5);
    let _same = engine(&nodes, "same", scope.clone(), 5);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(told_of(&limit).len(), 0);
    let warned = |told: &[String], max: &str, own: &str| {
        let has = |told: &&String| [max, own].iter().all(|words| told.contains(words));
        told.iter().filter(has).count()
    };
    let _b = engine(&nodes, "b", scope.clone(), 2);
    tokio::time::sleep(secs(5)).await;
    let told = told_of(&limit);
    assert_eq!((told.len(), warned(&told, "max=2 set_by=b ", "own=5 ")), (2, 2), "{told:?}");
    let _c = engine(&nodes, "c", scope, 3);
    tokio::time::sleep(secs(5)).await;
    let told = told_of(&limit);
    assert_eq!(warned(&told, "max=3 set_by=c ", "own=5 "), 2, "{told:?}");
    assert_eq!((told.len(), warned(&told, "max=3 set_by=c ", "own=2 ")), (5, 1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_a_node_makes_do_with_what_it_has() {
    let (nodes, witness) = (Nodes::new(secs(60)), Witness::new());
    let node = nodes.join("a");
    let a = Engine::with_config(config(&node).limit_of_all_nodes(Scope::All, 4));
    let b = engine(&nodes, "b", Scope::All, 4);
    let long = submit(&b, agent(), &witness, secs(60));
    soon("it runs", || witness.inside() == 1).await;
    let first: Vec<_> = (0..6).map(|_| submit(&a, agent(), &witness, ms(300))).collect();
    soon("they run", || witness.inside() == 4).await;
    for run in &first {
        run.accepted().await.unwrap();
    }
    node.trouble(Trouble::All);
    all_end(first).await;
    end(&long);
    long.quiescent().await;
    node.trouble(Trouble::None);
    soon("it is back", || a.standing().trouble.is_none()).await;
    let runs: Vec<_> = (0..12).map(|_| submit(&a, agent(), &witness, ms(10))).collect();
    all_end(runs).await;
    assert_eq!((witness.entered(), witness.most()), (19, 4));
    nobody_has_any(&b).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_alone_has_all_nodes_in_it() {
    let witness = Witness::new();
    let config = EngineConfig::new().control_on_runtime().running_max(9);
    let config = config.limit_of_all_nodes(Scope::All, 3);
    let engine = Engine::with_config(config.limit_of_all_nodes(Scope::EachOwner, 2));
    let runs: Vec<_> =
        (0..10).map(|_| submit(&engine, agent().owner("ada"), &witness, ms(10))).collect();
    all_end(runs).await;
    assert_eq!(witness.most(), 2);
    assert_eq!(engine.limit(&Scope::All).running_max, Some(3));
    assert!(engine.standing().slots.is_empty());
}
