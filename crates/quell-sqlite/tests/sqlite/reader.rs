//! A file is read while another process, or this one, has it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use quell_core::store::{Page, Store, StoreError};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_sqlite::{SqliteReader, SqliteStore};
use uuid::Uuid;

use crate::fixture::{Folder, accept, block_on, end, epoch, event};

#[test]
fn what_is_appended_is_read_while_the_store_is_open_and_after_it_was_closed() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let reader = SqliteReader::open(&path).unwrap();
    let (run, epoch) = (RunId::from_text("r"), epoch(&store));
    assert_eq!(reader.get(run).unwrap(), None);
    block_on(store.append(vec![accept(run, epoch), event(run, epoch, 1)])).unwrap();
    let status = |reader: &SqliteReader| reader.get(run).unwrap().unwrap().status;
    assert_eq!(status(&reader), RunStatus::Queued);
    assert_eq!(reader.events(run, 0, 9).unwrap().len(), 1);
    block_on(store.append(vec![end(run, epoch, RunStatus::Completed)])).unwrap();
    assert_eq!(status(&reader), RunStatus::Completed);
    let all = reader.list(&RunFilter::new(), Page::first(9)).unwrap();
    assert_eq!(all.items.len(), 1);
    block_on(store.close()).unwrap();
    assert_eq!(status(&reader), RunStatus::Completed);
    drop(reader);
    assert_eq!(status(&SqliteReader::open(&path).unwrap()), RunStatus::Completed);
    // It counts as no opening, and holds up nobody.
    assert_eq!(SqliteStore::open(&path).unwrap().boot(), 2);
}

#[test]
fn a_file_that_is_not_there_is_not_made_and_an_empty_one_is_no_store() {
    let folder = Folder::new();
    let error = SqliteReader::open(folder.file("runs.db")).unwrap_err();
    assert!(matches!(error, StoreError::NoPlace { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let empty = folder.file("empty.db");
    fs::write(&empty, "").unwrap();
    let error = SqliteReader::open(&empty).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn a_file_that_may_only_be_read_is_read() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let run = RunId::from_text("r");
    block_on(store.append(vec![accept(run, epoch(&store))])).unwrap();
    block_on(store.close()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(SqliteReader::open(&path).unwrap().get(run).unwrap().is_some());
}

#[test]
fn ids_are_found_between_two_of_them() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let id = |number| RunId::from_uuid(Uuid::from_u128(number));
    for number in [5, 7, u128::MAX, 6] {
        block_on(store.append(vec![accept(id(number), epoch(&store))])).unwrap();
    }
    let reader = SqliteReader::open(&path).unwrap();
    let ids = |from, to, limit| reader.ids(id(from), id(to), limit).unwrap();
    assert_eq!(ids(5, 6, 9), [id(5), id(6)]);
    assert_eq!(ids(0, u128::MAX, 2), [id(5), id(6)]);
    assert_eq!(ids(8, u128::MAX, 9), [id(u128::MAX)]);
    assert_eq!(ids(0, 4, 9), []);
}
