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
const STEPS: [&str; 7] = [SCHEMA_1, SCHEMA_2, SCHEMA_3, SCHEMA_4, SCHEMA_5, SCHEMA_6, SCHEMA_7];

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

/// Yields the number of the schema of a file that is ours: it may be read before it is migrated.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub(crate) fn number(on: &Connection) -> Result<i64, StoreError> {
    let mut version = on.prepare_cached("pragma user_version").map_err(|error| fault(&error))?;
    version.query_row([], |row| row.get(0)).map_err(|error| fault(&error))
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

/// Pauses. A run that is paused has the status -1, so that what is live is still below 3. A pause
/// of schema 1 left the status as it was, and said no more than what was asked.
const SCHEMA_2: &str = "
alter table run add column attempt integer;
alter table run add column answer;
alter table run add column stood integer not null default 0;
alter table run add column paused_at integer;
alter table run add column pause_by blob;
alter table run add column pause_expires integer;
alter table run add column pause_timeout integer;
alter table run add column pause_stands integer not null default 0;
update run set paused_at = coalesce(started, at),
    status = case when status < 2 then -1 else status end
    where paused is not null and status < 3;
";

/// Work that does not end with the process, and when runs ended that are not quiescent. A run of a
/// schema before has neither.
const SCHEMA_3: &str = "
alter table run add column ended integer;
create table hold (
    run integer not null references run (ord) on delete cascade,
    nr integer not null,
    what text not null,
    name text not null,
    primary key (run, nr)
) without rowid;
";

/// A report may be a blob: see [`plain`](crate::plain). Nothing that is there changes, but a
/// release before could not read what is written from now on.
const SCHEMA_4: &str = "";

/// Finds the runs that were rolled back, and that their process did not forget any more. They were
/// cancelled or have timed out: what ended by itself keeps what it has saved.
const SCHEMA_5: &str = "
create index run_rolled_back on run (ord) where stop_rollback = 1 and status >= 5;
";

/// A row may have several events: see [`event_row`](crate::event_row). Those that are there stay as
/// they are, and have no first number.
const SCHEMA_6: &str = "alter table event add column first integer;";

/// What a run had to show in its last pause. That of a pause of a schema before is not known.
const SCHEMA_7: &str = "
alter table run add column partial;
alter table run add column summary;
alter table run add column used text;
";

#[cfg(test)]
mod tests {
    use quell_core::store::{Epoch, Page, Record, Store as _, StoredHold};
    use quell_core::{EventKind, Payload, RunEvent, RunFilter, RunId, RunStatus, Work};

    use super::*;
    use crate::{SqliteReader, SqliteStore};

    /// Makes a file as a release left it that knew schema 1: three runs, the first of which has a
    /// pause, and the third has ended.
    fn of_schema_1(path: &Path) {
        let old = Connection::open(path).unwrap();
        old.execute_batch(SCHEMA_1).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        for (nth, status, paused) in [(1, 1, Some("\"may I?\"")), (2, 1, None), (3, 4, None)] {
            let sql = "insert into run (id, epoch, kind, name, at, status, started, paused, report)
                values (?1, ?2, 'agent', 'old', 1000, ?3, 2000, ?4, null)";
            let id = run(nth).as_uuid().into_bytes();
            let epoch = Epoch::new(1, 2).as_u64().cast_signed();
            old.execute(sql, rusqlite::params![id, epoch, status, paused]).unwrap();
        }
    }

    fn run(nth: i64) -> RunId {
        RunId::from_text(&format!("run {nth}"))
    }

