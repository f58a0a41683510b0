//! [`why`] a record was refused: a second look, which is rare.

use quell_core::RunId;
use quell_core::store::{Accepted, Epoch, Record, StoreError};
use quell_durable::{Standing, Write};
use tokio_postgres::Error;
use uuid::Uuid;

use crate::lanes::rule_of;
use crate::prepared::Prepared;
use crate::sql::Sql;
use crate::step::{id, key_owner};
use crate::text::kept;

/// Says why a statement of a record has changed no row. It is asked before anything is rolled back,
/// for it may be because of a record of the same append.
///
/// # Errors
///
/// Fails as the server does.
pub(crate) async fn why(
    on: &Prepared,
    (sql, node): (Sql, &str),
    write: &Write,
) -> Result<StoreError, Error> {
    let (run, epoch) = (write.record.run(), write.record.epoch());
    match (&write.record, sql) {
        (Record::Accepted(accepted), Sql::Claim) => {
            let Some(key) = &accepted.key else { return Ok(StoreError::Exists { run }) };
            let (owner, text) = (key_owner(accepted), kept(&key.key));
            let claimed = on.rows(Sql::Claimed, &[&owner, &text]).await?;
            let Some(row) = claimed.first() else { return Ok(StoreError::Exists { run }) };
            let payload: &[u8] = row.try_get(1)?;
            Ok(StoreError::KeyClaimed {
                run: RunId::from_uuid(row.try_get::<_, Uuid>(0)?),
                is_same_payload: payload == key.payload,
                is_forgotten: row.try_get(2)?,
            })
        }
        (Record::Accepted(accepted), _) => {
            if standing(on, run).await?.is_some() {
                return Ok(StoreError::Exists { run });
            }
            if let Some(busy) = lane_busy(on, node, accepted).await? {
                return Ok(busy);
            }
            let root = accepted.root;
            Ok(Standing::refusal(standing(on, root).await?, root, epoch))
        }
        (Record::Event { event, .. }, _) => {
            let found = standing(on, run).await?;
            // The start before it, which its end stores, would have been refused first.
            let has_ended = found.is_some_and(|found| found.has_ended && write.started.is_some());
            if !has_ended && found.is_some_and(|found| epoch >= found.epoch) {
                let seq = event.last_seq();
                return Ok(StoreError::SeqTaken { root: run, seq });
            }
            Ok(Standing::refusal(found, run, epoch))
        }
        (Record::Forgotten { .. }, _) => {
            let (found, owner) = on_whom(on, run).await?.unzip();
            // What a member takes over gets an epoch of its own: this one is a further run of the
            // id, and nothing of the first is there.
            let is_others = found.is_some_and(|found| epoch > found.epoch)
                && owner.is_some_and(|owner| owner != node);
            if is_others {
                return Ok(StoreError::Unknown { run });
            }
            if !found.is_some_and(|found| epoch >= found.epoch && found.has_ended) {
                return Ok(Standing::refusal(found, run, epoch));
            }
            let live = on.rows(Sql::Live, &[&id(run)]).await?;
            let live = live.first().map(|row| row.try_get::<_, Uuid>(0)).transpose()?;
            Ok(live.map_or(StoreError::Unknown { run }, |live| StoreError::Live {
                run: RunId::from_uuid(live),
            }))
        }
        _ => Ok(Standing::refusal(standing(on, run).await?, run, epoch)),
    }
}

/// Tells whether nothing refuses a root any more: what did has left between the two looks. A root
/// that is refused for something is never unknown itself.
pub(crate) fn has_passed(why: &StoreError, write: &Write) -> bool {
    let Record::Accepted(accepted) = &write.record else { return false };
    let run = accepted.run;
    accepted.parent.is_none() && *why == StoreError::Unknown { run }
}

async fn lane_busy(
    on: &Prepared,
    node: &str,
    accepted: &Accepted,
) -> Result<Option<StoreError>, Error> {
    let Some((lane, rule)) = rule_of(accepted) else { return Ok(None) };
    let (kept_lane, owner) = (kept(lane), accepted.owner.as_deref().map(kept));
    let busy = on.rows(Sql::LaneBusy, &[&kept_lane, &rule, &node, &owner]).await?;
    let Some(row) = busy.first() else { return Ok(None) };
    let run = RunId::from_uuid(row.try_get::<_, Uuid>(0)?);
    Ok(Some(StoreError::LaneBusy { lane: lane.into(), run }))
}

async fn standing(on: &Prepared, run: RunId) -> Result<Option<Standing>, Error> {
    Ok(on_whom(on, run).await?.map(|(standing, _)| standing))
}

/// Reads how a run stands, and which member has it.
async fn on_whom(on: &Prepared, run: RunId) -> Result<Option<(Standing, String)>, Error> {
    let found = on.rows(Sql::Standing, &[&id(run)]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let epoch = Epoch::from_u64(row.try_get::<_, i64>(0)?.cast_unsigned());
    Ok(Some((Standing { epoch, has_ended: row.try_get(1)? }, row.try_get(2)?)))
}
