//! Stops that are open, on whatever member: what is asked for and not answered, and what has been
//! left; and runs whose id another member has by now.

use std::sync::Arc;

use quell_core::cluster::{Answer, Cluster as _, OpenStops};
use quell_core::store::{Accepted, Record, Store as _, StoreError};
use quell_core::{Counts, Disposition, RunId, RunKind, RunReport, RunRow, RunStatus};
use quell_test_support::records::{accept, at, end, epoch, stop as stopped};

use crate::crew::{bare, join, on_threads, stop};
use crate::fixture::Place;

/// Makes the end of a run of which something executes still.
fn left(run: RunId, of: &quell_postgres::PostgresNode) -> Record {
    let row = RunRow::new(run, RunKind::Agent, "a run".into(), RunStatus::Cancelled, at());
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    Record::Ended { run, epoch: epoch(of), report, rollback: false }
}

#[test]
fn any_member_reads_the_stops_that_are_not_answered_and_the_roots_that_are_not_quiescent() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        assert_eq!(b.open_stops(None).await, Ok(OpenStops::default()));
        let [first, second, third] = ["first", "second", "third"].map(RunId::from_text);
        let mut adas = Accepted::new(first, RunKind::Agent, "a".into(), epoch(&*a), at());
        adas.owner = Some("ada\\".into());
        a.append(vec![Record::Accepted(adas.into())]).await.unwrap();
        for run in [second, third] {
            bare(&a, run).await.unwrap();
        }
        for run in [second, first] {
            let answer = b.ask(run.into(), stop("ada")).await.unwrap();
            assert!(matches!(answer, Disposition::Recorded { .. }), "{answer:?}");
        }
        // What a member asks for beside stops is none.
        b.act(second.into(), "rest".into()).await.unwrap();
        for member in [&a, &b] {
            let open = member.open_stops(None).await.unwrap();
            let asked: Vec<_> = open.asked.iter().map(|stop| stop.run).collect();
            assert_eq!(
                (&asked[..], &open.left[..], open.more),
                (&[second, first][..], &[][..], false)
            );
            assert_eq!(open.asked[0].request, stop("ada"));
        }
        let of_ada = b.open_stops(Some("ada\\".into())).await.unwrap();
        assert_eq!(of_ada.asked.iter().map(|stop| stop.run).collect::<Vec<_>>(), [first]);
        for asked in b.open_stops(None).await.unwrap().asked {
            a.answer(asked.nr, Answer::Stop(Disposition::Unknown)).await.unwrap();
        }
        // Stopped, and left; stopped, and quiescent; and left without a stop.
        let own = epoch(&*a);
        a.append(vec![stopped(first, own), left(first, &a)]).await.unwrap();
        a.append(vec![stopped(second, own), end(second, own, RunStatus::Cancelled)]).await.unwrap();
        a.append(vec![left(third, &a)]).await.unwrap();
        let open = b.open_stops(None).await.unwrap();
        assert_eq!((&open.asked[..], &open.left[..], open.more), (&[][..], &[first][..], false));
        assert_eq!(b.open_stops(Some("bob".into())).await, Ok(OpenStops::default()));
        a.append(vec![Record::Quiesced { run: first, epoch: own, at: at() }]).await.unwrap();
        assert_eq!(b.open_stops(None).await, Ok(OpenStops::default()));
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn a_run_whose_id_another_member_has_by_now_is_unknown_to_who_forgets_it() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("used again");
        // The epoch of the member that has joined later is above that of the other one.
        assert!(epoch(&*a) < epoch(&*b));
        a.append(vec![accept(run, epoch(&*a))]).await.unwrap();
        let forgotten = || vec![Record::Forgotten { run, epoch: epoch(&*b), at: at() }];
        assert_eq!(b.append(forgotten()).await, Err(StoreError::Unknown { run }));
        a.append(vec![end(run, epoch(&*a), RunStatus::Completed)]).await.unwrap();
        assert_eq!(b.append(forgotten()).await, Err(StoreError::Unknown { run }));
        assert!(a.get(run).await.unwrap().is_some());
        let own = vec![Record::Forgotten { run, epoch: epoch(&*a), at: at() }];
        a.append(own).await.unwrap();
        // One that is live is said to be so to who has it.
        a.append(vec![accept(run, epoch(&*a))]).await.unwrap();
        let own = vec![Record::Forgotten { run, epoch: epoch(&*a), at: at() }];
        assert_eq!(a.append(own).await, Err(StoreError::Live { run }));
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}
