//! How a member gets turns in lanes: in one transaction, under the locks of the lanes.

use quell_core::RunId;
use quell_core::cluster::TurnAsk;
use quell_core::store::StoreError;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::fault::{fault, is_lost};
use crate::lanes::{LOCK, busy, replaced};
use crate::member::Member;
use crate::text::kept;

impl Member {
    /// Yields for which roots of this member it is their turn.
    pub(crate) async fn take_turns(&self, asks: Vec<TurnAsk>) -> Result<Vec<RunId>, StoreError> {
        let lanes: Vec<_> = asks.iter().map(|ask| kept(&ask.lane).into_owned()).collect();
        let next: Vec<_> = asks.iter().map(|ask| ask.next.map(|run| run.as_uuid())).collect();
        let kept = self.turns.client.lock().take();
        if let Some(client) = kept {
            match self.turns_on(client, &lanes, &next).await {
                // It has died while nobody used it.
                Err(error) if is_lost(&error) => {}
                other => return self.given(other),
            }
        }
        let client = self.target.session().await?;
        self.given(self.turns_on(client, &lanes, &next).await)
    }

    fn given(&self, given: Result<Option<Vec<RunId>>, Error>) -> Result<Vec<RunId>, StoreError> {
        given.map_err(|error| fault(&error))?.ok_or_else(|| self.seat.lost())
    }

    /// Yields none if the seat was taken away.
    async fn turns_on(
        &self,
        mut client: Client,
        lanes: &Vec<String>,
        next: &Vec<Option<Uuid>>,
    ) -> Result<Option<Vec<RunId>>, Error> {
        let name: (&(dyn ToSql + Sync), Type) = (&&*self.seat.name, Type::TEXT);
        let lanes: (&(dyn ToSql + Sync), Type) = (lanes, Type::TEXT_ARRAY);
        let transaction = client.transaction().await?;
        let seat = [name.clone(), (&self.seat.joined as _, Type::INT8)];
        if transaction.query_typed(SEAT, &seat).await?.is_empty() {
            return Ok(None);
        }
        transaction.query_typed(LOCK, std::slice::from_ref(&lanes)).await?;
        let values = [name, lanes, (next as _, Type::UUID_ARRAY)];
        let rows = transaction.query_typed(TURNS, &values).await?;
        transaction.commit().await?;
        let mut given = Vec::new();
        for row in rows {
            given.extend(row.try_get::<_, Option<Uuid>>(0)?.map(RunId::from_uuid));
        }
        let former = self.turns.client.lock().replace(client);
        drop(former);
        Ok(Some(given))
    }
}

/// Whoever takes the seat away waits for the end of this transaction, or is before it.
const SEAT: &str = "select 1 from node where name = $1 and joined = $2 for key share";

/// Gives turns in lanes that nobody has, and says to other members that theirs have come. Yields
/// the runs of this member that have their turns. Live is said so that the runs of a lane are found
/// by their index, and not by that of all live ones.
const TURNS: &str = concat!(
    "with asked as materialized (
        select distinct on (lane) lane, next
        from unnest($2::text[], $3::uuid[]) of (lane, next) order by lane, next),
    seen as materialized (
        select a.lane, a.next, has.id as has, has.node as of, has.status as has_status,
            first.node as first
        from asked a
        left join lateral (
            select r.id, r.node, r.status from run r where r.lane = a.lane and r.turn = 1 and ",
    busy!("r"),
    " order by r.ord limit 1) has on true
        left join lateral (
            select r.node from run r where r.lane = a.lane and r.turn in (0, 2)
            and (r.status < 3 or not r.quiescent) and coalesce(r.status, 0) < 3
            and (r.due is null or r.due <= ",
    crate::asked::now!(),
    ") and not ",
    replaced!("r"),
    " order by r.ord limit 1) first on true),
    given as (
        update run r set turn = 1, lane = s.lane from seen s
        where r.id = s.next and s.has is null and coalesce(s.first, $1) = $1
        and r.node = $1 and r.status < 3 and not ",
    replaced!("r"),
    " returning r.id),
    told as materialized (
        select pg_notify(n.channel, 'turn ' || s.lane) from seen s join node n on n.name = s.first
        where s.has is null and s.first <> $1)
    select id from given
    union all select has from seen where of = $1 and has_status < 3
    union all select null from told"
);
