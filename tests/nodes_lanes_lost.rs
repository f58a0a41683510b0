//! Lanes that several engines share, when one of these is lost, comes back, or ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::store::RunRecord;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{Engine, OnBusy, Payload, Recovery, RunId, RunRef, RunSpec, RunStatus, Shutdown, Work};
use tokio::sync::watch;

use crate::nodes_lanes::{asker, engine, running, settle, spec, submit, two};
use crate::support::{Fault, Shaky, Witness, listener, ms, secs, soon, stop, within};

/// Takes over what a node has whose lease is over by then.
async fn take(by: &Engine, decide: impl Fn(&RunRecord) -> Recovery + Send + Sync + Copy) {
    loop {
        tokio::time::sleep(secs(1)).await;
        let taken = by.take_over(decide).await.unwrap();
        if let Some(taken) = taken {
            assert!(taken.recovered.refused.is_empty(), "{taken:?}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_of_a_lost_node_is_kept_until_its_run_is_decided() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (nodes.join("a"), nodes.join("b"));
    let (a, b, c) = (engine(&node_a), engine(&node_b), engine(&nodes.join("c")));
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&c, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let second = second.into_ref();
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(14)).await;
    assert_eq!((second.status(), witness.inside()), (RunStatus::Queued, 0));
    take(&b, |_| Recovery::Fail).await;
    soon("it is its turn", || second.status() == RunStatus::Running).await;
    let lost = nodes.read(first.id()).await.unwrap().report.unwrap();
    assert!(!lost.quiescent && lost.abandoned.iter().any(|work| work.what == Work::Node));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_a_take_over_frees_is_passed_on_at_once() {
    for has_ended in [false, true] {
        let nodes = Nodes::new(secs(15));
        let node_a = nodes.join("a");
        let (a, b, c) = (engine(&node_a), engine(&nodes.join("b")), engine(&nodes.join("c")));
        let (witness, go) = (Witness::new(), watch::Sender::new(false));
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let first = a.submit_durably(spec("first", OnBusy::Enqueue), async move |ctx| {
            *keep.lock().unwrap() = Some(ctx.hold(Work::Blocking, "a closure")?);
            ctx.stopped().await;
            Ok(())
        });
        let first = first.await.unwrap().into_ref();
        soon("it holds", || kept.lock().unwrap().is_some()).await;
        if has_ended {
            first.cancel(stop());
            first.ended().await;
            first.stored().await.unwrap();
        }
        let second = submit(&c, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
        let second = second.into_ref();
        node_a.trouble(Trouble::All);
        tokio::time::sleep(ms(16_500)).await;
        assert_eq!(second.status(), RunStatus::Queued);
        let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
        assert_eq!(taken.recovered.ended_roots.failed > 0, !has_ended);
        // The clock of this test stands while anything is to be done.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(second.status(), RunStatus::Running, "had it ended: {has_ended}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_elsewhere_has_its_lane_before_those_that_wait_there() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let second = second.into_ref();
    node_a.trouble(Trouble::All);
    take(&b, |_| Recovery::resume(RunSpec::agent("first"), listener)).await;
    let first = b.get(first.id()).unwrap();
    soon("it goes on", || first.status() == RunStatus::Running).await;
    settle().await;
    assert_eq!((second.status(), witness.entered()), (RunStatus::Queued, 1));
    first.cancel(stop());
    soon("it is its turn", || second.status() == RunStatus::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_is_taken_over_has_its_lane_before_those_that_wait_there() {
    let nodes = Nodes::new(secs(15));
    let node_a = nodes.join("a");
    let (a, b) = (engine(&node_a), engine(&nodes.join("b")));
    let (witness, go) = (Witness::new(), watch::Sender::new(true));
    let first = asker(&a).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    node_a.trouble(Trouble::All);
    take(&b, |_| Recovery::resume(RunSpec::agent("asks"), async |_| Ok(()))).await;
    settle().await;
    assert_eq!(witness.entered(), 0);
    let first = b.get(first.id()).unwrap();
    first.resume(Payload::from("yes")).unwrap();
    assert_eq!(within("it goes on", first.ended()).await.status, RunStatus::Completed);
    within("it is its turn", second).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_has_its_lanes_and_what_waits_in_them() {
    let nodes = Nodes::new(secs(15));
    let (node_a, b) = (nodes.join("a"), engine(&nodes.join("b")));
    let a = engine(&node_a);
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&a, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let third = submit(&b, spec("third", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let (second, third) = (second.id(), third.into_ref());
    second_life(&nodes, &node_a, (&first, second)).await;
    soon("it is its turn", || third.status() == RunStatus::Running).await;
    assert_eq!(witness.most(), 1);
}

/// Ends a node as a crash does, and has both of its runs go on and end in its next life.
async fn second_life(nodes: &Nodes, former: &Arc<Node>, (first, second): (&RunRef, RunId)) {
    let again = engine(&nodes.join("a"));
    former.trouble(Trouble::All);
    within("the former one is stopped", first.quiescent()).await;
    let decide = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    assert_eq!(again.recover(decide).await.unwrap().resumed.len(), 2);
    for (nth, run) in [first.id(), second].into_iter().enumerate() {
        let run = again.get(run).unwrap();
        soon("it goes on", || run.status() == RunStatus::Running).await;
        if nth == 0 {
            settle().await;
            assert_eq!(again.get(second).unwrap().status(), RunStatus::Queued);
        }
        run.cancel(stop());
        within("it ends", run.quiescent()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_hands_its_place_in_a_lane_on() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&b, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&a, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let third = submit(&b, spec("third", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let (second, third) = (second.id(), third.into_ref());
    within("it ends", a.shutdown(Shutdown::default())).await;
    take(&b, |_| Recovery::resume(RunSpec::agent("second"), listener)).await;
    let second = b.get(second).unwrap();
    settle().await;
    assert_eq!((second.status(), third.status()), (RunStatus::Queued, RunStatus::Queued));
    first.cancel(stop());
    let either = || [&second, &third].map(|run| run.status() == RunStatus::Running);
    soon("one of them has its turn", || either().contains(&true)).await;
    settle().await;
    assert_eq!(either().iter().filter(|runs| **runs).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_whose_place_was_taken_does_not_begin_before_its_node_hears_of_that() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let (go, early, rest) = (watch::Sender::new(false), Witness::new(), Witness::new());
    let first = running(&a, spec("first", OnBusy::Enqueue), (&rest, &go)).await;
    let waits = submit(&b, spec("waits", OnBusy::Enqueue), (&early, &go)).await.unwrap();
    node_a.set(Fault::AsksHang);
    let taking = tokio::spawn({
        let (a, rest, go) = (a.clone(), rest.clone(), go.clone());
        async move { running(&a, spec("taking", OnBusy::CancelExisting), (&rest, &go)).await }
    });
    within("it is stopped", first.quiescent()).await;
    within("the lane is the new one's", async {
        while rest.entered() < 2 {
            tokio::time::sleep(ms(10)).await;
        }
    })
    .await;
    assert_eq!((early.entered(), waits.run().status()), (0, RunStatus::Queued));
    taking.abort();
    go.send_replace(true);
    within("it is over", a.shutdown(Duration::ZERO)).await;
    within("it is over", b.shutdown(Duration::ZERO)).await;
}
