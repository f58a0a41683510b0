//! Commits of which the answer is lost.

use std::time::Duration;

use futures::future::join_all;
use quell_core::RunId;
use quell_core::store::{Store, StoreError};
use quell_postgres::{PostgresOptions, PostgresStore};
use quell_test_support::records::{accept, epoch, event};
use quell_test_support::{PostgresServer, within};

use crate::fixture::{HOLDER, Place, block_on};
use crate::proxy::Proxy;

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

fn options(proxy: &Proxy, place: &Place<'_>) -> PostgresOptions {
    let Place { database, .. } = place;
    PostgresOptions::new(format!("postgres://quell@127.0.0.1:{}/{database}", proxy.port))
}

#[test]
fn an_append_whose_commit_was_done_is_acknowledged_although_the_answer_was_lost() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    block_on(async {
        let proxy = Proxy::start(server.port()).await;
        let store = PostgresStore::open(options(&proxy, &place)).await.unwrap();
        let epoch = epoch(&store);
        for nth in 0..5 {
            proxy.swallow();
            // Stored twice it would be refused, and the events would have gaps.
            let batch = vec![accept(run(nth), epoch), event(run(nth), epoch, 1)];
            assert_eq!(store.append(batch).await, Ok(()));
            assert_eq!(proxy.done(), nth + 1);
            // What is refused is so for good, whatever becomes of the answer.
            let twice = store.append(vec![accept(run(nth), epoch)]).await;
            assert_eq!(twice, Err(StoreError::Exists { run: run(nth) }));
        }
        assert_eq!(place.sql("select count(*), count(distinct id) from run"), "5|5");
        store.close().await.unwrap();
    });
}

#[test]
fn a_server_that_says_nothing_any_more_fails_reads_and_appends_until_it_does_again() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    block_on(async {
        let proxy = Proxy::start(server.port()).await;
        let mut options = options(&proxy, &place);
        let limit = Duration::from_millis(300);
        let store = PostgresStore::open(options.clone()).await.unwrap();
        store.append(vec![accept(run(1), epoch(&store))]).await.unwrap();
        store.close().await.unwrap();
        (options.statement_timeout, options.connect_timeout) = (limit, limit);
        let store = PostgresStore::open(options.clone()).await.unwrap();
        assert!(store.get(run(1)).await.unwrap().is_some());
        proxy.be_silent(true);
        let read = within("an answer", store.get(run(1))).await;
        assert!(matches!(read, Err(StoreError::Unreachable { .. })), "{read:?}");
        let append = store.append(vec![accept(run(2), epoch(&store))]);
        let append = within("an answer", append).await;
        let words = append.unwrap_err().to_string();
        assert!(words.contains("whether the append is stored is not known"), "{words}");
        options.schema = "another".into();
        let opened = within("an answer", PostgresStore::open(options)).await;
        assert!(matches!(opened, Err(StoreError::Unreachable { .. })), "{opened:?}");
        proxy.be_silent(false);
        assert!(store.get(run(1)).await.unwrap().is_some());
        while store.append(vec![accept(run(3), epoch(&store))]).await.is_err() {
            tokio::task::yield_now().await;
        }
        store.close().await.unwrap();
    });
}

#[test]
fn a_session_that_the_server_takes_for_alive_is_ended_before_another_one_writes() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    block_on(async {
        let proxy = Proxy::start(server.port()).await;
        let mut options = options(&proxy, &place);
        let limit = Duration::from_millis(300);
        (options.statement_timeout, options.connect_timeout) = (limit, 3 * limit);
        let store = PostgresStore::open(options).await.unwrap();
        let epoch = epoch(&store);
        let holder = || place.sql(&format!("select pid {HOLDER} and granted"));
        let before = holder();
        proxy.stall();
        let append = within("an answer", store.append(vec![accept(run(1), epoch)]));
        assert_eq!(append.await, Ok(()));
        assert_eq!(proxy.done(), 1);
        assert_ne!(holder(), before);
        assert_eq!(place.sql("select count(*) from run"), "1");
        proxy.stall();
        let appends = (2..30).map(|nth| store.append(vec![accept(run(nth), epoch)]));
        for append in within("answers", join_all(appends)).await {
            assert_eq!(append, Ok(()));
        }
        assert_eq!(place.sql("select count(*) from run"), "29");
        store.close().await.unwrap();
    });
}

#[test]
fn a_read_finds_a_session_although_all_that_are_there_end_when_they_are_used() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    block_on(async {
        let proxy = Proxy::start(server.port()).await;
        let store = PostgresStore::open(options(&proxy, &place)).await.unwrap();
        let epoch = epoch(&store);
        for nth in 0..9 {
            // As many sessions as there may be.
            for read in join_all((0..20).map(|_| store.get(run(nth)))).await {
                assert_eq!(read, Ok(None));
            }
            proxy.forget();
            assert_eq!(store.get(run(nth)).await, Ok(None));
            assert_eq!(store.append(vec![accept(run(nth), epoch)]).await, Ok(()));
        }
        store.close().await.unwrap();
    });
}
