//! What a take-over says of the runs that it takes.

use std::time::SystemTime;

use quell::Disposition;
use quell_core::cluster::Cluster as _;
use quell_core::store::{Record, Store as _, StoredPause};
use quell_core::{Payload, RunId};

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
        let asked = b.ask(run, stop("ada")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        let record = read(&*b, run).await;
        assert_eq!((record.stop.is_some(), record.holds), (true, vec![]));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}
