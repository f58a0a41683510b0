//! [`PostgresAdmin`] says of a node that it is gone for good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quell_core::store::StoreError;
use tokio_postgres::{Client, Error, GenericClient, Row};

use crate::begun::{BEGUN_BEFORE, NAMED};
use crate::fault::fault;
use crate::lock::{Locks, words};
use crate::options::PostgresOptions;
use crate::postgres_reader::{enter, in_time};
use crate::schema;
use crate::session::Target;
use crate::threads::Sessions;

/// Says what the nodes of a database cannot know: that one of them is gone for good, and executes
/// nothing any more. It takes no lock and no seat, and the nodes go on meanwhile.
///
/// It needs the rights of the nodes: their role is best. It has a thread of its own, and a session
/// for each call.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), quell_core::store::StoreError> {
/// use quell_postgres::{NodeStanding, PostgresAdmin, PostgresOptions};
///
/// let options = PostgresOptions::new("postgres://quell@db.example/runs");
/// let admin = PostgresAdmin::open(options).await?;
/// // Somebody has looked: its host was taken apart.
/// if let NodeStanding::Gone { runs } = admin.forget("web-1:7777").await? {
///     println!("{runs} runs are in doubt no longer");
/// }
/// # Ok(())
/// # }
/// ```
pub struct PostgresAdmin {
    target: Arc<Target>,
    /// They drive its sessions until this is dropped.
    sessions: Sessions,
}

/// How a name stands among the nodes of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an administrator is told each in other words")]
pub enum NodeStanding {
    /// No member has the name, no run is in doubt because of it, and it was not forgotten of late.
    Unknown,
    /// A process has the name, or may have: it is to be stopped first.
    Live {
        /// For how long its lease lasts still, by the clock of the database; none if it is over.
        lease_left: Option<Duration>,
        /// What the database says of its process, if that is connected.
        process: Option<Arc<str>>,
    },
    /// No process has the name.
    Gone {
        /// Trees in which something may execute because of it, as far as others know, and those
        /// that it had and nobody has taken over yet.
        runs: u64,
    },
}

impl fmt::Debug for PostgresAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, sessions: _ } = self;
        f.debug_struct("PostgresAdmin").field("target", target).finish_non_exhaustive()
    }
}

impl PostgresAdmin {
    /// Opens the schema of the options. Of the options of those who write runs none counts.
    ///
    /// # Errors
    ///
    /// As [`PostgresReader::open`](crate::PostgresReader::open).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let target = Arc::new(Target::new(options)?);
        let sessions = Sessions::start()?;
        let looks = Arc::clone(&target);
        let entered = sessions.handle().spawn(async move { enter(&looks, &schema::STEPS).await });
        let panicked = |error| StoreError::Io { what: format!("opening has ended: {error}") };
        entered.await.map_err(panicked)??;
        Ok(Self { target, sessions })
    }

    /// Tells how a name stands, and how many runs [`forget`](Self::forget) would concern. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn standing(&self, node: &str) -> Result<NodeStanding, StoreError> {
        self.on_session(node, false).await
    }

    /// Says that the node of a name is gone for good. Whoever has runs that name it is told, and
    /// takes at most a second or so to release them, also those that are taken over later: they
    /// are quiescent then, unless something else of them executes. A process that joins under the
    /// name from now on is another one. Nothing changes unless the node is
    /// [gone](NodeStanding::Gone) and runs are in doubt because of it; how it stood is yielded in
    /// any case.
    ///
    /// Whoever calls it must know that nothing executes there any more: what was said is not taken
    /// back.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database. Then it may have been said.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    pub async fn forget(&self, node: &str) -> Result<NodeStanding, StoreError> {
        self.on_session(node, true).await
    }

    async fn on_session(&self, node: &str, forgets: bool) -> Result<NodeStanding, StoreError> {
        let (target, name) = (Arc::clone(&self.target), node.to_owned());
        let call = self.sessions.handle().spawn(async move {
            let client = target.session().await?;
            let lock = Locks::of(&target.options.schema, &name).own();
            in_time(&target, async {
                let found = if forgets {
                    forget(client, &name, lock).await
                } else {
                    standing(&client, &name, lock).await
                };
                found.map_err(|error| fault(&error))
            })
            .await
        });
        call.await.unwrap_or(Err(StoreError::Closed))
    }
}

