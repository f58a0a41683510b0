//! [`Visit`]: a file that is read, whoever has it, and of which nothing is left behind.
//!
//! SQLite reads a file with a log by an index beside it, which it makes if nobody has the file
//! open. Only a connection that may write removes it at its end. So there are three ways:
//!
//! - Nobody has left a log: the file is opened as if to write it, and SQLite refuses every
//!   statement that would. A log that somebody leaves meanwhile stays.
//! - There is a log: its file is opened to be read only. The log of a process that was killed is
//!   neither copied nor removed.
//! - There is no log, and the file or its folder may not be written: the file is read as one that
//!   does not change. Another process may have the right to write it, so each answer is given only
//!   if the file is still as it was ([`Still`]).

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use quell_core::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use crate::beside::beside;
use crate::connect;
use crate::fault::{fault, io_fault};
use crate::place::{has_one_name, keeps_its_log, resolved};
use crate::schema::{self, Found, no_store};

/// A file that is open to be read.
#[derive(Debug)]
pub(crate) struct Visit {
    path: PathBuf,
    connection: Connection,
    /// How the file was, if it is read as one that does not change.
    still: Option<Still>,
}

impl Visit {
    /// Opens a file that another process may have, to read it.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, has several names, is none of ours, holds no store, or cannot be
    /// read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let missing = |error| match error {
            // Nobody is to make its folder for that.
            StoreError::NoPlace { what } => StoreError::Missing { what },
            error => error,
        };
        let path = resolved(path).map_err(missing)?;
        // By another name it would have no log.
        has_one_name(&path)?;
        // SQLite has one error for everything that is not there.
        fs::metadata(&path).map_err(|error| missing(io_fault(&error, &path)))?;
        keeps_its_log(&path)?;
        if has_log(&path) {
            return Self::beside_a_log(&path);
        }
        let connection = connect::guest(&path).map_err(|error| match File::open(&path) {
            // SQLite says no more than that it cannot open it.
            Err(why) if why.kind() == ErrorKind::PermissionDenied => {
                let what =
                    format!("{}: {why}: give this user the right to read it", path.display());
                StoreError::Io { what }
            }
            _ => error,
        })?;
        if !connection.is_readonly("main").map_err(|error| fault(&error))? {
            match looks(&connection) {
                Ok(()) => return Self::of(&path, connection, None),
                Err(error) if is_of_rights(&error) => {}
                Err(error) => return Err(fault(&error)),
            }
        }
        drop(connection);
        let still = Still::wait(path.clone())?;
        Self::of(&path, connect::still(&path)?, Some(still))
    }

    fn of(path: &Path, connection: Connection, still: Option<Still>) -> Result<Self, StoreError> {
        let found = schema::look(&connection)?;
        let visit = Self { path: path.to_owned(), connection, still };
        visit.read(|_| Ok(()))?;
        match found {
            Found::Nothing => Err(no_store(path)),
            Found::Schema(_) => Ok(visit),
        }
    }

    fn beside_a_log(path: &Path) -> Result<Self, StoreError> {
        let connection = connect::visitor(path)?;
        match looks(&connection) {
            Ok(()) => Self::of(path, connection, None),
            Err(error) if is_of_rights(&error) => {
                let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
                let what = format!(
                    "{} has what is not in the file yet, and is read only with the right to write \
                     {}: {error}",
                    log.display(),
                    index.display()
                );
                Err(StoreError::ReadOnly { what })
            }
            Err(error) => Err(fault(&error)),
        }
    }

    /// Reads something.
    ///
    /// # Errors
    ///
    /// Fails as the reading does, or if the file that was to stay as it is has changed meanwhile.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = read(&self.connection);
        match &self.still {
            Some(still) if !still.holds() => Err(is_written(&still.path)),
            _ => found,
        }
    }
}

impl Drop for Visit {
    /// Who opens a closed file removes what stands beside it at the end. If another process had it
    /// meanwhile and was killed, its log stays as it is: the next store reads it.
    fn drop(&mut self) {
        let config = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        if has_log(&self.path) && self.connection.set_db_config(config, true).is_err() {
            tracing::warn!(path = %self.path.display(), "the log may be copied into its file");
        }
    }
}

/// A file without a log that did not change for a while.
#[derive(Debug)]
struct Still {
    path: PathBuf,
    identity: Identity,
}

/// What a file has as long as nobody writes it: its number, size, and instant of the last change.
type Identity = (u64, u64, Option<SystemTime>);

impl Still {
    /// Waits until a file was not changed for so long that another change has another instant.
    fn wait(path: PathBuf) -> Result<Self, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = fs::metadata(&path).map_err(|error| io_fault(&error, &path))?;
            // An instant that is to come was set by hand.
            let age = found.modified().ok().and_then(|at| at.elapsed().ok());
            match age.and_then(|age| INSTANT.checked_sub(age)) {
                Some(rest) if !rest.is_zero() => thread::sleep(rest),
                _ => return Ok(Self { identity: identity(&found), path }),
            }
        }
        Err(is_written(&path))
    }

    /// Tells whether nobody has written it since. A change of the file begins with a log beside it,
    /// and ends in the file before the log goes.
    fn holds(&self) -> bool {
        !has_log(&self.path)
            && fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    (std::os::unix::fs::MetadataExt::ino(file), file.len(), file.modified().ok())
}

#[cfg(not(unix))]
fn identity(file: &Metadata) -> Identity {
    (0, file.len(), file.modified().ok())
}

/// Tells whether something stands beside a file that is to be read with it.
fn has_log(path: &Path) -> bool {
    let has = |suffix| fs::metadata(beside(path, suffix)).is_ok_and(|log| log.len() > 0);
    has("-wal") || has("-journal")
}

/// Reads the first page, and the log if there is one.
fn looks(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
}

/// Tells whether an error is that something may not be written that stands beside the file.
fn is_of_rights(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};

    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

fn is_written(path: &Path) -> StoreError {
    StoreError::Io { what: format!("{} is being written: try again", path.display()) }
}

/// How often a file is looked at that changes.
const ATTEMPTS: usize = 8;

/// The longest step of the clock of a file system, that of FAT.
const INSTANT: Duration = Duration::from_secs(2);
