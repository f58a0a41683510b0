//! Several engines on one store: take-overs that are interrupted, repeated, or come at once, and
//! what is written meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use quell::cluster::Cluster as _;
use quell::store::{Accepted, Epoch, Record, RunRecord, Store as _, StoreError};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    Disposition, HeldAttempts, IdempotencyKey, Payload, Recovery, RunContext, RunId, RunKind,
    RunSpec, RunStatus, SubmitError, Takeover, Work,
};

use crate::support::{
    Fault, Shaky, Witness, clerk, listener, ms, secs, slow, soon, started, started_as, stop, within,
};

fn resume(_: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent("again"), listener)
}

type Taken = Result<Option<Takeover>, StoreError>;

/// Yields how many runs go on by each of several calls, none of which has failed.
fn going_on(taken: impl IntoIterator<Item = Taken>) -> Vec<usize> {
    let taken = taken.into_iter().filter_map(|taken| taken.unwrap());
    let go_on = taken.map(|it| {
        assert!(it.recovered.refused.is_empty(), "{:?}", it.recovered);
        it.recovered.resumed.len()
    });
    go_on.collect()
}

/// Joins as `a`, whose lease no engine renews, and has accepted a run. Yields its epoch.
async fn accepted_by_a(nodes: &Nodes) -> (Arc<Shaky>, RunId, Epoch) {
    let node = Shaky::join(nodes, "a");
    let (run, epoch) = (RunId::from_text("r"), Epoch::new(node.boot(), 1));
    let accepted = Accepted::new(run, RunKind::Agent, "r".into(), epoch, SystemTime::now());
    node.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    (node, run, epoch)
}

/// As [`accepted_by_a`], and has started it.
async fn left_by_a(nodes: &Nodes) -> (Arc<Shaky>, RunId) {
    let (node, run, epoch) = accepted_by_a(nodes).await;
    let at = SystemTime::now();
    node.append(vec![Record::Started { run, epoch, at }]).await.unwrap();
    (node, run)
}

/// Fails unless a run has failed in the store, and `a` may execute it still.
async fn assert_in_doubt(nodes: &Nodes, run: RunId) {
    let record = nodes.read(run).await.unwrap();
    assert_eq!((record.status, record.quiescent), (RunStatus::Failed, false));
    let row = record.report.unwrap().own_row().clone();
    let named: Vec<_> = row.abandoned.iter().map(|it| (it.what, &*it.name)).collect();
    assert!(named.contains(&(Work::Node, "a")), "{named:?}");
}

#[tokio::test(start_paused = true)]
async fn i34_a_take_over_whose_answer_was_lost_is_decided_by_the_next_call() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await;
    let other = started(&a, RunSpec::agent("other")).await;
    node_a.trouble(Trouble::All);
    let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
    assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
    tokio::time::sleep(secs(16)).await;
    node_b.set(Fault::TakeOverUnanswered);
    let broken = b.take_over(resume).await.map(drop).unwrap_err();
    assert!(matches!(broken, StoreError::Io { .. }), "{broken:?}");
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Stopping);
    let taken = b.take_over(resume).await.unwrap().unwrap();
    assert_eq!((taken.from, taken.recovered.ended.cancelled), (None, 1));
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Cancelled);
    assert_eq!(taken.recovered.resumed.len(), 1);
    // What goes on is written with a boot of which this node was never told.
    let next = b.get(other.id()).unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    let (said, stored) = next.cancel_durably(stop()).await;
    assert!(matches!(said, Disposition::Accepted { .. }), "{said:?}");
    assert_eq!(stored, Ok(()));
    assert!(b.take_over(resume).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_take_over_that_is_dropped_is_decided_by_the_next_call() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    node_b.set(Fault::TakeOverLate(secs(2)));
    let dropped = tokio::time::timeout(secs(1), b.take_over(resume)).await;
    assert!(dropped.is_err(), "it was to be dropped");
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!((taken.from, taken.recovered.ended.failed), (None, 1));
    assert_in_doubt(&nodes, run.id()).await;
}

