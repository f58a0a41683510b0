//! What many writers and readers do to each other.

use std::sync::Arc;
use std::task::Poll;

use quell_core::RunId;
use quell_core::store::{Store, StoreError};
use quell_sqlite::{SqliteOptions, SqliteStore};

use crate::fixture::{Folder, accept, block_on, epoch, event, stop};

#[test]
fn many_appends_share_a_commit() {
    let folder = Folder::new();
    let store = Arc::new(SqliteStore::open(folder.file("runs.db")).unwrap());
    let epoch = epoch(&*store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = Arc::clone(&store);
            runtime.spawn(async move {
                for nth in 0..20 {
                    let run = RunId::from_text(&format!("{writer} {nth}"));
                    store.append(vec![accept(run, epoch)]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    let committed = store.committed();
    assert_eq!(committed.records, 64 * 20);
    assert!(committed.commits < 64 * 20 / 2, "{committed:?}");
    block_on(store.close()).unwrap();
}

#[test]
fn an_append_that_is_given_up_while_it_waits_for_room_is_taken_back() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.queue_records_max = 1;
    let store = SqliteStore::open_with(folder.file("runs.db"), &options).unwrap();
    let epoch = epoch(&store);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    // As long as somebody else writes, the first append is under way, and the second has room.
    let other = rusqlite::Connection::open(store.path()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    block_on(async {
        let mut appends: Vec<_> =
            (0..2_000).map(|nth| store.append(vec![accept(run(nth), epoch)])).collect();
        let polled = std::future::poll_fn(|context| {
            let polls = appends.iter_mut().map(|append| append.as_mut().poll(context));
            Poll::Ready(polls.filter(Poll::is_pending).count())
        });
        assert_eq!(polled.await, 2_000);
        appends.drain(..1_900);
        other.execute_batch("rollback").unwrap();
        for append in appends {
            append.await.unwrap();
        }
        let mut stored = 0;
        for nth in 0..1_900 {
            stored += usize::from(store.get(run(nth)).await.unwrap().is_some());
        }
        assert!(stored <= 2, "{stored} of them were stored");
        for nth in 1_900..2_000 {
            assert!(store.get(run(nth)).await.unwrap().is_some(), "run {nth}");
        }
        store.close().await.unwrap();
    });
}

#[test]
fn what_was_given_before_the_close_is_stored_and_acknowledged() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let epoch = epoch(&store);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    block_on(async {
        let mut appends: Vec<_> =
            (0..500).map(|nth| store.append(vec![accept(run(nth), epoch)])).collect();
        std::future::poll_fn(|context| {
            for append in &mut appends {
                let _ = append.as_mut().poll(context);
            }
            Poll::Ready(())
        })
        .await;
        store.close().await.unwrap();
        let late = store.append(vec![event(run(0), epoch, 1)]).await;
        assert_eq!(late, Err(StoreError::Closed));
        let again = SqliteStore::open(&path).unwrap();
        for nth in 0..500 {
            assert!(again.get(run(nth)).await.unwrap().is_some(), "run {nth}");
        }
        again.close().await.unwrap();
    });
}

#[test]
fn a_store_that_is_dropped_stores_what_it_was_given() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let run = RunId::from_text("run");
    {
        let store = SqliteStore::open(&path).unwrap();
        let epoch = epoch(&store);
        block_on(store.append(vec![accept(run, epoch), stop(run, epoch)])).unwrap();
    }
    let again = loop {
        match SqliteStore::open(&path) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    assert!(block_on(again.get(run)).unwrap().unwrap().stop.is_some());
    block_on(again.close()).unwrap();
}
