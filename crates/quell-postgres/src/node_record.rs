//! [`NodeRecord`]: who has a store, as its rows and the locks of the server say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::StoreError;
use quell_durable::instant;
use tokio_postgres::{Error, Row};

use crate::fault::fault;
use crate::lock::{Locks, words};
use crate::readers::{Query, Readers};
use crate::step::Value;

/// A member of a cluster, or a store that is alone, as the database knows it at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeRecord {
    /// Its name; none for a store that is alone.
    pub name: Option<Arc<str>>,
    /// The boot with which it has joined: of two processes under one name the later one has the
    /// higher.
    pub boot: u64,
    /// When this was read, by the clock of the database.
    pub at: SystemTime,
    /// The end of its lease, by the same clock; none for a store that is alone. One that was given
    /// back has ended then.
    pub lease_until: Option<SystemTime>,
    /// Whether its lease is over because it was given back, with all that it had begun ended and
    /// stored: so it is gone, and nothing of it is in doubt. One that was lost, or that could not
    /// store what had become of its runs, has not left so. What a member gave up is of a row with
    /// its name and ` (drained)`, of which the same is so.
    pub is_drained: bool,
    /// Whether a process has its name, by the lock of its session; none if the server is a standby,
    /// which knows of no lock.
    pub is_connected: Option<bool>,
    /// What the database says of that process, as far as whoever asks may know it.
    pub process: Option<Arc<str>>,
    /// Roots that it has and that have not ended, those that are queued included.
    pub live: u64,
    /// Roots of them that are queued.
    pub queued: u64,
    /// Stops that it was asked for through others, and has not answered.
    pub asked: u64,
    /// Trees in which something may execute still that an earlier process of its name had begun, or
    /// that it had begun itself before it was taken over from. A process of the name that is live
    /// ends the doubt when it [says](quell_core::cluster::Cluster::programs_before) that programs
    /// have ended; [`PostgresAdmin::forget`](crate::PostgresAdmin::forget) does while none is.
    pub in_doubt: u64,
}

impl NodeRecord {
    /// Yields how long its lease still lasts; none if it is over, or if there is none.
    pub fn lease_left(&self) -> Option<Duration> {
        let left = self.lease_until?.duration_since(self.at).ok()?;
        (!left.is_zero()).then_some(left)
    }

    /// Yields for how long its lease has been over; none if it lasts, or if there is none.
    pub fn lease_over_for(&self) -> Option<Duration> {
        self.at.duration_since(self.lease_until?).ok()
    }
}

/// A member that was lost, and work that it had begun: of that nobody knows whether it executes
/// still, until the member is back and says so, or is
/// [forgotten](crate::PostgresAdmin::forget). One that is back is no longer lost: what is in doubt
/// because of it still, [its record](NodeRecord::in_doubt) says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostNode {
    /// Its name.
    pub name: Arc<str>,
    /// Trees in which something may execute because of it.
    pub runs: u64,
    /// What the database says of the process that has its name all the same, as
    /// [`NodeRecord::process`]: frozen, for instance, past its lease. As long as there is one the
    /// node is not [forgotten](crate::PostgresAdmin::forget).
    pub process: Option<Arc<str>>,
}

/// Reads which members were lost and have left work in doubt, behind a name.
pub(crate) async fn lost(
    on: &Readers,
    schema: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<LostNode>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: Vec<Value<'static>> = vec![Box::new(after.map(str::to_owned)), Box::new(limit)];
    let rows = on.rows(Query { sql: LOST.to_owned(), values, is_list: true }).await?;
    let lost = rows.iter().map(lost_node).collect::<Result<Vec<_>, _>>();
    let mut lost = lost.map_err(|error| fault(&error))?;
    let locks: Vec<i64> = lost.iter().map(|node| Locks::of(schema, &node.name).own()).collect();
    let values: Vec<Value<'static>> = vec![Box::new(locks)];
    let rows = on.rows(Query { sql: HOLDERS.to_owned(), values, is_list: true }).await?;
    for row in &rows {
        let (place, process) = holder(row).map_err(|error| fault(&error))?;
        if let Some(node) = lost.get_mut(place) {
            node.process = Some(process.into());
        }
    }
    Ok(lost)
}

fn lost_node(row: &Row) -> Result<LostNode, Error> {
    let (name, runs): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(LostNode { name: name.into(), runs: runs.cast_unsigned(), process: None })
}

