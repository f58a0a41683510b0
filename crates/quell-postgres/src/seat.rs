//! [`Seat`]: under which name a store writes, and how it comes to have what others had.
//!
//! A store for one process has the seat without a name, and a member of a cluster one of its own. A
//! transaction locks the row of its seat so that others may do so as well, but nobody may take it
//! away before the transaction has ended. Who takes a seat away locks its row alone, and looks only
//! then for what it has: so nothing that was stored meanwhile is overlooked.

use std::sync::Arc;

use quell_core::Work;
use quell_core::store::StoreError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Transaction};
use uuid::Uuid;

use crate::begun::{BACK, BEGUN};
use crate::fault::fault;
use crate::inherit::inherit;
use crate::text::kept;

/// The row under which a store writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The name of the member; empty for a store that is alone.
    pub(crate) name: Arc<str>,
    /// The boot with which it was taken.
    pub(crate) joined: i64,
}

/// What a member may need to be found by others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// How long its lease lasts, in milliseconds; none for a store that is alone.
    pub(crate) lease_ms: Option<i64>,
    /// Where it hears of stops.
    pub(crate) channel: &'a str,
}

/// A seat that was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Whose it was.
    pub(crate) from: String,
    /// The boot that was given with it.
    pub(crate) boot: i64,
    /// Lanes that are free because of that, perhaps.
    pub(crate) freed: Vec<String>,
}

impl Seat {
    /// Takes a seat, with what was left under its name, and by stores that were alone. A store that
    /// is alone takes what all others have left, which those may execute still.
    ///
    /// # Errors
    ///
    /// Fails if the store is alone and a member has a lease, or as the server does.
    pub(crate) async fn take(
        client: &mut Client,
        name: &Arc<str>,
        terms: Terms<'_>,
    ) -> Result<Self, StoreError> {
        let transaction = client.transaction().await.map_err(|error| fault(&error))?;
        if name.is_empty() {
            let rows = transaction.query(LEASED, &[]).await.map_err(|error| fault(&error))?;
            if let Some(row) = rows.first() {
                let by: String = row.try_get(0).map_err(|error| fault(&error))?;
                return Err(StoreError::InUse { by: format!("node {by}, which has a lease") });
            }
        }
        let taken = Self::take_in(&transaction, name, terms).await;
        let seat = taken.map_err(|error| fault(&error))?;
        transaction.commit().await.map_err(|error| fault(&error))?;
        Ok(seat)
    }

    async fn take_in(
        transaction: &Transaction<'_>,
        name: &Arc<str>,
        terms: Terms<'_>,
    ) -> Result<Self, Error> {
        let former = transaction.query(FORMER, &[&&**name, &drained(name)]).await?;
        let former = former.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        let is_first = name.is_empty() && former.iter().all(String::is_empty);
        let joined = if is_first {
            boots(transaction, 1).await?
        } else {
            let joined = boots(transaction, 2).await?;
            // Of a process of this name it is known that it is gone; of others it is not.
            let strangers = former.iter().filter(|it| !it.is_empty() && ***it != **name);
            for stranger in strangers {
                doubt(transaction, stranger).await?;
            }
            if !name.is_empty() {
                // Programs may outlive its process, and this one begins others.
                transaction.execute(BEGUN, &[&&**name]).await?;
                transaction.execute(BACK, &[&&**name, &joined]).await?;
            }
            inherit(transaction, &former, name, joined - 1).await?;
            joined
        };
        let values: [&(dyn ToSql + Sync); 4] = [&&**name, &joined, &terms.channel, &terms.lease_ms];
        transaction.execute(TAKE, &values).await?;
        transaction.execute(TALLY, &[&&**name]).await?;
        Ok(Self { name: Arc::clone(name), joined })
    }

    /// Takes one seat away whose lease is over, if there is one, and says with which boot this one
    /// writes from now on. Yields what an earlier call took whose answer was lost, if its boot is
    /// higher than the one that is known.
    ///
    /// # Errors
    ///
    /// Fails if this seat was taken away, or as the server does.
    pub(crate) async fn take_over(
        &self,
        client: &mut Client,
        known: i64,
    ) -> Result<Option<Taken>, StoreError> {
        let transaction = client.transaction().await.map_err(|error| fault(&error))?;
        let (name, joined) = (&*self.name, self.joined);
        let taken: Result<_, Error> = async {
            let own = transaction.query(OWN, &[&name, &joined]).await?;
            let Some(own) = own.first() else { return Ok(Err(self.lost())) };
            if let (boot, Some(from)) = (own.try_get(0)?, own.try_get(1)?)
                && boot > known
            {
                return Ok(Ok(Some(Taken { from, boot, freed: Vec::new() })));
            }
            let over = transaction.query(OVER, &[&name]).await?;
            let Some(over) = over.first() else { return Ok(Ok(None)) };
            let from: String = over.try_get(0)?;
            let boot = boots(&transaction, 2).await?;
            doubt(&transaction, &from).await?;
            let gone = std::slice::from_ref(&from);
            let freed = inherit(&transaction, gone, name, boot - 1).await?;
            transaction.execute(RAISE, &[&name, &boot, &from]).await?;
            Ok(Ok(Some(Taken { from, boot, freed })))
        }
        .await;
        let taken = taken.map_err(|error| fault(&error))??;
        transaction.commit().await.map_err(|error| fault(&error))?;
        Ok(taken)
    }

