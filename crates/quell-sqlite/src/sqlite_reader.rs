//! [`SqliteReader`] reads the file of a store that another process may have.

use std::path::Path;

use quell_core::store::{EndedTree, Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunEvent, RunFilter, RunId};

use crate::visit::Visit;
use crate::{ended, list, read};

/// Reads the file of a store, also while another process has it: it takes no lock, never makes or
/// changes the file, and never brings it to a newer schema. Every call blocks the thread, and sees
/// what was stored by then.
///
/// Beside a file that is closed nothing is left. A file that may not be written, or whose folder
/// may not, is read if it was closed: then a call fails, and not only gets old answers, when
/// another process begins to write the file.
///
/// # Examples
///
/// ```
/// let missing = quell_sqlite::SqliteReader::open("/no/such/folder/runs.db").unwrap_err();
/// assert!(missing.to_string().starts_with("there is no such store"));
/// ```
#[derive(Debug)]
pub struct SqliteReader {
    visit: Visit,
}

impl SqliteReader {
    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, is none of ours, or of a newer release; and if a process that was
    /// killed has left its log beside it, where this user may not write.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(Self { visit: Visit::open(path.as_ref())? })
    }

    /// Reads a run.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file, or if the run cannot be read.
    pub fn get(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.visit.read(|on| read::get(on, run))
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
        self.visit.read(|on| list::list(on, filter, page))
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
        self.visit.read(|on| read::events(on, root, after, limit))
    }

    /// Reads the trees that may leave, the one that was accepted first first, as
    /// [`Store::ended`](quell_core::store::Store::ended) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file.
    pub fn ended(&self, page: Page) -> Result<Pages<Stored<EndedTree>>, StoreError> {
        self.visit.read(|on| ended::ended(on, page))
    }

    /// Reads the ids from one to another, both included, in their order and at most so many.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the file.
    pub fn ids(&self, from: RunId, to: RunId, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.visit.read(|on| read::ids(on, from, to, limit))
    }
}
