//! Several engines on one store: what one of them is asked about runs that another one has.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use quell::cluster::{AskedStop, Cluster as _};
use quell::store::{Accepted, Epoch, Record, RunRecord, Store as _, StoreError};
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, Engine, Failure, ForgetError, Recovery, RunContext, RunId, RunKind,
    RunRef, RunSpec, RunStatus, StoreRetention, Work, limits,
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
async fn assert_stopped(nodes: &Nodes, run: RunId) {
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

async fn says_hello(ctx: RunContext) -> Result<(), Failure> {
    let _ = ctx.emit("hello");
    listener(ctx).await
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_that_is_recorded_while_its_run_is_being_recovered_ends_it() {
    for goes_on in [false, true] {
        let nodes = Nodes::new(secs(15));
        let node_a = Shaky::join(&nodes, "a");
        let (a, b) = (node_a.engine(), Shaky::join(&nodes, "b").engine());
        // It has a log: what has none is not read.
        let run = started_as(&a, RunSpec::agent("far"), says_hello).await;
        tokio::time::sleep(ms(100)).await;
        node_a.trouble(Trouble::All);
        let again = Shaky::join(&nodes, "a");
        let engine = again.engine();
        again.set(Fault::LogsLate(secs(3)));
        let decide = move |record: &RunRecord| {
            if goes_on { resume(record) } else { Recovery::Fail }
        };
        let asks = async {
            // The run is read by now, and its log is not.
            tokio::time::sleep(ms(100)).await;
            b.cancel_anywhere(run.id(), stop().rollback()).await.unwrap()
        };
        let (recovered, answer) = tokio::join!(engine.recover(decide), asks);
        assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
        let recovered = recovered.unwrap();
        assert_eq!((recovered.resumed.len(), recovered.ended.cancelled), (0, 1));
        assert!(nodes.read(run.id()).await.is_none(), "it is taken back");
    }
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
    let mut before = Vec::new();
    for _ in 0..2 {
        before.push(started(&a, RunSpec::agent("before")).await);
    }
    node_a.trouble(Trouble::All);
    let again = Shaky::join(&nodes, "a").engine();
    let asked = before.iter().cycle().take(2 * limits::ASKED_STOPS_MAX);
    let asks = asked.map(|run| b.cancel_anywhere(run.id(), stop()));
    for answer in futures::future::join_all(asks).await {
        assert!(matches!(answer, Ok(Disposition::Recorded { .. })), "{answer:?}");
    }
    for _ in 0..5 {
        let run = started(&again, RunSpec::agent("later")).await;
        let answer = b.cancel_anywhere(run.id(), stop()).await.unwrap();
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    }
    assert_eq!(again.recover(resume).await.unwrap().ended.cancelled, 2);
    for run in before {
        assert_stopped(&nodes, run.id()).await;
    }
}

/// Stores a run on a node, and nothing else of it.
async fn bare(node: &Node, name: &str, change: impl FnOnce(&mut Accepted)) -> RunId {
    let (run, epoch) = (RunId::from_text(name), Epoch::new(node.boot(), 1));
    let mut accepted = Accepted::new(run, RunKind::Agent, "far".into(), epoch, SystemTime::now());
    change(&mut accepted);
    node.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    run
}

#[tokio::test(start_paused = true)]
async fn of_the_stops_that_wait_for_a_node_one_owner_has_a_share_and_one_run_a_part_of_it() {
    let nodes = Nodes::new(secs(15));
    // Nobody answers in the name of `a`.
    let (a, b) = (nodes.join("a"), nodes.join("b"));
    let recorded = async |run: RunId, count| {
        let asks = (0..count).map(|_| b.ask(run.into(), stop()));
        let answers = futures::future::join_all(asks).await.into_iter();
        answers.filter(|answer| matches!(answer, Ok(Disposition::Recorded { .. }))).count()
    };
    let (of_run, of_owner) = (limits::ASKED_STOPS_MAX, limits::ASKED_STOPS_OF_OWNER_MAX);
    let mut left = of_owner;
    for name in ["1", "2", "3"] {
        let run = bare(&a, name, |run| run.owner = Some("ada".into())).await;
        assert_eq!(recorded(run, of_run + 1).await, left.min(of_run), "of run {name}");
        left -= left.min(of_run);
    }
    let root = RunId::from_text("3");
    let below = bare(&a, "below", |run| (run.root, run.parent) = (root, Some(root))).await;
    let refused = b.ask(below.into(), stop()).await.unwrap_err();
    assert_eq!(refused, AskedStop::too_many("a"));
    assert!(refused.to_string().contains("2500 of runs of its owner"), "{refused}");
    let of_ben = bare(&a, "his", |run| run.owner = Some("ben".into())).await;
    let of_nobody = bare(&a, "nobody's", |_| {}).await;
    assert_eq!((recorded(of_ben, 10).await, recorded(of_nobody, 10).await), (10, 10));
}

/// Two engines, and a paused run that a third one has left to them.
async fn left_by_the_first() -> (Nodes, [Engine; 2], RunRef) {
    let nodes = Nodes::new(secs(15));
    let [a, b, c] = ["a", "b", "c"].map(|name| Shaky::join(&nodes, name).engine());
    let asking = paused(&a, clerk()).await;
    asking.stored().await.unwrap();
    within("down", a.shutdown(Duration::ZERO)).await;
    (nodes, [b, c], asking)
}

#[tokio::test(start_paused = true)]
async fn i6_a_stop_that_a_take_over_gives_to_its_run_is_answered_as_accepted() {
    for is_taken_back in [false, true] {
        let (nodes, [b, c], asking) = left_by_the_first().await;
        let request = if is_taken_back { stop().rollback() } else { stop() };
        let taking = async {
            tokio::time::sleep(ms(100)).await;
            c.take_over(|_| Recovery::Fail).await.unwrap().unwrap()
        };
        let (answer, taken) = tokio::join!(b.cancel_anywhere(asking.id(), request), taking);
        assert_eq!(taken.recovered.ended.cancelled, 1);
        assert!(matches!(answer, Ok(Disposition::Accepted { .. })), "{answer:?}");
        match nodes.read(asking.id()).await {
            Some(_) if !is_taken_back => assert_stopped(&nodes, asking.id()).await,
            record => assert!(record.is_none() && is_taken_back, "{record:?}"),
        }
        let late = b.cancel_anywhere(asking.id(), stop()).await.unwrap();
        let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
        assert_eq!(late, if is_taken_back { Disposition::Unknown } else { over });
    }
}

#[tokio::test(start_paused = true)]
async fn i6_another_stop_of_a_run_that_a_take_over_ends_is_told_that_it_has_ended() {
    let (nodes, [b, c], asking) = left_by_the_first().await;
    let (first, second) = (b.cancel_anywhere(asking.id(), stop()), async {
        tokio::time::sleep(ms(10)).await;
        b.cancel_anywhere(asking.id(), stop().by("bob")).await
    });
    let (first, second, _) = tokio::join!(first, second, async {
        tokio::time::sleep(ms(100)).await;
        c.take_over(|_| Recovery::Fail).await.unwrap().unwrap()
    });
    assert!(matches!(first, Ok(Disposition::Accepted { .. })), "{first:?}");
    assert_eq!(second, Ok(Disposition::AlreadyTerminal { status: RunStatus::Cancelled }));
    assert_stopped(&nodes, asking.id()).await;
}

/// Has a step below it, the end of which is written before it goes on.
async fn with_a_step(ctx: RunContext) -> Result<(), Failure> {
    let step = ctx.spawn(RunSpec::step("below"), listener);
    ctx.stopped().await;
    let _ = step.await;
    Ok(())
}

/// Runs with a step each of a node that is lost, and its next process, whose next append is late.
async fn lost_with_steps(nodes: &Nodes, names: &[&str]) -> (Arc<Shaky>, Vec<RunRef>) {
    let node_a = Shaky::join(nodes, "a");
    let (a, mut runs) = (node_a.engine(), Vec::new());
    for name in names {
        let name = (*name).to_owned();
        runs.push(started_as(&a, RunSpec::agent(name), with_a_step).await);
    }
    tokio::time::sleep(ms(100)).await;
    node_a.trouble(Trouble::All);
    let again = Shaky::join(nodes, "a");
    again.set(Fault::AppendLate(ms(500)));
    (again, runs)
}

#[tokio::test(start_paused = true)]
async fn i6_a_stop_that_is_carried_out_when_its_run_is_taken_in_is_accepted() {
    let nodes = Nodes::new(secs(15));
    let (again, runs) = lost_with_steps(&nodes, &["far"]).await;
    let (engine, b) = (again.engine(), Shaky::join(&nodes, "b").engine());
    let asks = async {
        // All that is left is read by now, and what ends of it is not written.
        tokio::time::sleep(ms(100)).await;
        b.cancel_anywhere(runs[0].id(), stop()).await.unwrap()
    };
    let (recovered, answer) = tokio::join!(engine.recover(resume), asks);
    assert_eq!(recovered.unwrap().resumed.len(), 1);
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_stopped(&nodes, runs[0].id()).await;
}

#[tokio::test(start_paused = true)]
async fn i34_a_stop_of_a_run_that_may_not_go_on_ends_it_with_its_cause() {
    let nodes = Nodes::new(secs(15));
    let (again, runs) = lost_with_steps(&nodes, &["first", "second"]).await;
    let limits = quell::Limits::default().runs_max(1);
    let engine = Engine::with_config(again.config().limits(limits).control_on_runtime());
    let b = Shaky::join(&nodes, "b").engine();
    let second = runs[1].id();
    let asks = async {
        tokio::time::sleep(ms(100)).await;
        b.cancel_anywhere(second, stop()).await.unwrap()
    };
    let (recovered, answer) = tokio::join!(engine.recover(resume), asks);
    let recovered = recovered.unwrap();
    assert_eq!((recovered.resumed.len(), recovered.refused.len()), (1, 1));
    assert_eq!(recovered.refused[0].0, second);
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_stopped(&nodes, second).await;
}

/// Asks for two stops of a run, of which the later one rolls it back.
async fn twice(by: &Engine, run: RunId) -> [Disposition; 2] {
    let second = async {
        tokio::time::sleep(ms(10)).await;
        by.cancel_anywhere(run, stop().by("bob").rollback()).await
    };
    let (first, second) = tokio::join!(by.cancel_anywhere(run, stop()), second);
    [first.unwrap(), second.unwrap()]
}

#[tokio::test(start_paused = true)]
async fn i7_all_stops_count_that_are_recorded_before_their_run_is_decided() {
    for (goes_on, is_early) in [(false, true), (true, true), (false, false), (true, false)] {
        let nodes = Nodes::new(secs(15));
        let (again, runs) = lost_with_steps(&nodes, &["far"]).await;
        let (engine, b) = (again.engine(), Shaky::join(&nodes, "b").engine());
        let run = runs[0].id();
        again.set(Fault::LogsLate(secs(3)));
        let decide = move |record: &RunRecord| {
            if goes_on { resume(record) } else { Recovery::Fail }
        };
        let (recovered, answers) = if is_early {
            let answers = twice(&b, run).await;
            (engine.recover(decide).await, answers)
        } else {
            let asks = async {
                // The run is read by now, and its log is not.
                tokio::time::sleep(ms(100)).await;
                twice(&b, run).await
            };
            tokio::join!(engine.recover(decide), asks)
        };
        let are_recorded = answers.iter().all(|it| matches!(it, Disposition::Recorded { .. }));
        assert!(are_recorded, "{answers:?}");
        assert_eq!(recovered.unwrap().resumed.len(), 0);
        assert!(nodes.read(run).await.is_none(), "{goes_on}, {is_early}: it is taken back");
    }
}

#[tokio::test(start_paused = true)]
async fn i7_all_stops_count_that_wait_for_a_run_which_is_taken_in() {
    let nodes = Nodes::new(secs(15));
    let (again, runs) = lost_with_steps(&nodes, &["far"]).await;
    let (engine, b) = (again.engine(), Shaky::join(&nodes, "b").engine());
    let asks = async {
        // All that is left is read by now, and what ends of it is not written.
        tokio::time::sleep(ms(100)).await;
        twice(&b, runs[0].id()).await
    };
    let (recovered, answers) = tokio::join!(engine.recover(resume), asks);
    assert_eq!(recovered.unwrap().resumed.len(), 1);
    assert!(matches!(answers[0], Disposition::Accepted { .. }), "{answers:?}");
    soon("it is taken back", || engine.get(runs[0].id()).is_none()).await;
    assert!(nodes.read(runs[0].id()).await.is_none());
}
