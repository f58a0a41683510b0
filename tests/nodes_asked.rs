//! Several engines on one store: what one of them is asked about runs that another one has.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::store::{RunRecord, StoreError};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, ForgetError, Recovery, RunContext, RunSpec, RunStatus,
    StoreRetention, Work,
};

use crate::support::{
    Fault, Shaky, clerk, listener, ms, paused, secs, slow, soon, started, started_as, within,
};

fn stop() -> CancelRequest {
    CancelRequest::because("enough").by("ada")
}

fn resume(_: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent("again"), listener)
}

/// Fails unless a run has ended in the store by the stop of [`stop`].
async fn assert_stopped(nodes: &Nodes, run: quell::RunId) {
    let record = nodes.read(run).await.unwrap();
    assert_eq!(record.status, RunStatus::Cancelled);
    let cause = record.report.unwrap().cause.clone().unwrap();
    assert_eq!(cause.by.as_deref(), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn i34_a_recorded_stop_ends_its_run_when_the_owner_begins_again() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    // The process of `a` begins again; its engine is not made yet.
    let again = Shaky::join(&nodes, "a");
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    let again = again.engine();
    // It reads that stop before it knows the run.
    tokio::time::sleep(ms(500)).await;
    let recovered = again.recover(resume).await.unwrap();
    assert_eq!((recovered.resumed.len(), recovered.ended.cancelled), (0, 1));
    assert_stopped(&nodes, run.id()).await;
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_run_that_its_owner_has_yet_to_recover_is_recorded() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    let again = Shaky::join(&nodes, "a").engine();
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    assert_eq!(again.recover(resume).await.unwrap().ended.cancelled, 1);
    assert_stopped(&nodes, run.id()).await;
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_paused_run_whose_owner_shuts_down_is_recorded() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let asking = paused(&a, clerk()).await;
    asking.stored().await.unwrap();
    let busy = started_as(&a, RunSpec::agent("slow"), slow).await;
    let down = tokio::spawn(async move { a.shutdown(secs(5)).await });
    soon("it stops", || busy.status() == RunStatus::Stopping).await;
    let answer = b.cancel_anywhere(asking.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    within("down", down).await.unwrap();
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!((taken.recovered.paused.len(), taken.recovered.ended.cancelled), (0, 1));
    assert_stopped(&nodes, asking.id()).await;
}

#[tokio::test(start_paused = true)]
async fn t14_what_still_executes_on_another_node_is_neither_pruned_nor_forgotten() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let run = started_as(&a, RunSpec::agent("holds"), async move |ctx: RunContext| {
        *keep.lock().unwrap() = Some(ctx.hold(Work::Blocking, "a closure")?);
        ctx.stopped().await;
        Ok(())
    });
    let run = run.await;
    soon("it holds", || kept.lock().unwrap().is_some()).await;
    run.cancel(stop());
    run.ended().await;
    run.stored().await.unwrap();
    let record = nodes.read(run.id()).await.unwrap();
    assert_eq!((record.status, record.quiescent), (RunStatus::Cancelled, false));
    assert_eq!(a.forget(run.id()), Err(ForgetError::NotQuiescent));
    let none = StoreRetention::new().ttl(Duration::ZERO);
    assert_eq!(b.prune_stored(&none).await, Ok(0));
    assert_eq!(b.forget_stored(run.id()).await, Err(StoreError::Live { run: run.id() }));
    assert!(nodes.read(run.id()).await.is_some());
    kept.lock().unwrap().take();
    run.quiescent().await;
    run.stored().await.unwrap();
    assert!(nodes.read(run.id()).await.unwrap().quiescent);
    assert_eq!(b.forget_stored(run.id()).await, Ok(()), "who executes it is known to be done");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_hangs_keeps_no_lease_of_an_engine_that_is_gone() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.set(Fault::AnswersHang);
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    assert_eq!(within("it comes", run.ended()).await.status, RunStatus::Cancelled);
    run.stored().await.unwrap();
    drop((run, a));
    tokio::time::sleep(secs(60)).await;
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.from.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn stops_of_a_run_that_its_owner_has_yet_to_recover_hold_up_no_other_one() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let before = started(&a, RunSpec::agent("before")).await;
    node_a.trouble(Trouble::All);
    let again = Shaky::join(&nodes, "a").engine();
    let asks =
        (0..2 * quell::limits::ASKED_STOPS_MAX).map(|_| b.cancel_anywhere(before.id(), stop()));
    for answer in futures::future::join_all(asks).await {
        assert!(matches!(answer, Ok(Disposition::Recorded { .. })), "{answer:?}");
    }
    for _ in 0..5 {
        let run = started(&again, RunSpec::agent("later")).await;
        let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    }
    assert_eq!(again.recover(resume).await.unwrap().ended.cancelled, 1);
    assert_stopped(&nodes, before.id()).await;
}
