//! The suite that every store passes.

use quell::testing;
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};

use crate::fixture::{Folder, block_on};

fn passes(options: &SqliteOptions) {
    let folder = Folder::new();
    let next = std::cell::Cell::new(0);
    let make = async || {
        next.set(next.get() + 1);
        let path = folder.file(&format!("{}.db", next.get()));
        SqliteStore::open_with(path, options).unwrap()
    };
    let cases = block_on(testing::store::check(make));
    assert!(cases.as_ref().is_ok_and(|cases| *cases > 25), "{cases:?}");
    for nth in 1..=next.get() {
        let path = folder.file(&format!("{nth}.db"));
        assert_eq!(quell_sqlite::check(path).unwrap(), []);
    }
}

#[test]
fn it_keeps_every_promise_of_a_store() {
    passes(&SqliteOptions::default());
}

#[test]
fn it_keeps_them_with_the_narrowest_options() {
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    (options.readers, options.queue_records_max, options.queue_bytes_max) = (0, 0, 0);
    passes(&options);
}
