//! [`Readers`]: a few sessions that read, apart from the one that writes.
//!
//! A read is one statement, so that it sees one instant, and has a time limit on the server. The
//! statement of a caller who gives up is cancelled. Its session is closed: the cancellation must
//! never meet another statement.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use quell_core::store::StoreError;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, Row};
use tokio_util::task::TaskTracker;

use crate::fault::{fault, is_lost, is_read_only, is_victim};
use crate::session::Target;
use crate::step::Value;

/// Sessions that read.
pub(crate) struct Readers {
    target: Arc<Target>,
    /// Where reads go on whatever becomes of the runtime of their callers.
    handle: Handle,
    pool: Pool,
    /// How many there are at most.
    sessions: usize,
    /// Lists that are read at once: a session is left for what is asked by id.
    lists: Arc<Semaphore>,
    /// Reads that are under way. Once it is closed, none is taken.
    under_way: TaskTracker,
}

/// A statement with its values.
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value<'static>>,
    /// Whether it takes long, and leaves a session for the others.
    pub(crate) is_list: bool,
}

type Answer = oneshot::Sender<Result<Vec<Row>, StoreError>>;

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, under_way, .. } = self;
        f.debug_struct("Readers")
            .field("sessions", &pool.status().size)
            .field("under_way", &under_way.len())
            .finish_non_exhaustive()
    }
}

