//! Several engines on one store: an engine that loses its lease, and what was under way then.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::store::{BoxFuture, RunRecord, StoreError};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    Disposition, Engine, EventKind, Failure, Recovery, RunContext, RunId, RunRef, RunSpec,
    RunStatus, SaveError, Shutdown, SubmitError, Work,
};

use crate::support::{
    Fault, Shaky, Witness, listener, ms, paused, secs, soon, started, started_as, stop, within,
};

fn resume(_: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent("again"), listener)
}

fn lost() -> StoreError {
    StoreError::LeaseLost { node: "a".into() }
}

/// Has a witness inside, asks about stops, and then ignores the answer for ever.
fn deaf(
    witness: &Witness,
) -> impl FnOnce(RunContext) -> BoxFuture<'static, Result<(), Failure>> + Send + use<> {
    let witness = witness.clone();
    move |ctx| {
        Box::pin(async move {
            let _inside = witness.enter();
            let _ = ctx.is_stopping();
            pending().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_after_the_lease_was_lost_is_not_called_stored() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let saved = Arc::new(Mutex::new(None));
    let save = Arc::clone(&saved);
    let run = started_as(&a, RunSpec::agent("far"), async move |ctx: RunContext| {
        ctx.stopped().await;
        let done = ctx.save("late".into()).await;
        *save.lock().unwrap() = Some(done);
        tokio::time::sleep(secs(3)).await;
        Ok(())
    });
    let run = run.await;
    node_a.trouble(Trouble::All);
    a.lease_lost().await;
    let (_, stored) = run.cancel_durably(stop()).await;
    assert_eq!(stored, Err(lost()), "the run goes on elsewhere");
    run.quiescent().await;
    assert_eq!(*saved.lock().unwrap(), Some(Err(SaveError::Store(lost()))));
    assert_eq!(run.stored().await, Err(lost()));
    tokio::time::sleep(secs(16)).await;
    let taken = b.take_over(resume).await.unwrap().unwrap();
    assert_eq!(taken.recovered.resumed.len(), 1);
    assert_eq!(nodes.read(run.id()).await.unwrap().stop, None);
}

#[tokio::test(start_paused = true)]
async fn i38_a_shutdown_after_the_lease_was_lost_leaves_runs_their_grace() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let a = node_a.engine();
    let is_clean = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&is_clean);
    let run = started_as(&a, RunSpec::agent("far"), async move |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(secs(1)).await;
        inside.store(true, Ordering::SeqCst);
        Ok(())
    });
    let run = run.await;
    node_a.trouble(Trouble::All);
    a.lease_lost().await;
    soon("it stops", || run.status() == RunStatus::Stopping).await;
    // Nobody has asked for a shutdown before: it is the first one.
    within("down", a.shutdown(secs(5))).await;
    assert!(is_clean.load(Ordering::SeqCst));
    assert!(!run.row().aborted);
}

#[tokio::test(start_paused = true)]
async fn i38_what_a_lost_lease_stops_is_not_called_unstored_and_what_was_under_way_is() {
    for is_under_way in [false, true] {
        let nodes = Nodes::new(secs(15));
        let node_a = Shaky::join(&nodes, "a");
        let a = node_a.engine();
        let asking = paused(&a, RunSpec::agent("asking")).await;
        let running = started(&a, RunSpec::agent("running")).await;
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let ending = RunSpec::agent("ending");
        let ending = started_as(&a, ending, async |_| Ok(_ = ends.await)).await;
        asking.stored().await.unwrap();
        node_a.trouble(Trouble::All);
        if is_under_way {
            drop(end);
            ending.ended().await;
        }
        a.lease_lost().await;
        let report = within("down", a.shutdown(Shutdown::default())).await;
        assert_eq!(report.unstored > 0, is_under_way, "{report:?}");
        assert_eq!(running.status(), RunStatus::Cancelled, "here, and not in the store");
        let stored = nodes.read(asking.id()).await.unwrap();
        assert_eq!(stored.status, RunStatus::Paused, "it is paused still");
    }
}