    /// Gives up roots of this seat, which are paused or have never started: they belong to a row of
    /// nobody, which anybody takes over at once. Yields whether this seat is still there.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn release(
        &self,
        client: &mut Client,
        roots: &[Uuid],
    ) -> Result<bool, StoreError> {
        let released: Result<_, Error> = async {
            let transaction = client.transaction().await?;
            let values: [&(dyn ToSql + Sync); 3] =
                [&&*self.name, &self.joined, &drained(&self.name)];
            if transaction.execute(NOBODY, &values).await? == 0 {
                return Ok(false);
            }
            let values: [&(dyn ToSql + Sync); 3] = [&&*self.name, &drained(&self.name), &roots];
            transaction.execute(RELEASE, &values).await?;
            transaction.execute(RELEASE_STOPS, &values).await?;
            transaction.commit().await?;
            Ok(true)
        }
        .await;
        released.map_err(|error| fault(&error))
    }

    /// Reads the number of the last transaction, with a commit: what is read is as durable as that
    /// is, also on a standby that a commit waits for. None if the seat was taken away.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn settle(&self, client: &Client) -> Result<Option<i64>, StoreError> {
        let rows = client.query(SETTLE, &[&&*self.name, &self.joined]).await;
        let rows = rows.map_err(|error| fault(&error))?;
        let commits = rows.first().map(|row| row.try_get(0)).transpose();
        commits.map_err(|error| fault(&error))
    }

    /// Looks whether it was taken away.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn is_lost(&self, client: &Client) -> Result<bool, StoreError> {
        let rows = client.query(HELD, &[&&*self.name, &self.joined]).await;
        rows.map(|rows| rows.is_empty()).map_err(|error| fault(&error))
    }

    /// Says that it was taken away.
    pub(crate) fn lost(&self) -> StoreError {
        if self.name.is_empty() {
            let what = "it was opened after this one".into();
            return StoreError::Superseded { what };
        }
        StoreError::LeaseLost { node: Arc::clone(&self.name) }
    }

    /// Yields the boot with which it was taken.
    pub(crate) fn boot(&self) -> u32 {
        u32::try_from(self.joined).unwrap_or(u32::MAX)
    }
}

/// Yields the name of the row of nobody that has what a member has given up.
fn drained(name: &str) -> String {
    format!("{name}{DRAINED}")
}

/// Gives so many boots, and yields the last one.
async fn boots(transaction: &Transaction<'_>, count: i64) -> Result<i64, Error> {
    let sql = "update meta set boot = boot + $1 returning boot";
    transaction.query_one(sql, &[&count]).await?.try_get(0)
}

/// Notes that a member which is gone may execute what it had.
async fn doubt(transaction: &Transaction<'_>, from: &str) -> Result<(), Error> {
    transaction.execute(BEGUN, &[&from]).await?;
    let values: [&(dyn ToSql + Sync); 3] = [&from, &Work::Node.as_str(), &kept(from)];
    transaction.execute(DOUBT, &values).await.map(drop)
}

/// What the name of a member is followed by in that of the row of nobody. No member is called so.
pub(crate) const DRAINED: &str = " (drained)";

const LEASED: &str = "select name from node where name <> '' and lease_until > now()
    order by name limit 1";

/// In the order of names: two that take several never wait for each other.
const FORMER: &str = "select name from node where $1 in ('', name) or name = ''
    or name = $2 and drained order by name for update";

const TAKE: &str = "insert into node (name, joined, boot, channel, lease_until)
    values ($1, $2, $2, $3, now() + $4::int8 * interval '1 millisecond')
    on conflict (name) do update set joined = excluded.joined, boot = excluded.boot,
    took_from = null, channel = excluded.channel, lease_until = excluded.lease_until,
    drained = false";

const TALLY: &str = "insert into tally (name, commits, bytes) values ($1, 0, 0)
    on conflict do nothing";

const OWN: &str = "select boot, took_from from node where name = $1 and joined = $2
    for key share";

/// One that is being taken over already, or is writing in this moment, is left alone.
const OVER: &str = "select name from node where lease_until <= now() and name <> $1
    order by lease_until limit 1 for update skip locked";

/// What is taken over the former member may execute still, but for what is paused, or has a due
/// time and no start here, for which its body waits, and for what is live of a member that was
/// drained: with a stop that it has not heard of it is no less. One that
/// was rolled back leaves when nothing of it executes.
const DOUBT: &str = "insert into hold (run, nr, what, name, member, boot)
    select ord, coalesce((select max(nr) + 1 from hold h where h.run = r.ord), 0), $2, $3,
        $1, (select joined from node where name = $1)
    from run r where node = $1 and (status < 3 or stop_rollback and status >= 5)
    and (status >= 3 and not quiescent or status in (0, 1, 2)
        and not (status in (0, 2) and started is null and due is not null)
        and not exists (select 1 from node where name = $1 and drained))";

const RAISE: &str = "update node set boot = $2, took_from = $3 where name = $1";

/// Under the same lock as each transaction of the seat. Who takes the row of nobody over has it
/// locked, and this waits; behind that it makes the row anew.
const NOBODY: &str = "insert into node (name, joined, boot, channel, lease_until, drained)
    select $3, joined, boot, channel, now(), true from node where name = $1 and joined = $2
    for key share on conflict (name) do update set lease_until = now()";

/// As they stand in the store: one that has started meanwhile stays. Locked for more than the
/// change needs: so [`PUT`](crate::asked::PUT) sees this one, and waits for no other.
const RELEASE: &str = "with given as materialized (
        select id from run where id = any($3) and node = $1
        and (status = -1 or status = 0 and started is null) for update)
    update run set node = $2 where id in (select id from given)";

const RELEASE_STOPS: &str = "update stop s set owner = $2 from run r
    where s.run = any($3) and s.owner = $1 and s.answer is null and r.id = s.run and r.node = $2";

const SETTLE: &str = "update tally set commits = commits where name = $1
    and exists (select 1 from node where name = $1 and joined = $2) returning commits";

const HELD: &str = "select 1 from node where name = $1 and joined = $2";