impl Readers {
    /// Makes the way to so many sessions. None is opened yet.
    ///
    /// # Errors
    ///
    /// Fails if the runtime knows no time.
    pub(crate) fn new(
        target: Arc<Target>,
        handle: Handle,
        sessions: usize,
    ) -> Result<Self, StoreError> {
        let sessions = sessions.max(1);
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let opens = Opens(Arc::clone(&target));
        let manager = Manager::from_connect(target.address.config.clone(), opens, config);
        let built = Pool::builder(manager)
            .max_size(sessions)
            .create_timeout(Some(target.options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build();
        let pool = built.map_err(|error| StoreError::Io { what: error.to_string() })?;
        let lists = Arc::new(Semaphore::new(sessions.saturating_sub(1).max(1)));
        Ok(Self { target, handle, pool, sessions, lists, under_way: TaskTracker::new() })
    }

    /// Reads rows, in the order in which callers came.
    ///
    /// # Errors
    ///
    /// Fails as the server does, or if the store is closed.
    pub(crate) async fn rows(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        self.transaction(vec![query]).await
    }

    /// Sends statements at once, in one transaction if they are several, and yields the rows of all
    /// of them, one after the other. They change nothing if one fails.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub(crate) async fn transaction(&self, all: Vec<Query>) -> Result<Vec<Row>, StoreError> {
        if self.under_way.is_closed() {
            return Err(StoreError::Closed);
        }
        let (answer, answered) = oneshot::channel();
        let read = Read {
            target: Arc::clone(&self.target),
            pool: self.pool.clone(),
            lists: Arc::clone(&self.lists),
            sessions: self.sessions,
        };
        self.under_way.spawn_on(read.run(all, answer), &self.handle);
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Takes no more reads, and waits for those that were taken.
    pub(crate) async fn close(&self) {
        self.under_way.close();
        self.under_way.wait().await;
        self.pool.close();
    }
}

/// One read, on its way to a session.
struct Read {
    target: Arc<Target>,
    pool: Pool,
    sessions: usize,
    lists: Arc<Semaphore>,
}

impl Read {
    async fn run(self, all: Vec<Query>, mut answer: Answer) {
        if let Some(found) = self.in_turn(&all, &mut answer).await {
            // Who gave up is not told.
            quell_durable::catch_panic(|| drop(answer.send(found)));
        }
    }

    /// Reads when it is its turn; none if the caller gave up.
    async fn in_turn(
        &self,
        all: &[Query],
        answer: &mut Answer,
    ) -> Option<Result<Vec<Row>, StoreError>> {
        let mut _turn = None;
        if all.iter().any(|query| query.is_list) {
            _turn = tokio::select! {
                // Who has given up needs no turn.
                biased;
                () = answer.closed() => return None,
                turn = self.lists.acquire() => turn.ok(),
            };
        }
        self.with_a_session(all, answer).await
    }

    /// Reads on a session that is alive; none if the caller gave up. Those that died while nobody
    /// used them leave.
    async fn with_a_session(
        &self,
        all: &[Query],
        answer: &mut Answer,
    ) -> Option<Result<Vec<Row>, StoreError>> {
        for _ in 0..=self.sessions {
            let session = tokio::select! {
                // Who has given up needs no session.
                biased;
                () = answer.closed() => return None,
                session = self.pool.get() => session,
            };
            let session = match session {
                Ok(session) => session,
                Err(error) => return Some(Err(self.no_session(&error))),
            };
            match self.on(session, all, answer).await? {
                Ok(rows) => return Some(Ok(rows)),
                Err(Failed::Server(error)) if is_lost(&error) || is_victim(&error) => {}
                Err(Failed::Server(error)) => return Some(Err(fault(&error))),
                Err(Failed::Silence) => return Some(Err(self.silence())),
            }
        }
        let what = "sessions end as they begin".into();
        Some(Err(StoreError::Unreachable { what }))
    }

    async fn on(
        &self,
        session: Object,
        all: &[Query],
        answer: &mut Answer,
    ) -> Option<Result<Vec<Row>, Failed>> {
        let limit = Duration::from_millis(self.target.statement_ms());
        let (found, is_silent) = {
            let rows = rows(&session, all);
            tokio::pin!(rows);
            let (found, is_silent) = tokio::select! {
                // An answer that is there is given.
                biased;
                found = &mut rows => (Some(found), false),
                () = answer.closed() => (None, false),
                // The server has its own limit: nothing comes from there any more.
                () = sleep(limit + self.target.options.connect_timeout) => (None, true),
            };
            if found.is_none() && !is_silent {
                let token = session.cancel_token();
                let cancel = timeout(limit, token.cancel_query(self.target.tls.clone()));
                let _ = tokio::join!(cancel, timeout(limit, rows));
            }
            (found, is_silent)
        };
        // A session that takes nothing keeps to that when its database takes something again.
        if found.as_ref().is_none_or(|found| found.as_ref().is_err_and(is_read_only)) {
            drop(Object::take(session));
        }
        let found = found.map(|found| found.map_err(Failed::Server));
        found.or_else(|| is_silent.then_some(Err(Failed::Silence)))
    }

    fn silence(&self) -> StoreError {
        let what = format!("{}: it does not answer any more", self.target.address.words());
        StoreError::Unreachable { what }
    }

    fn no_session(&self, error: &PoolError) -> StoreError {
        let place = self.target.address.words();
        match error {
            PoolError::Backend(error) => match fault(error) {
                StoreError::Unreachable { what } | StoreError::Io { what } => {
                    StoreError::Unreachable { what: format!("{place}: {what}") }
                }
                other => other,
            },
            PoolError::Closed => StoreError::Closed,
            other => StoreError::Unreachable { what: format!("{place}: {other}") },
        }
    }
}

/// Why there are no rows.
enum Failed {
    Server(Error),
    /// Nothing came. The session is of no use any more.
    Silence,
}

async fn rows(session: &Object, all: &[Query]) -> Result<Vec<Row>, Error> {
    // Filters of callers make as many statements as there are ways to filter.
    if session.statement_cache.size() >= STATEMENTS_MAX {
        session.statement_cache.clear();
    }
    let mut statements = Vec::with_capacity(all.len());
    for query in all {
        let values: Vec<&(dyn ToSql + Sync)> = query.values.iter().map(|it| &**it as _).collect();
        statements.push((session.prepare_cached(&query.sql).await?, values));
    }
    if let [(statement, values)] = &statements[..] {
        return session.query(statement, values).await;
    }
    // A statement is sent when its future is first polled, and these are polled in their order.
    let asked = statements.iter().map(|(statement, values)| session.query(statement, values));
    let (begun, answers, committed) = futures::join!(
        session.batch_execute("begin"),
        join_all(asked),
        // Behind a statement that failed it rolls back.
        session.batch_execute("commit")
    );
    begun?;
    let rows = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    committed.map(|()| rows.into_iter().flatten().collect())
}

/// Opens sessions as the one that writes is opened.
struct Opens(Arc<Target>);

impl Connect for Opens {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        self.0.connect().boxed()
    }
}

/// Statements that are prepared on one session.
const STATEMENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use quell_test_support::PostgresServer;

    use super::*;
    use crate::options::PostgresOptions;

    #[test]
    fn a_session_has_so_many_statements_however_many_ways_there_are_to_ask() {
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Arc::new(Target::new(options).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let readers = Readers::new(target, Handle::current(), 1).unwrap();
            let ask = async |sql: String| {
                let query = Query { sql, values: Vec::new(), is_list: false };
                readers.rows(query).await.unwrap()[0].get::<_, i64>(0)
            };
            for nth in 0..300 {
                assert_eq!(ask(format!("select {nth}::int8")).await, nth);
            }
            let there = ask("select count(*) from pg_prepared_statements".into()).await;
            assert!(there > 1 && there <= 64, "{there}");
            readers.close().await;
        });
    }
}