/// Yields the events that a run tells until nothing more comes.
async fn told_by(run: &RunRef) -> Vec<(u64, EventKind)> {
    let (mut events, mut told) = (run.events(), Vec::new());
    while let Ok(Some(event)) = tokio::time::timeout(secs(1), events.next()).await {
        told.push((event.seq, event.kind.clone()));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn i30_a_log_that_is_made_after_the_loss_uses_no_number_of_the_next_owner() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    a.lease_lost().await;
    run.quiescent().await;
    // Nobody has read its events so far.
    let told = told_by(&run).await;
    tokio::time::sleep(secs(16)).await;
    b.take_over(resume).await.unwrap().unwrap();
    let next = b.get(run.id()).unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    let mut there = told_by(&next).await;
    assert!(there.len() > 2, "{there:?}");
    let stored = b.stored_events(run.id(), 0, 99).await.unwrap().into_iter().map(Result::unwrap);
    there.extend(stored.map(|event| (event.seq, event.kind)));
    assert!(there.iter().any(|(seq, _)| told.iter().all(|(here, _)| here < seq)));
    for (seq, kind) in &told {
        for (_, its) in there.iter().filter(|(other, _)| other == seq) {
            assert_eq!(its, kind, "{seq} at `b`, and here");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_submit_whose_append_is_under_way_at_the_loss_is_not_called_refused() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    node_a.trouble(Trouble::Renewals);
    tokio::time::sleep(secs(7)).await;
    node_a.set(Fault::AppendsUnanswered);
    let id = RunId::from_text("order-7");
    let spec = RunSpec::agent("r").id(id);
    let error = within("it is answered", a.submit_durably(spec, listener)).await.map(drop);
    let Err(SubmitError::NotStored(error)) = error else { panic!("{error:?}") };
    assert_eq!((error.is_refusal(), error), (false, lost()));
    assert!(nodes.read(id).await.is_some(), "after a refusal nothing of it would be stored");
    tokio::time::sleep(secs(16)).await;
    b.take_over(resume).await.unwrap().unwrap();
    let next = b.get(id).unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
}

#[tokio::test(start_paused = true)]
async fn i35_nothing_executes_when_the_lease_is_over_although_a_shutdown_waits_for_longer() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let a = node_a.engine();
    let (witness, kept) = (Witness::default(), Arc::new(Mutex::new(None)));
    let (inside, keep) = (witness.clone(), Arc::clone(&kept));
    let run = started_as(&a, RunSpec::agent("above"), async move |ctx: RunContext| {
        let _inside = inside.enter();
        let _below = ctx.spawn(RunSpec::step("below"), async move |ctx: RunContext| {
            *keep.lock().unwrap() = Some(ctx.hold(Work::Blocking, "a closure")?);
            ctx.stopped().await;
            Ok(())
        });
        let _ = ctx.is_stopping();
        pending().await
    });
    let run = run.await;
    soon("it holds", || kept.lock().unwrap().is_some()).await;
    node_a.trouble(Trouble::Renewals);
    let began = tokio::time::Instant::now();
    let plan = Shutdown { after_step: Duration::ZERO, grace: secs(10), abort_wait: secs(60) };
    let engine = a.clone();
    let down = tokio::spawn(async move { engine.shutdown(plan).await });
    a.lease_lost().await;
    tokio::time::sleep_until(began + secs(15)).await;
    assert_eq!((witness.entered(), witness.inside()), (1, 0), "others may have it");
    assert!(run.status().is_terminal());
    kept.lock().unwrap().take();
    within("down", down).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn i35_whatever_a_run_is_at_nothing_executes_when_the_lease_is_over() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, witness) = (node_a.engine(), Witness::default());
    let long = || RunSpec::agent("long").grace(secs(600));
    let stopped = started_as(&a, long(), deaf(&witness)).await;
    let scheduled = started_as(&a, long(), deaf(&witness)).await;
    let mut runs = vec![started_as(&a, long(), deaf(&witness)).await];
    let (inside, in_hook) = (witness.clone(), witness.clone());
    let hooked = started_as(&a, long(), async move |ctx: RunContext| {
        ctx.on_stop(async move |_| {
            let _inside = in_hook.enter();
            pending::<()>().await;
        });
        let _inside = inside.enter();
        ctx.stopped().await;
        Ok(())
    });
    runs.push(hooked.await);
    let in_hook = witness.clone();
    let ends = a.submit_durably(long(), async move |ctx: RunContext| {
        ctx.on_end(async move |_| {
            let _inside = in_hook.enter();
            pending::<()>().await;
        });
        Ok(())
    });
    runs.push(ends.await.unwrap().into_ref());
    let (below, detached) = (deaf(&witness), deaf(&witness));
    let above = started_as(&a, long(), async move |ctx: RunContext| {
        let child = ctx.spawn(RunSpec::step("below").grace(secs(600)), below);
        let other = ctx.spawn(RunSpec::step("detached").grace(secs(600)), detached);
        other.run().detach().unwrap();
        child.await.map_err(Into::into)
    });
    runs.push(above.await);
    soon("all are inside", || witness.inside() == 7).await;
    let said = stopped.cancel(stop());
    assert!(matches!(said, Disposition::Accepted { .. }), "{said:?}");
    let said = scheduled.cancel(stop().after_step(Some(secs(600))));
    assert!(matches!(said, Disposition::Scheduled { .. }), "{said:?}");
    runs.extend([stopped, scheduled]);
    node_a.trouble(Trouble::Renewals);
    let began = tokio::time::Instant::now();
    a.lease_lost().await;
    tokio::time::sleep_until(began + secs(15)).await;
    assert_eq!((witness.entered(), witness.inside()), (8, 0), "others may have it");
    assert!(runs.iter().all(|run| run.status().is_terminal()));
}

/// Submits until the lease is lost. Yields the runs that were submitted last.
async fn submit_until_lost(engine: Engine) -> Vec<RunRef> {
    let mut newest = Vec::new();
    loop {
        for _ in 0..16 {
            match engine.submit(RunSpec::agent("r"), listener) {
                Ok(handle) => newest.push(handle.into_ref()),
                Err(
                    SubmitError::ShuttingDown
                    | SubmitError::NotStored(StoreError::LeaseLost { .. }),
                ) => return newest,
                // All places are taken.
                Err(_) => {}
            }
        }
        newest.drain(..newest.len().saturating_sub(64));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i34_an_acceptance_at_the_instant_of_the_loss_is_answered_as_it_is() {
    for round in 0..4 {
        let nodes = Nodes::new(ms(1_400));
        let node = Shaky::join(&nodes, "a");
        let engine = Engine::with_config(node.config().grace(ms(20)).abort_wait(ms(20)));
        // Its own clock tells of the loss, or the store.
        let second = (round != 0).then(|| Shaky::join(&nodes, "a"));
        if second.is_none() {
            node.trouble(Trouble::Renewals);
        }
        let tasks = [(); 4].map(|()| tokio::spawn(submit_until_lost(engine.clone())));
        for task in tasks {
            for run in within("the lease is lost", task).await.unwrap() {
                let accepted = within("it is answered", run.accepted()).await;
                let is_stored = nodes.read(run.id()).await.is_some();
                assert!(accepted.is_err() || is_stored, "{:?}", run.status());
            }
        }
    }
}
