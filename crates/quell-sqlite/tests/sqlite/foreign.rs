//! Code of others on the threads of a store: wakers, and subscribers of `tracing`.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use quell_core::RunId;
use quell_core::store::{BoxFuture, Store};
use quell_sqlite::{SqliteOptions, SqliteStore};

use crate::child::Writing;
use crate::fixture::{Folder, accept, block_on, epoch};

/// A waker that panics.
struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any("a waker");
    }
}

/// Polls a future with a waker that panics, and then waits for it.
fn badly<T>(mut future: BoxFuture<'_, T>) -> T {
    match poll_badly(&mut future) {
        Poll::Ready(value) => value,
        Poll::Pending => block_on(future),
    }
}

fn poll_badly<T>(future: &mut BoxFuture<'_, T>) -> Poll<T> {
    let waker = Waker::from(Arc::new(Bad));
    future.as_mut().poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_waker_that_panics_ends_no_thread_of_a_store() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let mut options = SqliteOptions::default();
    options.readers = 1;
    let store = SqliteStore::open_with(&path, &options).unwrap();
    let epoch = epoch(&store);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    for nth in 0..20 {
        badly(store.append(vec![accept(run(nth), epoch)])).unwrap();
        assert!(badly(store.get(run(nth))).unwrap().is_some(), "run {nth}");
    }
    // Nor does it keep the end from others who wait for it.
    let mut given_up: Vec<_> = (0..3).map(|_| store.close()).collect();
    for close in &mut given_up {
        let _ = poll_badly(close);
    }
    block_on(store.close()).unwrap();
    drop(given_up);
    block_on(SqliteStore::open(&path).unwrap().close()).unwrap();
}

#[test]
fn a_subscriber_that_panics_ends_no_thread_of_a_store() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let said = Writing::with_files_of(700, "fail loudly", &path).rest();
    assert!(said.iter().any(|line| line.starts_with("x ")), "no commit failed: {said:?}");
    assert!(said.iter().any(|line| line == "closed"), "{said:?}");
    crate::kills::verify(&path, &said);
}
