//! Several engines on one store: what is so once a node that has come back says what it knows of
//! the programs that processes before it have left.

use std::sync::Arc;
use std::time::SystemTime;

use quell::cluster::Cluster as _;
use quell::store::{Accepted, Epoch, Record, RunRecord, Store as _, StoreError, StoredHold};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{EventKind, Recovery, RunId, RunKind, RunSpec, RunStatus, Work, limits};

use crate::nodes_forgotten::{count, fail, is_quiescent, keeps, lose, quiesces, told};
use crate::support::{Shaky, listener, secs, soon, started, stop, within};

/// Begins a program of a run, as a process of the node would.
async fn begin(nodes: &Nodes, node: &Shaky, run: RunId, name: &str) {
    let record = nodes.read(run).await.unwrap();
    let nr = record.holds.iter().map(|hold| hold.nr + 1).max().unwrap_or_default();
    let hold = StoredHold::new(nr, Work::Process, name.into());
    node.append(vec![Record::HoldBegan { run, epoch: record.epoch, hold }]).await.unwrap();
}

/// Has a run with a program on a node, which is lost.
async fn lost(nodes: &Nodes, node: &Arc<Shaky>) -> RunId {
    let run = started(&node.engine(), RunSpec::agent("far")).await.id();
    begin(nodes, node, run, "make").await;
    lose(node).await;
    run
}

