//! What a take-over says of the runs that it takes.

use std::time::SystemTime;

use quell::{Disposition, Work};
use quell_core::cluster::Cluster as _;
use quell_core::store::{Page, Record, Store as _, StoredPause};
use quell_core::{Payload, RunId};
use quell_postgres::PostgresNode;
use quell_test_support::records;

use crate::crew::{bare, expire, join, read, stop};
use crate::fixture::{Place, block_on};

#[test]
fn a_run_that_was_paused_is_not_executed_by_a_lost_member_whatever_it_was_asked_for() {
    let place = Place::shared();
    block_on(async {
        let run = RunId::from_text("paused");
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let epoch = bare(&a, run).await.unwrap();
        let pause = StoredPause::new(Payload::from("?"), 1, SystemTime::now()).into();
        a.append(vec![Record::Paused { run, epoch, pause }]).await.unwrap();
        let asked = b.ask(run.into(), stop("ada")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        let record = read(&*b, run).await;
        assert_eq!((record.stop.is_some(), record.holds), (true, vec![]));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_store_that_is_alone_says_of_what_members_had_that_those_may_execute_it_still() {
    let place = Place::shared();
    block_on(async {
        let names = ["a", "b"];
        for name in names {
            let node = join(&place, name).await;
            bare(&node, RunId::from_text(name)).await.unwrap();
            // As if it was cut off: its session is gone, and it may go on.
            node.close().await.unwrap();
            expire(&place, name);
        }
        let alone = place.open().await.unwrap();
        for name in names {
            let holds = read(&alone, RunId::from_text(name)).await.holds;
            let holds: Vec<_> = holds.iter().map(|hold| (hold.what, &*hold.name)).collect();
            assert_eq!(holds, [(Work::Node, name)]);
        }
        alone.close().await.unwrap();
        // What it had itself it knows to be gone.
        let again = place.open().await.unwrap();
        assert_eq!(read(&again, RunId::from_text("a")).await.holds.len(), 1);
        again.close().await.unwrap();
    });
}

/// A run that a member has accepted, and nobody has started.
async fn waiting(node: &PostgresNode, name: &str) -> RunId {
    let run = RunId::from_text(name);
    node.append(vec![records::accept(run, records::epoch(node))]).await.unwrap();
    run
}

/// Takes over all that there is, and yields of a run whether it has never started, and which
/// members may execute it.
async fn taken(by: &PostgresNode, run: RunId) -> (bool, Vec<String>) {
    while by.take_over().await.unwrap().is_some() {}
    let page = by.recover(Page::first(9)).await.unwrap();
    let record = page.items.into_iter().flatten().find(|record| record.run() == run).unwrap();
    let named = record.holds.iter().filter(|hold| hold.what == Work::Node);
    (record.is_unstarted, named.map(|hold| hold.name.to_string()).collect())
}

#[test]
fn what_a_member_has_not_begun_is_handed_on_as_it_was_when_it_leaves_drained() {
    for is_lost in [false, true] {
        let place = Place::shared();
        block_on(async {
            let (a, b) = (join(&place, "a").await, join(&place, "b").await);
            let c = join(&place, "c").await;
            let (waits, own) = (waiting(&a, "waits").await, waiting(&b, "b's own").await);
            if is_lost {
                expire(&place, "a");
            } else {
                a.release(vec![waits]).await.unwrap();
            }
            b.take_over().await.unwrap().unwrap();
            b.leave(true).await.unwrap();
            let lost: Vec<_> = is_lost.then(|| "a".to_owned()).into_iter().collect();
            assert_eq!(taken(&c, waits).await, (!is_lost, lost));
            assert_eq!(taken(&c, own).await, (true, vec![]), "it could not give that up");
            for node in [a, b, c] {
                node.close().await.unwrap();
            }
        });
    }
}

#[test]
fn what_a_lost_member_was_to_start_later_and_has_not_is_not_executed_by_it() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let runs = ["waits", "has started", "was stopped"].map(RunId::from_text);
        for run in runs {
            let mut accepted = records::accept(run, records::epoch(&*a));
            if let Record::Accepted(accepted) = &mut accepted {
                accepted.due = Some(records::at());
            }
            a.append(vec![accepted]).await.unwrap();
        }
        let (run, epoch, at) = (runs[1], records::epoch(&*a), records::at());
        a.append(vec![Record::Started { run, epoch, at }]).await.unwrap();
        a.append(vec![records::stop(runs[2], epoch)]).await.unwrap();
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        let mut holds = Vec::new();
        for run in runs {
            holds.push(read(&*b, run).await.holds.len());
        }
        assert_eq!(holds, [0, 1, 0]);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i4_a_member_that_leaves_otherwise_may_execute_what_it_had() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = waiting(&a, "waits").await;
        a.leave(true).await.unwrap();
        // It has a lease again.
        a.renew().await.unwrap();
        a.leave(false).await.unwrap();
        assert_eq!(taken(&b, run).await, (false, vec!["a".to_owned()]));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i4_what_was_on_a_lost_member_is_not_called_unstarted_because_the_next_one_gives_it_up() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let c = join(&place, "c").await;
        let run = waiting(&a, "waits").await;
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        b.release(vec![run]).await.unwrap();
        // Nor if somebody has said that the lost one is gone for good.
        place.sql("delete from hold");
        assert_eq!(taken(&c, run).await, (false, vec![]));
        for node in [a, b, c] {
            node.close().await.unwrap();
        }
    });
}
