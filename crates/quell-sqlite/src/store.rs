//! [`SqliteStore`]: the threads of a store, and the way to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored,
};
use quell_core::{RunEvent, RunFilter, RunId};
use quell_durable::{Closing, Committed, Job, Queue, Tally};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::apply::Known;
use crate::begun::Begun;
use crate::encode::encode;
use crate::gate::Gate;
use crate::options::SqliteOptions;
use crate::place::Place;
use crate::readers::Readers;
use crate::threads::{self, Spawn, Threads};
use crate::wal::Wal;
use crate::watch::Watch;
use crate::writer::{Writer, last_commit};
use crate::{connect, ended, list, read, schema};

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
    begun: Option<Begun>,
    boot: u32,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    tally: Arc<Tally>,
    closing: Arc<Closing>,
    watch: Arc<Watch>,
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
    /// Fails if the folder is missing, somebody has the file, it has several hard links, it is none
    /// of ours or of a newer release, it cannot be written, a file of somebody else has a name that
    /// it needs beside it, or a setting on which durability rests is not taken. None of these
    /// changes the file.
    pub fn open_with(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, StoreError> {
        Self::start(path.as_ref(), options, &threads::of_the_system)
    }

    fn start(path: &Path, options: &SqliteOptions, spawn: Spawn<'_>) -> Result<Self, StoreError> {
        let mut place = Place::take(path)?;
        let connection = connect::writer(&place.path, place.is_new, options)?;
        place.keep()?;
        let boot = schema::count_boot(&connection)?;
        let commits = last_commit(&connection)?;
        let copies = connect::checkpointer(&place.path)?;
        let reading = (0..options.readers.max(1)).map(|_| connect::reader(&place.path));
        let reading = reading.collect::<Result<Vec<_>, _>>()?;

        let queue = Arc::new(Queue::new(options.queue_records_max, options.queue_bytes_max));
        let gate = Arc::<Gate>::default();
        let readers = Arc::new(Readers::new(Arc::clone(&gate), reading.len()));
        let wal = Arc::new(Wal::new(Arc::clone(&gate)));
        wal.found(&place.path);
        let (tally, closing) = (Arc::<Tally>::default(), Arc::<Closing>::default());
        let watch = Arc::new(Watch::of(&place.path));
        let mut writer = Writer {
            path: place.path.clone(),
            options: options.clone(),
            queue: Arc::clone(&queue),
            wal: Arc::clone(&wal),
            gate,
            tally: Arc::clone(&tally),
            watch: Arc::clone(&watch),
            connection: Some(connection),
            known: Known::default(),
            commits,
            is_empty: true,
        };
        let (path, begun) = (place.path.clone(), place.begun);
        let threads = Threads::start(place, (&readers, reading), (&wal, copies), spawn)?;
        let write = Box::new(move || writer.run());
        threads.write(Arc::clone(&queue), Arc::clone(&closing), write, spawn)?;
        Ok(Self { path, begun, boot, queue, readers, tally, closing, watch })
    }

    /// Yields where the file is, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Yields what stood in its place, if it has begun with this opening; none if it was there.
    pub const fn begun(&self) -> Option<Begun> {
        self.begun
    }

    /// Yields what was committed since the store was opened.
    pub fn committed(&self) -> Committed {
        self.tally.committed()
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
            if writes.is_empty() {
                return if self.queue.is_closed() { Err(StoreError::Closed) } else { Ok(()) };
            }
            let (answer, answered) = oneshot::channel();
            // While it waits for room, dropping this future takes it back.
            let _waits = self.queue.push(Job { writes, bytes, answer })?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.watch.look()?;
            match self.watch.failed() {
                Some((_, true)) => {}
                Some((error, false)) => return Err(error),
                None if self.queue.is_closed() => return Err(StoreError::Closed),
                None => return Ok(()),
            }
            // Nobody may write for long: a transaction that needs room says how it is by now.
            let (answer, answered) = oneshot::channel();
            let _waits = self.queue.push(Job { writes: Vec::new(), bytes: 0, answer })?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(self.readers.read(move |on| read::get(on, run)))
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        let read = move |on: &Connection| read::claim(on, owner.as_deref(), &key, at);
        Box::pin(self.readers.read(read))
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(self.readers.list(move |on| list::list(on, &filter, page)))
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

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        Box::pin(self.readers.list(move |on| ended::ended(on, page)))
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.readers.read(ended::bytes))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.queue.close();
        Box::pin(self.closing.wait())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn when_the_system_refuses_a_thread_the_others_end_and_the_file_is_free() {
        let folder = std::env::temp_dir().join(format!("quell-threads-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("runs.db");
        let options = SqliteOptions { readers: 3, ..SqliteOptions::default() };
        let alive = Arc::new(AtomicUsize::new(0));
        for refused in 0..5 {
            let started = Cell::new(0);
            let spawn = |name: &str, code: threads::Code| {
                if started.replace(started.get() + 1) == refused {
                    return Err(io::Error::other("no more"));
                }
                let alive = Arc::clone(&alive);
                alive.fetch_add(1, Ordering::Relaxed);
                threads::of_the_system(
                    name,
                    Box::new(move || {
                        code();
                        alive.fetch_sub(1, Ordering::Relaxed);
                    }),
                )
            };
            let error = SqliteStore::start(&path, &options, &spawn).unwrap_err();
            assert!(error.to_string().contains("no more"), "{error}");
            assert_eq!(alive.load(Ordering::Relaxed), 0, "thread {refused} was refused");
        }
        drop(SqliteStore::open(&path).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