    #[test]
    fn a_file_without_work_that_outlives_its_process_is_read_and_takes_it_once_it_is_opened() {
        let folder = std::env::temp_dir().join(format!("quell-schema-3-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("runs.db");
        of_schema_1(&path);
        let old = Connection::open(&path).unwrap();
        old.execute_batch(SCHEMA_2).unwrap();
        old.pragma_update(None, "user_version", 2).unwrap();
        drop(old);
        let read = SqliteReader::open(&path).unwrap().get(run(2)).unwrap().unwrap();
        assert_eq!((read.status, read.holds), (RunStatus::Running, vec![]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let (epoch, hold) =
            (Epoch::new(store.boot(), 2), StoredHold::new(0, Work::Remote, "s".into()));
        let began = Record::HoldBegan { run: run(2), epoch, hold: hold.clone() };
        runtime.block_on(async {
            store.append(vec![began]).await.unwrap();
            assert_eq!(store.get(run(2)).await.unwrap().unwrap().holds, [hold]);
            // When it ended is not stored.
            let ended = store.ended(Page::first(9)).await.unwrap().items;
            let tree = ended[0].as_ref().unwrap();
            assert_eq!((tree.root, tree.quiescent), (run(3), false));
            assert_eq!(tree.quiesced_at, tree.accepted_at);
            store.close().await.unwrap();
        });
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn events_of_a_schema_before_are_read_and_others_come_around_them() {
        let folder = std::env::temp_dir().join(format!("quell-schema-6-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("runs.db");
        of_schema_1(&path);
        let old = Connection::open(&path).unwrap();
        for step in [SCHEMA_2, SCHEMA_3, SCHEMA_4, SCHEMA_5] {
            old.execute_batch(step).unwrap();
        }
        old.pragma_update(None, "user_version", 5).unwrap();
        let (root, at) = (run(2), quell_durable::instant(2_000).unwrap());
        let kind = |seq| EventKind::Emitted(Payload::from(seq));
        let of =
            |seq| RunEvent::new(seq, root, if seq == 4 { run(9) } else { root }, at, kind(seq));
        for seq in [3, 4_u64] {
            let sql = "insert into event (root, seq, text) values (2, ?, ?)";
            let text = serde_json::to_string(&of(seq)).unwrap();
            old.execute(sql, (seq.cast_signed(), text)).unwrap();
        }
        drop(old);
        let all: Vec<_> = (1..=6).map(|seq| Ok(of(seq))).collect();
        // Whoever only reads leaves it as it is.
        assert_eq!(SqliteReader::open(&path).unwrap().events(root, 0, 9).unwrap(), all[2..4]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let epoch = Epoch::new(store.boot(), 2);
        let batch = |numbers: &[u64]| {
            numbers.iter().map(|seq| Record::Event { epoch, event: of(*seq) }).collect()
        };
        runtime.block_on(async {
            for (numbers, seq) in [([4, 5], 4), ([2, 3], 3)] {
                let taken = store.append(batch(&numbers)).await;
                assert_eq!(taken, Err(StoreError::SeqTaken { root, seq }));
            }
            store.append(batch(&[5, 6])).await.unwrap();
            store.append(batch(&[1, 2])).await.unwrap();
            for after in 0..7_usize {
                let read = store.events(root, after as u64, 9).await.unwrap();
                assert_eq!(read, all[after.min(6)..]);
            }
            store.close().await.unwrap();
        });
        let ended_without_report = crate::check(&path).unwrap();
        assert!(ended_without_report.iter().all(|it| it.what == "report"));
        let rows = "select count(*), count(first) from event";
        let rows = Connection::open(&path)
            .unwrap()
            .query_row(rows, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        assert_eq!(rows.unwrap(), (4, 2), "those that were there stay as they are");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_of_the_schema_before_opens_and_goes_on() {
        let folder = std::env::temp_dir().join(format!("quell-schema-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("runs.db");
        of_schema_1(&path);
        // Whoever only reads leaves it as it is.
        let reader = SqliteReader::open(&path).unwrap();
        let read = reader.get(run(1)).unwrap().unwrap();
        assert_eq!(read.paused.unwrap().request, "may I?".into());
        assert_eq!((read.attempt, read.started_at), (2, quell_durable::instant(2_000)));
        let all = reader.list(&RunFilter::new(), Page::first(9)).unwrap().items;
        assert!(all.len() == 3 && all.iter().all(Result::is_ok), "{all:?}");
        let ended = crate::check(&path).unwrap();
        assert_eq!(ended.len(), 1, "the end without a report: {ended:?}");
        assert_eq!(reader.ended(Page::first(9)).map(|read| read.items.len()), Ok(1));
        drop(reader);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        runtime.block_on(async {
            let epoch = Epoch::new(store.boot(), 2);
            let read = store.get(run(1)).await.unwrap().unwrap();
            assert_eq!((read.status, read.attempt), (RunStatus::Paused, 2));
            assert_eq!(read.paused.unwrap().at, quell_durable::instant(2_000).unwrap());
            let (answer, stood, at) = ("yes".into(), std::time::Duration::ZERO, read.accepted.at);
            let run_1 = run(1);
            let resumed = Record::Resumed { run: run_1, epoch, attempt: 3, answer, stood, at };
            store.append(vec![resumed]).await.unwrap();
            let read = store.get(run(1)).await.unwrap().unwrap();
            assert_eq!((read.status, read.answer), (RunStatus::Queued, Some("yes".into())));
            let left = store.recover(Page::first(9)).await.unwrap().items;
            let left: Vec<_> = left.into_iter().map(|run| run.unwrap().run()).collect();
            assert_eq!(left, [run(1), run(2)]);
            store.close().await.unwrap();
        });
        let connection = Connection::open(&path).unwrap();
        assert_eq!((number(&connection), look(&connection)), (Ok(7), Ok(Found::Schema(7))));
        drop(connection);
        fs::remove_dir_all(folder).unwrap();
    }
}
