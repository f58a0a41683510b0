//! The file of a store, and who has it.
//!
//! Its lock is on a companion. The companion is nobody's, or holds the number of the process that
//! has the store, or had it last. A new or empty one proves nothing: somebody may have removed the
//! one that another process holds. Then SQLite is asked whether anybody has the file open.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use quell_core::store::StoreError;

use crate::begun::Begun;
use crate::beside::beside;
use crate::connect;
use crate::fault::{io_fault, not_made};

/// A file that this process has for itself, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where the file is, links followed.
    pub(crate) path: PathBuf,
    /// Whether a store may begin in it: it was empty or not there, or was left by a process that
    /// was killed before its store had begun, with a companion that says nothing yet.
    pub(crate) is_new: bool,
    /// What stands in the place of a store; none if one may be there.
    pub(crate) begun: Option<Begun>,
    companion: Companion,
}

/// The companion of a store's file, locked: a file that SQLite has open must not be opened and
/// closed besides, because closing it would drop SQLite's own locks.
#[derive(Debug)]
struct Companion {
    path: PathBuf,
    file: File,
    /// Whether a store has written into it before: it does when it has begun.
    is_known: bool,
    /// Whether it goes away when it is dropped: it was made here, and the file is of nobody who
    /// needs it.
    is_removed: bool,
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It is still locked: who has opened it meanwhile finds that it is another one.
        if self.is_removed {
            let _ = fs::remove_file(&self.path);
        }
        // A program that is being started by another thread has a copy of the file until it runs,
        // and the lock with it.
        let _ = self.file.unlock();
    }
}

impl Place {
    /// Takes a file, and makes it if there is none: with the right to read and write it for its
    /// owner alone.
    ///
    /// # Errors
    ///
    /// Fails if its folder is missing, it cannot be made, it has several names, somebody has it, or
    /// a file of somebody else stands beside it under a name that it needs. A companion that was
    /// made for it goes away then, and when this is dropped before [`keep`](Self::keep).
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let path = resolved(path)?;
        has_one_name(&path)?;
        let companion = lock(&path)?;
        let is_there = path.try_exists().map_err(|error| io_fault(&error, &path))?;
        let is_empty = fs::metadata(&path).is_ok_and(|file| file.len() == 0);
        // Before SQLite looks at it.
        keeps_its_log(&path)?;
        if is_there && !companion.is_known {
            connect::is_free(&path)?;
        }
        if is_empty {
            // As a new one. Some file systems know no rights.
            let _ = make_private(&path);
        }
        if !is_there {
            // SQLite would take them for those of the new file, and replay or remove them.
            for left in ["-wal", "-journal"] {
                is_of_none(&beside(&path, left), "not there")?;
            }
            let created = private().create_new(true).open(&path);
            created.map_err(|error| not_made(&error, &path))?;
        }
        if companion.is_known {
            companion.name_process()?;
        }
        // Only now: who made another name before has been refused, or is seen here.
        has_one_name(&path)?;
        // It stood there and said nothing: the store of whoever made it had not begun.
        let is_left = !companion.is_known && !companion.is_removed;
        let begun = match (is_there, is_empty, companion.is_known) {
            (true, false, _) => None,
            (_, _, true) => Some(Begun::AfterAnother),
            (true, true, false) if !is_left => Some(Begun::InEmptyFile),
            (_, _, false) => Some(Begun::New),
        };
        Ok(Self { is_new: begun.is_some() || is_left, begun, path, companion })
    }

    /// Keeps the companion, and lets it name this process: the file is a store that has begun.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub(crate) fn keep(&mut self) -> Result<(), StoreError> {
        self.companion.is_removed = false;
        if self.companion.is_known { Ok(()) } else { self.companion.name_process() }
    }
}

impl Companion {
    fn name_process(&self) -> Result<(), StoreError> {
        let mut file = &self.file;
        let written = file.set_len(0).and_then(|()| file.rewind());
        let written =
            written.and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        written.map_err(|error| io_fault(&error, &self.path))
    }
}

/// Checks that a file has no log, or is not empty: SQLite removes the log of an empty one when it
/// looks at that, and it may be all that is left of a store.
pub(crate) fn keeps_its_log(path: &Path) -> Result<(), StoreError> {
    let is_empty = fs::metadata(path).is_ok_and(|file| file.len() == 0);
    if is_empty { is_of_none(&beside(path, "-wal"), "empty") } else { Ok(()) }
}