/// Reads which of the locks that were asked for a process has, from 0, and what is said of that.
fn holder(row: &Row) -> Result<(usize, String), Error> {
    let place = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
    Ok((place, words(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))
}

/// Reads who has a store, behind a name.
pub(crate) async fn nodes(
    on: &Readers,
    schema: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<NodeRecord>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: Vec<Value<'static>> = vec![Box::new(after.map(str::to_owned)), Box::new(limit)];
    let rows = on.rows(Query { sql: NAMES.to_owned(), values, is_list: true }).await?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
    let names = names.map_err(|error| fault(&error))?;
    // The number of a lock is made of a hash that the server does not have.
    let locks: Vec<i64> = names.iter().map(|name| Locks::of(schema, name).own()).collect();
    let values: Vec<Value<'static>> = vec![Box::new(names), Box::new(locks)];
    let rows = on.rows(Query { sql: NODES.to_owned(), values, is_list: true }).await?;
    rows.iter().map(|row| node(row).map_err(|error| fault(&error))).collect()
}

fn node(row: &Row) -> Result<NodeRecord, Error> {
    let name: &str = row.try_get(0)?;
    let count = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    let of_micros = |micros: i64| {
        // One of a row that was changed by hand is one that can be written all the same.
        let whole = instant(micros.max(0) / 1_000).unwrap_or(SystemTime::UNIX_EPOCH);
        whole + Duration::from_micros(micros.max(0).cast_unsigned() % 1_000)
    };
    let lease_until = row.try_get::<_, Option<i64>>(2)?.map(of_micros);
    let pid: Option<i32> = row.try_get(5)?;
    let (said, from) = (row.try_get(6)?, row.try_get(7)?);
    let is_standby: bool = row.try_get(4)?;
    Ok(NodeRecord {
        name: (!name.is_empty()).then(|| name.into()),
        boot: count(1)?,
        at: of_micros(row.try_get(3)?),
        lease_until,
        is_drained: row.try_get(11)?,
        is_connected: (!is_standby).then_some(pid.is_some()),
        process: pid.map(|pid| words(pid, said, from).into()),
        live: count(8)?,
        queued: count(9)?,
        asked: count(10)?,
        in_doubt: count(12)?,
    })
}

const NAMES: &str = r#"select name from node where name > coalesce($1::text, '') collate "C"
    or $1 is null order by name limit $2"#;

/// What a member has begun is known once it has been taken over from; members of the release before
/// have said of a run alone that it was on a node. What was forgotten, or is known to have ended,
/// is released within seconds.
macro_rules! doubted {
    () => {
        r#"select coalesce(h.member, h.name) collate "C" as name, coalesce(r.root, r.id) as root
        from hold h join run r on r.ord = h.run
        left join forgotten f on f.name = coalesce(h.member, h.name)
        where (h.member is not null or h.what = 'node') and h.fate is distinct from 1
        and (f.boot is null or coalesce(h.boot, 0) > f.boot)"#
    };
}

/// One whose lease lasts is not lost.
const LOST: &str = concat!(
    "select d.name, count(distinct d.root) from (",
    doubted!(),
    r#") d
    where (d.name > $1::text collate "C" or $1 is null)
    and not exists (select 1 from node n where n.name = d.name and n.lease_until > now())
    group by d.name order by d.name limit $2"#
);

/// The locks are read once, however many members there are.
macro_rules! held {
    () => {
        "held as materialized (
        select distinct on (key) (l.classid::int8 << 32) | l.objid::int8 as key, l.pid
        from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database()))"
    };
}

const HOLDERS: &str = concat!(
    "with ",
    held!(),
    " select asked.place, held.pid, a.application_name, host(a.client_addr)
    from unnest($1::int8[]) with ordinality as asked (lock, place)
    join held on held.key = asked.lock left join pg_stat_activity a on a.pid = held.pid"
);

/// Live is said so that those of a member are found by their index, and not by that of all live
/// ones.
const NODES: &str = concat!(
    "with ",
    held!(),
    ",
    doubt as materialized (select d.name, count(distinct d.root) as runs from (",
    doubted!(),
    ") d group by d.name)
    select n.name, n.joined, (extract(epoch from n.lease_until) * 1000000)::int8,
        (extract(epoch from now()) * 1000000)::int8, pg_is_in_recovery(),
        held.pid, a.application_name, host(a.client_addr), has.live, has.queued,
        (select count(*) from stop s where s.owner = n.name and s.answer is null),
        coalesce(n.drained and n.lease_until <= now(), false), coalesce(doubt.runs, 0)
    from unnest($1::text[], $2::int8[]) as asked (name, lock)
    join node n on n.name = asked.name
    left join held on held.key = asked.lock
    left join doubt on doubt.name = n.name
    left join pg_stat_activity a on a.pid = held.pid
    cross join lateral (
        select count(*) as live, count(*) filter (where r.status = 0) as queued from run r
        where r.node = n.name and (r.status < 3 or r.stop_rollback and r.status >= 5)
        and coalesce(r.status, 0) < 3 and r.parent is null) has
    order by n.name"
);
