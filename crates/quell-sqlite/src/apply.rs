//! Records become rows, within a transaction of the thread that writes.
//!
//! A statement says in its condition what a run has to be for it. If no row was changed, a second
//! look tells why: that is rare.

use std::collections::HashMap;

use quell_core::store::{Epoch, Record, StoreError, StoredPause};
use quell_core::{EventKind, RunEvent, RunId, RunStatus};
use quell_durable::{
    Standing as Found, Write, millis, mode_number, number, span, status_number, usage_text,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::bind::{inline, inline_payload, put_large};
use crate::encode::Large;
use crate::fault::Fault;
use crate::{accept, end, event_row, forget, hold};

/// What the thread that writes need not read. It is cleared when something is rolled back.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// How roots stand, of which events were written last. What else changes a run takes it out.
    standings: HashMap<RunId, Standing>,
    /// How many keys are kept of runs that left; none until they were counted.
    keys: Option<i64>,
}

/// How a run stands, as far as it matters to what may be written of it.
#[derive(Clone, Copy, Debug)]
struct Standing {
    ord: i64,
    epoch: u64,
    has_ended: bool,
}

/// Stores one record.
pub(crate) fn apply(on: &Connection, known: &mut Known, write: &Write) -> Result<(), Fault> {
    if write.is_stored_by_another() {
        return Ok(());
    }
    let (run, epoch) = (write.record.run(), write.record.epoch());
    match &write.record {
        Record::Event { event, .. } => {
            return add_events(on, known, (run, epoch), event, write);
        }
        Record::Checkpoint { lane, state, at, .. } => {
            let standing = admitted(on, known, run, epoch)?;
            if standing.has_ended {
                return Err(Fault::Refused(StoreError::Ended { run }));
            }
            let sql = "insert into checkpoint (lane, run, epoch, at, state) values (?, ?, ?, ?, ?)";
            let values =
                params![&**lane, standing.ord, number(epoch), millis(*at), state.as_json()];
            on.prepare_cached(sql)?.execute(values)?;
            return raise(on, known, run, standing, epoch);
        }
        _ => drop(known.standings.remove(&run)),
    }
    let changed = match &write.record {
        Record::Accepted(accepted) => return accept::accept(on, &mut known.keys, accepted, write),
        Record::Forgotten { at, .. } => return forget(on, known, (run, epoch), millis(*at)),
        Record::Ended { report, rollback, .. } => {
            end::end(on, (run, epoch), report, *rollback, write)?
        }
        other => change(on, (run, epoch), other, (&write.text, &write.annotations))?,
    };
    if changed == 1 { Ok(()) } else { Err(why_not(on, run, epoch)?) }
}

/// Changes the row of a run. Yields how many rows were changed.
fn change(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    record: &Record,
    (text, annotations): (&str, &str),
) -> Result<usize, Fault> {
    let id = run.as_uuid().into_bytes();
    Ok(match record {
        Record::Started { at, .. } => {
            let sql = "update run set epoch = ?2, started = coalesce(started, ?3), paused = null,
                status = case when status < 1 then 1 else status end
                where id = ?1 and epoch <= ?2 and status < 3";
            on.prepare_cached(sql)?.execute(params![id, number(epoch), millis(*at)])?
        }
        Record::Annotated { .. } => {
            let sql = "update run set epoch = ?2, annotations = ?3
                where id = ?1 and epoch <= ?2 and status < 3";
            let value = (!annotations.is_empty()).then(|| inline(annotations));
            let changed = on.prepare_cached(sql)?.execute(params![id, number(epoch), value])?;
            if changed == 1 {
                put_large(on, run, Large::Annotations, annotations)?;
            }
            changed
        }
        Record::StopAccepted(stop) => {
            let sql = "update run set epoch = ?2, stop_epoch = ?2,
                stop_cause = coalesce(stop_cause, ?3), stop_mode = max(coalesce(stop_mode, ?4), ?4),
                stop_deadline = min(coalesce(stop_deadline, ?5), coalesce(?5, stop_deadline)),
                stop_rollback = max(stop_rollback, ?6),
                status = case when max(coalesce(stop_mode, ?4), ?4) > 0 then 2 else status end
                where id = ?1 and epoch <= ?2 and status < 3";
            let (mode, deadline) = (mode_number(stop.mode), stop.hard_deadline.map(millis));
            on.prepare_cached(sql)?.execute(params![
                id,
                number(epoch),
                text,
                mode,
                deadline,
                stop.rollback
            ])?
        }
        Record::Paused { pause, .. } => paused(on, (run, epoch), pause)?,
        Record::Resumed { attempt, answer, stood, .. } => {
            let sql = "update run set epoch = ?2, paused = null, answer = ?3, stood = ?4,
                attempt = max(coalesce(attempt, ?5), ?5),
                status = case when status < 2 then 0 else status end
                where id = ?1 and epoch <= ?2 and status < 3";
            let text = answer.as_json();
            let values = params![id, number(epoch), inline(text), span(*stood), attempt];
            let changed = on.prepare_cached(sql)?.execute(values)?;
            if changed == 1 {
                put_large(on, run, Large::Answer, text)?;
            }
            changed
        }
        Record::HoldBegan { hold, .. } => hold::begin(on, (run, epoch), hold)?,
        Record::HoldEnded { nr, .. } => hold::end(on, (run, epoch), *nr)?,
        Record::Quiesced { at, .. } => {
            let sql = "update run set epoch = ?2, quiescent = 1, quiesced = coalesce(quiesced, ?3)
                where id = ?1 and epoch <= ?2 and status >= 3";
            on.prepare_cached(sql)?.execute(params![id, number(epoch), millis(*at)])?
        }
        // These have functions of their own.
        Record::Accepted(_)
        | Record::Event { .. }
        | Record::Checkpoint { .. }
        | Record::Ended { .. }
        | Record::Forgotten { .. } => 0,
    })
}