async fn forget(mut client: Client, name: &str, lock: i64) -> Result<NodeStanding, Error> {
    let transaction = client.transaction().await?;
    // As who takes over does: first rows of members, and then that of the boots. Nobody gets a boot
    // behind that before this is over.
    transaction.execute(MEMBER, &[&name]).await?;
    transaction.execute(BOOTS, &[]).await?;
    transaction.execute(NAMED, &[]).await?;
    transaction.execute(BEGUN_BEFORE, &[]).await?;
    let found = standing(&transaction, name, lock).await?;
    if matches!(found, NodeStanding::Gone { runs } if runs > 0) {
        transaction.execute(FORGET, &[&name]).await?;
        transaction.execute(LAPSE, &[]).await?;
        transaction.execute(TELL, &[]).await?;
        transaction.commit().await?;
    }
    Ok(found)
}

async fn standing(on: &impl GenericClient, name: &str, lock: i64) -> Result<NodeStanding, Error> {
    let row = on.query_one(STANDING, &[&name, &lock]).await?;
    read(&row)
}

fn read(row: &Row) -> Result<NodeStanding, Error> {
    let (lease_ms, pid): (Option<i64>, Option<i32>) = (row.try_get(0)?, row.try_get(1)?);
    let lease_left = lease_ms.and_then(|left| u64::try_from(left).ok()).filter(|left| *left > 0);
    let lease_left = lease_left.map(Duration::from_millis);
    if lease_left.is_some() || pid.is_some() {
        let (said, from) = (row.try_get(2)?, row.try_get(3)?);
        let process = pid.map(|pid| words(pid, said, from).into());
        return Ok(NodeStanding::Live { lease_left, process });
    }
    let runs = row.try_get::<_, i64>(4)?.cast_unsigned();
    let is_known: bool = row.try_get(5)?;
    Ok(if is_known || runs > 0 { NodeStanding::Gone { runs } } else { NodeStanding::Unknown })
}

const MEMBER: &str = "select 1 from node where name = $1 for update";

const BOOTS: &str = "select 1 from meta for update";

/// The lock of a name is that of the session of its process. A run is in doubt because of a member
/// by what that has begun, and goes on to be when it is taken over.
const STANDING: &str = "with held as (
        select l.pid from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and l.classid = (($2::int8 >> 32) & 4294967295)::oid
        and l.objid = ($2::int8 & 4294967295)::oid limit 1),
    concerned as (
        select coalesce(r.root, r.id) as root from hold h join run r on r.ord = h.run
            where h.member = $1 or h.member is null and h.what = 'node' and h.name = $1
        union select coalesce(r.root, r.id) from run r
            where r.node = $1 and r.status in (0, 1, 2))
    select (select (extract(epoch from lease_until - now()) * 1000)::int8 from node
            where name = $1),
        (select pid from held), a.application_name, host(a.client_addr),
        (select count(*) from concerned),
        exists (select 1 from node where name = $1)
            or exists (select 1 from forgotten where name = $1)
    from (select 1) one left join pg_stat_activity a on a.pid = (select pid from held)";

const FORGET: &str = "insert into forgotten (name, boot) select $1, boot from meta
    on conflict (name) do update set boot = excluded.boot, at = now()";

/// What was said of names for which nobody can look any more: neither has anybody to take over from
/// them, nor names a run what they had begun. For a while it is told that they are gone.
const LAPSE: &str = "delete from forgotten f where at < now() - interval '1 day'
    and not exists (select 1 from node n
        where n.name in (f.name, f.name || ' (drained)') and n.joined <= f.boot)
    and not exists (select 1 from hold h
        where h.member = f.name and coalesce(h.boot, 0) <= f.boot)";

/// Words that are none have a member look.
const TELL: &str = "select pg_notify(channel, '') from node where lease_until > now()";
