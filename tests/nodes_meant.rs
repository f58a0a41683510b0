//! Several engines on one store: what is asked of a run that was read, and is forgotten since. A
//! later one that has its id, perhaps of somebody else, is left alone.

use std::sync::Arc;
use std::time::SystemTime;

use quell::cluster::{Cluster as _, RunMeant};
use quell::store::{Accepted, Epoch, Record, RunRecord, Store as _};
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    AskError, Counts, Disposition, Engine, EngineConfig, Failure, NewLimits, Recovery, RunContext,
    RunId, RunKind, RunRef, RunReport, RunSpec, RunStatus,
};

use crate::support::{Fault, Shaky, listener, ms, secs, stop, within};

/// Asks once.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?")).map(drop)
}

async fn asking(engine: &Engine, id: RunId) -> RunRef {
    let spec = RunSpec::agent("asks").id(id);
    let run = engine.submit_resumable_durably(spec, asks).await.unwrap().into_ref();
    within("it asks", run.paused()).await;
    run.stored().await.unwrap();
    run
}

/// Has a run be stopped and forgotten. What has its id afterwards comes later.
async fn forget(run: &RunRef) {
    run.cancel(stop());
    run.quiescent().await;
    run.stored().await.unwrap();
    run.forget().unwrap();
    run.stored().await.unwrap();
    tokio::time::sleep(ms(10)).await;
}

/// Fails unless a run asks still, for its first attempt, and nobody has stopped it.
async fn is_left_alone(run: &RunRef) {
    tokio::time::sleep(secs(1)).await;
    assert_eq!((run.status(), run.attempt()), (RunStatus::Paused, 1));
    assert!(run.stop_standing().is_none());
}

/// Asks for all that there is, of one run.
async fn ask_all(engine: &Engine, run: &RunRecord) {
    let (stopped, answered, paused, limited) = tokio::join!(
        engine.cancel_anywhere(run, stop().remember_for(secs(60)).rollback()),
        engine.resume_anywhere(run, Some(1), "yes"),
        engine.pause_anywhere(run, "wait"),
        engine.set_limits_anywhere(run, NewLimits::new().timeout(secs(0))),
    );
    assert!(matches!(stopped, Ok(Disposition::Unknown)) || was_taken_back(&stopped), "{stopped:?}");
    assert_eq!(answered, Err(AskError::Unknown));
    assert_eq!(paused, Err(AskError::Unknown));
    assert_eq!(limited, Err(AskError::Unknown));
}

/// What it was asked to take back is gone.
fn was_taken_back<E>(stopped: &Result<Disposition, E>) -> bool {
    matches!(stopped, Ok(Disposition::Accepted { .. }))
}

