//! What is asked of a run that is forgotten since: a later one that has its id is left alone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{Counts, Disposition, RunReport, RunStatus};
use quell_core::cluster::{ActAnswer, Answer, Asked, Cluster as _, RunMeant};
use quell_core::store::{Record, RunRecord, Store as _};
use quell_core::{Payload, RunId};
use quell_postgres::PostgresNode;
use quell_test_support::within;

use crate::crew::{bare, expire, join, on_threads, read, stop};
use crate::fixture::Place;

/// Has a run end and be forgotten, and a later one have its id.
async fn followed_by_another(node: &PostgresNode, before: &RunRecord) {
    let (run, epoch, at) = (before.run(), before.epoch, SystemTime::now());
    let mut row = before.row();
    (row.status, row.quiescent, row.ended_at) = (RunStatus::Completed, true, Some(at));
    let report = RunReport::new(vec![row], Counts::default()).into();
    node.append(vec![Record::Ended { run, epoch, report, rollback: false }]).await.unwrap();
    node.append(vec![Record::Forgotten { run, epoch, at }]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    bare(node, run).await.unwrap();
}

/// Two members, a run of the first one, and how the second one reads it.
async fn two(place: &Place<'_>) -> ([Arc<PostgresNode>; 2], RunId, RunRecord) {
    let (a, b) = (join(place, "a").await, join(place, "b").await);
    let run = RunId::from_text("r");
    bare(&a, run).await.unwrap();
    let read = read(&*b, run).await;
    ([a, b], run, read)
}

#[test]
fn i4_a_run_with_the_id_of_the_one_that_is_meant_is_none_that_is_live() {
    let place = Place::shared();
    on_threads(async {
        let ([a, b], run, before) = two(&place).await;
        followed_by_another(&a, &before).await;
        assert_eq!(b.ask((&before).into(), stop("ada")).await, Ok(Disposition::Unknown));
        let said = b.act((&before).into(), Payload::from("rest")).await;
        assert_eq!(said, Ok(ActAnswer::Unknown));
        assert_eq!(place.sql("select count(*) from stop"), "0", "nothing is kept of those");
        // Neither is it told how that one has ended.
        let later = read(&*b, run).await;
        followed_by_another(&a, &later).await;
        let asked = b.ask((&read(&*b, run).await).into(), stop("ada")).await;
        assert!(matches!(asked, Ok(Disposition::Recorded { .. })), "{asked:?}");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i4_the_owner_reads_which_run_is_meant_by_a_stop_and_by_an_act() {
    let place = Place::shared();
    on_threads(async {
        let ([a, b], run, before) = two(&place).await;
        for meant in [RunMeant::from(&before), RunMeant::from(run)] {
            let asked = ask(&b, meant);
            let inbox = within("it is there", a.inbox(Vec::new())).await.unwrap();
            let [Asked::Stop(stopped)] = &inbox[..] else { panic!("one: {inbox:?}") };
            assert_eq!((stopped.run, stopped.accepted_ms), (run, meant.accepted_ms()));
            assert_eq!(stopped.request, stop("ada").rollback());
            a.answer(stopped.nr, Answer::Stop(Disposition::Unknown)).await.unwrap();
            assert_eq!(asked.await.unwrap(), Disposition::Unknown);
            let from = Arc::clone(&b);
            let call = tokio::spawn(async move { from.act(meant, Payload::from("rest")).await });
            let inbox = within("it is there", a.inbox(Vec::new())).await.unwrap();
            let [Asked::Act { nr, run: of, .. }] = inbox[..] else { panic!("one: {inbox:?}") };
            assert_eq!(of, meant);
            assert_eq!(a.take(nr).await, Ok(true));
            a.answer(nr, Answer::Act(Payload::from("done"))).await.unwrap();
            assert_eq!(call.await.unwrap(), Ok(ActAnswer::Said(Payload::from("done"))));
        }
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

fn ask(from: &Arc<PostgresNode>, meant: RunMeant) -> tokio::task::JoinHandle<Disposition> {
    let from = Arc::clone(from);
    tokio::spawn(async move { from.ask(meant, stop("ada").rollback()).await.unwrap() })
}

#[test]
fn i34_a_recorded_stop_of_a_run_that_is_forgotten_is_not_given_to_a_later_one() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let (run, other) = (RunId::from_text("r"), RunId::from_text("other"));
        for run in [run, other] {
            bare(&a, run).await.unwrap();
        }
        let before = read(&*b, run).await;
        for meant in [(&before).into(), (&read(&*b, other).await).into()] {
            let asked = b.ask(meant, stop("ada")).await;
            assert!(matches!(asked, Ok(Disposition::Recorded { .. })), "{asked:?}");
        }
        followed_by_another(&a, &before).await;
        let open = b.open_stops(None).await.unwrap().asked;
        assert_eq!(open.iter().map(|stop| stop.run).collect::<Vec<_>>(), [other]);
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        assert!(read(&*b, run).await.stop.is_none());
        assert!(read(&*b, other).await.stop.is_some(), "that is the run that is meant");
        // Who has the runs now answers both.
        assert_eq!(b.inbox(Vec::new()).await.unwrap().len(), 2);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}
