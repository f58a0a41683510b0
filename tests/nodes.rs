//! Several engines on one store: stops of runs that another node has, leases, and take-overs.
//! What really runs is told by witnesses in the bodies.

use std::sync::Arc;
use std::time::Duration;

use quell::cluster::Cluster as _;
use quell::store::{RunRecord, StoreError};
use quell::testing;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    CancelRequest, CauseKind, Disposition, Engine, EngineConfig, Recovery, RunContext, RunRef,
    RunRow, RunSpec, RunStatus, SubmitError, Work,
};
use tokio::sync::mpsc;

use crate::support::{Witness, ignorant, listener, secs, soon, within};

/// An engine as a node, on a clock that the test may pause.
fn engine(node: &Arc<Node>) -> Engine {
    let config = EngineConfig::new().node(Arc::clone(node));
    Engine::with_config(config.control_on_runtime())
}

async fn live(engine: &Engine, name: &str) -> RunRef {
    let run = engine.submit_durably(RunSpec::agent(name), listener).await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}

fn stop() -> CancelRequest {
    CancelRequest::because("enough").by("ada")
}

fn never(_: &RunRecord) -> Recovery {
    panic!("nothing is decided here")
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_a_run_on_another_node_is_decided_by_its_owner() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (engine(&nodes.join("a")), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    assert!(b.get(run.id()).is_none());
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    let again = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    let row = run.ended().await.own_row().clone();
    assert_eq!(row.status, RunStatus::Cancelled);
    assert_eq!(row.cause.unwrap().by.as_deref(), Some("ada"));
    let is_told = matches!(
        again,
        Disposition::AlreadyStopping { .. }
            | Disposition::AlreadyTerminal { status: RunStatus::Cancelled }
    );
    assert!(is_told, "{again:?}");
    run.stored().await.unwrap();
    let over = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert_eq!(over, Disposition::AlreadyTerminal { status: RunStatus::Cancelled });
    let unknown = b.cancel_anywhere(quell::RunId::from_text("nobody's"), stop()).await;
    assert_eq!(unknown, Ok(Disposition::Unknown));
}

#[tokio::test(start_paused = true)]
async fn i34_an_answer_of_the_owner_is_given_when_the_stop_is_stored() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (engine(&nodes.join("a")), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    let record = nodes.read(run.id()).await.unwrap();
    assert_eq!(record.stop.unwrap().cause.by.as_deref(), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_silent_has_the_stop_recorded_and_it_is_honoured_later() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    // For less than its lease is good.
    node_a.trouble(Trouble::All);
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    let Disposition::Recorded { owner, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((&*owner, run.status()), ("a", RunStatus::Running));
    node_a.trouble(Trouble::None);
    assert_eq!(within("it comes", run.ended()).await.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_renew_stops_all_of_its_runs_before_others_may_have_them() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let (run, witness) = (live(&a, "listens").await, Witness::default());
    let inside = witness.clone();
    let deaf = a.submit_durably(RunSpec::agent("deaf"), async move |_| {
        let _inside = inside.enter();
        std::future::pending::<()>().await;
        Ok(())
    });
    let deaf = deaf.await.unwrap().into_ref();
    soon("it runs", || witness.inside() == 1).await;
    deaf.stored().await.unwrap();
    let began = tokio::time::Instant::now();
    // It reaches the store all the same: what it may not write is not refused there.
    node_a.trouble(Trouble::Renewals);
    tokio::join!(a.lease_lost(), run.quiescent(), deaf.quiescent());
    assert!(began.elapsed() < secs(15), "{:?}", began.elapsed());
    assert_eq!(witness.inside(), 0, "nothing of it executes when others may have it");
    for run in [&run, &deaf] {
        let cause = run.row().cause.unwrap();
        assert_eq!(cause.kind, CauseKind::LeaseLost);
        assert_eq!(&**cause.message.as_ref().unwrap(), "node `a` has lost its lease");
    }
    // Nothing of that is in the store.
    for run in [&run, &deaf] {
        let record = nodes.read(run.id()).await.unwrap();
        assert_eq!((record.status, record.stop), (RunStatus::Running, None));
    }
    let refused = a.submit(RunSpec::agent("late"), listener).unwrap_err();
    let lost = StoreError::LeaseLost { node: "a".into() };
    assert_eq!(refused, SubmitError::NotStored(lost));
    // And the next owner decides.
    tokio::time::sleep_until(began + secs(15)).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!((taken.from.as_deref(), taken.recovered.ended.failed), (Some("a"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_when_it_was_sent() {
    let node = Nodes::new(secs(15)).join("a");
    let (engine, began) = (engine(&node), tokio::time::Instant::now());
    node.trouble(Trouble::Late);
    tokio::time::sleep(secs(4)).await;
    // The first one was sent at 3 s, and is answered at 5 s.
    node.trouble(Trouble::Renewals);
    engine.lease_lost().await;
    assert_eq!(began.elapsed().as_secs(), 11, "8 s after it");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_five_times_while_it_lasts_however_long_the_answers_take() {
    for trouble in [Trouble::None, Trouble::Late] {
        let node = Nodes::new(secs(15)).join("a");
        let _engine = engine(&node);
        node.trouble(trouble);
        tokio::time::sleep(secs(151)).await;
        let renewals = node.renewals();
        assert!((49..=51).contains(&renewals), "{renewals} in ten leases, {trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_run_whose_lease_is_lost_are_numbered_by_its_next_owner() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let run = a.submit_durably(RunSpec::agent("above"), async |ctx| {
        ctx.spawn(RunSpec::step("below"), listener).await.map_err(Into::into)
    });
    let run = run.await.unwrap().into_ref();
    let mut events = run.events();
    soon("it runs", || last(&run).is_some_and(|row| row.status == RunStatus::Running)).await;
    testing::hurry_store(&a);
    let all = async || b.stored_events(run.id(), 0, 100).await.unwrap();
    while all().await.len() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node_a.trouble(Trouble::All);
    a.lease_lost().await;
    run.quiescent().await;
    let mut told = Vec::new();
    while let Some(event) = within("the stream ends", events.next()).await {
        told.push(event);
    }
    assert_eq!(told.len(), 4, "nothing of the loss: {told:?}");
    tokio::time::sleep(secs(15)).await;
    b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    let stored: Vec<_> = all().await.into_iter().map(Result::unwrap).collect();
    for event in &told {
        let same = stored.iter().find(|stored| stored.seq == event.seq);
        assert_eq!(same.map(|stored| &stored.kind), Some(&event.kind), "{}", event.seq);
    }
}

fn last(run: &RunRef) -> Option<RunRow> {
    run.report().rows.last().filter(|row| row.run != run.id()).cloned()
}

#[tokio::test(start_paused = true)]
async fn i35_a_node_that_was_taken_over_from_writes_nothing_any_more() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    // Its lease is not renewed: no engine of it runs. What it had begun, it may still write.
    let b = engine(&nodes.join("b"));
    let (run, epoch, at) =
        (quell::RunId::from_text("r"), boot(&node_a), std::time::SystemTime::now());
    let accepted = quell::store::Accepted::new(run, quell::RunKind::Agent, "r".into(), epoch, at);
    append(&node_a, quell::store::Record::Accepted(accepted.into())).await.unwrap();
    tokio::time::sleep(secs(16)).await;
    assert_eq!(b.take_over(|_| Recovery::Fail).await.unwrap().unwrap().recovered.ended.failed, 1);
    let late = append(&node_a, quell::store::Record::Started { run, epoch, at }).await;
    let lost = StoreError::LeaseLost { node: "a".into() };
    assert_eq!(late, Err(lost.clone()));
    assert_eq!(node_a.renew().await, Err(lost.clone()));
    assert_eq!(node_a.take_over().await, Err(lost));
}

fn boot(node: &Arc<Node>) -> quell::store::Epoch {
    quell::store::Epoch::new(quell::store::Store::boot(&**node), 1)
}

async fn append(node: &Arc<Node>, record: quell::store::Record) -> Result<(), StoreError> {
    quell::store::Store::append(&**node, vec![record]).await
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_that_a_lost_node_never_answered_ends_its_run_with_that_cause() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    node_a.trouble(Trouble::All);
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    tokio::time::sleep(secs(16)).await;
    let taken = b.take_over(never).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended.cancelled, 1);
    let report = nodes.read(run.id()).await.unwrap().report.unwrap();
    assert_eq!(report.cause.as_ref().unwrap().by.as_deref(), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn i36_what_was_rolled_back_stays_if_a_lost_node_may_execute_it() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let (live, (hand_out, mut begins)) = (live(&a, "live").await, mpsc::unbounded_channel());
    let ended = a.submit_durably(RunSpec::agent("ended"), async move |ctx: RunContext| {
        let _ = hand_out.send(ctx.hold(Work::Blocking, "thread")?);
        listener(ctx).await
    });
    let (ended, _work) = (ended.await.unwrap().into_ref(), begins.recv().await.unwrap());
    ended.cancel_durably(stop().rollback()).await.1.unwrap();
    assert!(!ended.ended().await.quiescent);
    ended.stored().await.unwrap();
    node_a.trouble(Trouble::All);
    let answer = b.cancel_anywhere(live.id(), stop().rollback()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    tokio::time::sleep(secs(16)).await;
    assert_eq!(b.take_over(never).await.unwrap().unwrap().recovered.ended.total(), 1);
    let stays = async |run: &RunRef| {
        let left = nodes.read(run.id()).await.unwrap();
        assert!(left.is_rolled_back() && !left.quiescent, "{left:?}");
        assert_eq!(left.status, RunStatus::Cancelled);
    };
    stays(&live).await;
    stays(&ended).await;
    // The next process of that node knows by its report that it does.
    let next = engine(&nodes.join("b"));
    assert_eq!(next.recover(never).await.unwrap().ended.total(), 0);
    stays(&live).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_node_may_still_execute_is_not_called_quiescent() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended.failed, 1);
    let record = nodes.read(run.id()).await.unwrap();
    assert_eq!((record.status, record.quiescent), (RunStatus::Failed, false));
    let row = record.report.unwrap().own_row().clone();
    let named: Vec<_> = row.abandoned.iter().map(|it| (it.what, &*it.name)).collect();
    assert_eq!(named, [(Work::Node, "a")]);
    assert!(b.take_over(never).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_elsewhere_names_the_node_that_may_still_execute_it() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let run = live(&a, "far").await;
    let before = live(&b, "b's own").await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let body = async |_| Ok(());
    let taken = b.take_over(|_| Recovery::resume(RunSpec::agent("far"), body)).await;
    let taken = taken.unwrap().unwrap();
    assert_eq!(taken.recovered.resumed.len(), 1, "not what this node runs itself");
    let next = b.get(run.id()).unwrap();
    let row = within("it comes", next.ended()).await.own_row().clone();
    assert_eq!((row.status, row.quiescent), (RunStatus::Completed, false));
    assert_eq!(row.abandoned[0].what, Work::Node);
    next.stored().await.unwrap();
    // What this node ran before is written with its new boot, and nothing of that is refused.
    assert!(matches!(b.cancel(before.id(), stop()), Disposition::Accepted { .. }));
    within("it comes", before.quiescent()).await;
    before.stored().await.unwrap();
    assert_eq!(nodes.read(before.id()).await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_shuts_down_gives_its_lease_back_at_once() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (engine(&nodes.join("a")), engine(&nodes.join("b")));
    assert!(b.take_over(never).await.unwrap().is_none());
    within("it comes", a.shutdown(Duration::ZERO)).await;
    let taken = b.take_over(never).await.unwrap().unwrap();
    assert_eq!(taken.from.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_give_its_lease_back_shuts_down_all_the_same() {
    let nodes = Nodes::new(secs(15));
    let node = nodes.join("a");
    let a = engine(&node);
    node.trouble(Trouble::All);
    within("it comes", a.shutdown(Duration::ZERO)).await;
}

#[tokio::test(start_paused = true)]
async fn who_joins_under_the_name_of_a_node_has_what_that_one_had() {
    let nodes = Nodes::new(secs(15));
    let a = engine(&nodes.join("a"));
    let run = live(&a, "far").await;
    let again = engine(&nodes.join("a"));
    assert_eq!(again.recover(|_| Recovery::Fail).await.unwrap().ended.failed, 1);
    within("it comes", a.lease_lost()).await;
    within("it comes", run.quiescent()).await;
    assert_eq!(run.row().cause.unwrap().kind, CauseKind::LeaseLost);
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Failed);
}

#[tokio::test]
async fn a_lease_that_leaves_no_time_to_stop_is_refused() {
    let node = Nodes::new(secs(7)).join("a");
    let words = refusal(EngineConfig::new().node(node)).await;
    assert!(words.contains("a lease of 7s is too short for a grace and an abort wait of 6s"));
}

/// Yields what a panic says when an engine is made.
async fn refusal(config: EngineConfig) -> String {
    let made = tokio::spawn(async move { drop(Engine::with_config(config)) });
    let panic = made.await.unwrap_err().into_panic();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[tokio::test]
async fn i35_an_engine_whose_store_and_cluster_are_not_of_one_node_is_refused() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (nodes.join("a"), nodes.join("b"));
    let alone = Arc::new(quell::store::MemoryStore::new());
    let (none, new) = ("no node", EngineConfig::new);
    let of = |node: &Arc<Node>| Arc::clone(node);
    for (config, store, cluster) in [
        (new().store(of(&a)), "`a`", none),
        (new().cluster(of(&a)), none, "`a`"),
        (new().store(of(&a)).cluster(of(&b)), "`a`", "`b`"),
        (new().store(alone).cluster(of(&b)), none, "`b`"),
        (new().node(of(&a)).store(b), "`b`", "`a`"),
    ] {
        let words = refusal(config).await;
        let both =
            format!("the store of the engine is that of {store}, its cluster that of {cluster}:");
        assert!(words.contains(&both) && words.contains("EngineConfig::node"), "{words}");
    }
    drop(Engine::with_config(new().store(of(&a)).cluster(a)));
}

#[tokio::test]
async fn a_body_that_ignores_the_lost_lease_is_dropped_or_named() {
    let nodes = Nodes::new(Duration::from_millis(1_900));
    let node = nodes.join("a");
    let config = EngineConfig::new().node(Arc::clone(&node));
    let times = (Duration::from_millis(50), Duration::from_millis(50));
    let engine = Engine::with_config(config.grace(times.0).abort_wait(times.1));
    let run = engine.submit_durably(RunSpec::agent("deaf"), ignorant).await.unwrap().into_ref();
    node.trouble(Trouble::All);
    let row = within("it comes", run.ended()).await.own_row().clone();
    assert_eq!(row.cause.unwrap().kind, CauseKind::LeaseLost);
}
