//! All that a file holds, row by row.

use std::fmt::Write as _;
use std::path::Path;

use quell_core::store::Store as _;
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::fixture::block_on;

/// Opens a file that a process has left, as a successor of it does, and yields all that it holds
/// but counts of openings and transactions.
pub(crate) fn after_it_is_opened(file: &Path) -> Vec<String> {
    // No power is lost here: a kill loses nothing that was written.
    let mut options = SqliteOptions::default();
    options.synchronous = Synchronous::Normal;
    let store = SqliteStore::open_with(file, &options).unwrap();
    block_on(store.close()).unwrap();
    assert_eq!(quell_sqlite::check(file).unwrap(), []);
    let on = Connection::open(file).unwrap();
    let mut tables = on
        .prepare(
            "select name from sqlite_schema where type = 'table' and name <> 'meta' order by 1",
        )
        .unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names.flat_map(|name| rows(&on, &name.unwrap())).collect()
}

/// Opens a file that a process has left without anything being written into it.
pub(crate) fn as_it_is(file: &Path) -> Connection {
    let on = Connection::open(file).unwrap();
    on.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    on
}

fn rows(on: &Connection, table: &str) -> Vec<String> {
    let mut statement = on.prepare(&format!("select * from {table} order by 1, 2")).unwrap();
    let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut told = format!("{table}:");
        for (nth, column) in columns.iter().enumerate() {
            write!(told, " {column}={:?}", row.get_ref(nth)?).unwrap();
        }
        Ok(told)
    });
    rows.unwrap().map(Result::unwrap).collect()
}
