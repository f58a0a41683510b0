//! [`SqliteReader`] reads the file of a store that another process may have.

use std::path::Path;

use quell_core::store::{Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunEvent, RunFilter, RunId};
use rusqlite::Connection;
use uuid::Uuid;

use crate::fault::fault;
use crate::read;
use crate::schema::Found;
use crate::upkeep::visit;

/// Reads the file of a store, also while another process has it: it takes no lock, never makes or
/// changes the file, and never brings it to a newer schema. Every call blocks the thread, and sees
/// what was stored by then.
///
/// # Examples
///
/// ```
/// let missing = quell_sqlite::SqliteReader::open("/no/such/folder/runs.db").unwrap_err();
/// assert!(missing.to_string().starts_with("there is no such place for a store"));
/// ```
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, is none of ours, or of a newer release.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        match visit(path.as_ref())? {
            (_, Found::Nothing) => Err(StoreError::Foreign { what: "an empty file".into() }),
            (connection, _) => Ok(Self { connection }),
        }
    }

    /// Reads a run.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file, or if the run cannot be read.
    pub fn get(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        read::get(&self.connection, run)
    }

    /// Reads the runs that a filter means, those that were accepted last first, as
    /// [`Store::list`](quell_core::store::Store::list) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file.
    pub fn list(
        &self,
        filter: &RunFilter,
        page: Page,
    ) -> Result<Pages<Stored<RunRecord>>, StoreError> {
        read::list(&self.connection, filter, page)
    }

    /// Reads events of the log of a root behind a number, as
    /// [`Store::events`](quell_core::store::Store::events) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file.
    pub fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored<RunEvent>>, StoreError> {
        read::events(&self.connection, root, after, limit)
    }

    /// Reads the ids from one to another, both included, in their order and at most so many.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file.
    pub fn ids(&self, from: RunId, to: RunId, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let sql = "select id from run where id between ? and ? order by id limit ?";
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| fault(&error))?;
        let [from, to] = [from, to].map(|id| id.as_uuid().into_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ids = statement.query_map((from, to, limit), |row| row.get::<_, [u8; 16]>(0));
        let ids = ids.map_err(|error| fault(&error))?;
        let id = |bytes| RunId::from_uuid(Uuid::from_bytes(bytes));
        ids.map(|bytes| bytes.map(id).map_err(|error| fault(&error))).collect()
    }
}
