//! Several engines on one store: of the roots of a lane one runs, on whatever node. What really
//! runs is told by witnesses in the bodies.

use std::sync::Arc;

use quell::testing::cluster::{Node, Nodes};
use quell::{
    CancelRequest, CauseKind, Engine, EngineConfig, OnBusy, Payload, RunContext, RunHandle, RunId,
    RunLimits, RunRef, RunSpec, RunStatus, Scope, SubmitError, WaitsFor,
};
use tokio::sync::watch;

use crate::support::{Fault, Gate, Shaky, Witness, ms, paused, secs, soon, stop, within};

const LANE: &str = "thread-1";

pub(crate) fn engine(node: &Arc<Node>) -> Engine {
    let config = EngineConfig::new().node(Arc::clone(node)).running_max(1);
    Engine::with_config(config.control_on_runtime())
}

pub(crate) fn two() -> (Nodes, Engine, Engine) {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (engine(&nodes.join("a")), engine(&nodes.join("b")));
    (nodes, a, b)
}

pub(crate) fn spec(name: &'static str, on_busy: OnBusy) -> RunSpec {
    RunSpec::agent(name).lane(LANE, on_busy)
}

/// Submits a run that is inside a witness until the word comes, or it is stopped.
pub(crate) async fn submit(
    on: &Engine,
    spec: RunSpec,
    (witness, go): (&Witness, &watch::Sender<bool>),
) -> Result<RunHandle<()>, SubmitError> {
    let (witness, mut go) = (witness.clone(), go.subscribe());
    on.submit_durably(spec, async move |ctx: RunContext| {
        let _inside = witness.enter();
        tokio::select! {
            biased;
            _ = ctx.stopped() => {}
            _ = go.wait_for(|go| *go) => {}
        }
        Ok(())
    })
    .await
}

pub(crate) async fn running(
    on: &Engine,
    spec: RunSpec,
    how: (&Witness, &watch::Sender<bool>),
) -> RunRef {
    let run = submit(on, spec, how).await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}

fn busy(run: RunId) -> SubmitError {
    SubmitError::LaneBusy { lane: LANE.into(), run }
}

fn waits_for_lane(run: &RunRef) -> bool {
    run.queue_position().is_some_and(|position| position.waits_for == WaitsFor::Lane(LANE.into()))
}

