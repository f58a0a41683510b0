//! [`PostgresReader`] reads the store of a database, whoever has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quell_core::store::{Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunEvent, RunFilter, RunId};
use tokio::time::timeout;

use crate::checks;
use crate::node_record::{self, LostNode, NodeRecord};
use crate::options::PostgresOptions;
use crate::readers::Readers;
use crate::schema::{self, Found};
use crate::session::Target;
use crate::survey::{self, Survey};
use crate::threads::Sessions;
use crate::{list, read, unshared};

/// Reads the store of a database, also while processes have it: it takes no lock and no seat, never
/// makes or changes a table, and its sessions may write nothing. Each call is one statement, or a
/// few, with the time limit of the options, and sees what was stored by then. A standby is read as
/// well, as far as it is by then.
///
/// It needs no more rights than `usage` on the schema and `select` on its tables. It has a thread
/// of its own that drives its sessions, of which it opens as many as are used at once; they end
/// when it is dropped.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), quell_core::store::StoreError> {
/// use quell_postgres::{PostgresOptions, PostgresReader};
///
/// let url = "postgres://quell@db.example/runs?sslmode=verify-full";
/// let reader = PostgresReader::open(PostgresOptions::new(url)).await?;
/// for node in reader.nodes(None, 100).await? {
///     println!("{} has {} runs", node.name.as_deref().unwrap_or("-"), node.live);
/// }
/// # Ok(())
/// # }
/// ```
pub struct PostgresReader {
    target: Arc<Target>,
    readers: Arc<Readers>,
    /// The number of its tables.
    schema: u32,
    /// They drive what reads until this is dropped.
    sessions: Sessions,
}

impl fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, readers, schema, sessions: _ } = self;
        f.debug_struct("PostgresReader")
            .field("target", target)
            .field("schema", schema)
            .field("readers", readers)
            .finish()
    }
}

impl PostgresReader {
    /// Opens the schema of the options to read it. Of the options of those who write, none counts.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be read, the database cannot be reached or lets nobody in, or
    /// not as far as its tables, it is older than PostgreSQL 14 or has another encoding than UTF8,
    /// or if the schema is not there, none of ours, or of another release.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        Self::open_with(options, &schema::STEPS).await
    }

    async fn open_with(
        options: PostgresOptions,
        steps: &'static [&'static str],
    ) -> Result<Self, StoreError> {
        let target = Arc::new(Target::to_read(options)?);
        let sessions = Sessions::start()?;
        let handle = sessions.handle();
        let looks = Arc::clone(&target);
        let looked = handle.spawn(async move { enter(&looks, steps).await }).await;
        let panicked = |error| StoreError::Io { what: format!("opening has ended: {error}") };
        let schema = looked.map_err(panicked)?.map_err(not_let_in)?;
        let readers = Readers::new(Arc::clone(&target), handle, target.options.readers)?;
        Ok(Self { target, readers: Arc::new(readers), schema, sessions })
    }

    /// Reads a run.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database, or if the run cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the statement is cancelled on the server, as that of every call here is.
    pub async fn get(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        read::get(&self.readers, run).await.map_err(not_let_in)
    }

    /// Reads the name of the node that has a run, or had it last. None if there is no such run, and
    /// of one of a store that was alone.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn owner(&self, run: RunId) -> Result<Option<Arc<str>>, StoreError> {
        read::owner(&self.readers, run).await.map_err(not_let_in)
    }

    /// Reads the runs that a filter means, those that were accepted last first, as
    /// [`Store::list`](quell_core::store::Store::list) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list(
        &self,
        filter: &RunFilter,
        page: Page,
    ) -> Result<Pages<Stored<RunRecord>>, StoreError> {
        list::list(&self.readers, filter, page).await.map_err(not_let_in)
    }

    /// Reads events of the log of a root behind a number, as
    /// [`Store::events`](quell_core::store::Store::events) does.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored<RunEvent>>, StoreError> {
        read::events(&self.readers, root, after, limit).await.map_err(not_let_in)
    }

    /// Reads the ids from one to another, both included, in their order and at most so many. Zero
    /// reads none.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ids(
        &self,
        from: RunId,
        to: RunId,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        read::ids(&self.readers, from, to, limit).await.map_err(not_let_in)
    }

    /// Reads who has the store: the members whose names come behind one, in the order of their
    /// names and at most so many. A store that is alone comes first. Zero reads none.
    ///
    /// A member is there until another one has taken over from it.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn nodes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>, StoreError> {
        let schema = &self.target.options.schema;
        node_record::nodes(&self.readers, schema, after, limit).await.map_err(not_let_in)
    }

    /// Reads which members were lost and have left work of which nobody knows whether it executes
    /// still: those whose names come behind one, in the order of their names and at most so many.
    /// They are members no longer, or their lease is over. Zero reads none.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost_nodes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LostNode>, StoreError> {
        node_record::lost(&self.readers, after, limit).await.map_err(not_let_in)
    }

    /// Looks at the server and the tables: what durability rests on, and how much there is.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database. What a process would be refused for that opens the
    /// store to write is no error here, see [`Survey::refusal`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let (target, handle) = (Arc::clone(&self.target), self.sessions.handle());
        let checked = handle.spawn(async move {
            let client = target.session().await?;
            in_time(&target, checks::check(&client, &target)).await
        });
        let checked = checked.await.unwrap_or(Err(StoreError::Closed));
        let refusal = match checked {
            Ok(()) => None,
            Err(error @ (StoreError::Setting { .. } | StoreError::TakesNoWrites { .. })) => {
                Some(error)
            }
            Err(other) => return Err(other),
        };
        survey::survey(&self.readers, self.schema, refusal).await.map_err(not_let_in)
    }
}

