//! [`SqliteStore`]: the threads of a store, and the way to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use quell_core::store::{
    BoxFuture, Checkpoint, Page, Pages, Record, RunRecord, Store, StoreError, Stored,
};
use quell_core::{RunEvent, RunFilter, RunId};
use tokio::sync::{oneshot, watch};

use crate::apply::Standings;
use crate::encode::encode;
use crate::options::SqliteOptions;
use crate::place::Place;
use crate::queue::{Job, Queue};
use crate::readers::Readers;
use crate::wal::Wal;
use crate::writer::{Tally, Writer, last_commit};
use crate::{connect, read, schema};

/// A store in one SQLite file, for one engine at a time.
///
/// It has threads of its own: one that writes, one that copies the log of SQLite into the file, and
/// a few that read. When it is dropped, they end after what they were given; [`Store::close`] waits
/// for that.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("quell-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("runs.db");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use quell_core::store::Store;
/// use quell_sqlite::SqliteStore;
///
/// let store = SqliteStore::open(&path)?;
/// assert_eq!(store.boot(), 1);
/// store.close().await?;
/// assert_eq!(SqliteStore::open(&path)?.boot(), 2);
/// # Ok::<(), quell_core::store::StoreError>(())
/// # }).unwrap();
/// # std::fs::remove_dir_all(&folder).unwrap();
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    boot: u32,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    tally: Arc<Tally>,
    /// True when every thread has ended and the file is free.
    closed: watch::Receiver<bool>,
}

/// What was committed since a store was opened.
///
/// # Examples
///
/// ```
/// let committed = quell_sqlite::Committed::default();
/// assert_eq!((committed.commits, committed.records), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Transactions.
    pub commits: u64,
    /// Records in them, those that were refused included.
    pub records: u64,
}

impl SqliteStore {
    /// Opens a file with every option as by default, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, &SqliteOptions::default())
    }

    /// Opens a file, and makes it if there is none, for its owner alone. Its folder has to be
    /// there, on a disk of this machine: the log of SQLite is shared memory. Blocks the thread
    /// while it reads what a process that was killed has left in the log.
    ///
    /// # Errors
    ///
    /// Fails if the folder is missing, somebody has the file, it is none of ours or of a newer
    /// release, it cannot be written, or a setting on which durability rests is not taken. None of
    /// these changes the file.
    pub fn open_with(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, StoreError> {
        let place = Place::take(path.as_ref())?;
        let connection = connect::writer(&place.path, options)?;
        let boot = schema::count_boot(&connection)?;
        let commits = last_commit(&connection)?;
        let copies = connect::checkpointer(&place.path)?;
        let reading = (0..options.readers.max(1)).map(|_| connect::reader(&place.path));
        let reading = reading.collect::<Result<Vec<_>, _>>()?;

        let queue = Arc::new(Queue::new(options.queue_records_max, options.queue_bytes_max));
        let (readers, wal) = (Arc::new(Readers::new()), Arc::new(Wal::default()));
        let tally = Arc::<Tally>::default();
        let (done, closed) = watch::channel(false);
        let store = Self {
            path: place.path.clone(),
            boot,
            queue: Arc::clone(&queue),
            readers: Arc::clone(&readers),
            tally: Arc::clone(&tally),
            closed,
        };
        let writer = Writer {
            path: place.path.clone(),
            options: options.clone(),
            queue,
            wal: Arc::clone(&wal),
            tally,
            connection: Some(connection),
            known: Standings::new(),
            commits,
        };
        let mut threads = Vec::new();
        for connection in reading {
            let readers = Arc::clone(&readers);
            threads.push(spawn("quell-sqlite-read", move || readers.run(&connection))?);
        }
        let log = Arc::clone(&wal);
        let copying = spawn("quell-sqlite-log", move || log.run(&copies))?;
        spawn("quell-sqlite-write", move || {
            writer.run();
            readers.close();
            for thread in threads {
                let _ = thread.join();
            }
            // Last, so that nobody reads while the log is cut.
            wal.close();
            let _ = copying.join();
            drop(place);
            done.send_replace(true);
        })?;
        Ok(store)
    }

    /// Yields where the file is, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Yields what was committed since the store was opened.
    pub fn committed(&self) -> Committed {
        Committed {
            commits: self.tally.commits.load(Ordering::Relaxed),
            records: self.tally.records.load(Ordering::Relaxed),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Store for SqliteStore {
    fn boot(&self) -> u32 {
        self.boot
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (writes, bytes) = encode(batch)?;
            let (answer, answered) = oneshot::channel();
            // While it waits for room, dropping this future takes it back.
            let _waits = self.queue.push(Job { writes, bytes, answer })?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::get(on, run)))
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::list(on, &filter, page)))
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::events(on, root, after, limit)))
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::checkpoints(on, lane, page)))
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::recover(on, page)))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.queue.close();
        let mut closed = self.closed.clone();
        Box::pin(async move {
            // The other side leaves without a word only if its thread has panicked.
            let gone = |_| StoreError::Io { what: "the thread that writes has panicked".into() };
            closed.wait_for(|is_closed| *is_closed).await.map(drop).map_err(gone)
        })
    }
}

fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, StoreError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| StoreError::Io { what: format!("no thread for the store: {error}") })
}
