//! A database that is away, or was taken over.

use std::time::Duration;

use futures::future::join_all;
use quell_core::RunId;
use quell_core::store::{Page, Store, StoreError};
use quell_postgres::PostgresStore;
use quell_test_support::records::{accept, epoch};
use quell_test_support::{PostgresServer, soon_in_real_time};

use crate::fixture::{HOLDER, Place, block_on};

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

#[test]
fn while_the_database_is_away_all_fail_and_once_it_is_back_the_store_goes_on() {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    block_on(async {
        let mut options = place.options();
        options.connect_timeout = Duration::from_millis(200);
        let store = PostgresStore::open(options).await.unwrap();
        let epoch = epoch(&store);
        store.append(vec![accept(run(0), epoch)]).await.unwrap();
        for _ in 0..2 {
            server.stop_at_once();
            let away = join_all((1..3_000).map(|nth| store.append(vec![accept(run(nth), epoch)])));
            for answer in away.await {
                assert!(matches!(answer, Err(StoreError::Unreachable { .. })), "{answer:?}");
            }
            let read = store.get(run(0)).await;
            assert!(matches!(read, Err(StoreError::Unreachable { .. })), "{read:?}");
            let read = store.recover(Page::first(9)).await;
            let words = read.unwrap_err().to_string();
            assert!(words.contains(&*server.folder().to_string_lossy()), "{words}");
            server.start_again();
            // On a busy machine a connection may take longer than it may here.
            while matches!(store.get(run(0)).await, Err(StoreError::Unreachable { .. })) {
                tokio::task::yield_now().await;
            }
            assert!(store.get(run(0)).await.unwrap().is_some());
            assert_eq!(store.get(run(1)).await, Ok(None));
        }
        // It is tried again a quarter of a second later.
        while store.append(vec![accept(run(1), epoch)]).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(store.get(run(1)).await.unwrap().is_some());
        store.close().await.unwrap();
    });
}

#[test]
fn a_store_that_closes_while_the_database_is_away_closes() {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    block_on(async {
        let mut options = place.options();
        options.connect_timeout = Duration::from_millis(200);
        let store = PostgresStore::open(options).await.unwrap();
        server.stop_at_once();
        let append = store.append(vec![accept(run(1), epoch(&store))]);
        let (append, closed) = futures::join!(append, async { store.close().await });
        assert!(matches!(append, Err(StoreError::Unreachable { .. })), "{append:?}");
        assert_eq!(closed, Ok(()));
    });
}

#[test]
fn a_store_whose_lock_another_one_took_meanwhile_writes_nothing_any_more() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        store.append(vec![accept(run(1), epoch)]).await.unwrap();
        let key = place.sql(&format!("select classid, objid {HOLDER}"));
        let (high, low) = key.split_once('|').unwrap();
        let key = format!("({high}::int8 << 32) | {low}::int8");
        std::thread::scope(|scope| {
            // Waits for the lock, and counts a boot as whoever opens the schema does.
            scope.spawn(|| {
                place.sql(&format!(
                    "select pg_advisory_lock({key}); update meta set boot = boot + 1;
                    update node set joined = joined + 1"
                ))
            });
            while place.sql(&format!("select count(*) {HOLDER} and not granted")) == "0" {}
            assert!(place.kill());
        });
        for nth in [2, 3] {
            let answer = store.append(vec![accept(run(nth), epoch)]).await;
            assert!(matches!(answer, Err(StoreError::Superseded { .. })), "{answer:?}");
        }
        assert_eq!(place.sql("select count(*) from run"), "1");
        assert!(store.get(run(1)).await.unwrap().is_some(), "it is read all the same");
        let next = place.open().await.unwrap();
        assert_eq!(next.boot(), 3);
        next.append(vec![accept(run(2), quell_test_support::records::epoch(&next))]).await.unwrap();
        let answer = store.append(vec![accept(run(3), epoch)]).await;
        assert!(matches!(answer, Err(StoreError::Superseded { .. })), "{answer:?}");
        assert_eq!(store.close().await, Ok(()));
        next.close().await.unwrap();
    });
}

#[test]
fn every_transaction_looks_whether_another_boot_came_after_its_own() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        // As when a pooler has given its session to others.
        place.sql("update node set joined = joined + 1");
        let answer = store.append(vec![accept(run(1), epoch)]).await;
        assert!(matches!(answer, Err(StoreError::Superseded { .. })), "{answer:?}");
        assert_eq!(place.sql("select count(*) from run"), "0");
        store.close().await.unwrap();
    });
}

#[test]
fn a_store_with_nothing_to_do_takes_its_lock_again() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let holder = || place.sql(&format!("select pid {HOLDER} and granted"));
        let before = holder();
        assert!(place.kill());
        // A session that was killed has the lock until it is gone.
        let has_lock = || ![String::new(), before.clone()].contains(&holder());
        soon_in_real_time("the lock is taken again", has_lock).await;
        let second = place.open().await;
        assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
        store.close().await.unwrap();
    });
}
