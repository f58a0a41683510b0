//! Several engines on one store: an engine that ends, or is dropped, or whose cluster goes wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell::cluster::{
    ActAnswer, Answer, Asked, AskedStop, Cluster, Placed, RunMeant, StopToCome, TakenOver, TurnAsk,
};
use quell::store::{BoxFuture, StoreError};
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    CancelRequest, CauseKind, Disposition, Engine, EngineConfig, Payload, Recovery, RunContext,
    RunId, RunSpec, RunStatus,
};

use crate::support::{
    Fault, Gate, Shaky, clerk, ms, paused, secs, soon, started, started_as, stop, within,
};

#[tokio::test]
async fn a_name_that_panics_keeps_no_run_from_ending_with_its_lease() {
    let nodes = Nodes::new(ms(1_500));
    let node = Shaky::join(&nodes, "a");
    let engine = Engine::with_config(node.config().grace(ms(50)).abort_wait(ms(50)));
    let run = started(&engine, RunSpec::agent("far")).await;
    node.set(Fault::NamePanics);
    node.trouble(Trouble::All);
    let row = within("it comes", run.ended()).await.own_row().clone();
    assert_eq!(row.cause.unwrap().kind, CauseKind::LeaseLost);
    within("it is told", engine.lease_lost()).await;
    within("down", engine.shutdown(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_a_cluster_that_blocks_does_not_hold_up_a_shutdown() {
    let (nodes, gate) = (Nodes::new(secs(15)), Gate::new());
    let node = Shaky::join(&nodes, "a");
    let engine = Engine::with_config(node.config());
    let _at_end = gate.at_end();
    node.set(Fault::LeaveBlocks(gate.clone()));
    within("down", engine.shutdown(Duration::ZERO)).await;
    assert!(!gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_a_handle_holds_keeps_no_lease_of_an_engine_that_is_gone() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let asking = paused(&a, clerk()).await;
    asking.stored().await.unwrap();
    drop(a);
    tokio::time::sleep(secs(60)).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.from.as_deref(), Some("a (drained)"));
    let here = b.cancel_anywhere(asking.id(), stop()).await.unwrap();
    assert!(!matches!(here, Disposition::Unknown | Disposition::Recorded { .. }), "{here:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_decided_is_answered_before_it_leaves() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.set(Fault::AnswersLate(ms(300)));
    let ending = async {
        tokio::time::sleep(ms(100)).await;
        assert_eq!(run.status(), RunStatus::Cancelled);
        within("down", a.shutdown(Duration::ZERO)).await;
    };
    let (answer, ()) = tokio::join!(b.cancel_anywhere(run.id(), stop()), ending);
    assert!(matches!(answer, Ok(Disposition::Accepted { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_stop_and_not_for_what_the_run_stores_besides() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let go = Arc::new(tokio::sync::Notify::new());
    let gone = Arc::clone(&go);
    let run = started_as(&a, RunSpec::agent("far"), async move |ctx: RunContext| {
        _ = ctx.is_stopping();
        gone.notified().await;
        ctx.save("state".into()).await?;
        Ok(())
    });
    let run = run.await;
    node_a.set(Fault::StatesLate(secs(3)));
    go.notify_one();
    tokio::time::sleep(ms(10)).await;
    let answer = b.cancel_anywhere(run.id(), stop()).await;
    assert!(matches!(answer, Ok(Disposition::Accepted { .. })), "{answer:?}");
    let record = nodes.read(run.id()).await.unwrap();
    assert_eq!((record.status, record.stop.is_some()), (RunStatus::Stopping, true));
    within("it ends", run.ended()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_decided_and_could_not_answer_it_answers_again_before_it_leaves() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.set(Fault::AnswerFails);
    let ending = async {
        // The answer has failed, and is tried again 200 ms later.
        tokio::time::sleep(ms(100)).await;
        assert_eq!(run.status(), RunStatus::Cancelled);
        within("down", a.shutdown(Duration::ZERO)).await;
    };
    let (answer, ()) = tokio::join!(b.cancel_anywhere(run.id(), stop()), ending);
    assert!(matches!(answer, Ok(Disposition::Accepted { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_given_back_the_first_time_is_given_back_the_next_time() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    node_a.set(Fault::LeaveFails);
    within("down", a.shutdown(Duration::ZERO)).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().expect("its lease is over");
    assert_eq!(taken.from.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn i39_an_engine_that_has_lost_its_lease_leaves_nothing_behind() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let a = node_a.engine();
    let run = started(&a, RunSpec::agent("far")).await;
    let brief = a.submit_durably(RunSpec::agent("brief"), async |_| Ok(()));
    let brief = brief.await.unwrap().into_ref();
    assert_eq!(brief.ended().await.status, RunStatus::Completed);
    node_a.trouble(Trouble::All);
    a.lease_lost().await;
    run.quiescent().await;
    drop((run, brief, a));
    soon("nobody holds the node", || Arc::strong_count(&node_a) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn i26_a_cluster_that_always_panics_costs_the_lease_and_nothing_else() {
    let nodes = Nodes::new(secs(15));
    let node = nodes.join("a");
    let cluster = Arc::new(Panicking(Arc::clone(&node)));
    let config = EngineConfig::new().store(Arc::clone(&node) as _).cluster(cluster as _);
    let a = Engine::with_config(config.control_on_runtime());
    let run = started(&a, RunSpec::agent("far")).await;
    let began = tokio::time::Instant::now();
    within("it is told", a.lease_lost()).await;
    within("it comes", run.quiescent()).await;
    assert!(began.elapsed() < secs(15), "{:?}", began.elapsed());
    assert_eq!(run.row().cause.unwrap().kind, CauseKind::LeaseLost);
    within("down", a.shutdown(Duration::ZERO)).await;
}

/// A cluster whose calls panic, when they are made or when they are polled.
#[derive(Debug)]
struct Panicking(Arc<Node>);

impl Cluster for Panicking {
    fn name(&self) -> &'static str {
        "a"
    }

    fn lease(&self) -> Duration {
        self.0.lease()
    }

    fn joined_at(&self) -> Instant {
        self.0.joined_at()
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        panic!("a renewal")
    }

    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>> {
        panic!("a take-over")
    }

    fn ask(&self, _: RunMeant, _: CancelRequest) -> BoxFuture<'_, Result<Disposition, StoreError>> {
        panic!("a stop of another node's run")
    }

    fn remember(&self, _: StopToCome) -> BoxFuture<'_, Result<bool, StoreError>> {
        panic!("a stop for a run to come")
    }

    fn take_remembered(&self) -> Vec<AskedStop> {
        panic!("stops for runs that have come")
    }

    fn take_placed(&self) -> Vec<Placed> {
        panic!("what was decided of lanes")
    }

    fn turns(&self, _: Vec<TurnAsk>) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        panic!("whose turn it is")
    }

    fn turn_heard(&self) -> BoxFuture<'_, Vec<Arc<str>>> {
        panic!("a word of a turn")
    }

    fn act(&self, _: RunMeant, _: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>> {
        panic!("an act on another node's run")
    }

    fn inbox(&self, _: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>> {
        Box::pin(async { panic!("an inbox") })
    }

    fn take(&self, _: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        panic!("an act that is taken")
    }

    fn answer(&self, _: u64, _: Answer) -> BoxFuture<'_, Result<(), StoreError>> {
        panic!("an answer")
    }

    fn leave(&self, _: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        panic!("a leave")
    }
}
