//! [`Survey`]: a server and the tables of a store, at a glance.

use quell_core::store::StoreError;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Error, Row};

use crate::fault::fault;
use crate::readers::{Query, Readers};

/// A server and the tables of a store, as they are in this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The version of the server.
    pub version: String,
    /// Its setting `fsync`. Without it nothing is durable.
    pub fsync: String,
    /// Its setting `full_page_writes`.
    pub full_page_writes: String,
    /// Its setting `synchronous_commit`, as sessions of this role begin.
    pub synchronous_commit: String,
    /// Its setting `synchronous_standby_names`. It is empty if no commit waits for a standby; then
    /// a failover may lose what was acknowledged last.
    pub synchronous_standby_names: String,
    /// Whether it is a standby, which may be behind.
    pub is_standby: bool,
    /// What a process is refused for that opens the store to write; none if nothing is wrong.
    pub refusal: Option<StoreError>,
    /// The number of the tables.
    pub schema: u32,
    /// The last boot that was given: how often the store was opened or taken over.
    pub boot: u64,
    /// Members of a cluster.
    pub nodes: u64,
    /// Runs, those below others included; none if the time limit of a statement is too short to
    /// count them.
    pub runs: Option<u64>,
    /// Roots; none as for the runs.
    pub roots: Option<u64>,
    /// Roots that have not ended.
    pub live: u64,
    /// Events; none as for the runs.
    pub events: Option<u64>,
    /// States of lanes; none as for the runs.
    pub checkpoints: Option<u64>,
    /// Bytes of what is stored, as the store counts them.
    pub bytes: u64,
    /// Bytes of the tables on disk, with their indexes.
    pub disk_bytes: u64,
}

/// Looks at all of it.
pub(crate) async fn survey(
    on: &Readers,
    schema: u32,
    refusal: Option<StoreError>,
) -> Result<Survey, StoreError> {
    let rows = rows(on, SERVER).await?;
    let missing = || StoreError::Io { what: "the server says nothing of itself".into() };
    let server = rows.first().ok_or_else(missing)?;
    let runs = count(on, "select count(*), count(*) filter (where parent is null) from run");
    let runs = runs.await?;
    let of = |column| runs.as_ref().map(|row| number(row, column)).transpose();
    let events = count(on, "select count(*) from event").await?;
    let checkpoints = count(on, "select count(*) from checkpoint").await?;
    let first = |row: Option<&Row>| row.map(|row| number(row, 0)).transpose();
    Ok(Survey {
        version: text(server, 0)?,
        fsync: text(server, 1)?,
        full_page_writes: text(server, 2)?,
        synchronous_commit: text(server, 3)?,
        synchronous_standby_names: text(server, 4)?,
        is_standby: column(server, 5)?,
        refusal,
        schema,
        boot: number(server, 6)?,
        nodes: number(server, 7)?,
        runs: of(0)?,
        roots: of(1)?,
        live: number(server, 8)?,
        events: first(events.as_ref())?,
        checkpoints: first(checkpoints.as_ref())?,
        bytes: number(server, 9)?,
        disk_bytes: number(server, 10)?,
    })
}

/// Counts rows; none if that takes longer than a statement may.
async fn count(on: &Readers, sql: &str) -> Result<Option<Row>, StoreError> {
    match rows(on, sql).await {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(StoreError::Io { what }) if what.ends_with(TOO_LONG) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn rows(on: &Readers, sql: &str) -> Result<Vec<Row>, StoreError> {
    on.rows(Query { sql: sql.to_owned(), values: Vec::new(), is_list: true }).await
}

fn text(row: &Row, nth: usize) -> Result<String, StoreError> {
    column(row, nth)
}

fn number(row: &Row, nth: usize) -> Result<u64, StoreError> {
    column::<i64>(row, nth).map(|number| u64::try_from(number).unwrap_or_default())
}

fn column<'a, T: FromSql<'a>>(row: &'a Row, nth: usize) -> Result<T, StoreError> {
    row.try_get(nth).map_err(|error: Error| fault(&error))
}

const SERVER: &str = "select current_setting('server_version'), current_setting('fsync'),
    current_setting('full_page_writes'),
    (select reset_val from pg_settings where name = 'synchronous_commit'),
    current_setting('synchronous_standby_names'), pg_is_in_recovery(),
    (select boot from meta), (select count(*) from node where name <> ''),
    (select count(*) from run where status < 3 and parent is null),
    (select coalesce(sum(bytes), 0)::int8 from tally),
    (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 from pg_class c
        where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r')";

/// How the server says that a statement has taken too long.
const TOO_LONG: &str = "SQLSTATE 57014";
