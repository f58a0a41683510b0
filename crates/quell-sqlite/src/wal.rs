//! [`Wal`]: when the log of SQLite is copied into the file, by a thread of its own, so that no
//! commit waits for it.

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

/// How much was written to the log since it was copied last.
#[derive(Debug, Default)]
pub(crate) struct Wal {
    /// Guards the numbers, and is never held while SQLite works.
    state: Mutex<State>,
    /// Enough was written, or the store closes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes, about.
    written: usize,
    is_closed: bool,
}

impl Wal {
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
            if is_closed {
                // What is left stays in the log; the next one who opens the file finds it there.
                copy(connection, "truncate");
                return;
            }
            // What is copied while others write never catches up with them. So when the log has
            // grown long, the rest is copied while the writer waits, and the log begins anew.
            if copy(connection, "passive").is_some_and(|pages| pages > PAGES_MAX) {
                copy(connection, "restart");
            }
        }
    }
}

/// Copies the log. Yields how many pages it has.
fn copy(connection: &Connection, how: &str) -> Option<i64> {
    let sql = format!("pragma wal_checkpoint({how})");
    match connection.query_row(&sql, [], |row| row.get(1)) {
        Ok(pages) => Some(pages),
        Err(error) => {
            tracing::warn!(%error, "the log could not be copied into the file; it grows meanwhile");
            None
        }
    }
}

/// The log is copied when so much was written.
const COPY_BYTES: usize = 4 << 20;

/// The log begins anew when it has more pages than this, of 4 KiB.
const PAGES_MAX: i64 = 8_192;

/// What a record writes besides its bytes, about.
const RECORD_BYTES: usize = 1 << 10;
