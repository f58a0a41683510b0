//! Stores of servers, and what the server says of them.

use quell_core::store::StoreError;
use quell_postgres::{PostgresOptions, PostgresStore};
use quell_test_support::PostgresServer;

/// A database of its own on a server.
pub(crate) struct Place<'a> {
    pub(crate) server: &'a PostgresServer,
    pub(crate) database: String,
}

impl Place<'static> {
    /// Makes a database on the server that all tests share.
    pub(crate) fn shared() -> Self {
        Self::on(PostgresServer::shared())
    }
}

impl<'a> Place<'a> {
    pub(crate) fn on(server: &'a PostgresServer) -> Self {
        Self { database: server.database(), server }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(self.server.address(&self.database))
    }

    pub(crate) async fn open(&self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(self.options()).await
    }

    /// Runs a statement in the schema of the store.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, &format!("set search_path = quell; {sql}"))
    }

    /// Counts the sessions with this database of which something holds, but for the one that asks:
    /// on a server that is shared others have theirs as well.
    pub(crate) fn sessions(&self, which: &str) -> usize {
        self.sql(&format!("select count(*) {OTHERS} and {which}")).parse().unwrap()
    }

    /// Ends these sessions. Yields how many there were.
    pub(crate) fn end_sessions(&self, which: &str) -> usize {
        let end = format!("select count(pg_terminate_backend(pid)) {OTHERS} and {which}");
        self.sql(&end).parse().unwrap()
    }

    /// Ends the session of the store that writes. Yields whether there was one.
    pub(crate) fn kill(&self) -> bool {
        self.sql(&format!("select pg_terminate_backend(pid) {HOLDER} and granted")) == "t"
    }
}

/// The sessions with this database, but for the one that asks.
const OTHERS: &str = "from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()";

/// Who has the lock of a store, or waits for it.
pub(crate) const HOLDER: &str = "from pg_locks where locktype = 'advisory'
    and database = (select oid from pg_database where datname = current_database())";

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
