//! Files that are moved, removed or replaced while a store has them open, and how ready it is.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quell_core::store::{Record, Store, StoreError};
use quell_core::{EventKind, Payload, RunEvent, RunId};
use quell_sqlite::{SqliteOptions, SqliteStore};

use crate::fixture::{Folder, accept, at, block_on, epoch, event};

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

/// Appends runs until the store has looked at its files again, and yields why it takes no more.
fn refused(store: &SqliteStore, first: usize) -> StoreError {
    let mut nth = first;
    until("it takes no more", || {
        nth += 1;
        block_on(store.append(vec![accept(run(nth), epoch(store))])).err()
    })
}

/// Waits until the store has looked again, and is ready or is not.
fn until_ready(store: &SqliteStore, is_ready: bool) -> Result<(), StoreError> {
    until("it has looked again", || {
        let ready = block_on(store.ready());
        (ready.is_ok() == is_ready).then_some(ready)
    })
}

/// Looks until there is something, for a minute at most.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::yield_now();
    }
}

fn open(folder: &Folder) -> SqliteStore {
    let store = SqliteStore::open(folder.file("runs.db")).unwrap();
    block_on(store.append(vec![accept(run(0), epoch(&store))])).unwrap();
    assert_eq!(block_on(store.ready()), Ok(()));
    store
}

fn is_named(error: &StoreError, file: &str, what: &str) {
    let words = error.to_string();
    assert!(words.contains(file) && words.contains(what), "{words}");
    assert!(words.contains("put it back"), "{words}");
    assert!(!error.is_refusal(), "it is tried again: {words}");
}

#[test]
fn a_store_whose_file_was_moved_takes_nothing_until_it_is_back() {
    for name in ["runs.db", "runs.db-wal"] {
        let folder = Folder::new();
        let store = open(&folder);
        let (file, elsewhere) = (folder.file(name), folder.file("elsewhere"));
        fs::rename(&file, &elsewhere).unwrap();
        is_named(&refused(&store, 1_000), name, "was moved or removed");
        is_named(&until_ready(&store, false).unwrap_err(), name, "was moved or removed");
        fs::rename(&elsewhere, &file).unwrap();
        until_ready(&store, true).unwrap();
        block_on(store.append(vec![accept(run(1), epoch(&store))])).unwrap();
        block_on(store.close()).unwrap();
        drop(store);
        let again = SqliteStore::open(folder.file("runs.db")).unwrap();
        assert!(block_on(again.get(run(1))).unwrap().is_some(), "{name}");
    }
}

#[test]
fn a_store_whose_file_was_removed_or_replaced_writes_into_no_other_one() {
    let folder = Folder::new();
    let store = open(&folder);
    let file = folder.file("runs.db");
    fs::remove_file(&file).unwrap();
    is_named(&refused(&store, 1_000), "runs.db", "was moved or removed");
    assert!(!file.exists(), "none is made");
    fs::write(&file, "precious").unwrap();
    is_named(&until_another(&store), "runs.db", "is another file by now");
    is_named(&refused(&store, 2_000), "runs.db", "is another file by now");
    let _ = block_on(store.close());
    drop(store);
    assert_eq!(fs::read_to_string(Path::new(&file)).unwrap(), "precious");
}

fn until_another(store: &SqliteStore) -> StoreError {
    until("it has seen the other one", || {
        block_on(store.ready()).err().filter(|error| error.to_string().contains("another file"))
    })
}

#[test]
fn a_store_whose_last_append_has_failed_is_not_ready_until_one_would_be_stored() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.bytes_max = Some(400 << 10);
    let store = SqliteStore::open_with(folder.file("runs.db"), &options).unwrap();
    let epoch = epoch(&store);
    let mut taken = 0;
    let full = loop {
        let begin = vec![accept(run(taken), epoch), event(run(taken), epoch, 1)];
        match block_on(store.append(begin)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    // Asked at once, and after it has tried by itself.
    for _ in 0..2 {
        let error = block_on(store.ready()).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }
}

#[test]
fn a_store_finds_out_by_itself_that_there_is_room_again() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.bytes_max = Some(1 << 20);
    let store = SqliteStore::open_with(folder.file("runs.db"), &options).unwrap();
    let epoch = epoch(&store);
    block_on(store.append(vec![accept(run(0), epoch)])).unwrap();
    let kind = EventKind::Emitted(Payload::from("x".repeat(2 << 20)));
    let large = Record::Event { epoch, event: RunEvent::new(1, run(0), run(0), at(), kind) };
    let full = block_on(store.append(vec![large])).unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    // It was too large, and there is room for what is not.
    until_ready(&store, true).unwrap();
    assert!(block_on(store.events(run(0), 0, 9)).unwrap().is_empty(), "nothing else is written");
    block_on(store.close()).unwrap();
    assert_eq!(block_on(store.ready()), Err(StoreError::Closed));
    drop(store);
    quell_sqlite::check(folder.file("runs.db")).unwrap();
}
