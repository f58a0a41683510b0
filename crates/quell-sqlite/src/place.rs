//! The file of a store, and who has it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use quell_core::store::StoreError;

use crate::fault::io_fault;

/// A file that this process has for itself, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where the file is, links followed.
    pub(crate) path: PathBuf,
    /// Locked. It is a companion of the store's file: a file that SQLite has open must not be
    /// opened and closed besides, because closing it would drop SQLite's own locks.
    _lock: File,
}

impl Place {
    /// Takes a file, and makes it if there is none: with the right to read and write it for its
    /// owner alone.
    ///
    /// # Errors
    ///
    /// Fails if its folder is missing, it cannot be made, or somebody has it.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let path = resolved(path)?;
        let lock = lock(&path)?;
        match private().create_new(true).open(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io_fault(&error, &path)),
            _ => Ok(Self { path, _lock: lock }),
        }
    }
}

/// Yields options for a file that only its owner reads and writes.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Follows links, so that one file has one lock.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf, StoreError> {
    let no_name = || StoreError::NoPlace { what: format!("{} names no file", path.display()) };
    let name = path.file_name().ok_or_else(no_name)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).map_err(|error| io_fault(&error, folder))?;
    let path = folder.join(name);
    match fs::canonicalize(&path) {
        Ok(path) if path.is_file() => Ok(path),
        Ok(path) => Err(StoreError::Foreign { what: format!("{} is not a file", path.display()) }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(io_fault(&error, &path)),
    }
}

/// Locks the companion of a file, and writes into it whose it is.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let companion = PathBuf::from(name);
    let failed = |error: std::io::Error| io_fault(&error, &companion);
    let mut file = private().create(true).truncate(false).open(&companion).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Whoever has it may be writing just now: then nobody is named.
            let _ = file.read_to_string(&mut text);
            return Err(StoreError::Locked { by: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    file.write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
    Ok(file)
}
