//! [`Reader`]: reads of a store, whichever it is, one after the other.

use std::sync::Arc;

use quell::store::{Page, Pages, RunRecord, StoreError, Stored};
use quell::{RunEvent, RunFilter, RunId};
use quell_postgres::PostgresReader;
use quell_sqlite::SqliteReader;
use tokio::runtime::{Builder, Runtime};

use super::place::{Database, Place};

/// What reads a store. Each call blocks the thread.
pub(super) enum Reader {
    File(SqliteReader),
    Database(DatabaseReader),
}

impl Reader {
    /// Opens a store. It is not made, and not changed.
    ///
    /// # Errors
    ///
    /// Fails as the store does.
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => SqliteReader::open(path).map(Self::File),
            Place::Database(database) => DatabaseReader::open(database).map(Self::Database),
        }
    }

    pub(super) fn get(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        match self {
            Self::File(reader) => reader.get(run),
            Self::Database(DatabaseReader { reader, waits }) => waits.block_on(reader.get(run)),
        }
    }

    /// Yields the name of the node that has a run, or had it last; none in a file.
    pub(super) fn owner(&self, run: RunId) -> Result<Option<Arc<str>>, StoreError> {
        match self {
            Self::File(_) => Ok(None),
            Self::Database(DatabaseReader { reader, waits }) => waits.block_on(reader.owner(run)),
        }
    }

    pub(super) fn list(
        &self,
        filter: &RunFilter,
        page: Page,
    ) -> Result<Pages<Stored<RunRecord>>, StoreError> {
        match self {
            Self::File(reader) => reader.list(filter, page),
            Self::Database(DatabaseReader { reader, waits }) => {
                waits.block_on(reader.list(filter, page))
            }
        }
    }

    pub(super) fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored<RunEvent>>, StoreError> {
        match self {
            Self::File(reader) => reader.events(root, after, limit),
            Self::Database(DatabaseReader { reader, waits }) => {
                waits.block_on(reader.events(root, after, limit))
            }
        }
    }

    pub(super) fn ids(
        &self,
        from: RunId,
        to: RunId,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        match self {
            Self::File(reader) => reader.ids(from, to, limit),
            Self::Database(DatabaseReader { reader, waits }) => {
                waits.block_on(reader.ids(from, to, limit))
            }
        }
    }
}

/// What reads a database.
pub(super) struct DatabaseReader {
    pub(super) reader: PostgresReader,
    /// It waits for the reader, which has a thread of its own.
    pub(super) waits: Runtime,
}

impl DatabaseReader {
    /// Opens a database. It is not changed.
    ///
    /// # Errors
    ///
    /// Fails as the database does.
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        let no_runtime = |error| StoreError::Io { what: format!("no runtime: {error}") };
        let waits = Builder::new_current_thread().build().map_err(no_runtime)?;
        let reader = waits.block_on(PostgresReader::open(database.options()))?;
        Ok(Self { reader, waits })
    }
}