/// Checks that nothing is left of a file that is not there, or empty.
fn is_of_none(left: &Path, is: &str) -> Result<(), StoreError> {
    if fs::metadata(left).is_ok_and(|left| left.len() > 0) {
        let what = format!("{} is of a file that is {is}", left.display());
        return Err(StoreError::InTheWay { what });
    }
    Ok(())
}

/// Leaves a file to its owner alone.
fn make_private(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
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
    let Some(name) = path.file_name() else {
        return Err(if path.is_dir() { is_folder(path) } else { no_name() });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).map_err(|error| io_fault(&error, folder))?;
    let path = folder.join(name);
    match fs::canonicalize(&path) {
        Ok(path) if path.is_file() => Ok(path),
        Ok(path) if path.is_dir() => Err(is_folder(&path)),
        Ok(path) => Err(StoreError::Foreign { what: format!("{} is not a file", path.display()) }),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::symlink_metadata(&path) {
            Ok(_) => {
                let what = format!("{} is a link to what is not there", path.display());
                Err(StoreError::InTheWay { what })
            }
            Err(_) => Ok(path),
        },
        Err(error) => Err(io_fault(&error, &path)),
    }
}

/// Says of a folder where a store in it would be.
fn is_folder(path: &Path) -> StoreError {
    let (folder, file) = (path.display(), path.join("runs.db"));
    let what = format!("{folder} is a folder, and a store is a file: {}", file.display());
    StoreError::Foreign { what }
}

/// Checks that a file has no other hard links: its lock and its log are named after it, so that by
/// another name it has another lock, and no log. One that is not there has none.
pub(crate) fn has_one_name(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(file) if names(&file) > 1 => {
            let what = format!("{} has {}", path.display(), names(&file));
            Err(StoreError::SeveralNames { what })
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_fault(&error, path)),
        _ => Ok(()),
    }
}

/// Locks the companion of a file.
fn lock(path: &Path) -> Result<Companion, StoreError> {
    let companion = beside(path, ".lock");
    let failed = |error: std::io::Error| io_fault(&error, &companion);
    let in_the_way = || StoreError::InTheWay { what: format!("{}", companion.display()) };
    for _ in 0..LOCK_ATTEMPTS {
        // Before it is opened: a link leads elsewhere, and a pipe blocks.
        let is_new = match fs::symlink_metadata(&companion) {
            Ok(found) if !found.is_file() || names(&found) > 1 => return Err(in_the_way()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            found => found.is_err(),
        };
        let opened = private().create(true).truncate(false).open(&companion);
        let mut file = opened
            .map_err(|error| if is_new { not_made(&error, &companion) } else { failed(error) })?;
        let is_taken = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        (&file).take(PID_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
        let is_pid = text.len() as u64 <= PID_BYTES_MAX && text.iter().all(u8::is_ascii_digit);
        if !is_pid {
            return Err(in_the_way());
        }
        if is_taken {
            // Whoever has it may be writing just now: then nobody is named.
            let by = str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
            return Err(StoreError::Locked { by });
        }
        // Whoever had it may have removed it before it was locked here: then the lock is worth
        // nothing, and the file of that name is another one.
        let there = fs::symlink_metadata(&companion).ok().as_ref().map(identity);
        if there == Some(identity(&file.metadata().map_err(failed)?)) {
            file.rewind().map_err(failed)?;
            let is_known = !text.is_empty();
            return Ok(Companion { path: companion, file, is_known, is_removed: is_new });
        }
    }
    Err(StoreError::Locked { by: None })
}

/// Yields how many names a file has.
#[cfg(unix)]
fn names(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(file)
}

/// Yields what tells a file from every other one.
#[cfg(unix)]
pub(crate) fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;

    (file.dev(), file.ino())
}

/// The system does not say; there a file that is open cannot be removed.
#[cfg(not(unix))]
fn names(_: &Metadata) -> u64 {
    1
}

/// The system does not say; there a file that is open cannot be removed.
#[cfg(not(unix))]
pub(crate) fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// The number of a process in decimal.
const PID_BYTES_MAX: u64 = 10;

/// How often the companion is locked anew when somebody removes it at the same time.
const LOCK_ATTEMPTS: usize = 8;
