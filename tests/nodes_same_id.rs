//! Several engines on one store: what one of them has in memory under the id of a run that another
//! one has.

use std::sync::Arc;
use std::time::Duration;

use quell::store::RunRecord;
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    DetachError, Disposition, Engine, IdempotencyKey, Limits, OnBusy, Recovery, RunContext, RunId,
    RunRef, RunSpec, RunStatus, StoreRetention, SubmitError,
};
use tokio::sync::{Barrier, oneshot};

use crate::support::{
    Fault, Gate, Shaky, Witness, body_runtime, listener, ms, secs, soon, started, started_as, stop,
    within,
};

#[tokio::test]
async fn i14_a_stop_of_a_run_elsewhere_waits_for_no_repeat_that_cannot_be_dropped() {
    let nodes = Nodes::new(secs(600));
    let bodies = body_runtime(1);
    let a = Shaky::join(&nodes, "a").engine();
    let config = Shaky::join(&nodes, "b").config();
    let b = Engine::with_config(config.runtime(bodies.handle().clone()));
    let run = started(&a, RunSpec::agent("far")).await;
    let gate = Gate::new();
    let _open = gate.at_end();
    spins(&b, &gate).await;
    let repeat = b.submit(RunSpec::agent("repeat").id(run.id()), listener).unwrap();
    let answer = within("the stop is answered", b.cancel_anywhere(run.id(), stop())).await;
    assert!(matches!(answer, Ok(Disposition::Accepted { .. })), "{answer:?}");
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    gate.open();
    assert!(within("it is refused", repeat.run().accepted()).await.is_err());
    bodies.shutdown_background();
}

/// Has the one worker of an engine do nothing but spin until a gate is open.
async fn spins(engine: &Engine, gate: &Gate) {
    let witness = Witness::new();
    let (spins, seen) = (gate.clone(), witness.clone());
    let spinning = engine.submit(RunSpec::agent("spins"), async move |_| {
        let _inside = seen.enter();
        spins.spin();
        Ok(())
    });
    drop(spinning.unwrap());
    soon("the worker spins", || witness.inside() == 1).await;
}

#[tokio::test]
async fn i14_a_take_over_waits_for_no_repeat_that_cannot_be_dropped_and_finds_what_that_had_free() {
    let nodes = Nodes::new(secs(600));
    let bodies = body_runtime(1);
    let config = Shaky::join(&nodes, "a").config().running_max(1);
    let (a, node_b) = (Engine::with_config(config), Shaky::join(&nodes, "b"));
    let config = node_b.config().runtime(bodies.handle().clone());
    let b = Engine::with_config(config.limits(Limits::default().live_bytes_max(4 << 20)));
    started(&a, RunSpec::agent("busy")).await;
    let spec =
        || RunSpec::agent("far").lane("l", OnBusy::Enqueue).input("y".repeat(3 << 20).into());
    let key = || IdempotencyKey::new("k", ["payload"]);
    let far = a.submit_durably(spec().idempotency_key(key()), listener).await.unwrap().into_ref();
    within("it is given up", a.shutdown(secs(0))).await;
    let gate = Gate::new();
    let _open = gate.at_end();
    spins(&b, &gate).await;
    let append = Arc::new(Barrier::new(2));
    node_b.set(Fault::AppendMeets(Arc::clone(&append)));
    let repeat = b.submit(spec().idempotency_key(key()), listener).unwrap().into_ref();
    within("it is being stored", append.wait()).await;
    let goes_on = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    let refused = async {
        // The run is found, and the repeat in its way.
        tokio::time::sleep(ms(100)).await;
        append.wait().await;
    };
    let (taken, ()) =
        within("it is decided", async { tokio::join!(b.take_over(goes_on), refused) }).await;
    let taken = taken.unwrap().unwrap();
    let recovered = &taken.recovered;
    assert_eq!((recovered.resumed.len(), recovered.refused.len()), (1, 0), "{recovered:?}");
    let again = &recovered.resumed[0];
    assert_eq!((again.id(), repeat.status()), (far.id(), RunStatus::Queued));
    soon("it has the lane", || again.queue_position().is_none()).await;
    gate.open();
    soon("it goes on", || again.status() == RunStatus::Running).await;
    assert_eq!(repeat.accepted().await, Err(SubmitError::AlreadySubmitted(far.id())));
    again.cancel(stop());
    again.quiescent().await;
    bodies.shutdown_background();
}

