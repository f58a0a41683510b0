//! [`check`] and [`backup`]: what is done with a file, also while a process has it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use quell_core::store::{StoreError, Unreadable};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::beside::beside;
use crate::fault::{fault, io_fault, not_made};
use crate::place::{private, resolved};
use crate::unreadable::unreadable;
use crate::visit::Visit;

/// Checks that a file is whole: its pages, its references, its schema, and each thing in it.
/// Another process may have it. Blocks the thread while it reads the whole file, and changes
/// nothing. Yields what cannot be read although the file is whole: runs with their specs, inputs
/// and reports, then events, then states of lanes; at most the first thousand.
///
/// # Errors
///
/// Fails with what is wrong first with the file itself.
///
/// # Examples
///
/// ```
/// let missing = quell_sqlite::check("/no/such/folder/runs.db").unwrap_err();
/// assert!(missing.to_string().starts_with("there is no such store"));
/// ```
pub fn check(path: impl AsRef<Path>) -> Result<Vec<Unreadable>, StoreError> {
    let visit = Visit::open(path.as_ref())?;
    visit.read(|on| {
        whole(on)?;
        unreadable(on, UNREADABLE_MAX)
    })
}

/// Copies a file as it is at one instant to a place where there is nothing yet. Another process may
/// have it, and write on. Blocks the thread. The copy is flushed, and for its owner alone; if this
/// fails there is none. Until it is whole it is a file `NAME.0.part`, or another number if there is
/// such a file, which is left over if the process is killed meanwhile.
///
/// # Errors
///
/// Fails if the file holds no store or cannot be read, the copy cannot be written, or its place is
/// taken.
pub fn backup(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), StoreError> {
    let from = Visit::open(path.as_ref())?;
    let to = resolved(to.as_ref())?;
    let taken = || StoreError::Foreign { what: format!("{} is there already", to.display()) };
    if to.try_exists().map_err(|error| io_fault(&error, &to))? {
        return Err(taken());
    }
    let (part, file) = part(&to)?;
    let copied = from.read(|from| copy(from, &part, &file)).and_then(|()| {
        // Unlike a rename it never takes the place of something.
        fs::hard_link(&part, &to).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => taken(),
            _ => io_fault(&error, &to),
        })
    });
    let _ = fs::remove_file(&part);
    copied?;
    // Its name is on the disk, too.
    let folder = to.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|it| it.sync_all()).map_err(|error| io_fault(&error, folder))
}

/// Makes the file that becomes the copy, under a name that nothing has yet, nor anything beside it
/// that SQLite would take for its own.
fn part(to: &Path) -> Result<(PathBuf, File), StoreError> {
    for nth in 0..PARTS_MAX {
        let part = beside(to, &format!(".{nth}.part"));
        let is_free = ["", "-journal", "-wal", "-shm"]
            .into_iter()
            .all(|suffix| fs::symlink_metadata(beside(&part, suffix)).is_err());
        if is_free {
            match private().create_new(true).open(&part) {
                Ok(file) => return Ok((part, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(not_made(&error, &part)),
            }
        }
    }
    let what = format!("{} and {} others", beside(to, ".0.part").display(), PARTS_MAX - 1);
    Err(StoreError::InTheWay { what })
}

fn copy(from: &Connection, part: &Path, file: &File) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut to = Connection::open_with_flags(part, flags).map_err(|error| fault(&error))?;
    // All in one step: with several a writer would make it begin anew for ever.
    let done = Backup::new(from, &mut to).and_then(|backup| backup.step(-1));
    match done.map_err(|error| fault(&error))? {
        StepResult::Done => {}
        _ => return Err(StoreError::Locked { by: None }),
    }
    whole(&to)?;
    to.close().map_err(|(_, error)| fault(&error))?;
    file.sync_all().map_err(|error| io_fault(&error, part))
}

fn whole(connection: &Connection) -> Result<(), StoreError> {
    let corrupt = |what: String| Err(StoreError::Corrupt { what });
    let text = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let verdict = connection.query_row("pragma integrity_check(1)", [], text);
    match verdict.map_err(|error| fault(&error))?.as_str() {
        "ok" => {}
        words => return corrupt(words.to_owned()),
    }
    let mut lost = connection.prepare("pragma foreign_key_check").map_err(|error| fault(&error))?;
    let mut lost = lost.query([]).map_err(|error| fault(&error))?;
    match lost.next().map_err(|error| fault(&error))? {
        None => Ok(()),
        Some(row) => {
            let table: String = row.get(0).map_err(|error| fault(&error))?;
            corrupt(format!("a row of {table} is of no run"))
        }
    }
}

/// The most that is named of what cannot be read.
const UNREADABLE_MAX: usize = 1_000;

/// Names that are tried for a copy that is not whole yet.
const PARTS_MAX: usize = 100;