/// Has everything happen that happens soon.
pub(crate) async fn settle() {
    tokio::time::sleep(secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_is_refused_while_another_node_has_one_of_its_lane() {
    let (nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    for on_busy in [OnBusy::Reject, OnBusy::JoinExisting] {
        let id = RunId::from_text("refused");
        let refused = submit(&b, spec("second", on_busy).id(id), (&witness, &go)).await;
        assert_eq!(refused.unwrap_err(), busy(first.id()), "{on_busy:?}");
        assert!(nodes.read(id).await.is_none() && b.get(id).is_none());
    }
    let other = RunSpec::agent("other").lane("thread-2", OnBusy::Reject);
    let other = running(&b, other, (&witness, &go)).await;
    other.cancel(stop());
    other.quiescent().await;
    go.send_replace(true);
    first.quiescent().await;
    first.stored().await.unwrap();
    let second = submit(&b, spec("second", OnBusy::Reject), (&witness, &go)).await.unwrap();
    within("it runs", second).await.unwrap();
    assert_eq!(witness.entered(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_would_wait_for_another_node_is_refused_if_its_queue_is_full() {
    let (nodes, a, b) = two();
    b.set_limit(Scope::All, RunLimits::new().running_max(1).queued_max(0));
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    for on_busy in [OnBusy::Enqueue, OnBusy::CancelExisting] {
        let refused = submit(&b, spec("second", on_busy), (&witness, &go)).await;
        let full = SubmitError::QueueFull { scope: Scope::All, max: 0 };
        assert_eq!(refused.unwrap_err(), full, "{on_busy:?}");
    }
    let refused = submit(&b, spec("second", OnBusy::Reject), (&witness, &go)).await;
    assert_eq!(refused.unwrap_err(), busy(first.id()), "it would not wait in any case");
    assert_eq!(first.status(), RunStatus::Running, "a submit that is refused stops nothing");
    let other = RunSpec::agent("other").lane("thread-2", OnBusy::Enqueue);
    let other = running(&b, other, (&witness, &go)).await;
    go.send_replace(true);
    within("they end", async { (first.quiescent().await, other.quiescent().await) }).await;
    first.stored().await.unwrap();
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    within("it runs", second).await.unwrap();
    let due = tokio::time::Instant::now().into_std() + secs(500);
    let later = spec("later", OnBusy::Enqueue).not_before(due);
    let _later = submit(&a, later, (&witness, &go)).await.unwrap();
    let third = submit(&b, spec("third", OnBusy::Enqueue), (&witness, &go)).await;
    within("it waits for none that is due later", third.unwrap()).await.unwrap();
    drop(nodes);
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_waits_for_that_of_another_node_and_takes_no_slot_meanwhile() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let second = second.into_ref();
    settle().await;
    assert_eq!((second.status(), witness.entered()), (RunStatus::Queued, 1));
    assert!(waits_for_lane(&second), "{:?}", second.queue_position());
    // The one slot of the node is free.
    let other = b.submit(RunSpec::agent("other"), async |_| Ok(()));
    within("it has a slot", other.unwrap()).await.unwrap();
    first.cancel(stop());
    soon("it is its turn", || second.status() == RunStatus::Running).await;
    assert_eq!((witness.inside(), witness.most()), (1, 1));
    go.send_replace(true);
    assert_eq!(within("it ends", second.ended()).await.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn i36_runs_of_one_lane_on_three_nodes_never_overlap_and_all_run() {
    let nodes = Nodes::new(secs(15));
    let engines = ["a", "b", "c"].map(|name| engine(&nodes.join(name)));
    let witness = Witness::new();
    let mut runs = Vec::new();
    for nth in 0..60_usize {
        let inside = witness.clone();
        let priority = i8::try_from(nth % 3).unwrap();
        let spec = spec("one", OnBusy::Enqueue).priority(priority);
        let run = engines[nth * 7 % 3].submit(spec, async move |_| {
            let _inside = inside.enter();
            tokio::time::sleep(ms(5)).await;
            Ok(())
        });
        runs.push(run.unwrap().into_ref());
        if nth % 4 == 0 {
            tokio::time::sleep(ms(3)).await;
        }
    }
    for run in &runs {
        let ended = tokio::time::timeout(secs(120), run.ended()).await.expect("all have a turn");
        assert_eq!(ended.status, RunStatus::Completed);
    }
    assert_eq!((witness.entered(), witness.most()), (60, 1));
    for engine in engines {
        for run in &runs {
            run.stored().await.unwrap();
        }
        assert_eq!(quell::testing::held(&engine).admission, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn turns_go_round_the_nodes_in_the_order_in_which_runs_were_accepted() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let third = submit(&a, spec("third", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let (second, third) = (second.into_ref(), third.into_ref());
    first.cancel(stop());
    soon("it is its turn", || second.status() == RunStatus::Running).await;
    settle().await;
    assert_eq!((third.status(), witness.most()), (RunStatus::Queued, 1));
    second.cancel(stop());
    soon("it is its turn", || third.status() == RunStatus::Running).await;
    assert_eq!(witness.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_that_waits_for_another_node_never_starts_and_holds_nobody_up() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let third = submit(&b, spec("third", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let (second, third) = (second.into_ref(), third.into_ref());
    second.cancel(stop());
    let report = within("it never starts", second.ended()).await;
    assert_eq!(report.own_row().started_at, None);
    first.cancel(stop());
    soon("it is its turn", || third.status() == RunStatus::Running).await;
    assert_eq!(witness.entered(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_due_later_comes_when_it_is_due_and_waits_for_its_turn_then() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let due = tokio::time::Instant::now().into_std() + secs(5);
    let later = spec("later", OnBusy::Enqueue).not_before(due);
    let later = submit(&b, later, (&witness, &go)).await.unwrap().into_ref();
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    tokio::time::sleep(secs(7)).await;
    assert_eq!((later.status(), witness.entered()), (RunStatus::Queued, 1));
    first.cancel(stop());
    soon("it is its turn", || later.status() == RunStatus::Running).await;
    // And at once, if the lane is free then.
    later.cancel(stop());
    later.quiescent().await;
    let due = tokio::time::Instant::now().into_std() + secs(5);
    let alone = spec("alone", OnBusy::Enqueue).not_before(due);
    let alone = submit(&b, alone, (&witness, &go)).await.unwrap().into_ref();
    tokio::time::sleep(secs(4)).await;
    assert_eq!(alone.status(), RunStatus::Queued);
    tokio::time::sleep(secs(1) + ms(100)).await;
    assert_eq!((alone.status(), witness.most()), (RunStatus::Running, 1));
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_which_no_word_comes_is_found_all_the_same() {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (engine(&nodes.join("a")), Shaky::join(&nodes, "b"));
    b.set(Fault::HearsNoTurns);
    let b = b.engine();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let second = second.into_ref();
    settle().await;
    first.cancel(stop());
    soon("it is its turn", || second.status() == RunStatus::Running).await;
    assert_eq!(witness.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_turn_of_a_run_that_is_taken_back_is_passed_on_at_once() {
    let (nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let second = second.into_ref();
    settle().await;
    let began = tokio::time::Instant::now();
    first.cancel(stop().rollback());
    soon("it is its turn", || second.status() == RunStatus::Running).await;
    assert!(began.elapsed() < ms(500), "it was found after {:?}", began.elapsed());
    assert!(nodes.read(first.id()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn i26_a_stop_of_what_another_node_has_is_asked_for_again_if_its_call_panics() {
    let nodes = Nodes::new(secs(15));
    let (a, node_b) = (engine(&nodes.join("a")), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    node_b.set(Fault::AskPanics);
    let last = submit(&b, spec("last", OnBusy::CancelExisting), (&witness, &go)).await.unwrap();
    let last = last.into_ref();
    soon("it is its turn", || last.status() == RunStatus::Running).await;
    assert_eq!(first.row().cause.unwrap().kind, CauseKind::Superseded);
    assert_eq!(witness.most(), 1);
}

#[tokio::test]
async fn i4_a_lane_is_kept_until_nothing_of_its_run_executes_any_more() {
    let (nodes, a, b) = two();
    let (gate, blocked) = (Gate::new(), Witness::new());
    let _opened = gate.at_end();
    let (held, seen) = (gate.clone(), blocked.clone());
    let first = spec("blocks", OnBusy::Enqueue).grace(ms(1));
    let first = a.submit_durably(first, async move |ctx: RunContext| {
        let work = ctx.spawn_blocking(move |_| {
            let _inside = seen.enter();
            held.spin();
        });
        Ok(work.await?)
    });
    let first = first.await.unwrap().into_ref();
    soon("it blocks", || blocked.inside() == 1).await;
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    first.cancel(CancelRequest::because("enough").abort());
    let report = within("it is abandoned", first.ended()).await;
    assert!(!report.quiescent);
    first.stored().await.unwrap();
    assert!(!nodes.read(first.id()).await.unwrap().quiescent);
    let refused = submit(&b, spec("third", OnBusy::Reject), (&witness, &go)).await;
    assert!(refused.is_err(), "one waits there");
    let third = submit(&a, spec("third", OnBusy::Reject), (&witness, &go)).await;
    assert_eq!(third.unwrap_err(), busy(first.id()));
    tokio::time::sleep(ms(50)).await;
    assert_eq!((witness.entered(), blocked.inside()), (0, 1));
    gate.open();
    go.send_replace(true);
    within("it is its turn", second).await.unwrap();
}

/// Yields a run that is paused, also in the store.
pub(crate) async fn asker(on: &Engine) -> RunRef {
    let run = paused(on, spec("asks", OnBusy::Enqueue)).await;
    run.stored().await.unwrap();
    run
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_has_its_lane_on_all_nodes() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(true));
    let first = asker(&a).await;
    let refused = submit(&b, spec("second", OnBusy::Reject), (&witness, &go)).await;
    assert_eq!(refused.unwrap_err(), busy(first.id()));
    let second = submit(&b, spec("second", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    settle().await;
    assert_eq!(witness.entered(), 0);
    b.resume_anywhere(first.id(), None, Payload::from("yes")).await.unwrap();
    assert_eq!(within("it goes on", first.ended()).await.status, RunStatus::Completed);
    within("it is its turn", second).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_the_place_of_those_that_other_nodes_have() {
    for on_busy in [OnBusy::CancelExisting, OnBusy::RollbackExisting] {
        let (nodes, a, b) = two();
        let (witness, go) = (Witness::new(), watch::Sender::new(false));
        let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
        let waits = submit(&a, spec("waits", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
        let waits = waits.into_ref();
        let last = submit(&b, spec("last", on_busy), (&witness, &go)).await.unwrap().into_ref();
        soon("it is its turn", || last.status() == RunStatus::Running).await;
        assert_eq!((witness.entered(), witness.most()), (2, 1), "{on_busy:?}");
        for run in [&first, &waits] {
            let cause = run.row().cause.unwrap();
            assert_eq!(cause.kind, CauseKind::Superseded, "{on_busy:?}");
            assert_eq!(cause.by.as_deref(), Some(&*last.id().to_string()));
        }
        run_is_kept(&nodes, &first, on_busy == OnBusy::CancelExisting).await;
    }
}

async fn run_is_kept(nodes: &Nodes, run: &RunRef, is_kept: bool) {
    settle().await;
    assert_eq!(nodes.read(run.id()).await.is_some(), is_kept);
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_run_of_another_owner_is_not_taken() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let of_ada = spec("first", OnBusy::Enqueue).owner("ada");
    let first = running(&a, of_ada, (&witness, &go)).await;
    let of_ben = spec("second", OnBusy::CancelExisting).owner("ben");
    let refused = submit(&b, of_ben, (&witness, &go)).await;
    assert_eq!(refused.unwrap_err(), busy(first.id()));
    settle().await;
    assert_eq!((first.status(), witness.entered()), (RunStatus::Running, 1));
}

#[tokio::test(start_paused = true)]
async fn the_more_urgent_one_of_a_node_has_the_turn_of_that_node() {
    let (_nodes, a, b) = two();
    let (witness, go) = (Witness::new(), watch::Sender::new(false));
    let first = running(&a, spec("first", OnBusy::Enqueue), (&witness, &go)).await;
    let calm = submit(&b, spec("calm", OnBusy::Enqueue), (&witness, &go)).await.unwrap();
    let calm = calm.into_ref();
    let urgent = spec("urgent", OnBusy::Enqueue).priority(5);
    let urgent = submit(&b, urgent, (&witness, &go)).await.unwrap().into_ref();
    first.cancel(stop());
    soon("it is its turn", || urgent.status() == RunStatus::Running).await;
    settle().await;
    assert_eq!(calm.status(), RunStatus::Queued);
    urgent.cancel(stop());
    soon("it is its turn", || calm.status() == RunStatus::Running).await;
    assert_eq!(witness.most(), 1);
}
