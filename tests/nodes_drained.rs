//! Several engines on one store: an engine that ends gives up what waits, and others begin it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quell::store::RunRecord;
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    Disposition, Engine, EngineConfig, IdempotencyKey, OnBusy, Recovery, RunContext, RunRef,
    RunSpec, RunStatus, Shutdown, SubmitError, Work,
};

use crate::support::{
    Fault, Shaky, Witness, clerk, listener, ms, paused, secs, started, started_as, stop, within,
};

fn engine(nodes: &Nodes, name: &str) -> Engine {
    let config = EngineConfig::new().node(nodes.join(name)).running_max(1);
    Engine::with_config(config.control_on_runtime())
}

/// What is known of a run that is to be decided: whether it has never started, and whether its
/// former node may execute it.
type Known = Arc<Mutex<BTreeMap<String, (bool, bool)>>>;

/// Lets every run go on, and notes what is known of it.
fn resume(known: &Known, witness: &Witness) -> impl FnMut(&RunRecord) -> Recovery + Send + use<> {
    let (known, witness) = (Arc::clone(known), witness.clone());
    move |run| {
        let name = run.accepted.name.to_string();
        let in_doubt = run.holds.iter().any(|hold| hold.what == Work::Node);
        known.lock().unwrap().insert(name.clone(), (run.is_unstarted, in_doubt));
        let witness = witness.clone();
        Recovery::resume(RunSpec::agent(name), async move |_: RunContext| {
            drop(witness.enter());
            Ok(())
        })
    }
}

/// Takes over until there is nothing more.
async fn take_all(engine: &Engine, known: &Known, witness: &Witness) -> usize {
    let mut count = 0;
    while let Some(taken) = engine.take_over(resume(known, witness)).await.unwrap() {
        assert!(taken.recovered.refused.is_empty(), "{taken:?}");
        count += taken.recovered.resumed.len();
    }
    count
}