/// Stores a pause. The answer to the one before is needed no more.
fn paused(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    pause: &StoredPause,
) -> Result<usize, Fault> {
    let sql = "update run set epoch = ?2, paused = ?3, paused_at = ?4, pause_by = ?5,
        pause_expires = ?6, pause_timeout = ?7, pause_stands = ?8, answer = null,
        attempt = max(coalesce(attempt, ?9), ?9),
        status = case when status < 2 then ?10 else status end,
        partial = ?11, summary = ?12, used = ?13
        where id = ?1 and epoch <= ?2 and status < 3";
    let (text, so_far) = (pause.request.as_json(), &pause.so_far);
    let changed = on.prepare_cached(sql)?.execute(params![
        run.as_uuid().into_bytes(),
        number(epoch),
        inline(text),
        millis(pause.at),
        pause.asked_by.map(|by| by.as_uuid().into_bytes()),
        pause.expires_at.map(millis),
        pause.timeout.map(span),
        pause.timeout_stands,
        pause.attempt,
        status_number(RunStatus::Paused),
        inline_payload(so_far.partial.as_ref()),
        inline_payload(so_far.summary.as_ref()),
        usage_text(so_far.used),
    ])?;
    if changed == 1 {
        put_large(on, run, Large::Paused, text)?;
        for (what, said) in [(Large::Partial, &so_far.partial), (Large::Summary, &so_far.summary)] {
            if let Some(said) = said {
                put_large(on, run, what, said.as_json())?;
            }
        }
    }
    Ok(changed)
}

/// Stores the row of an event, with the others that it has.
fn add_events(
    on: &Connection,
    known: &mut Known,
    (run, epoch): (RunId, Epoch),
    event: &RunEvent,
    write: &Write,
) -> Result<(), Fault> {
    let standing = admitted(on, known, run, epoch)?;
    let numbers = (event.last_seq(), write.events);
    event_row::insert(on, (run, standing.ord), numbers, &write.text)?;
    raise(on, known, run, standing, epoch)?;
    if matches!(event.kind, EventKind::Detached { .. }) {
        forget::detach(on, event.run)?;
    }
    Ok(())
}

/// Yields how a run stands, if an epoch may write of it.
fn admitted(on: &Connection, known: &Known, run: RunId, epoch: Epoch) -> Result<Standing, Fault> {
    let standing = match known.standings.get(&run) {
        Some(standing) => *standing,
        None => standing(on, run)?.ok_or(Fault::Refused(StoreError::Unknown { run }))?,
    };
    if epoch.as_u64() < standing.epoch {
        let current = Epoch::from_u64(standing.epoch);
        return Err(Fault::Refused(StoreError::Fenced { run, epoch, current }));
    }
    Ok(standing)
}