#[tokio::test(start_paused = true)]
async fn two_take_overs_at_once_decide_a_run_once() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    node_b.set(Fault::Slow);
    let (asked, begun) = (AtomicU32::new(0), Witness::default());
    let decide = |_: &RunRecord| {
        asked.fetch_add(1, Ordering::SeqCst);
        let begun = begun.clone();
        Recovery::resume(RunSpec::agent("again"), async move |ctx| {
            let _inside = begun.enter();
            listener(ctx).await
        })
    };
    let second = async {
        // The call before still reads.
        tokio::time::sleep(ms(15)).await;
        b.take_over(decide).await
    };
    let (one, two) = tokio::join!(b.take_over(decide), second);
    assert_eq!(going_on([one, two]), [1]);
    tokio::time::sleep(secs(1)).await;
    assert_eq!((asked.load(Ordering::SeqCst), begun.entered()), (1, 1));
    let next = b.get(run.id()).unwrap();
    assert_eq!((next.status(), next.stored().await), (RunStatus::Running, Ok(())));
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn two_take_overs_at_any_distance_fail_no_run_that_goes_on() {
    for distance in 0..60 {
        let nodes = Nodes::new(secs(15));
        // It waited for its first start when its process was lost.
        let (_lost, run, _) = accepted_by_a(&nodes).await;
        let node_b = Shaky::join(&nodes, "b");
        let b = node_b.engine();
        tokio::time::sleep(secs(16)).await;
        node_b.set(Fault::Slow);
        let second = async {
            tokio::time::sleep(ms(distance)).await;
            b.take_over(resume).await
        };
        let (one, two) = tokio::join!(b.take_over(resume), second);
        assert_eq!(going_on([one, two]).iter().sum::<usize>(), 1, "{distance} ms");
        tokio::time::sleep(secs(1)).await;
        let here = b.get(run).map(|next| next.status());
        let stored = nodes.read(run).await.unwrap().status;
        assert_eq!((here, stored), (Some(RunStatus::Running), RunStatus::Running), "{distance} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn i34_the_boot_of_a_node_never_falls_whichever_take_over_is_answered_last() {
    let nodes = Nodes::new(secs(15));
    let join = |name| Shaky::join(&nodes, name);
    let (node_a, node_b, node_c) = (join("a"), join("b"), join("c"));
    let (a, b, c) = (node_a.engine(), node_b.engine(), node_c.engine());
    let of_a = started(&a, RunSpec::agent("of a")).await;
    let of_c = started(&c, RunSpec::agent("of c")).await;
    node_a.trouble(Trouble::All);
    node_c.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    // The first one to ask is answered last.
    node_b.set(Fault::TakeOverLate(secs(1)));
    let (one, two) = tokio::join!(b.take_over(resume), b.take_over(resume));
    let mut go_on: usize = going_on([one, two]).iter().sum();
    // A call beside another one takes over nothing: the next one does.
    go_on += going_on([b.take_over(resume).await]).iter().sum::<usize>();
    assert_eq!(go_on, 2);
    for run in [of_a.id(), of_c.id()] {
        let next = b.get(run).unwrap();
        soon("it runs", || next.status() == RunStatus::Running).await;
        let (said, stored) = next.cancel_durably(stop()).await;
        assert!(matches!(said, Disposition::Accepted { .. }), "{said:?}");
        assert_eq!(stored, Ok(()), "what this node runs, it may write");
        within("it comes", next.ended()).await;
        next.stored().await.unwrap();
        assert_eq!(nodes.read(run).await.unwrap().status, RunStatus::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_while_a_take_over_raises_the_boot_is_stored() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let far = started(&a, RunSpec::agent("far")).await;
    let saved = Arc::new(Mutex::new(None));
    let go = Arc::new(tokio::sync::Notify::new());
    let (save, gone) = (Arc::clone(&saved), Arc::clone(&go));
    let own = started_as(&b, RunSpec::agent("own"), async move |ctx: RunContext| {
        let _ = ctx.is_stopping();
        gone.notified().await;
        let done = ctx.save("state".into()).await;
        *save.lock().unwrap() = Some(done);
        ctx.stopped().await;
        Ok(())
    });
    let own = own.await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    node_b.set(Fault::StatesLate(secs(1)));
    go.notify_one();
    tokio::time::sleep(ms(100)).await;
    // The append with the state is under way, with the boot of before.
    assert!(saved.lock().unwrap().is_none());
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended.failed, 1);
    assert_in_doubt(&nodes, far.id()).await;
    // The stop overtakes it, with the boot of now.
    let (said, stored) = own.cancel_durably(stop()).await;
    assert!(matches!(said, Disposition::Accepted { .. }), "{said:?}");
    assert_eq!(stored, Ok(()));
    soon("it is answered", || saved.lock().unwrap().is_some()).await;
    assert_eq!(*saved.lock().unwrap(), Some(Ok(())), "nobody else has this run");
    within("it comes", own.ended()).await;
    own.stored().await.unwrap();
    assert_eq!(nodes.read(own.id()).await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn i4_a_crash_between_a_take_over_and_its_decision_forgets_no_doubt() {
    let nodes = Nodes::new(secs(15));
    let (_frozen, run) = left_by_a(&nodes).await;
    let node_b = Shaky::join(&nodes, "b");
    tokio::time::sleep(secs(14)).await;
    node_b.renew().await.unwrap();
    tokio::time::sleep(secs(2)).await;
    assert_eq!(&*node_b.take_over().await.unwrap().unwrap().from, "a");
    // The process of `b` ends here, and begins again.
    let b = Shaky::join(&nodes, "b").engine();
    assert_eq!(b.recover(|_| Recovery::Fail).await.unwrap().ended.failed, 1);
    assert_in_doubt(&nodes, run).await;
}

#[tokio::test(start_paused = true)]
async fn i4_a_recovery_after_a_take_over_that_failed_forgets_no_doubt() {
    let nodes = Nodes::new(secs(15));
    let (_frozen, run) = left_by_a(&nodes).await;
    let node_b = Shaky::join(&nodes, "b");
    let b = node_b.engine();
    tokio::time::sleep(secs(16)).await;
    node_b.set(Fault::RecoverFails);
    let broken = b.take_over(|_| Recovery::Fail).await.map(drop).unwrap_err();
    assert!(matches!(broken, StoreError::Io { .. }), "{broken:?}");
    assert_eq!(b.recover(|_| Recovery::Fail).await.unwrap().ended.failed, 1);
    assert_in_doubt(&nodes, run).await;
}

#[tokio::test(start_paused = true)]
async fn i4_a_run_that_was_answered_at_a_lost_node_is_not_called_quiescent() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let body = move |ctx: RunContext| {
        let keep = Arc::clone(&keep);
        async move {
            let answer = ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
            // A closure that nobody can end.
            *keep.lock().unwrap() = Some(ctx.hold(Work::Blocking, "a closure")?);
            ctx.stopped().await;
            Ok::<Payload, _>(answer)
        }
    };
    let run = a.submit_resumable(clerk(), body).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    run.stored().await.unwrap();
    run.resume_durably("yes").await.unwrap();
    // The store has the answer, and may not hear of what it starts.
    node_a.trouble(Trouble::All);
    soon("it holds", || kept.lock().unwrap().is_some()).await;
    tokio::time::sleep(secs(16)).await;
    assert!(!run.row().quiescent, "it executes at `a`");
    let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.recovered.ended.failed, 1);
    assert_in_doubt(&nodes, run.id()).await;
    assert!(kept.lock().unwrap().take().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_shuts_down_takes_nothing_over() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await;
    let busy = started_as(&b, RunSpec::agent("slow"), slow).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let engine = b.clone();
    let down = tokio::spawn(async move { engine.shutdown(secs(5)).await });
    soon("it stops", || busy.status() == RunStatus::Stopping).await;
    assert!(b.take_over(resume).await.unwrap().is_none());
    within("down", down).await.unwrap();
    assert!(b.take_over(resume).await.unwrap().is_none());
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Running);
    // Another one does.
    let c = Shaky::join(&nodes, "c").engine();
    let mut go_on = 0;
    while let Some(taken) = c.take_over(resume).await.unwrap() {
        go_on += taken.recovered.resumed.len();
    }
    assert_eq!(go_on, 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_over_starts_at_once_and_one_that_is_held_when_it_may() {
    for is_held in [false, true] {
        let nodes = Nodes::new(secs(15));
        let (_lost, run, _) = accepted_by_a(&nodes).await;
        let b = Shaky::join(&nodes, "b").engine();
        tokio::time::sleep(secs(16)).await;
        let held = if is_held {
            let (taken, held) = b.take_over_held(resume).await.unwrap().unwrap();
            assert_eq!((taken.from.as_deref(), held.count()), (Some("a"), 1));
            Some(held)
        } else {
            b.take_over(resume).await.unwrap().unwrap();
            None
        };
        let next = b.get(run).unwrap();
        tokio::time::sleep(secs(1)).await;
        let status = if is_held { RunStatus::Queued } else { RunStatus::Running };
        assert_eq!(next.status(), status);
        held.into_iter().for_each(HeldAttempts::start);
        soon("it runs", || next.status() == RunStatus::Running).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i37_a_repeat_that_came_before_a_take_over_neither_ends_a_run_nor_hides_it() {
    let once = || IdempotencyKey::new("k", ["payload"]);
    let other = IdempotencyKey::new("k", ["another payload"]);
    for same in ["key", "id", "key of another payload"] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let (a, b) = (node_a.engine(), node_b.engine());
        let keyed = RunSpec::agent("keyed").idempotency_key(once());
        let of_a = started(&a, keyed.clone()).await.id();
        node_a.trouble(Trouble::All);
        tokio::time::sleep(secs(16)).await;
        node_b.set(Fault::AppendLate(secs(1)));
        let repeat = match same {
            "key" => keyed.clone(),
            "id" => RunSpec::agent("same").id(of_a),
            _ => RunSpec::agent("other").idempotency_key(other.clone()),
        };
        let repeat = b.submit(repeat, async |_| Ok(())).unwrap().into_ref();
        // Its append is under way.
        tokio::time::sleep(ms(1)).await;
        let taken = within("it is decided", b.take_over(resume)).await;
        assert_eq!(going_on([taken]), [1]);
        let refused = repeat.accepted().await.unwrap_err();
        let told = match same {
            "key" => SubmitError::AlreadySubmitted(of_a),
            "id" => SubmitError::IdInUse(of_a),
            _ => SubmitError::KeyConflict,
        };
        assert_eq!(refused, told);
        let next = b.get(of_a).unwrap();
        soon("it goes on", || next.status() == RunStatus::Running).await;
        next.stored().await.unwrap();
        let stored = nodes.read(of_a).await.unwrap();
        assert_eq!((stored.status, stored.attempt), (RunStatus::Running, 2));
        let repeat = b.submit(keyed, async |_| Ok(())).unwrap_err();
        assert_eq!(repeat, SubmitError::AlreadySubmitted(of_a));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_lost_its_lease_takes_nothing_over() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let (a, b) = (node_a.engine(), node_b.engine());
    let run = started(&a, RunSpec::agent("far")).await;
    node_a.trouble(Trouble::All);
    tokio::time::sleep(secs(13)).await;
    node_b.trouble(Trouble::Renewals);
    within("it comes", b.lease_lost()).await;
    let refused = b.take_over(resume).await.map(drop);
    assert_eq!(refused, Err(StoreError::LeaseLost { node: "b".into() }));
    assert_eq!(nodes.read(run.id()).await.unwrap().status, RunStatus::Running);
}
