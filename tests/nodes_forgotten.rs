//! Several engines on one store: what is so once somebody has said that a node is gone for good.

use std::sync::{Arc, Mutex};

use quell::cluster::Cluster as _;
use quell::store::{Record, RunRecord, Store as _, StoredHold};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{Engine, EventKind, Recovery, RunContext, RunId, RunSpec, RunStatus, Shutdown, Work};

use crate::support::{Shaky, listener, secs, slow, soon, started, started_as, stop, within};

pub(crate) fn fail(_: &RunRecord) -> Recovery {
    Recovery::Fail
}

/// Yields what the stored log of a root says, without its numbers, which are dense.
pub(crate) async fn told(nodes: &Nodes, root: RunId) -> Vec<(RunId, EventKind)> {
    let reader = nodes.join("a reader");
    let read = reader.events(root, 0, 1_000).await.unwrap();
    reader.leave(false).await.unwrap();
    let events: Vec<_> = read.into_iter().map(|event| event.unwrap()).collect();
    for (nth, event) in (1..).zip(&events) {
        assert_eq!(event.seq, nth, "the log has a gap: {events:?}");
    }
    events.into_iter().map(|event| (event.run, event.kind)).collect()
}

pub(crate) fn count(told: &[(RunId, EventKind)], run: RunId) -> usize {
    told.iter().filter(|(of, kind)| *of == run && matches!(kind, EventKind::Quiesced)).count()
}

pub(crate) async fn is_quiescent(nodes: &Nodes, run: RunId) -> bool {
    nodes.read(run).await.unwrap().quiescent
}

/// Waits until a run is quiescent in the store.
pub(crate) async fn quiesces(nodes: &Nodes, run: RunId) {
    for _ in 0..100 {
        if is_quiescent(nodes, run).await {
            return;
        }
        tokio::time::sleep(secs(1)).await;
    }
    panic!("it does not quiesce: {:?}", nodes.read(run).await);
}

/// Cuts a node off for so long that its lease is over.
pub(crate) async fn lose(node: &Shaky) {
    node.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
}

/// Yields a run of `a` with a child, which ends when it is stopped.
pub(crate) async fn tree(node: &Arc<Shaky>) -> (RunId, RunId) {
    let engine = node.engine();
    let (hand_out, mut child) = tokio::sync::mpsc::unbounded_channel();
    let root = started_as(&engine, RunSpec::agent("far"), async move |ctx: RunContext| {
        let below = ctx.spawn(RunSpec::step("below"), listener);
        let _ = hand_out.send(below.id());
        below.await.map(drop).map_err(Into::into)
    });
    let root = root.await;
    let child = child.recv().await.unwrap();
    let child_run = engine.get(child).unwrap();
    soon("it runs", || child_run.status() == RunStatus::Running).await;
    root.stored().await.unwrap();
    child_run.stored().await.unwrap();
    (root.id(), child)
}

#[tokio::test(start_paused = true)]
async fn i4_runs_of_a_node_that_is_forgotten_quiesce_with_the_next_numbers_of_their_log() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let (root, child) = tree(&node_a).await;
    lose(&node_a).await;
    assert_eq!(b.take_over(fail).await.unwrap().unwrap().recovered.ended.failed, 2);
    tokio::time::sleep(secs(60)).await;
    assert!(!is_quiescent(&nodes, root).await && !is_quiescent(&nodes, child).await);
    assert!(nodes.forget("a"));
    quiesces(&nodes, root).await;
    assert!(is_quiescent(&nodes, child).await);
    let told = told(&nodes, root).await;
    assert_eq!((count(&told, root), count(&told, child)), (1, 1), "{told:?}");
    assert_eq!(told.last(), Some(&(root, EventKind::Quiesced)), "{told:?}");
    let record = nodes.read(root).await.unwrap();
    assert_eq!((record.status, &*record.holds), (RunStatus::Failed, &[][..]));
    assert!(record.quiesced_at > record.report.unwrap().own_row().ended_at);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_elsewhere_and_ends_later_is_quiescent_at_its_end() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let (root, child) = tree(&node_a).await;
    lose(&node_a).await;
    let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), listener);
    assert_eq!(b.take_over(resume).await.unwrap().unwrap().recovered.resumed.len(), 1);
    let next = b.get(root).unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    assert!(nodes.forget("a"));
    quiesces(&nodes, child).await;
    assert_eq!(nodes.read(root).await.unwrap().holds, []);
    next.cancel(stop());
    let report = within("it ends", next.ended()).await;
    assert!(report.quiescent && report.own_row().abandoned.is_empty(), "{report:?}");
    let rows: Vec<_> = report.rows.iter().map(|row| (row.run, row.quiescent)).collect();
    assert_eq!(rows, [(root, true), (child, true)]);
    next.stored().await.unwrap();
    assert!(is_quiescent(&nodes, root).await);
    let told = told(&nodes, root).await;
    assert_eq!((count(&told, root), count(&told, child)), (0, 1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_elsewhere_quiesces_in_memory_and_in_the_store() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let (root, child) = tree(&node_a).await;
    lose(&node_a).await;
    let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), async |_| Ok(()));
    b.take_over(resume).await.unwrap().unwrap();
    let next = b.get(root).unwrap();
    assert!(!within("it ends", next.ended()).await.quiescent);
    next.stored().await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert!(!is_quiescent(&nodes, root).await);
    assert!(nodes.forget("a"));
    quiesces(&nodes, root).await;
    next.stored().await.unwrap();
    let row = next.row();
    assert!(row.quiescent && row.quiesced_at > row.ended_at, "{row:?}");
    let told = told(&nodes, root).await;
    assert_eq!((count(&told, root), count(&told, child)), (1, 1), "{told:?}");
    assert_eq!(told.last(), Some(&(root, EventKind::Quiesced)), "{told:?}");
}