/// Remembers how a run stands after an epoch has written of it. A higher one is its own from now
/// on.
fn raise(
    on: &Connection,
    known: &mut Known,
    run: RunId,
    mut standing: Standing,
    epoch: Epoch,
) -> Result<(), Fault> {
    if epoch.as_u64() > standing.epoch {
        let sql = "update run set epoch = ?2 where ord = ?1";
        on.prepare_cached(sql)?.execute(params![standing.ord, number(epoch)])?;
        standing.epoch = epoch.as_u64();
    }
    if known.standings.len() >= STANDINGS_MAX {
        known.standings.clear();
    }
    known.standings.insert(run, standing);
    Ok(())
}

fn standing(on: &Connection, run: RunId) -> rusqlite::Result<Option<Standing>> {
    let sql = "select ord, epoch, status from run where id = ?";
    let mut statement = on.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (ord, epoch, status): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Standing { ord, epoch: epoch.cast_unsigned(), has_ended: status >= 3 })
    };
    statement.query_row([run.as_uuid().into_bytes()], read).optional()
}

/// Says why no row of a run was changed.
fn why_not(on: &Connection, run: RunId, epoch: Epoch) -> Result<Fault, Fault> {
    let found = standing(on, run)?.map(|Standing { epoch, has_ended, .. }| Found {
        epoch: Epoch::from_u64(epoch),
        has_ended,
    });
    Ok(Fault::Refused(Found::refusal(found, run, epoch)))
}

fn forget(
    on: &Connection,
    known: &mut Known,
    (run, epoch): (RunId, Epoch),
    at: i64,
) -> Result<(), Fault> {
    let standing = admitted(on, known, run, epoch)?;
    if !standing.has_ended {
        return Err(Fault::Refused(StoreError::Live { run }));
    }
    // Those below it leave with it.
    known.standings.clear();
    forget::forget(on, &mut known.keys, run, at)
}

impl Known {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Roots that are remembered. When there are more, all are forgotten.
const STANDINGS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use quell_core::store::{Accepted, ClaimedKey};
    use quell_core::{Counts, RunKind, RunReport, RunRow, limits};

    use super::*;
    use crate::encode::encode;
    use crate::schema::{self, Found};

    #[test]
    fn the_number_of_kept_keys_is_right_after_every_record() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut memory = Connection::open_in_memory().unwrap();
        schema::migrate(&mut memory, Found::Nothing).unwrap();
        let (mut known, epoch) = (Known::default(), Epoch::new(1, 1));
        let (mut at, mut kept, mut claimed) = (SystemTime::UNIX_EPOCH, 0, 0);
        for nth in 0..2_000_u32 {
            at += rng.u32(0..9) * (limits::KEYS_TTL / 20);
            let run = RunId::from_text(&rng.u32(0..6).to_string());
            let status = RunStatus::Completed;
            let row = RunRow::new(run, RunKind::Agent, "run".into(), status, at);
            let mut accepted = Accepted::new(run, RunKind::Agent, "run".into(), epoch, at);
            let key = Arc::from(rng.u32(0..3).to_string());
            accepted.key = rng.bool().then_some(ClaimedKey { key, payload: [0; 32] });
            let record = match nth % 3 {
                0 => Record::Accepted(accepted.into()),
                1 => Record::Forgotten { run, epoch, at },
                _ => {
                    let report = RunReport::new(vec![row], Counts::default()).into();
                    Record::Ended { run, epoch, report, rollback: false }
                }
            };
            let (writes, _) = encode(vec![record]).unwrap();
            // As the thread that writes does with what is refused.
            memory.execute_batch("savepoint one").unwrap();
            if apply(&memory, &mut known, &writes[0]).is_err() {
                memory.execute_batch("rollback to one").unwrap();
            }
            memory.execute_batch("release one").unwrap();
            let count = "select count(forgotten), count(*) from claim";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?));
            let (forgotten, all): (_, i64) = memory.query_row(count, [], read).unwrap();
            assert!(known.keys.is_none_or(|keys| keys == forgotten), "record {nth}");
            (kept, claimed) = (kept.max(forgotten), claimed.max(all));
        }
        assert!(kept > 1 && claimed > 2 && known.keys.is_some(), "{kept} {claimed}");
        assert!(at > SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