async fn named(nodes: &Nodes, run: RunId) -> Vec<(Work, String)> {
    let holds = nodes.read(run).await.unwrap().holds;
    holds.iter().map(|hold| (hold.what, hold.name.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn i4_a_run_elsewhere_quiesces_when_its_node_is_back_and_says_that_its_programs_have_ended() {
    for trees in [0, 9] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let b = keeps(&node_b, trees);
        let run = lost(&nodes, &node_a).await;
        b.take_over(fail).await.unwrap().unwrap();
        let again = Shaky::join(&nodes, "a");
        tokio::time::sleep(secs(60)).await;
        assert_eq!(named(&nodes, run).await, [(Work::Process, "make".to_owned())]);
        assert!(!is_quiescent(&nodes, run).await, "nobody has said that");
        again.programs_before(true).await.unwrap();
        quiesces(&nodes, run).await;
        assert_eq!(named(&nodes, run).await, []);
        let told = told(&nodes, run).await;
        assert_eq!(count(&told, run), 1, "{told:?}");
        assert_eq!(told.last(), Some(&(run, EventKind::Quiesced)), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_in_doubt_when_its_node_is_back_stays_so_until_somebody_knows() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let b = node_b.engine();
    let first = lost(&nodes, &node_a).await;
    b.take_over(fail).await.unwrap().unwrap();
    let again = Shaky::join(&nodes, "a");
    again.programs_before(false).await.unwrap();
    let later = lost(&nodes, &again).await;
    b.take_over(fail).await.unwrap().unwrap();
    let third = Shaky::join(&nodes, "a");
    third.programs_before(true).await.unwrap();
    quiesces(&nodes, later).await;
    tokio::time::sleep(secs(60)).await;
    assert!(!is_quiescent(&nodes, first).await, "of that one nobody will know");
    lose(&third).await;
    b.take_over(fail).await.unwrap().unwrap();
    assert!(nodes.forget("a"));
    quiesces(&nodes, first).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_says_nothing_of_what_its_own_process_begins() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    node_a.programs_before(true).await.unwrap();
    let run = started(&node_a.engine(), RunSpec::agent("far")).await.id();
    begin(&nodes, &node_a, run, "make").await;
    node_a.programs_before(true).await.unwrap();
    lose(&node_a).await;
    let node_b = Shaky::join(&nodes, "b");
    let b = node_b.engine();
    b.take_over(fail).await.unwrap().unwrap();
    node_a.trouble(Trouble::None);
    let lost = node_a.programs_before(true).await;
    assert_eq!(lost, Err(StoreError::LeaseLost { node: "a".into() }));
    tokio::time::sleep(secs(60)).await;
    assert!(!is_quiescent(&nodes, run).await);
    let again = Shaky::join(&nodes, "a");
    again.programs_before(true).await.unwrap();
    quiesces(&nodes, run).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_said_that_is_gone_again_holds_for_whoever_has_the_runs() {
    let nodes = Nodes::new(secs(15));
    let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
    let run = lost(&nodes, &node_a).await;
    let b = node_b.engine();
    b.take_over(fail).await.unwrap().unwrap();
    let again = Shaky::join(&nodes, "a");
    node_b.trouble(Trouble::All);
    again.programs_before(true).await.unwrap();
    lose(&again).await;
    let node_c = Shaky::join(&nodes, "c");
    let c = node_c.engine();
    while c.take_over(fail).await.unwrap().is_some() {}
    quiesces(&nodes, run).await;
}

#[tokio::test(start_paused = true)]
async fn i4_a_node_that_has_its_own_run_again_lets_go_of_the_program_that_it_had_begun_before() {
    for is_said_first in [true, false] {
        let nodes = Nodes::new(secs(15));
        let (node_a, node_b) = (Shaky::join(&nodes, "a"), Shaky::join(&nodes, "b"));
        let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("far"), listener);
        let run = lost(&nodes, &node_a).await;
        node_b.engine().take_over(resume).await.unwrap().unwrap();
        begin(&nodes, &node_b, run, "of b").await;
        lose(&node_b).await;
        let again = Shaky::join(&nodes, "a");
        let a = again.engine();
        if is_said_first {
            again.programs_before(true).await.unwrap();
        }
        a.take_over(resume).await.unwrap().unwrap();
        let next = a.get(run).unwrap();
        soon("it runs", || next.status() == RunStatus::Running).await;
        if !is_said_first {
            again.programs_before(true).await.unwrap();
        }
        tokio::time::sleep(secs(60)).await;
        let left = [(Work::Process, "of b".to_owned()), (Work::Node, "b".to_owned())];
        assert_eq!(named(&nodes, run).await, left, "{is_said_first}");
        next.cancel(stop());
        assert!(!within("it ends", next.ended()).await.quiescent, "of those nobody has said it");
        next.stored().await.unwrap();
        let b = Shaky::join(&nodes, "b");
        b.programs_before(true).await.unwrap();
        quiesces(&nodes, run).await;
        let told = told(&nodes, run).await;
        assert_eq!(count(&told, run), 1, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_a_process_between_has_kept_in_doubt_is_that_of_the_first_one() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let run = lost(&nodes, &node_a).await;
    let again = Shaky::join(&nodes, "a");
    again.programs_before(false).await.unwrap();
    let a = again.engine();
    a.recover(fail).await.unwrap();
    assert!(!is_quiescent(&nodes, run).await);
    lose(&again).await;
    let node_b = Shaky::join(&nodes, "b");
    let b = node_b.engine();
    b.take_over(fail).await.unwrap();
    let third = Shaky::join(&nodes, "a");
    third.programs_before(true).await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(named(&nodes, run).await, [(Work::Process, "make".to_owned())]);
    assert!(!is_quiescent(&nodes, run).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_is_told_of_all_of_its_runs_however_many_they_are() {
    let nodes = Nodes::new(secs(15));
    let node_a = Shaky::join(&nodes, "a");
    let (epoch, at) = (Epoch::new(node_a.boot(), 1), SystemTime::UNIX_EPOCH);
    let many = limits::STORE_PAGE_MAX + 1;
    for nth in 0..many {
        let run = RunId::from_text(&nth.to_string());
        let accepted = Accepted::new(run, RunKind::Agent, "far".into(), epoch, at);
        let hold = StoredHold::new(0, Work::Process, "make".into());
        let began = Record::HoldBegan { run, epoch, hold };
        node_a.append(vec![Record::Accepted(accepted.into()), began]).await.unwrap();
    }
    lose(&node_a).await;
    let again = Shaky::join(&nodes, "a");
    assert_eq!(again.programs_before(true).await.unwrap().len(), many);
}
