//! The advisory lock of a schema: who has it is the store.

use quell_core::store::StoreError;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::fault::fault;

/// The lock of one schema, within its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock(i64);

/// Who has a lock.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The process of the server that serves it.
    pub(crate) pid: i32,
    /// What the server says of it.
    pub(crate) words: String,
}

impl Lock {
    /// Names the lock of a schema: the same in every release.
    pub(crate) fn of(schema: &str) -> Self {
        let (high, _) = Uuid::new_v5(&SPACE, schema.as_bytes()).as_u64_pair();
        Self(high.cast_signed())
    }

    /// Takes it for a session, if nobody has it.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn take(self, client: &Client) -> Result<bool, Error> {
        let sql = "select pg_try_advisory_lock($1)";
        client.query_typed_one(sql, &[(&self.0, Type::INT8)]).await?.try_get(0)
    }

    /// Lets it go: then another store may open although the session has not ended.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn leave(self, client: &Client) -> Result<(), Error> {
        let sql = "select pg_advisory_unlock($1)";
        client.query_typed(sql, &[(&self.0, Type::INT8)]).await.map(drop)
    }

    /// Looks who has it.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn holder(self, client: &Client) -> Result<Option<Holder>, StoreError> {
        let rows = client.query_typed(HOLDER, &[(&self.0, Type::INT8)]).await;
        let rows = rows.map_err(|error| fault(&error))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || -> Result<Holder, Error> {
            let pid = row.try_get(0)?;
            let name: Option<String> = row.try_get(1)?;
            let name = name.filter(|name| !name.is_empty());
            let from: Option<String> = row.try_get(2)?;
            let (name, from) = (name.unwrap_or_default(), from.unwrap_or_default());
            let name = if name.is_empty() { "somebody" } else { &name };
            let from = if from.is_empty() { String::new() } else { format!(" from {from}") };
            Ok(Holder { pid, words: format!("{name} (session {pid} of the server{from})") })
        };
        read().map(Some).map_err(|error| fault(&error))
    }
}

/// Who may not see the activity of others sees a session without a name.
const HOLDER: &str = "select l.pid, a.application_name, host(a.client_addr)
    from pg_locks l left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and l.classid = (($1::int8 >> 32) & 4294967295)::oid
    and l.objid = ($1::int8 & 4294967295)::oid";

/// The names of locks.
const SPACE: Uuid = Uuid::from_u128(0x7175_656c_6c2d_706f_7374_6772_6573_0001);