/// Has an engine keep a run that has ended, and that another one has forgotten. Yields its id.
async fn forgotten(by: &Engine, keeps: &Engine) -> RunId {
    let before = keeps.submit(RunSpec::agent("before"), async |_| Ok(())).unwrap().into_ref();
    before.quiescent().await;
    before.stored().await.unwrap();
    by.forget_stored(before.id()).await.unwrap();
    assert!(keeps.get(before.id()).is_some(), "it is kept");
    tokio::time::sleep(secs(1)).await;
    before.id()
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_run_elsewhere_is_not_that_of_an_earlier_one_that_is_kept() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let id = forgotten(&a, &b).await;
    let answer = b.cancel_anywhere(id, stop()).await.unwrap();
    assert_eq!(answer, Disposition::Unknown, "it is forgotten, and there is no other one");
    let again = started(&a, RunSpec::agent("again").id(id)).await;
    let answer = b.cancel_anywhere(id, stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(within("it ends", again.ended()).await.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn t13_a_run_that_is_taken_over_is_decided_although_an_earlier_one_of_its_id_is_kept() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let ids = [forgotten(&a, &b).await, forgotten(&a, &b).await];
    for id in ids {
        started(&a, RunSpec::agent("again").id(id)).await;
    }
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let goes_on = |record: &RunRecord| {
        if record.run() == ids[0] {
            return Recovery::Fail;
        }
        Recovery::resume(RunSpec::agent("again"), listener)
    };
    let taken = within("they are decided", b.take_over(goes_on)).await.unwrap().unwrap();
    let recovered = &taken.recovered;
    assert_eq!((recovered.ended_roots.failed, recovered.resumed.len()), (1, 1), "{recovered:?}");
    assert_eq!(nodes.read(ids[0]).await.unwrap().status, RunStatus::Failed);
    assert_eq!(b.get(ids[1]).unwrap().attempt(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_another_node_may_have_in_memory_does_not_leave_the_store() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let run = b.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap().into_ref();
    run.quiescent().await;
    run.stored().await.unwrap();
    let none = StoreRetention::new().ttl(Duration::ZERO);
    assert_eq!(a.prune_stored(&none).await, Ok(0));
    let again = a.submit_durably(RunSpec::agent("again").id(run.id()), listener).await;
    assert_eq!(again.err(), Some(SubmitError::IdInUse(run.id())));
    // A third one knows that nobody keeps it.
    let limits = Limits::default().ended_trees_ttl(Duration::ZERO);
    let c = Shaky::join(&nodes, "c").config().control_on_runtime().limits(limits);
    assert_eq!(Engine::with_config(c).prune_stored(&none).await, Ok(1));
}

/// Has a root start a run that has an id of another one, which the store refuses. Yields the root.
async fn above_one_with(engine: &Engine, id: RunId) -> RunRef {
    let above = started_as(engine, RunSpec::team("above"), async move |ctx| {
        let below = ctx.spawn(RunSpec::step("below").id(id), listener);
        below.await.map(drop).map_err(Into::into)
    });
    let above = above.await;
    soon("it is there", || engine.get(id).is_some()).await;
    tokio::time::sleep(ms(100)).await;
    above
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_run_elsewhere_is_not_that_of_one_below_a_root_that_has_its_id() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    let id = run.id();
    let above = above_one_with(&b, id).await;
    let answer = b.cancel_anywhere(id, stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
    assert_eq!(above.status(), RunStatus::Running);
}

/// Has a run be taken over, and stopped. One below another root has had its id, is held, and is
/// kept in memory.
async fn stopped_behind(is_kept: bool) {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let id = started(&a, RunSpec::agent("far")).await.id();
    let above = above_one_with(&b, id).await;
    let below = b.get(id).unwrap();
    above.cancel(stop());
    above.quiescent().await;
    if !is_kept {
        above.forget().unwrap();
    }
    // Somebody has it still.
    assert_eq!((below.status(), below.is_forgotten()), (RunStatus::Cancelled, !is_kept));
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let goes_on = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    let taken = b.take_over(goes_on).await.unwrap().unwrap();
    let again = &taken.recovered.resumed[0];
    soon("it goes on", || again.status() == RunStatus::Running).await;
    let (answer, stored) = again.cancel_durably(stop()).await;
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(stored, Ok(()));
    again.quiescent().await;
    assert_eq!(again.stored().await, Ok(()));
    assert_eq!(nodes.read(id).await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_run_is_stored_although_one_that_had_its_id_is_held() {
    stopped_behind(false).await;
}

#[tokio::test(start_paused = true)]
async fn i34_a_run_that_is_taken_over_goes_on_although_one_that_has_its_id_has_ended_here() {
    stopped_behind(true).await;
}

#[tokio::test(start_paused = true)]
async fn t13_a_run_that_is_taken_over_goes_on_although_a_live_one_below_a_root_has_its_id() {
    let nodes = Nodes::new(secs(15));
    let [node_a, node_b] = ["a", "b"].map(|name| Shaky::join(&nodes, name));
    let (a, b) = (node_a.engine(), node_b.engine());
    let id = started(&a, RunSpec::agent("far")).await.id();
    let (tell, told) = oneshot::channel();
    let below = async move |ctx: RunContext| {
        _ = tell.send(ctx.clone());
        listener(ctx).await
    };
    let above = started_as(&b, RunSpec::team("above"), async move |ctx| {
        let below = ctx.spawn(RunSpec::step("below").id(id), below);
        below.await.map(drop).map_err(Into::into)
    });
    let (above, ctx) = (above.await, told.await.unwrap());
    let below = b.get(id).unwrap();
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let goes_on = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    let recovered = b.take_over(goes_on).await.unwrap().unwrap().recovered;
    assert_eq!((recovered.resumed.len(), recovered.refused.len()), (1, 0), "{recovered:?}");
    let again = &recovered.resumed[0];
    soon("it goes on", || again.status() == RunStatus::Running).await;
    again.stored().await.unwrap();
    assert_eq!((b.get(id).as_ref(), below.status()), (Some(again), RunStatus::Running));
    // What that one does is not of the run, nor what it starts.
    let further = ctx.spawn(RunSpec::step("further"), listener).into_ref();
    assert_eq!(below.detach(), Err(DetachError::IdTaken));
    above.cancel(stop());
    assert!(within("all of it ends", above.ended()).await.quiescent);
    above.stored().await.unwrap();
    assert_eq!([&below, &further].map(RunRef::status), [RunStatus::Cancelled; 2]);
    assert!(nodes.read(further.id()).await.is_none());
    assert_eq!(nodes.read(id).await.unwrap().status, RunStatus::Running);
    let (_, stored) = again.cancel_durably(stop()).await;
    assert_eq!(stored, Ok(()));
    again.quiescent().await;
    assert_eq!(again.stored().await, Ok(()));
    assert_eq!(nodes.read(id).await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn t14_who_forgets_an_earlier_run_leaves_the_one_that_another_node_has_with_its_id() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    let id = forgotten(&a, &b).await;
    let again = a.submit(RunSpec::agent("again").id(id), async |_| Ok(())).unwrap().into_ref();
    again.quiescent().await;
    again.stored().await.unwrap();
    let before = b.get(id).unwrap();
    before.forget().unwrap();
    assert_eq!(within("the store has answered", before.stored()).await, Ok(()));
    assert_eq!(&*nodes.read(id).await.unwrap().accepted.name, "again");
}

#[tokio::test(start_paused = true)]
async fn t14_who_forgets_an_earlier_run_is_told_that_it_is_gone_whoever_has_its_id_by_now() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Shaky::join(&nodes, "a").engine(), Shaky::join(&nodes, "b").engine());
    // The epochs of the one that joined first are below those of the other.
    for (by, keeps) in [(&a, &b), (&b, &a)] {
        let id = forgotten(by, keeps).await;
        let again = started(by, RunSpec::agent("again").id(id)).await;
        again.stored().await.unwrap();
        let before = keeps.get(id).unwrap();
        before.forget().unwrap();
        assert_eq!(within("the store has answered", before.stored()).await, Ok(()));
        assert_eq!(nodes.read(id).await.unwrap().status, RunStatus::Running);
        let (_, stored) = again.cancel_durably(stop()).await;
        assert_eq!(stored, Ok(()));
        again.quiescent().await;
    }
}
