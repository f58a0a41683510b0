//! [`Watch`]: whether the files of a store are where they were when it was opened, and whether its
//! last transaction was committed.
//!
//! SQLite keeps the files that it has opened. One that is moved, removed or replaced meanwhile
//! still takes what is written, and all of it is lost with the process: so nothing is acknowledged
//! then. The files are looked at now and then, not with each transaction: what was acknowledged
//! within [`LOOK_PAUSE`] of the removal is lost with the file, as what was acknowledged before it.
//!
//! One mutex guards what was found. It is a leaf, and held while the system tells about the files,
//! of a disk of this machine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quell_core::store::StoreError;
use quell_durable::catch_panic;
use rusqlite::Connection;

use crate::beside::beside;
use crate::place::identity;

/// What is known of the files of a store, and of its last transaction.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The files by their names, and what tells each from every other one.
    files: Vec<(PathBuf, (u64, u64))>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the files were looked at last.
    looked: Option<Instant>,
    /// Which of them was not there then.
    gone: Option<StoreError>,
    /// Why the last transaction was not committed; none if it was.
    failed: Option<StoreError>,
    /// When a transaction was tried last to find out.
    tried: Option<Instant>,
}

impl Watch {
    /// Notes the files of a store that has begun, with what SQLite has beside it.
    pub(crate) fn of(path: &Path) -> Self {
        let files = ["", "-wal", "-shm"].map(|end| beside(path, end));
        let found = files.into_iter().filter_map(|file| {
            let found = identity(&fs::metadata(&file).ok()?);
            Some((file, found))
        });
        Self { files: found.collect(), state: Mutex::default() }
    }

    /// Checks that each file is where it was, unless that was done within [`LOOK_PAUSE`].
    ///
    /// # Errors
    ///
    /// Fails with the file that is not.
    pub(crate) fn look(&self) -> Result<(), StoreError> {
        self.look_after(LOOK_PAUSE)
    }

    /// As [`look`](Self::look), now.
    pub(crate) fn look_now(&self) -> Result<(), StoreError> {
        self.look_after(Duration::ZERO)
    }

    fn look_after(&self, pause: Duration) -> Result<(), StoreError> {
        let (found, words) = {
            let mut state = self.state.lock();
            let now = Instant::now();
            if state.looked.is_none_or(|at| now.saturating_duration_since(at) >= pause) {
                let gone = self.gone();
                let words = match (&state.gone, &gone) {
                    (None, Some(error)) => Some(Err(error.clone())),
                    (Some(_), None) => Some(Ok(())),
                    _ => None,
                };
                (state.looked, state.gone) = (Some(now), gone);
                (state.gone.clone(), words)
            } else {
                (state.gone.clone(), None)
            }
        };
        // A subscriber is foreign: nothing is locked.
        catch_panic(|| match words {
            Some(Err(error)) => tracing::error!(%error, "the file of the store is gone"),
            Some(Ok(())) => tracing::info!("the file of the store is there again"),
            None => {}
        });
        found.map_or(Ok(()), Err)
    }

    /// Yields the trouble with the first file that is not where it was. Of one that cannot be
    /// looked at nothing is known: what is written says how it is.
    fn gone(&self) -> Option<StoreError> {
        let what = self.files.iter().find_map(|(file, known)| match fs::metadata(file) {
            Ok(found) if identity(&found) == *known => None,
            Ok(_) => Some(format!("{} is another file by now", file.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(format!("{} was moved or removed", file.display()))
            }
            Err(_) => None,
        })?;
        let what = format!("{what}, and what is written to the open one would be lost: {MENDED}");
        Some(StoreError::Io { what })
    }

    /// Notes what came of a transaction: why it was not committed, if it was not.
    pub(crate) fn wrote(&self, failed: Option<&StoreError>) {
        self.state.lock().failed = failed.cloned();
    }

    /// Yields why the last transaction was not committed, and whether it is time to try one to find
    /// out whether the next one is.
    pub(crate) fn failed(&self) -> Option<(StoreError, bool)> {
        let mut state = self.state.lock();
        let error = state.failed.clone()?;
        let now = Instant::now();
        let is_time = state.tried.is_none_or(|at| now.saturating_duration_since(at) >= TRIAL_PAUSE);
        if is_time {
            state.tried = Some(now);
        }
        Some((error, is_time))
    }
}

/// Takes room within a transaction, and gives it back: it fails where a run would have none.
pub(crate) fn take_room(on: &Connection) -> rusqlite::Result<()> {
    let taken = "insert or replace into meta (name, value) values ('room', zeroblob(?))";
    on.execute(taken, [ROOM_BYTES])?;
    on.execute("delete from meta where name = 'room'", []).map(drop)
}

/// What is to be done about a file that is gone.
const MENDED: &str = "put it back, or start again with the file that is to be the store";

/// The room that is tried: more than one page.
const ROOM_BYTES: i64 = 16 << 10;

/// The least time between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two transactions that are tried to find out.
const TRIAL_PAUSE: Duration = Duration::from_secs(1);
