//! What SQLite says, as a [`StoreError`].

use quell_core::store::{StoreError, Unreadable};
use rusqlite::{Error, ErrorCode};

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
        Some(_) => StoreError::Io { what },
        // Of a value that is not what its column says.
        None => Unreadable::new(None, "value", what).into(),
    }
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
