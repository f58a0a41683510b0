//! The tables, and how a file comes to have them.
//!
//! Schemas only go forward, each step in a transaction of its own that also says the new number. A
//! file of a newer schema is refused and not changed.

use std::fs;
use std::path::Path;

use quell_core::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};

use crate::beside::beside;
use crate::fault::fault;

/// Says in the header of the file whose it is: `quel`.
const APPLICATION_ID: i32 = 0x7175_656c;

/// Step `n` leads to schema `n + 1`.
const STEPS: [&str; 1] = [SCHEMA_1];

/// What a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it is new, or was left before its first step was through.
    Nothing,
    /// This schema, which is known.
    Schema(usize),
}

/// Looks whether a file is ours, and of which schema. Changes nothing.
///
/// # Errors
///
/// Fails if it is of another program, or of a newer release.
pub(crate) fn look(connection: &Connection) -> Result<Found, StoreError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let id = number("application_id").map_err(|error| fault(&error))?;
    let version = number("user_version").map_err(|error| fault(&error))?;
    let count = "select count(*) from sqlite_schema";
    let count: i64 =
        connection.query_row(count, [], |row| row.get(0)).map_err(|error| fault(&error))?;
    if (id, version, count) == (0, 0, 0) {
        return Ok(Found::Nothing);
    }
    if id != i64::from(APPLICATION_ID) {
        let what = format!("an SQLite file of another program, application_id {id}");
        return Err(StoreError::Foreign { what });
    }
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    match u32::try_from(version) {
        Ok(found) if found > known => Err(StoreError::NewerSchema { found, known }),
        Ok(found) if found > 0 => Ok(Found::Schema(found as usize)),
        _ => Err(StoreError::Corrupt { what: format!("it says that its schema is {version}") }),
    }
}

/// Says of a file in which [`look`] has found nothing what it is.
pub(crate) fn no_store(path: &Path) -> StoreError {
    if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return StoreError::Foreign { what: "an empty file".into() };
    }
    let log = beside(path, "-wal");
    let log = log.file_name().unwrap_or_default().to_string_lossy();
    StoreError::NoLog { log: log.into_owned() }
}

/// Brings a file to the newest schema.
///
/// # Errors
///
/// Fails if it cannot be written. Then it has the schema that it had, or one in between.
pub(crate) fn migrate(connection: &mut Connection, found: Found) -> Result<(), StoreError> {
    let from = match found {
        Found::Nothing => 0,
        Found::Schema(schema) => schema,
    };
    for (schema, step) in (1_i64..).zip(STEPS).skip(from) {
        let mut go = || -> rusqlite::Result<()> {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", schema)?;
            transaction.commit()
        };
        go().map_err(|error| fault(&error))?;
    }
    Ok(())
}

/// Counts this opening, and yields how many there were.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub(crate) fn count_boot(connection: &Connection) -> Result<u32, StoreError> {
    let count = "update meta set value = value + 1 where name = 'boot' returning value";
    let boot: i64 =
        connection.query_row(count, [], |row| row.get(0)).map_err(|error| fault(&error))?;
    u32::try_from(boot).map_err(|_| StoreError::Corrupt { what: format!("boot {boot}") })
}

/// What is large stands in `large`, so that a row is small when a status changes: its column then
/// holds 0 in place of the text. Instants are milliseconds since 1970. The number of what was
/// deleted is not given again: cursors of pages are such numbers.
const SCHEMA_1: &str = "
create table meta (name text primary key, value integer not null) without rowid;
insert into meta values ('boot', 0), ('commits', 0);

create table run (
    ord integer primary key autoincrement,
    id blob not null unique,
    root blob,
    parent blob,
    epoch integer not null,
    kind text not null,
    name text not null,
    owner text,
    lane text,
    labels text,
    annotations,
    key text,
    payload blob,
    spec,
    input,
    at integer not null,
    due integer,
    status integer not null default 0,
    started integer,
    stop_epoch integer,
    stop_mode integer,
    stop_cause text,
    stop_deadline integer,
    stop_rollback integer not null default 0,
    paused,
    report,
    quiescent integer not null default 0,
    quiesced integer
);
create index run_live on run (ord) where status < 3;
create index run_owner on run (owner) where owner is not null;
create index run_root on run (root) where root is not null;

create table large (
    run integer not null references run (ord) on delete cascade,
    what integer not null,
    text text not null,
    primary key (run, what)
) without rowid;

create table label (
    run integer not null references run (ord) on delete cascade,
    key text not null,
    value text not null,
    primary key (run, key)
) without rowid;
create index label_value on label (key, value, run);

create table claim (
    owner text not null,
    key text not null,
    payload blob not null,
    run blob not null,
    forgotten integer,
    primary key (owner, key)
) without rowid;
create index claim_run on claim (run);
create index claim_forgotten on claim (forgotten) where forgotten is not null;

create table event (
    root integer not null references run (ord) on delete cascade,
    seq integer not null,
    text text not null,
    primary key (root, seq)
) without rowid;

create table checkpoint (
    nr integer primary key autoincrement,
    lane text not null,
    run integer not null references run (ord) on delete cascade,
    epoch integer not null,
    at integer not null,
    state text not null
);
create index checkpoint_lane on checkpoint (lane);
create index checkpoint_run on checkpoint (run);
";
