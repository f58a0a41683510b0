//! Connections, and the settings on which durability rests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quell_core::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::beside::beside;
use crate::fault::fault;
use crate::options::{SqliteOptions, Synchronous};
use crate::schema::{self, Found, no_store};

/// Opens the connection that writes, and brings the file to the newest schema. Nothing is written
/// before it is known whose file it is; a store begins only in a new one.
pub(crate) fn writer(
    path: &Path,
    is_new: bool,
    options: &SqliteOptions,
) -> Result<Connection, StoreError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = schema::look(&connection)?;
    if found == Found::Nothing && !is_new {
        // Whatever is in the log stays: SQLite removes one that it cannot read.
        let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
        let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log);
        kept.map_err(|error| fault(&error))?;
        return Err(no_store(path));
    }
    if connection.is_readonly("main").map_err(|error| fault(&error))? {
        return Err(StoreError::ReadOnly { what: path.display().to_string() });
    }
    set(&connection, "journal_mode", "wal", "wal")?;
    set(&connection, "wal_autocheckpoint", "0", "0")?;
    set(&connection, "fullfsync", "on", "1")?;
    set(&connection, "journal_size_limit", "67108864", "67108864")?;
    bound(&connection, options)?;
    let (value, is) = options.synchronous.setting();
    set(&connection, "synchronous", value, is)?;
    schema::migrate(&mut connection, found)?;
    Ok(connection)
}

/// Opens the connection that copies the log into the file. It waits for the disk as the settings
/// of SQLite demand: whatever the log has been cut by must be in the file.
pub(crate) fn checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set(&connection, "wal_autocheckpoint", "0", "0")?;
    set(&connection, "checkpoint_fullfsync", "on", "1")?;
    let (value, is) = Synchronous::Full.setting();
    set(&connection, "synchronous", value, is)?;
    // It holds what the writer needs: who copies waits for nobody.
    connection.busy_timeout(Duration::ZERO).map_err(|error| fault(&error))?;
    Ok(connection)
}

/// Checks that nobody has a file open, in whatever process: that could be a store. Changes nothing.
///
/// # Errors
///
/// Fails if somebody has it.
pub(crate) fn is_free(path: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let look = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // With this mode reading takes the whole file; with a log only if nobody else has it open.
        connection.execute_batch("pragma locking_mode = exclusive")?;
        connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    };
    match look().map_err(|error| fault(&error)) {
        Err(error @ StoreError::Locked { .. }) => Err(error),
        // Whatever else is wrong with it is said when it is opened.
        _ => Ok(()),
    }
}

/// Opens a connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set(&connection, "query_only", "on", "1")?;
    Ok(connection)
}

/// Opens a connection to a file that another process may have. It writes nothing, and leaves what
/// it needs beside the file.
pub(crate) fn visitor(path: &Path) -> Result<Connection, StoreError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// As [`visitor`], of a file without a log: at its end it removes what it needed beside the file,
/// unless another process needs it. If the file may not be written, the connection only reads.
pub(crate) fn guest(path: &Path) -> Result<Connection, StoreError> {
    reader(path)
}

/// Opens a connection to a file that does not change. It looks at nothing beside the file.
pub(crate) fn still(path: &Path) -> Result<Connection, StoreError> {
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(*byte)),
            byte => {
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    name.push_str("?immutable=1");
    open(Path::new(&name), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

fn open(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| fault(&error))?;
    connection.busy_timeout(BUSY).map_err(|error| fault(&error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans do not follow bound values, for which SQLite would prepare a statement at each use.
    let stable = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    stable.map_err(|error| fault(&error))?;
    set(&connection, "foreign_keys", "on", "1")?;
    set(&connection, "trusted_schema", "off", "0")?;
    set(&connection, "cell_size_check", "on", "1")?;
    Ok(connection)
}

fn bound(connection: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    let Some(bytes_max) = options.bytes_max else { return Ok(()) };
    let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0));
    let page = page.map_err(|error| fault(&error))?.max(1);
    let pages = (i64::try_from(bytes_max).unwrap_or(i64::MAX) / page).max(1);
    // A file that is larger already keeps its size: what SQLite answers is not asked.
    connection
        .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .map_err(|error| fault(&error))
}

/// Sets something, and reads it back.
fn set(
    connection: &Connection,
    setting: &'static str,
    value: &str,
    wanted: &str,
) -> Result<(), StoreError> {
    // Some settings answer with what they are, others do not.
    let ignored = connection.execute_batch(&format!("pragma {setting} = {value}"));
    ignored.map_err(|error| fault(&error))?;
    let text = |row: &rusqlite::Row<'_>| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    };
    let found =
        connection.pragma_query_value(None, setting, text).map_err(|error| fault(&error))?;
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(StoreError::Setting { setting, found, wanted: wanted.to_owned() })
}

/// How long a connection waits for another one of this process, which copies the log.
const BUSY: Duration = Duration::from_secs(10);

/// More than there are statements.
const STATEMENTS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    fn number(on: &Connection, setting: &str) -> i64 {
        on.pragma_query_value(None, setting, |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_disk_is_waited_for_as_the_options_say() {
        let folder = std::env::temp_dir().join(format!("quell-connect-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place = Place::take(&folder.join("runs.db")).unwrap();
        for (synchronous, is) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
            let options = SqliteOptions { synchronous, ..SqliteOptions::default() };
            let writes = writer(&place.path, place.is_new, &options).unwrap();
            assert_eq!(number(&writes, "synchronous"), is, "{synchronous:?}");
            assert_eq!(number(&writes, "fullfsync"), 1);
            assert_eq!(number(&writes, "wal_autocheckpoint"), 0);
        }
        let copies = checkpointer(&place.path).unwrap();
        assert_eq!(number(&copies, "synchronous"), 2, "whatever the options say");
        assert_eq!(number(&copies, "busy_timeout"), 0, "it waits for nobody");
        assert_eq!(number(&copies, "checkpoint_fullfsync"), 1);
        drop((copies, place));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_asked_with_it() {
        let file = std::env::temp_dir().join(format!("quell-stable-{}.db", std::process::id()));
        drop(Connection::open(&file).unwrap());
        let on = open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        on.execute_batch("create table t (a integer, b integer)").unwrap();
        on.execute_batch("create index t_a on t (a)").unwrap();
        let sql = "select b from t where a > ? order by a limit ?";
        let mut statement = on.prepare_cached(sql).unwrap();
        for after in 0..10 {
            assert!(!statement.exists([after, after + 1]).unwrap());
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
        drop(statement);
        drop(on);
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_setting_that_is_not_taken_is_an_error() {
        let memory = Connection::open_in_memory().unwrap();
        // What has no file has no log.
        let error = set(&memory, "journal_mode", "wal", "wal").unwrap_err();
        let (found, wanted) = ("memory".to_owned(), "wal".to_owned());
        assert_eq!(error, StoreError::Setting { setting: "journal_mode", found, wanted });
        set(&memory, "synchronous", "full", "2").unwrap();
        assert!(set(&memory, "synchronous", "off", "2").is_err());
    }
}