#[tokio::test(start_paused = true)]
async fn i19_what_waits_begins_on_another_node_as_its_first_attempt_while_the_first_one_drains() {
    let nodes = Nodes::new(secs(600));
    let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
    let deaf = async |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(secs(30)).await;
        Ok(())
    };
    let running = started_as(&a, RunSpec::agent("running"), deaf).await;
    let key = || IdempotencyKey::new("k", [b"same".as_slice()]);
    let spec = RunSpec::agent("waits").idempotency_key(key());
    let waits = a.submit_durably(spec, listener).await.unwrap().into_ref();
    let due = tokio::time::Instant::now().into_std() + secs(100);
    let later = a.submit_durably(RunSpec::agent("later").not_before(due), listener).await.unwrap();
    let down = tokio::spawn({
        let a = a.clone();
        async move { a.shutdown(Shutdown { grace: secs(60), ..Shutdown::default() }).await }
    });
    let told = within("it is let go", waits.ended()).await;
    assert_eq!((told.status, told.own_row().started_at), (RunStatus::Queued, None));
    let (known, witness) = (Known::default(), Witness::default());
    while take_all(&b, &known, &witness).await == 0 {
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(running.status(), RunStatus::Stopping, "the first one drains still");
    let unstarted = (true, false);
    let names = ["later", "waits"].map(|name| (name.to_owned(), unstarted));
    assert_eq!(*known.lock().unwrap(), BTreeMap::from(names));
    let taken = b.get(waits.id()).unwrap();
    let report = within("it ends", taken.ended()).await;
    assert_eq!((report.status, taken.attempt()), (RunStatus::Completed, 1));
    assert!(report.quiescent && report.abandoned.is_empty());
    let again = b.submit_durably(RunSpec::agent("waits").idempotency_key(key()), listener).await;
    assert_eq!(again.unwrap_err(), SubmitError::AlreadySubmitted(waits.id()));
    let begun = tokio::time::Instant::now();
    // Longer than a test waits where it looks for faults.
    let later = b.get(later.id()).unwrap();
    let report = tokio::time::timeout(secs(200), later.ended()).await.expect("it is due");
    assert_eq!(report.status, RunStatus::Completed);
    assert!(begun.elapsed() > secs(60), "not before it was due: {:?}", begun.elapsed());
    assert_eq!(witness.entered(), 2, "each has begun once");
    let report = within("down", down).await.unwrap();
    assert_eq!((report.roots.cancelled, report.roots.live), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn i36_what_waits_behind_a_run_of_its_lane_is_given_up_at_once_and_begins_behind_that() {
    let nodes = Nodes::new(secs(600));
    let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
    let lane = |name: &str| RunSpec::agent(name).lane("l", OnBusy::Enqueue);
    let slow = async |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(secs(30)).await;
        Ok(())
    };
    let first = started_as(&a, lane("first"), slow).await;
    let behind = a.submit_durably(lane("behind"), listener).await.unwrap().into_ref();
    let down = tokio::spawn({
        let a = a.clone();
        async move { a.shutdown(Shutdown { grace: secs(60), ..Shutdown::default() }).await }
    });
    within("it is let go", behind.ended()).await;
    let (known, witness) = (Known::default(), Witness::default());
    while take_all(&b, &known, &witness).await == 0 {
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(first.status(), RunStatus::Stopping, "the first one drains still");
    assert_eq!(*known.lock().unwrap(), BTreeMap::from([("behind".to_owned(), (true, false))]));
    while first.status() == RunStatus::Stopping {
        assert_eq!(witness.entered(), 0, "its lane is not free");
        tokio::time::sleep(secs(1)).await;
    }
    within("down", down).await.unwrap();
    within("it ends", b.get(behind.id()).unwrap().ended()).await;
    assert_eq!(witness.entered(), 1);
}

/// A node whose runs may not be given up, and one that takes them over.
async fn left_behind(nodes: &Nodes) -> (Arc<Shaky>, Engine, RunRef) {
    let node = Shaky::join(nodes, "a");
    let a = Engine::with_config(node.config().running_max(1).control_on_runtime());
    started(&a, RunSpec::agent("running")).await;
    let waits = a.submit_durably(RunSpec::agent("waits"), listener).await.unwrap().into_ref();
    node.set(Fault::ReleasesFail);
    (node, a, waits)
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_given_up_is_given_up_once_that_succeeds() {
    let nodes = Nodes::new(secs(600));
    let (node, a, waits) = left_behind(&nodes).await;
    let b = engine(&nodes, "b");
    let down = tokio::spawn(async move { a.shutdown(Shutdown::default()).await });
    // By then all that it ran has ended: it is about to leave.
    tokio::time::sleep(ms(700)).await;
    assert!(!down.is_finished(), "it tries again");
    node.set(Fault::None);
    within("down", down).await.unwrap();
    let (known, witness) = (Known::default(), Witness::default());
    let mut from = None;
    while let Some(taken) = b.take_over(resume(&known, &witness)).await.unwrap() {
        let is_it = taken.recovered.resumed.iter().any(|run| run.id() == waits.id());
        from = from.or(taken.from.filter(|_| is_it));
    }
    assert_eq!(from.as_deref(), Some("a (drained)"));
}

#[tokio::test(start_paused = true)]
async fn i4_what_could_not_be_given_up_at_all_is_not_doubted_of_a_node_that_was_drained() {
    let nodes = Nodes::new(secs(600));
    let (_node, a, waits) = left_behind(&nodes).await;
    let b = engine(&nodes, "b");
    within("down", a.shutdown(Shutdown::default())).await;
    let (known, witness) = (Known::default(), Witness::default());
    assert_eq!(take_all(&b, &known, &witness).await, 1);
    assert_eq!(known.lock().unwrap()["waits"], (true, false));
    let report = within("it ends", b.get(waits.id()).unwrap().ended()).await;
    assert!(report.quiescent && report.abandoned.is_empty(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_taken_over_and_not_decided_is_handed_on() {
    let nodes = Nodes::new(secs(600));
    let a = engine(&nodes, "a");
    let asking = paused(&a, clerk()).await;
    asking.stored().await.unwrap();
    started(&a, RunSpec::agent("running")).await;
    let waits = a.submit_durably(RunSpec::agent("waits"), listener).await.unwrap().into_ref();
    within("down", a.shutdown(Shutdown::default())).await;
    let node_b = Shaky::join(&nodes, "b");
    let (b, c) = (node_b.engine(), engine(&nodes, "c"));
    node_b.set(Fault::RecoverFails);
    b.take_over(|_| Recovery::Fail).await.map(drop).unwrap_err();
    within("down", b.shutdown(Shutdown::default())).await;
    let (known, witness) = (Known::default(), Witness::default());
    assert_eq!(take_all(&c, &known, &witness).await, 1);
    assert_eq!(known.lock().unwrap()["waits"], (true, false));
    assert_eq!(c.get(asking.id()).unwrap().status(), RunStatus::Paused);
    let taken = c.get(waits.id()).unwrap();
    let report = within("it ends", taken.ended()).await;
    assert_eq!((report.status, taken.attempt()), (RunStatus::Completed, 1));
    assert!(report.quiescent && report.abandoned.is_empty(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn i4_what_was_on_a_lost_node_is_not_called_unstarted_because_the_next_one_gives_it_up() {
    let nodes = Nodes::new(secs(60));
    let node = nodes.join("a");
    let config = EngineConfig::new().node(Arc::clone(&node)).running_max(1).control_on_runtime();
    let (a, b, c) = (Engine::with_config(config), engine(&nodes, "b"), engine(&nodes, "c"));
    started(&a, RunSpec::agent("running")).await;
    let waits = a.submit_durably(RunSpec::agent("waits"), listener).await.unwrap().into_ref();
    started(&b, RunSpec::agent("busy")).await;
    node.trouble(Trouble::All);
    within("its lease is over", a.lease_lost()).await;
    tokio::time::sleep(secs(60)).await;
    let (known, witness) = (Known::default(), Witness::default());
    assert_eq!(take_all(&b, &known, &witness).await, 2);
    assert_eq!(b.get(waits.id()).unwrap().status(), RunStatus::Queued, "it waits for a slot");
    within("down", b.shutdown(Shutdown::default())).await;
    known.lock().unwrap().clear();
    assert_eq!(take_all(&c, &known, &witness).await, 1);
    assert_eq!(*known.lock().unwrap(), BTreeMap::from([("waits".to_owned(), (false, true))]));
    let taken = c.get(waits.id()).unwrap();
    let report = within("it ends", taken.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Completed, false));
    assert!(taken.attempt() > 1, "it may have had a first one");
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_what_was_given_up_is_honoured_by_who_takes_it_over() {
    let nodes = Nodes::new(secs(600));
    let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
    started(&a, RunSpec::agent("running")).await;
    let waits = a.submit_durably(RunSpec::agent("waits"), listener).await.unwrap().into_ref();
    within("down", a.shutdown(Shutdown::default())).await;
    let answer = b.cancel_anywhere(waits.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    let (known, witness) = (Known::default(), Witness::default());
    assert_eq!(take_all(&b, &known, &witness).await, 0);
    let record = nodes.read(waits.id()).await.unwrap();
    assert_eq!((record.status, record.started_at), (RunStatus::Cancelled, None));
    assert!(record.quiescent && witness.entered() == 0, "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn i4_of_a_node_that_is_lost_nobody_knows_whether_what_was_queued_has_started() {
    let nodes = Nodes::new(secs(60));
    let node = nodes.join("a");
    let config = EngineConfig::new().node(Arc::clone(&node)).running_max(1).control_on_runtime();
    let (a, b) = (Engine::with_config(config), engine(&nodes, "b"));
    started(&a, RunSpec::agent("running")).await;
    let waits = a.submit_durably(RunSpec::agent("waits"), listener).await.unwrap().into_ref();
    node.trouble(Trouble::All);
    within("its lease is over", a.lease_lost()).await;
    tokio::time::sleep(secs(60)).await;
    let (known, witness) = (Known::default(), Witness::default());
    take_all(&b, &known, &witness).await;
    assert_eq!(known.lock().unwrap()["waits"], (false, true));
    within("it ends", b.get(waits.id()).unwrap().ended()).await;
}

#[tokio::test(start_paused = true)]
async fn i24_a_paused_run_is_given_up_at_once_and_stays_paused() {
    let nodes = Nodes::new(secs(600));
    let (a, b) = (engine(&nodes, "a"), engine(&nodes, "b"));
    let asking = paused(&a, clerk()).await;
    asking.stored().await.unwrap();
    within("down", a.shutdown(Shutdown::default())).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.from.as_deref(), Some("a (drained)"));
    assert_eq!(taken.recovered.paused.len(), 1);
    assert_eq!(b.get(asking.id()).unwrap().status(), RunStatus::Paused);
}
