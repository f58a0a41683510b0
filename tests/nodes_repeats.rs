//! Several engines on one store: repeats of a run that another node has, or that the node to which
//! they come takes over in this moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quell::cluster::Cluster as _;
use quell::store::RunRecord;
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    Disposition, Engine, EngineConfig, IdempotencyKey, Recovery, RunId, RunRef, RunSpec, RunStatus,
    SubmitError,
};
use tokio::task::spawn_blocking;

use crate::nodes_forgotten::{count, fail, lose, quiesces, told, tree};
use crate::support::{
    Fault, Shaky, clerk, listener, ms, paused, secs, soon, started, started_as, stop, within,
};

/// Take-overs of which each meets some hundred repeats.
const ROUNDS: usize = 16;

fn engine(nodes: &Nodes, name: &str) -> Engine {
    Engine::with_config(EngineConfig::new().node(nodes.join(name)))
}

fn resume(_: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent("again"), listener)
}

/// Yields an id or a key that is in use, by the run that has it.
fn in_use(refusal: &SubmitError) -> Option<RunId> {
    match refusal {
        SubmitError::IdInUse(run) | SubmitError::AlreadySubmitted(run) => Some(*run),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i37_repeats_in_the_moment_of_a_take_over_end_no_run_that_goes_on() {
    let nodes = Nodes::new(secs(600));
    let b = Arc::new(engine(&nodes, "b"));
    for round in 0..ROUNDS {
        let (id, with_key) = (RunId::from_text(&format!("r{round}")), round % 2 == 0);
        let key = IdempotencyKey::new(format!("k{round}"), ["payload"]);
        let first = RunSpec::agent("far").id(id).idempotency_key(key.clone());
        let a = engine(&nodes, "a");
        let first = first.not_before(Instant::now() + secs(3_600));
        drop(a.submit_durably(first, listener).await.unwrap());
        within("it is given up", a.shutdown(secs(0))).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let (by, over) = (Arc::clone(&b), Arc::clone(&is_over));
        let repeats = spawn_blocking(move || {
            let repeat = || RunSpec::agent("repeat");
            let with_key_or_id = |spec: RunSpec| {
                if with_key { spec.idempotency_key(key.clone()) } else { spec.id(id) }
            };
            let spec = || with_key_or_id(repeat());
            while !over.load(Ordering::Acquire) {
                let refused = by.submit(spec(), async |_| Ok(())).err();
                let of = refused.as_ref().map(|refused| in_use(refused).expect("a repeat"));
                assert!(with_key || of.is_none_or(|of| of == id), "{refused:?}");
            }
        });
        let mut taken_over = Vec::new();
        while taken_over.is_empty() {
            let taken = within("it is decided", b.take_over(resume)).await.unwrap();
            let Some(taken) = taken else { continue };
            assert!(taken.recovered.refused.is_empty(), "{round}: {:?}", taken.recovered);
            taken_over = taken.recovered.resumed;
        }
        is_over.store(true, Ordering::Release);
        repeats.await.unwrap();
        assert_eq!((taken_over.len(), taken_over[0].id()), (1, id));
        let again = b.submit(RunSpec::agent("repeat").id(id), async |_| Ok(())).unwrap_err();
        assert_eq!(in_use(&again), Some(id));
        taken_over[0].cancel(stop());
        soon("it ends", || taken_over[0].status() == RunStatus::Cancelled).await;
    }
}

/// Submits a repeat of a run, of which the store says only after a second that it is one.
async fn repeat(node: &Shaky, engine: &Engine, id: RunId) -> RunRef {
    node.set(Fault::AppendLate(secs(1)));
    let repeat = engine.submit(RunSpec::agent("repeat").id(id), listener).unwrap().into_ref();
    // Its append is under way.
    tokio::time::sleep(ms(1)).await;
    repeat
}

#[tokio::test(start_paused = true)]
async fn i34_what_is_asked_while_a_repeat_waits_for_the_store_reaches_the_run_of_another_node() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let asks = paused(&a, clerk()).await;
    asks.stored().await.unwrap();
    let before = repeat(&node_b, &b, asks.id()).await;
    b.resume_anywhere(asks.id(), Some(1), "yes").await.unwrap();
    assert_eq!(within("it ends", asks.ended()).await.status, RunStatus::Completed);
    assert_eq!(before.accepted().await, Err(SubmitError::IdInUse(asks.id())));
    let run = started(&a, RunSpec::agent("far")).await;
    let before = repeat(&node_b, &b, run.id()).await;
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    assert_eq!(before.accepted().await, Err(SubmitError::IdInUse(run.id())));
    // One that the store takes is the one that is meant.
    let own = repeat(&node_b, &b, RunId::from_text("own")).await;
    let answer = b.cancel_anywhere(own.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(within("it ends", own.ended()).await.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_from_elsewhere_that_meets_a_repeat_is_that_of_the_run_that_is_taken_over() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b, node_c] = ["a", "b", "c"].map(|name| Shaky::join(&nodes, name));
    let (a, b, c) = (node_a.engine(), Arc::new(node_b.engine()), node_c.engine());
    let run = started(&a, RunSpec::agent("far")).await.id();
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    repeat(&node_b, &b, run).await;
    let by = Arc::clone(&b);
    let taking = tokio::spawn(async move { by.take_over(resume).await });
    // It has read what there is to decide, and waits for the store.
    tokio::time::sleep(ms(100)).await;
    let answer = c.cancel_anywhere(run, stop()).await.unwrap();
    let is_told = matches!(answer, Disposition::Recorded { .. } | Disposition::Accepted { .. });
    assert!(is_told, "{answer:?}");
    let taken = within("it is decided", taking).await.unwrap().unwrap().unwrap();
    assert!(taken.recovered.refused.is_empty(), "{:?}", taken.recovered);
    let ends = async {
        while nodes.read(run).await.unwrap().status != RunStatus::Cancelled {
            tokio::time::sleep(ms(100)).await;
        }
    };
    within("it is stopped", ends).await;
    let is_answered = async {
        while tokio::time::timeout(secs(9), node_b.inbox(Vec::new())).await.is_ok() {
            tokio::time::sleep(ms(100)).await;
        }
    };
    within("it is answered", is_answered).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_over_is_decided_although_one_below_another_root_has_its_id() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await.id();
    let above = started_as(&b, RunSpec::team("above"), async move |ctx| {
        let below = ctx.spawn(RunSpec::step("below").id(run), listener);
        below.await.map(drop).map_err(Into::into)
    });
    let above = above.await;
    soon("it is there", || b.get(run).is_some()).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = within("it is decided", b.take_over(fail)).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended_roots.failed, 1, "{:?}", taken.recovered);
    assert_eq!(nodes.read(run).await.unwrap().status, RunStatus::Failed);
    above.cancel(stop());
    within("it ends", above.ended()).await;
    assert_eq!(nodes.read(run).await.unwrap().status, RunStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn i30_what_has_ended_with_a_forgotten_node_is_told_in_its_own_log_and_not_to_a_repeat() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let b = node_b.engine();
    let (root, child) = tree(&node_a).await;
    lose(&node_a).await;
    b.take_over(fail).await.unwrap().unwrap();
    assert!(b.get(root).is_none(), "it has ended in the store");
    node_b.set(Fault::Slow);
    assert!(nodes.forget("a"));
    // It is being read what is to be told.
    tokio::time::sleep(ms(5)).await;
    let before = repeat(&node_b, &b, root).await;
    quiesces(&nodes, root).await;
    assert_eq!(before.accepted().await, Err(SubmitError::IdInUse(root)));
    let told = told(&nodes, root).await;
    assert_eq!((count(&told, root), count(&told, child)), (1, 1), "{told:?}");
}
