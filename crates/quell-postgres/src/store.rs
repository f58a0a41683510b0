//! [`PostgresStore`]: the threads of a store, and the way to them.

use std::fmt;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Instant, SystemTime};

use quell_core::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored, TreeAsk, TreeNow,
};
use quell_core::{RunEvent, RunFilter, RunId};
use quell_durable::{Closing, Committed, Job, Queue, Tally, catch_panic, encode};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use crate::decided::Decided;
use crate::options::PostgresOptions;
use crate::readers::Readers;
use crate::seat::Seat;
use crate::session::Target;
use crate::threads::{self, Sessions, no_thread};
use crate::trees_now::trees_now;
use crate::watches::Watches;
use crate::writer::{After, Writer};
use crate::{list, read};

/// A store in one schema of a database, for one engine at a time.
///
/// It has threads of its own: one that writes, and one that drives its sessions, whatever becomes
/// of the runtime in which it was opened. When it is dropped, they end after what they were given;
/// [`Store::close`] waits for that.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), quell_core::store::StoreError> {
/// use quell_core::store::Store;
/// use quell_postgres::{PostgresOptions, PostgresStore};
///
/// let url = "postgres://quell@db.example/runs?sslmode=verify-full";
/// let store = PostgresStore::open(PostgresOptions::new(url)).await?;
/// assert!(store.boot() >= 1);
/// store.close().await
/// # }
/// ```
pub struct PostgresStore {
    pub(crate) target: Arc<Target>,
    pub(crate) seat: Seat,
    /// Whose logs are read where. Nobody does, of a store that is alone.
    pub(crate) watches: Arc<Watches>,
    /// What transactions have decided, until the engine hears of it.
    pub(crate) decided: Arc<Decided>,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    tally: Arc<Tally>,
    closing: Arc<Closing>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seat, readers, .. } = self;
        f.debug_struct("PostgresStore")
            .field("target", target)
            .field("boot", &seat.boot())
            .field("readers", readers)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens a schema of a database, and makes it, with its tables, if it is not there.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be read, the database cannot be reached or lets nobody in, it is
    /// older than PostgreSQL 14, has another encoding than UTF8 or a setting on which durability
    /// rests is off, it may not be written, somebody has the schema, a member of a cluster has a
    /// lease, or the schema is none of ours or of a newer release. None of these changes the
    /// database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the schema is free again, and may have counted a boot.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        if options.node.is_some() {
            let what = "`options.node` names a node: open a `PostgresNode`, or name none";
            return Err(StoreError::Options { what: what.into() });
        }
        Ok(Self::start(options).await?.store)
    }

    /// Opens a store, with or without the name of a member.
    pub(crate) async fn start(options: PostgresOptions) -> Result<Opened, StoreError> {
        let target = Arc::new(Target::new(options)?);
        let sessions = Sessions::start()?;
        let handle = sessions.handle();
        let options = &target.options;
        let queue = Arc::new(Queue::new(options.queue_records_max, options.queue_bytes_max));
        let tally = Arc::<Tally>::default();
        let watches = Arc::<Watches>::default();
        let decided = Arc::<Decided>::default();
        let after = After {
            tally: Arc::clone(&tally),
            watches: Arc::clone(&watches),
            decided: Arc::clone(&decided),
        };
        let readers = Readers::new(Arc::clone(&target), handle.clone(), options.readers)?;
        let readers = Arc::new(readers);
        let closing = Arc::<Closing>::default();
        let threads = Threads {
            runtime: threads::own_runtime()?,
            sessions,
            queue: Arc::clone(&queue),
            readers: Arc::clone(&readers),
            closing: Arc::clone(&closing),
        };
        let opening = Writer::open(Arc::clone(&target), Arc::clone(&queue), after);
        let (tell, told) = oneshot::channel();
        let thread = Builder::new().name("quell-postgres-write".into());
        let started = thread.spawn(move || threads.run(opening, tell));
        started.map_err(|error| no_thread(&error))?;
        let panicked = |_| StoreError::Io { what: "opening has panicked".into() };
        let (seat, joined_at) = told.await.map_err(panicked)??;
        let store = Self { target, seat, watches, decided, queue, readers, tally, closing };
        Ok(Opened { store, joined_at, handle })
    }

    /// Yields what was committed since the store was opened.
    pub fn committed(&self) -> Committed {
        self.tally.committed()
    }

    /// Yields the sessions that read.
    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) store: PostgresStore,
    /// When a member has joined, or just before.
    pub(crate) joined_at: Instant,
    /// What drives the sessions.
    pub(crate) handle: Handle,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Store for PostgresStore {
    fn boot(&self) -> u32 {
        self.seat.boot()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (writes, bytes) = encode(batch, |_| false, serde_json::to_string)?;
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
        Box::pin(read::ready(&self.readers))
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(read::get(&self.readers, run))
    }

    fn accepted_at(
        &self,
        runs: Vec<RunId>,
    ) -> BoxFuture<'_, Result<Vec<(RunId, SystemTime)>, StoreError>> {
        Box::pin(read::accepted_at(&self.readers, runs))
    }

    fn trees_now(&self, asked: Vec<TreeAsk>) -> BoxFuture<'_, Result<Vec<TreeNow>, StoreError>> {
        Box::pin(trees_now(&self.readers, asked))
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        Box::pin(async move { read::claim(&self.readers, owner.as_deref(), &key, at).await })
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move { list::list(&self.readers, &filter, page).await })
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(read::events(&self.readers, root, after, limit))
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(async move { read::checkpoints(&self.readers, &lane, page).await })
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(read::recover(&self.readers, &self.seat, page))
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        Box::pin(read::ended(&self.readers, &self.seat, page))
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(read::bytes(&self.readers))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.queue.close();
        Box::pin(self.closing.wait())
    }
}

/// What the thread that writes has.
struct Threads {
    /// Drives the session of the one that writes, on its own thread: an answer of the server wakes
    /// no other thread first.
    runtime: Runtime,
    sessions: Sessions,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    closing: Arc<Closing>,
}

/// What is told of a store that was opened: its seat, and when a member has joined, or just before.
type Told = Result<(Seat, Instant), StoreError>;

impl Threads {
    /// Opens, and says how that went; then writes until the store closes. However that ends, what
    /// waits is answered, the schema is free, and whoever waits for that is told.
    fn run(
        self,
        opening: impl Future<Output = Result<(Writer, Instant), StoreError>>,
        mut tell: oneshot::Sender<Told>,
    ) {
        let Self { runtime, sessions, queue, readers, closing } = self;
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                opened = opening => Some(opened),
                // Nobody wants it any more.
                () = tell.closed() => None,
            }
        });
        let mut writer = match opened {
            Some(Ok((writer, joined_at))) => {
                if tell.send(Ok((writer.seat().clone(), joined_at))).is_err() {
                    return;
                }
                writer
            }
            Some(Err(error)) => {
                // Whoever waited may be gone.
                let _ = tell.send(Err(error));
                return;
            }
            None => return,
        };
        let ended = catch_panic(|| writer.run(&runtime))
            .ok_or_else(|| StoreError::Io { what: "the thread that writes has panicked".into() });
        queue.close();
        if let Err(error) = &ended {
            while let Some(job) = queue.wait() {
                job.answer(Err(error.clone()));
            }
        }
        drop(writer);
        sessions.handle().block_on(readers.close());
        drop((readers, sessions, runtime));
        closing.end(ended);
    }
}
