//! [`Kept`]: what outlives a process, in memory or in a file; [`Cut`]: a store as one process has
//! it, until that is gone.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, MemoryStore, Page, Pages, Record, RunRecord, Store,
    StoreError, Stored,
};
use quell::{RunEvent, RunFilter, RunId};
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};

/// Where a story is kept.
#[derive(Debug)]
pub(super) enum Kept {
    Memory { store: Arc<MemoryStore>, boots: u32 },
    File(Folder),
}

/// A folder that is removed at the end.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Kept {
    pub(super) fn in_memory() -> Self {
        Self::Memory { store: Arc::default(), boots: 0 }
    }

    pub(super) fn in_a_file() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quell-model-{}-{nth}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self::File(Folder(folder)))
    }

    /// Opens it for a process. The one before is gone.
    pub(super) fn open(&mut self) -> Result<Arc<Cut>, String> {
        let (store, boot, closes): (Arc<dyn Store>, _, _) = match self {
            Self::Memory { store, boots } => {
                *boots += 1;
                (Arc::clone(store) as _, *boots, false)
            }
            Self::File(Folder(folder)) => {
                let mut options = SqliteOptions::default();
                // No power fails here.
                (options.synchronous, options.readers) = (Synchronous::Normal, 1);
                let store = SqliteStore::open_with(folder.join("runs.db"), &options);
                let store = store.map_err(|error| error.to_string())?;
                let boot = store.boot();
                (Arc::new(store), boot, true)
            }
        };
        let (store, appends) = (Mutex::new(Some(store)), AtomicUsize::new(0));
        Ok(Arc::new(Cut { boot, closes, store, appends }))
    }
}

/// A store until its process is gone: what is appended after that is kept nowhere.
#[derive(Debug)]
pub(super) struct Cut {
    boot: u32,
    /// It has to be closed before it is opened again.
    closes: bool,
    store: Mutex<Option<Arc<dyn Store>>>,
    /// What is being appended.
    appends: AtomicUsize,
}

/// An append that is not over.
struct Append<'a>(&'a AtomicUsize);

impl Drop for Append<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cut {
    /// The process is gone: nothing more is kept.
    pub(super) async fn cut(&self) -> Result<(), String> {
        let store = self.lock().take();
        match store {
            Some(store) if self.closes => store.close().await.map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// Tells whether it appends nothing now.
    pub(super) fn is_idle(&self) -> bool {
        self.appends.load(Ordering::Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Store>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.lock().clone()
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl for<'a> FnOnce(&'a dyn Store) -> BoxFuture<'a, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let store = self.store();
        Box::pin(async move {
            let store = store.ok_or(StoreError::Closed)?;
            read(&*store).await
        })
    }
}

impl Store for Cut {
    fn boot(&self) -> u32 {
        self.boot
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        let store = self.store();
        self.appends.fetch_add(1, Ordering::Relaxed);
        let append = Append(&self.appends);
        Box::pin(async move {
            let _append = append;
            match store {
                Some(store) => store.append(batch).await,
                // Nobody is there who could hear it.
                None => Ok(()),
            }
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.read(move |store| store.get(run))
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.read(move |store| store.claim(owner, key, at))
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.read(move |store| store.list(filter, page))
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.read(move |store| store.events(root, after, limit))
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.read(move |store| store.checkpoints(lane, page))
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.read(move |store| store.recover(page))
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.read(move |store| store.ended(page))
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.read(|store| store.bytes())
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.read(|store| store.close())
    }
}
