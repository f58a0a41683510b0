//! Answers that end because their node does: their clients have not left.

use futures::StreamExt;
use quell::store::{RunRecord, Store};
use quell::{CauseKind, OnBusy, Recovery, RunContext, RunSpec, RunStatus, Shutdown};
use quell_http::OnDisconnect;
use quell_test_support::{ms, secs, soon, within};

use crate::nodes::two;

#[tokio::test(start_paused = true)]
async fn a_run_that_is_left_to_another_node_is_not_stopped_because_its_stream_ends() {
    let (_nodes, a, b) = two();
    let (engine, view) = (a.service.engine().clone(), a.view());
    let in_lane = |name: &str| RunSpec::agent(name.to_owned()).lane("one", OnBusy::Enqueue);
    let until_stopped = async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    };
    let _first = engine.submit_durably(in_lane("first"), until_stopped).await.unwrap();
    // The node is there still when it has given the other one up.
    let slow = async |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(ms(900)).await;
        Ok(())
    };
    let _slow = engine.submit_durably(RunSpec::agent("slow"), slow).await.unwrap();
    let idle = async |_ctx: RunContext| Ok(());
    let run = engine.submit_durably(in_lane("next"), idle).await.unwrap().into_ref();
    let found = view.find_by_id(run.id()).await.unwrap().unwrap();
    let guard = a.service.guard(&found, OnDisconnect::Cancel);
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    within("it is queued", stream.next()).await.unwrap();
    a.service.drain();
    let ends = tokio::spawn(async move { engine.shutdown(Shutdown::default()).await });
    while within("it ends", stream.next()).await.is_some() {}
    soon("it is given up", || a.service.engine().get(run.id()).is_none()).await;
    drop((stream, guard));
    tokio::time::sleep(ms(100)).await;
    assert!(!ends.is_finished());
    within("the node ends", ends).await.unwrap();
    let decide = |record: &RunRecord| {
        let spec = RunSpec::agent(record.accepted.name.to_string());
        Recovery::resume(spec, async |_ctx: RunContext| Ok(()))
    };
    while b.service.engine().take_over(decide).await.unwrap().is_some() {}
    tokio::time::sleep(ms(500)).await;
    let record = b.node.get(run.id()).await.unwrap().unwrap();
    assert!(record.status == RunStatus::Completed && record.stop.is_none(), "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_another_node_is_not_stopped_by_an_answer_that_ends_behind_its_node() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let found = b.found("r").await;
    let guard = b.service.guard(&found, OnDisconnect::Cancel);
    b.service.drain();
    b.service.engine().shutdown(Shutdown::default()).await;
    drop(guard);
    tokio::time::sleep(ms(500)).await;
    assert_eq!((run.status(), run.report().own_row().cause.clone()), (RunStatus::Running, None));
}

#[tokio::test(start_paused = true)]
async fn i31_what_clients_follow_through_a_node_that_ends_is_stopped_if_they_have_no_way_back() {
    let (_nodes, a, b) = two();
    let (run, kept) = (a.working("sleeper", "r").await, a.working("sleeper", "kept").await);
    let guard = b.service.guard(&b.found("r").await, OnDisconnect::Cancel).for_good();
    let others = [OnDisconnect::Continue, OnDisconnect::Cancel];
    let kept_by = b.found("kept").await;
    let others = others.map(|policy| b.service.guard(&kept_by, policy));
    b.service.drain();
    let stops = b.service.stop_followed(secs(900));
    let tells = async {
        run.ended().await;
        drop(guard);
    };
    within("its client is told", async { tokio::join!(stops, tells) }).await;
    let cause = run.report().own_row().cause.clone().unwrap();
    assert_eq!((run.status(), &cause.kind), (RunStatus::Cancelled, &CauseKind::Disconnected));
    b.service.engine().shutdown(Shutdown::default()).await;
    // They are cut, and come back through another node.
    drop(others);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(kept.status(), RunStatus::Running);
}