#[tokio::test(start_paused = true)]
async fn i4_what_is_asked_of_a_run_that_was_read_is_not_asked_of_a_later_one_of_its_id() {
    let nodes = Nodes::new(secs(600));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let id = RunId::from_text("r");
    for later_on in [&a, &b] {
        let run = asking(&a, id).await;
        let read = b.stored_run(id).await.unwrap().unwrap();
        forget(&run).await;
        let later = asking(later_on, id).await;
        for by in [&a, &b] {
            ask_all(by, &read).await;
        }
        is_left_alone(&later).await;
        // That one is meant.
        let record = b.stored_run(id).await.unwrap().unwrap();
        let stopped = b.cancel_anywhere(&record, stop()).await;
        assert!(matches!(stopped, Ok(Disposition::Accepted { .. })), "{stopped:?}");
        forget(&later).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i4_an_engine_that_is_alone_leaves_a_later_run_of_the_id_alone() {
    let engine = Engine::new();
    let run = engine.submit(RunSpec::agent("r"), listener).unwrap().into_ref();
    let (id, stop) = (run.id(), || stop().remember_for(secs(60)));
    let before = RunMeant::accepted_at(id, run.queued_at() - secs(1));
    assert_eq!(engine.cancel_anywhere(before, stop()).await, Ok(Disposition::Unknown));
    let limits = NewLimits::new().timeout(secs(0));
    assert_eq!(engine.set_limits_anywhere(before, limits).await, Err(AskError::Unknown));
    assert!(run.stop_standing().is_none());
    let it = RunMeant::accepted_at(id, run.queued_at());
    let stopped = engine.cancel_anywhere(it, stop()).await;
    assert!(matches!(stopped, Ok(Disposition::Accepted { .. })), "{stopped:?}");
    run.quiescent().await;
    run.forget().unwrap();
    // Nobody comes later who is meant.
    assert_eq!(engine.cancel_anywhere(it, stop()).await, Ok(Disposition::Unknown));
    assert_eq!(engine.cancel_anywhere(id, stop()).await, Ok(Disposition::Reserved));
}

#[tokio::test(start_paused = true)]
async fn i4_what_a_node_reads_late_of_a_run_that_is_forgotten_is_not_done_to_a_later_one() {
    let nodes = Nodes::new(secs(600));
    let (node_a, b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b").engine());
    node_a.set(Fault::InboxLate(ms(500)));
    let (a, id) = (node_a.engine(), RunId::from_text("r"));
    let run = asking(&a, id).await;
    let read = b.stored_run(id).await.unwrap().unwrap();
    let meanwhile = async {
        // All of it is asked for by then.
        tokio::time::sleep(ms(100)).await;
        forget(&run).await;
        asking(&a, id).await
    };
    let ((), later) =
        within("it is said", async { tokio::join!(ask_all(&b, &read), meanwhile) }).await;
    is_left_alone(&later).await;
}

/// Appends a run of which no engine knows.
async fn accept(node: &Node, id: RunId) -> Epoch {
    let (epoch, at) = (Epoch::new(node.boot(), 1), SystemTime::now());
    let accepted = Accepted::new(id, RunKind::Agent, "bare".into(), epoch, at);
    let started = Record::Started { run: id, epoch, at };
    node.append(vec![Record::Accepted(accepted.into()), started]).await.unwrap();
    epoch
}

/// Has a stop be recorded for a run of a node that has no engine yet, and a later run have its id.
async fn recorded_for_an_earlier_one(node: &Node, by: &Node, id: RunId) {
    let epoch = accept(node, id).await;
    let read = by.get(id).await.unwrap().unwrap();
    let stopped = by.ask((&read).into(), stop()).await;
    assert!(matches!(stopped, Ok(Disposition::Recorded { .. })), "{stopped:?}");
    end(node, &read, epoch).await;
    // The clock of the records is not that of the runtime.
    std::thread::sleep(ms(5));
    accept(node, id).await;
}

async fn end(node: &Node, read: &RunRecord, epoch: Epoch) {
    let mut row = read.row();
    (row.status, row.quiescent, row.ended_at) =
        (RunStatus::Completed, true, Some(SystemTime::now()));
    let report = RunReport::new(vec![row], Counts::default());
    let (run, at) = (read.run(), SystemTime::now());
    let ended = Record::Ended { run, epoch, report: report.into(), rollback: false };
    node.append(vec![ended]).await.unwrap();
    node.append(vec![Record::Forgotten { run, epoch, at }]).await.unwrap();
}

fn engine_of(node: &Arc<Node>) -> Engine {
    Engine::with_config(EngineConfig::new().node(Arc::clone(node)).control_on_runtime())
}

fn goes_on(_: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent("again"), listener)
}

#[tokio::test(start_paused = true)]
async fn i34_a_recorded_stop_of_a_run_that_is_forgotten_is_not_that_of_a_later_one() {
    let id = RunId::from_text("r");
    for is_taken_over in [false, true] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (nodes.join("a"), nodes.join("b"));
        recorded_for_an_earlier_one(&node_a, &node_b, id).await;
        assert_eq!(node_b.open_stops(None).await.unwrap().asked, [], "nobody waits for it");
        let (engine, recovered) = if is_taken_over {
            let engine = engine_of(&node_b);
            node_a.trouble(Trouble::All);
            tokio::time::sleep(secs(16)).await;
            let taken = engine.take_over(goes_on).await.unwrap().unwrap();
            (engine, taken.recovered)
        } else {
            // Its process begins again.
            let engine = engine_of(&nodes.join("a"));
            let recovered = engine.recover(goes_on).await.unwrap();
            (engine, recovered)
        };
        assert_eq!(recovered.resumed.len(), 1, "{recovered:?}");
        let run = engine.get(id).unwrap();
        tokio::time::sleep(secs(5)).await;
        assert_eq!((run.status(), run.stop_standing().is_none()), (RunStatus::Running, true));
    }
}