/// An engine that keeps so many trees that have ended.
pub(crate) fn keeps(node: &Arc<Shaky>, trees: usize) -> Engine {
    let limits = quell::Limits::default().ended_trees_max(trees);
    Engine::with_config(node.config().limits(limits).control_on_runtime())
}

#[tokio::test(start_paused = true)]
async fn i4_a_run_that_has_left_something_on_two_nodes_quiesces_when_neither_has_anything() {
    for (trees, is_forgotten_first) in [(0, false), (0, true), (9, false), (9, true)] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let b = keeps(&node_b, trees);
        let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
        lose(&node_a).await;
        let kept = Arc::new(Mutex::new(None));
        let resume = |_: &RunRecord| {
            let keep = Arc::clone(&kept);
            Recovery::resume(RunSpec::agent("far"), async move |ctx: RunContext| {
                *keep.lock().unwrap() = Some(ctx.hold(Work::Blocking, "a closure")?);
                listener(ctx).await
            })
        };
        b.take_over(resume).await.unwrap().unwrap();
        let next = b.get(run).unwrap();
        soon("it holds", || kept.lock().unwrap().is_some()).await;
        next.cancel(stop());
        assert!(!within("it ends", next.ended()).await.quiescent);
        next.stored().await.unwrap();
        let mut events = next.events();
        for is_first in [true, false] {
            if is_first == is_forgotten_first {
                assert!(nodes.forget("a"));
            } else {
                kept.lock().unwrap().take();
            }
            if is_first {
                tokio::time::sleep(secs(60)).await;
                assert!(!is_quiescent(&nodes, run).await, "{trees}, {is_forgotten_first}");
                assert_eq!(count(&told(&nodes, run).await, run), 0);
            }
        }
        quiesces(&nodes, run).await;
        let told = told(&nodes, run).await;
        assert_eq!(count(&told, run), 1, "{told:?}");
        assert_eq!(told.last(), Some(&(run, EventKind::Quiesced)), "{told:?}");
        let stream = async { while events.next().await.is_some() {} };
        within("its stream ends", stream).await;
        if trees == 0 {
            soon("it leaves memory", || b.get(run).is_none()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i36_what_goes_on_elsewhere_and_is_rolled_back_stays_while_a_lost_node_may_execute_it() {
    for trees in [0, 9] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let b = keeps(&node_b, trees);
        let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
        lose(&node_a).await;
        let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), listener);
        b.take_over(resume).await.unwrap().unwrap();
        let next = b.get(run).unwrap();
        soon("it runs", || next.status() == RunStatus::Running).await;
        next.cancel_durably(stop().rollback()).await.1.unwrap();
        within("it ends", next.ended()).await;
        next.stored().await.unwrap();
        tokio::time::sleep(secs(60)).await;
        let record = nodes.read(run).await.expect("it may execute still");
        assert!(record.is_rolled_back() && !record.quiescent, "{record:?}");
        assert!(nodes.forget("a"));
        tokio::time::sleep(secs(5)).await;
        assert!(nodes.read(run).await.is_none(), "nothing of it executes");
        assert!(b.get(run).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_forgotten_before_it_is_taken_over_from_is_in_doubt_for_a_moment_alone() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
    assert!(!nodes.forget("a"), "its lease runs");
    lose(&node_a).await;
    assert!(nodes.forget("a"));
    b.take_over(fail).await.unwrap().unwrap();
    quiesces(&nodes, run).await;
}

#[tokio::test(start_paused = true)]
async fn who_joins_under_the_name_later_is_another_one() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let run = started(&node_a.engine(), RunSpec::agent("first")).await.id();
    lose(&node_a).await;
    let node_b = Shaky::join(&nodes, "b");
    let b = node_b.engine();
    b.take_over(fail).await.unwrap().unwrap();
    assert!(nodes.forget("a"));
    quiesces(&nodes, run).await;
    let again = Shaky::join(&nodes, "a");
    let later = started(&again.engine(), RunSpec::agent("later")).await.id();
    lose(&again).await;
    b.take_over(fail).await.unwrap().unwrap();
    tokio::time::sleep(secs(60)).await;
    assert!(!is_quiescent(&nodes, later).await, "nobody has said so of that one");
    assert!(nodes.forget("a"));
    quiesces(&nodes, later).await;
}

#[tokio::test(start_paused = true)]
async fn i4_runs_elsewhere_of_a_node_that_comes_back_under_its_name_quiesce_but_for_its_programs() {
    for has_program in [false, true] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let (a, b) = (node_a.engine(), node_b.engine());
        let run = started(&a, RunSpec::agent("far")).await.id();
        if has_program {
            let epoch = nodes.read(run).await.unwrap().epoch;
            let hold = StoredHold::new(0, Work::Process, "make".into());
            node_a.append(vec![Record::HoldBegan { run, epoch, hold }]).await.unwrap();
        }
        lose(&node_a).await;
        b.take_over(fail).await.unwrap().unwrap();
        tokio::time::sleep(secs(60)).await;
        assert!(!is_quiescent(&nodes, run).await);
        let _again = Shaky::join(&nodes, "a");
        if !has_program {
            quiesces(&nodes, run).await;
            let told = told(&nodes, run).await;
            assert_eq!(told.last(), Some(&(run, EventKind::Quiesced)), "{told:?}");
            continue;
        }
        tokio::time::sleep(secs(60)).await;
        let record = nodes.read(run).await.unwrap();
        let named: Vec<_> = record.holds.iter().map(|hold| (hold.what, &*hold.name)).collect();
        assert_eq!((named, record.quiescent), (vec![(Work::Process, "make")], false));
        assert!(nodes.forget("a"));
        quiesces(&nodes, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_two_lost_nodes_may_execute_quiesces_when_both_are_forgotten() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let (root, child) = tree(&node_a).await;
    lose(&node_a).await;
    let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), slow);
    b.take_over(resume).await.unwrap().unwrap();
    let next = b.get(root).unwrap();
    soon("it runs", || next.status() == RunStatus::Running).await;
    lose(&node_b).await;
    let node_c = Shaky::join(&nodes, "c");
    let c = node_c.engine();
    c.take_over(fail).await.unwrap().unwrap();
    assert!(nodes.forget("b"));
    tokio::time::sleep(secs(60)).await;
    let holds = nodes.read(root).await.unwrap().holds;
    let named: Vec<_> = holds.iter().map(|hold| (hold.what, &*hold.name)).collect();
    assert_eq!(named, [(Work::Node, "a")], "what the other one had stays");
    assert!(!is_quiescent(&nodes, root).await && !is_quiescent(&nodes, child).await);
    assert!(nodes.forget("a"));
    quiesces(&nodes, root).await;
    assert!(is_quiescent(&nodes, child).await);
    let told = told(&nodes, root).await;
    assert_eq!((count(&told, root), count(&told, child)), (1, 1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_lost_twice_with_a_run_is_named_once_and_is_forgotten_both_times() {
    for ends_at_once in [true, false] {
        let nodes = Nodes::new(secs(15));
        let node_a = Shaky::join(&nodes, "a");
        let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
        lose(&node_a).await;
        let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), listener);
        let node_b = Shaky::join(&nodes, "b");
        node_b.engine().take_over(resume).await.unwrap().unwrap();
        lose(&node_b).await;
        let again = Shaky::join(&nodes, "a");
        again.engine().take_over(resume).await.unwrap().unwrap();
        lose(&again).await;
        let node_c = Shaky::join(&nodes, "c");
        let c = node_c.engine();
        let decide: fn(&RunRecord) -> Recovery = if ends_at_once { fail } else { resume };
        c.take_over(decide).await.unwrap().unwrap();
        if let Some(run) = c.get(run) {
            soon("it runs", || run.status() == RunStatus::Running).await;
            run.cancel(stop());
            within("it ends", run.ended()).await;
            run.stored().await.unwrap();
        }
        let row = nodes.read(run).await.unwrap().row();
        let mut named: Vec<_> = row.abandoned.iter().map(|work| (work.what, &*work.name)).collect();
        named.sort_unstable_by_key(|(_, name)| *name);
        assert_eq!(named, [(Work::Node, "a"), (Work::Node, "b")]);
        assert!(nodes.forget("b"));
        tokio::time::sleep(secs(60)).await;
        let left = nodes.read(run).await.unwrap().holds.len();
        assert_eq!(left, 1, "of the two of that name the first one was gone when the other joined");
        assert!(!is_quiescent(&nodes, run).await);
        assert!(nodes.forget("a"));
        quiesces(&nodes, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i36_what_was_rolled_back_leaves_when_the_node_is_forgotten_that_may_execute_it() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
    node_a.trouble(Trouble::All);
    b.cancel_anywhere(run, stop().rollback()).await.unwrap();
    tokio::time::sleep(secs(16)).await;
    b.take_over(fail).await.unwrap().unwrap();
    assert!(nodes.read(run).await.unwrap().is_rolled_back());
    assert!(nodes.forget("a"));
    tokio::time::sleep(secs(5)).await;
    assert!(nodes.read(run).await.is_none(), "nothing of it executes");
    within("down", b.shutdown(Shutdown::default())).await;
}
