//! What SQLite says, as a [`StoreError`].

use quell_core::store::{StoreError, Unreadable};
use rusqlite::{Error, ErrorCode, ffi};

/// Says what an error of SQLite means to whoever has the store.
pub(crate) fn fault(error: &Error) -> StoreError {
    let what = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { what },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { what },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { what },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { what: "no SQLite file".into() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { by: None }
        }
        Some(ErrorCode::SystemIoFailure) if is_of_write(error) => {
            StoreError::Io { what: what + &limit_of_files() }
        }
        Some(_) => StoreError::Io { what },
        // Of a value that is not what its column says.
        None => Unreadable::new(None, "value", what).into(),
    }
}

/// Tells whether a file, or the index of the log, could not be written, or not grow.
fn is_of_write(error: &Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE))
}

/// Names the bound of the files of this process, if there is one: behind it SQLite says no more
/// than of a broken disk.
fn limit_of_files() -> String {
    #[cfg(unix)]
    let bytes_max = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    #[cfg(not(unix))]
    let bytes_max: Option<u64> = None;
    bytes_max.map_or_else(String::new, |bytes_max| {
        format!("; no file of this process may have more than {bytes_max} bytes (ulimit -f)")
    })
}

/// Says what an error of a file means.
pub(crate) fn io_fault(error: &std::io::Error, place: &std::path::Path) -> StoreError {
    use std::io::ErrorKind;

    let what = format!("{}: {error}", place.display());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::NoPlace { what },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { what }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { what },
        _ => StoreError::Io { what },
    }
}

/// Says what it means that a file could not be made: what may not be written then is its folder.
pub(crate) fn not_made(error: &std::io::Error, file: &std::path::Path) -> StoreError {
    match io_fault(error, file) {
        StoreError::ReadOnly { .. } => {
            let folder = file.parent().unwrap_or_else(|| std::path::Path::new("/"));
            StoreError::NoFilesHere { what: format!("{}: {error}", folder.display()) }
        }
        fault => fault,
    }
}

/// Why a record was not stored.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It contradicts what is stored. Others of the transaction may be stored.
    Refused(StoreError),
    /// SQLite failed. The transaction is of no use any more.
    Trouble(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Trouble(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_may_not_be_written_is_the_folder_if_a_file_is_to_be_made_and_else_the_file() {
        let file = Path::new("/srv/runs.db");
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let words = not_made(&kind.into(), file).to_string();
            let folder = "this user may not make files in the folder of the store: ";
            assert!(words.starts_with(folder) && words.contains("(/srv: "), "{words}");
            let words = io_fault(&kind.into(), file).to_string();
            assert!(words.contains("(/srv/runs.db: "), "{words}");
        }
        let full = not_made(&ErrorKind::StorageFull.into(), file);
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
    }
}
