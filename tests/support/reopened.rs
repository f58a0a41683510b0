//! [`Reopened`]: a store that one process after the other opens.

use std::path::PathBuf;
use std::sync::Arc;

use quell::store::{MemoryStore, Store};
use quell_sqlite::{SqliteOptions, SqliteStore};

use super::Valve;

/// What outlives a process.
pub(crate) enum Reopened {
    Memory {
        store: Arc<MemoryStore>,
        boots: u32,
    },
    /// In a folder that is removed at the end.
    File(PathBuf),
}

impl Reopened {
    pub(crate) fn in_memory() -> Self {
        Self::Memory { store: Arc::default(), boots: 0 }
    }

    /// Makes a folder for the file. The name is that of the test.
    pub(crate) fn in_a_file(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("quell-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self::File(folder)
    }

    /// Opens it for the next process.
    pub(crate) fn open(&mut self) -> Arc<dyn Store> {
        match self {
            Self::Memory { store, boots } => {
                *boots += 1;
                Valve::reopened(store, *boots)
            }
            Self::File(folder) => {
                let options = SqliteOptions::default();
                Arc::new(SqliteStore::open_with(folder.join("r.db"), &options).unwrap())
            }
        }
    }

    /// Ends what a process had of it. A file is opened by one process at a time; what is in memory
    /// stays open.
    pub(crate) async fn close(&self, store: &Arc<dyn Store>) {
        if matches!(self, Self::File(_)) {
            store.close().await.unwrap();
        }
    }
}

impl Drop for Reopened {
    fn drop(&mut self) {
        if let Self::File(folder) = self {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