/// Looks whether there is a store that can be read, and yields the number of its tables.
pub(crate) async fn enter(target: &Target, steps: &[&str]) -> Result<u32, StoreError> {
    let client = unshared::session(target).await?;
    let found = in_time(target, async {
        checks::check_to_read(&client).await?;
        schema::look(&client, target, steps).await
    });
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    match found.await? {
        Found::Schema(found) => match u32::try_from(found).unwrap_or(u32::MAX) {
            found if found < known => Err(StoreError::OlderSchema { found, known }),
            found => Ok(found),
        },
        found @ (Found::Missing | Found::Nothing) => {
            let has = if found == Found::Missing { "no" } else { "nothing in the" };
            let place = target.options.shown_address();
            let schema = target.schema();
            let what = format!("{place} has {has} schema {schema}; who opens it to write makes it");
            Err(StoreError::Missing { what })
        }
    }
}

pub(crate) async fn in_time<T>(
    target: &Target,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // The server has its own limit: nothing comes from there any more.
    let limit = Duration::from_millis(target.statement_ms()) + target.options.connect_timeout;
    let words = || format!("{}: it does not answer any more", target.address.words());
    timeout(limit, work).await.unwrap_or_else(|_| Err(StoreError::Unreachable { what: words() }))
}

/// Says of a right that is missing that it is one to read.
fn not_let_in(error: StoreError) -> StoreError {
    match error {
        StoreError::ReadOnly { what } => StoreError::Denied {
            what: format!("grant it usage on the schema, and select on its tables ({what})"),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use quell_test_support::PostgresServer;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_schema_of_an_older_release_is_refused_and_stays_as_it_is() {
        const NOW: usize = schema::STEPS.len();
        const LATER: [&str; NOW + 1] = {
            let mut steps = ["alter table run add column mood text"; NOW + 1];
            let mut nth = 0;
            while nth < NOW {
                steps[nth] = schema::STEPS[nth];
                nth += 1;
            }
            steps
        };
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Target::new(options.clone()).unwrap();
        block_on(async {
            let (client, _) = target.connect().await.unwrap();
            schema::migrate(&client, &target, Found::Missing, &LATER[..NOW]).await.unwrap();
            let error = PostgresReader::open_with(options.clone(), &LATER).await.unwrap_err();
            let now = u32::try_from(NOW).unwrap();
            assert_eq!(error, StoreError::OlderSchema { found: now, known: now + 1 });
            assert!(error.to_string().contains("have a process of this release open it"));
            assert_eq!(schema::look(&client, &target, &LATER).await, Ok(Found::Schema(NOW)));
            PostgresReader::open(options).await.unwrap();
        });
    }

    #[test]
    fn the_sessions_of_a_reader_may_write_nothing() {
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Target::to_read(options).unwrap();
        block_on(async {
            let (client, _) = target.connect().await.unwrap();
            let error = client.batch_execute("create schema quell").await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "25006", "{error}");
        });
    }
}
