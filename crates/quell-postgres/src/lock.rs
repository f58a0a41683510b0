//! [`Locks`]: the advisory locks of a store.
//!
//! A store that is alone has that of its schema, and no other one has it. Members of a cluster
//! share it, and each has one of its name.

use quell_core::store::StoreError;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::fault::fault;

/// What a store has for as long as its session that writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locks {
    schema: Lock,
    /// That of the name of a member; none for a store that is alone.
    name: Option<Lock>,
    /// What a member has while it joins: one at a time makes the tables.
    door: Lock,
}

impl Locks {
    /// Names the locks of a store; the name is empty for one that is alone.
    pub(crate) fn of(schema: &str, name: &str) -> Self {
        let of_name = |name: &str| Lock::of(&format!("{schema}\0{name}"));
        let own = (!name.is_empty()).then(|| of_name(name));
        Self { schema: Lock::of(schema), name: own, door: of_name("") }
    }

    /// Yields the number of the one that nobody else has at the same time: that of the name, or of
    /// the schema for a store that is alone.
    pub(crate) fn own(self) -> i64 {
        self.name.unwrap_or(self.schema).0
    }

    /// Takes all of them for a session, or says who has one.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn take(self, client: &Client) -> Result<Option<Holder>, StoreError> {
        let Some(name) = self.name else {
            return self.schema.take_or_look(client, Lock::EXCLUSIVE).await;
        };
        if let Some(holder) = self.schema.take_or_look(client, Lock::SHARED).await? {
            return Ok(Some(holder));
        }
        let holder = name.take_or_look(client, Lock::EXCLUSIVE).await?;
        if holder.is_some() {
            self.schema.leave(client, LEAVE_SHARED).await.map_err(|error| fault(&error))?;
        }
        Ok(holder)
    }

    /// Takes the lock of those who join, if nobody has it.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn take_door(self, client: &Client) -> Result<Option<Holder>, StoreError> {
        self.door.take_or_look(client, Lock::EXCLUSIVE).await
    }

    /// Lets that one go.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn leave_door(self, client: &Client) -> Result<(), StoreError> {
        self.door.leave(client, LEAVE).await.map_err(|error| fault(&error))
    }

    /// Lets all go: then another store may open although the session has not ended.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn leave(client: &Client) -> Result<(), Error> {
        client.batch_execute("select pg_advisory_unlock_all()").await
    }
}

/// One lock, within its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lock(i64);

/// Who has a lock.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The process of the server that serves it.
    pub(crate) pid: i32,
    /// What the server says of it.
    pub(crate) words: String,
}

impl Lock {
    const EXCLUSIVE: &str = "select pg_try_advisory_lock($1)";
    const SHARED: &str = "select pg_try_advisory_lock_shared($1)";

    /// Names the lock of a text: the same in every release.
    fn of(text: &str) -> Self {
        let (high, _) = Uuid::new_v5(&SPACE, text.as_bytes()).as_u64_pair();
        Self(high.cast_signed())
    }

    /// Takes it for a session, or says who has it.
    async fn take_or_look(self, client: &Client, how: &str) -> Result<Option<Holder>, StoreError> {
        let taken = client.query_typed_one(how, &[(&self.0, Type::INT8)]).await;
        let is_taken = taken.and_then(|row| row.try_get(0)).map_err(|error| fault(&error))?;
        if is_taken {
            return Ok(None);
        }
        let ends = || Holder { pid: 0, words: "a session that ends".into() };
        Ok(Some(self.holder(client).await?.unwrap_or_else(ends)))
    }

    async fn leave(self, client: &Client, how: &str) -> Result<(), Error> {
        client.query_typed(how, &[(&self.0, Type::INT8)]).await.map(drop)
    }

    async fn holder(self, client: &Client) -> Result<Option<Holder>, StoreError> {
        let rows = client.query_typed(HOLDER, &[(&self.0, Type::INT8)]).await;
        let rows = rows.map_err(|error| fault(&error))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || -> Result<Holder, Error> {
            let pid = row.try_get(0)?;
            let words = words(pid, row.try_get(1)?, row.try_get(2)?);
            Ok(Holder { pid, words })
        };
        read().map(Some).map_err(|error| fault(&error))
    }
}

/// Says who has a session, by the name that it gave itself and where it comes from.
pub(crate) fn words(pid: i32, name: Option<&str>, from: Option<&str>) -> String {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("somebody");
    let from = from.map_or_else(String::new, |from| format!(" from {from}"));
    format!("{name} (session {pid} of the server{from})")
}

const LEAVE: &str = "select pg_advisory_unlock($1)";
const LEAVE_SHARED: &str = "select pg_advisory_unlock_shared($1)";

/// Who may not see the activity of others sees a session without a name.
const HOLDER: &str = "select l.pid, a.application_name, host(a.client_addr)
    from pg_locks l left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and l.classid = (($1::int8 >> 32) & 4294967295)::oid
    and l.objid = ($1::int8 & 4294967295)::oid";

/// The names of locks.
const SPACE: Uuid = Uuid::from_u128(0x7175_656c_6c2d_706f_7374_6772_6573_0001);
