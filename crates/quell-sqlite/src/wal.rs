//! [`Wal`]: when the log of SQLite is copied into the file, by a thread of its own, so that no
//! commit waits for it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quell_durable::catch_panic;
use rusqlite::Connection;

use crate::beside::beside;
use crate::gate::Gate;

/// How much was written to the log since it was copied last.
#[derive(Debug)]
pub(crate) struct Wal {
    /// Guards the numbers, and is never held while SQLite works.
    state: Mutex<State>,
    /// Enough was written, or the store closes.
    changed: Condvar,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes, about.
    written: usize,
    is_closed: bool,
}

/// What was found in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    /// Whether another process copies it at the moment, or cuts it.
    is_busy: bool,
    /// Pages of the log.
    pages: i64,
    /// Those of them that are in the file.
    in_file: i64,
}

impl Wal {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), gate }
    }

    /// Counts what earlier processes have left in the log: of many that were killed before they
    /// had written enough for a copy, it would only grow.
    pub(crate) fn found(&self, path: &Path) {
        let left = fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
        self.written(0, usize::try_from(left).unwrap_or(usize::MAX));
    }

    /// Counts what a transaction has written.
    pub(crate) fn written(&self, records: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.written = state.written.saturating_add(bytes + records * RECORD_BYTES);
        if state.written >= COPY_BYTES {
            self.changed.notify_one();
        }
    }

    /// Ends the thread after it has copied all there is.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Copies until the store closes.
    pub(crate) fn run(&self, connection: &Connection) {
        loop {
            let is_closed = {
                let mut state = self.state.lock();
                while state.written < COPY_BYTES && !state.is_closed {
                    self.changed.wait(&mut state);
                }
                state.written = 0;
                state.is_closed
            };
            // What is left stays in the log; the next one who opens the file finds it there.
            if let Err(error) = self.copy(connection, is_closed) {
                let words = "the log could not be copied into the file; it grows meanwhile";
                catch_panic(|| tracing::warn!(%error, "{words}"));
            }
            if is_closed {
                return;
            }
        }
    }

    /// Copies the log, and cuts it if it is long, or is to be left empty.
    ///
    /// What is copied while others write never catches up with them. So when the log has grown
    /// long, the rest is copied while the writer waits. That is short: everything but what was
    /// written meanwhile is copied before, and nobody waits for a reader. One of ours ends soon,
    /// and no other begins; while one of another process has a part of the log, it is not cut.
    fn copy(&self, connection: &Connection, is_last: bool) -> rusqlite::Result<()> {
        let _copying = self.gate.copying.lock();
        let copied = copy(connection, "passive")?;
        if !is_last && copied.pages <= PAGES_MAX {
            return Ok(());
        }
        let _reads = self.gate.reads.write();
        if copy(connection, "passive")?.is_whole() {
            let _writes = self.gate.writes.lock();
            copy(connection, if is_last { "truncate" } else { "restart" })?;
        }
        Ok(())
    }
}

impl Copied {
    /// Tells whether all of the log is in the file, and flushed.
    pub(crate) const fn is_whole(self) -> bool {
        !self.is_busy && self.pages == self.in_file
    }
}

/// Copies the log. The connection waits for nobody: of what another one holds nothing is copied.
pub(crate) fn copy(connection: &Connection, how: &str) -> rusqlite::Result<Copied> {
    let sql = format!("pragma wal_checkpoint({how})");
    connection.query_row(&sql, [], |row| {
        Ok(Copied { is_busy: row.get(0)?, pages: row.get(1)?, in_file: row.get(2)? })
    })
}

/// The log is copied when so much was written.
const COPY_BYTES: usize = 4 << 20;

/// The log begins anew when it has more pages than this, of 4 KiB.
const PAGES_MAX: i64 = 8_192;

/// What a record writes besides its bytes, about.
const RECORD_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::connect;
    use crate::options::SqliteOptions;
    use crate::place::Place;

    #[test]
    fn the_log_is_not_cut_while_somebody_reads_it_and_nobody_waits_for_that() {
        let folder = std::env::temp_dir().join(format!("quell-wal-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place = Place::take(&folder.join("runs.db")).unwrap();
        let writes = connect::writer(&place.path, true, &SqliteOptions::default()).unwrap();
        let copies = connect::checkpointer(&place.path).unwrap();
        let gate = Arc::<Gate>::default();
        let wal = Wal::new(Arc::clone(&gate));
        let log = || fs::metadata(beside(&place.path, "-wal")).unwrap().len();
        let other = Connection::open(&place.path).unwrap();
        other.execute_batch("begin; select count(*) from run").unwrap();
        writes.execute_batch("insert into meta values ('more', 1)").unwrap();
        // Somebody writes meanwhile: who wanted to cut the log would wait for it here, for ever.
        let writing = gate.writes.lock();
        wal.copy(&copies, true).unwrap();
        assert!(log() > 0);
        drop(writing);
        other.execute_batch("commit").unwrap();
        wal.copy(&copies, true).unwrap();
        assert_eq!(log(), 0);
        drop((other, copies, writes, place));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_earlier_processes_have_left_in_the_log_is_copied_if_it_is_enough() {
        let folder = std::env::temp_dir().join(format!("quell-wal-left-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place = Place::take(&folder.join("runs.db")).unwrap();
        let writes = connect::writer(&place.path, true, &SqliteOptions::default()).unwrap();
        let copies = connect::checkpointer(&place.path).unwrap();
        let (wal, size) = (Wal::new(Arc::default()), || fs::metadata(&place.path).unwrap().len());
        let before = size();
        wal.found(&place.path);
        let little = wal.state.lock().written;
        assert!((1..COPY_BYTES).contains(&little), "{little}: the tables of the new file");
        writes.execute_batch("create table filler as select zeroblob(5000000)").unwrap();
        wal.found(&place.path);
        thread::scope(|scope| {
            let wal = &wal;
            scope.spawn(move || wal.run(&copies));
            let is_copied = (0..3_000).any(|_| {
                thread::sleep(Duration::from_millis(10));
                size() > before
            });
            wal.close();
            assert!(is_copied, "nothing has been written meanwhile");
        });
        drop((writes, place));
        fs::remove_dir_all(&folder).unwrap();
    }
}
