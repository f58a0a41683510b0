//! [`Prepared`]: a session with the statements of the one that writes.

use std::collections::HashMap;

use futures::future::try_join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use crate::sql::Sql;

/// A session with its statements.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) client: Client,
    statements: HashMap<Sql, Statement>,
}

impl Prepared {
    /// Prepares the statements.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn of(client: Client) -> Result<Self, Error> {
        // Each is planned once: all find their rows by indexes, however many there are.
        client.batch_execute("set plan_cache_mode = force_generic_plan").await?;
        let prepared = Sql::ALL.map(|sql| client.prepare(sql.text()));
        let prepared = try_join_all(prepared).await?;
        let statements = Sql::ALL.into_iter().zip(prepared).collect();
        Ok(Self { client, statements })
    }

    /// Reads rows.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn rows(
        &self,
        sql: Sql,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.client.query(&self.statements[&sql], values).await
    }

    /// Changes rows, and yields how many.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn change(
        &self,
        sql: Sql,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.client.execute(&self.statements[&sql], values).await
    }
}
