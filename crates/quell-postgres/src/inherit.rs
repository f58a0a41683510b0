//! [`inherit`]: all that some stores had becomes that of another one, within a transaction.

use std::collections::HashMap;

use quell_core::store::{Epoch, StopAccepted};
use quell_durable::{instant, mode_number};
use tokio_postgres::{Error, Transaction};
use uuid::Uuid;

use crate::{asked, slots};

/// Gives the live runs of some to one, with epochs of a boot but for what [`RUNS`] leaves as it is,
/// and so the stops that they were asked
/// for: one that was not answered is a stop of its run. Their rows go, but for that of the name.
/// Yields the lanes that are free because of that, perhaps.
///
/// # Errors
///
/// Fails as the server does.
pub(crate) async fn inherit(
    transaction: &Transaction<'_>,
    from: &[String],
    to: &str,
    boot: i64,
) -> Result<Vec<String>, Error> {
    let freed = transaction.query(LANES, &[&from]).await?;
    let freed = freed.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    transaction.execute(RUNS, &[&from, &to, &boot]).await?;
    let stops = transaction.query(STOPS, &[&from]).await?;
    let mut merged: HashMap<(Uuid, i64), StopAccepted> = HashMap::new();
    for row in &stops {
        let (id, accepted_at): (Uuid, i64) = (row.try_get(0)?, row.try_get(3)?);
        let asked = asked::read(0, id, row.try_get(1)?, row.try_get(2)?);
        if instant(accepted_at).is_some_and(|at| !asked.means(at)) {
            continue;
        }
        // Its epoch is that of the run.
        let stop = asked.accepted(Epoch::from_u64(0));
        merged.entry((id, accepted_at)).and_modify(|first| first.merge(&stop)).or_insert(stop);
    }
    if !merged.is_empty() {
        let (mut ids, mut ats, mut causes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut modes, mut rollbacks) = (Vec::new(), Vec::new());
        for ((id, accepted_at), stop) in merged {
            ids.push(id);
            ats.push(accepted_at);
            causes.push(serde_json::to_string(&stop.cause).unwrap_or_default());
            modes.push(mode_number(stop.mode));
            rollbacks.push(stop.rollback);
        }
        transaction.execute(ACCEPT, &[&ids, &causes, &modes, &rollbacks, &to, &ats]).await?;
    }
    transaction.execute(HAND_ON, &[&from, &to]).await?;
    slots::inherit(transaction, from, to).await?;
    transaction.execute(TALLIES, &[&from, &to]).await?;
    transaction.execute(NODES, &[&from, &to]).await?;
    Ok(freed)
}

/// A run that was rolled back and has ended is to be forgotten by whoever has it.
///
/// One that its former owner has given up, or left when it was drained, and that is queued, has
/// never started, unless it was on a member before that is lost.
///
/// What has started and is that name's already stays as it is: what the process before would write
/// is refused by the row of the member, which is another one now. That spares a restart a new
/// version of each row.
const RUNS: &str = "update run set node = $2,
    unstarted = status = 0 and started is null and not doubted
        and node in (select name from node where name = any($1) and drained),
    doubted = doubted
        or node not in (select name from node where name = any($1) and drained),
    epoch = case when status < 3 then ($3::int8 << 32) | (epoch & 4294967295) else epoch end
    where node = any($1) and (status < 3 or stop_rollback and status >= 5)
    and (node <> $2 or status = 0 and started is null)";

/// What has ended and was not seen to be quiescent nobody tells of any more: it keeps no lane.
/// Without `coalesce` the server may rather read the index of all lanes.
const LANES: &str = "update run set turn = null
    where node = any($1) and coalesce(turn, -1) >= 0 and status >= 3 and not quiescent
    returning lane";

const STOPS: &str = "select s.run, s.request, s.at, r.at from stop s join run r on r.id = s.run
    where s.owner = any($1) and s.answer is null order by s.nr";

/// As a stop that the owner had accepted is stored. One whose run has ended meanwhile is answered
/// by whoever has it now, as is one whose run is gone: a later one of its id was accepted at
/// another time.
const ACCEPT: &str = "with accepted as (
        update run r set stop_epoch = r.epoch, stop_cause = coalesce(r.stop_cause, s.cause),
            stop_mode = greatest(r.stop_mode, s.mode),
            stop_rollback = r.stop_rollback or s.is_rollback,
            status = case when greatest(r.stop_mode, s.mode) > 0 then 2 else r.status end,
            bytes = r.bytes + octet_length(s.cause)
        from unnest($1::uuid[], $2::text[], $3::int8[], $4::bool[], $6::int8[])
            s (id, cause, mode, is_rollback, accepted)
        where r.id = s.id and r.at = s.accepted and r.id = any($1) and coalesce(r.status, 0) < 3
        returning octet_length(s.cause) as bytes)
    update tally set bytes = bytes + (select coalesce(sum(bytes), 0) from accepted)
    where name = $5";

const HAND_ON: &str = "update stop set owner = $2 where owner = any($1) and answer is null";

const TALLIES: &str = "with gone as (
        delete from tally where name = any($1) and name <> $2 returning bytes)
    insert into tally (name, commits, bytes)
    select $2, 0, coalesce(sum(bytes), 0) from gone
    on conflict (name) do update set bytes = tally.bytes + excluded.bytes";

const NODES: &str = "delete from node where name = any($1) and name <> $2";
