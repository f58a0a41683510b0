//! Values as SQLite keeps them.

use quell_core::store::Epoch;
use quell_core::{Payload, RunId, RunStatus, StopMode};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params};

use crate::encode::{Large, MODES};
use crate::plain::INLINE_BYTES_MAX;

/// Puts a text that is too long for its row into the table for such.
pub(crate) fn put_large(
    on: &Connection,
    run: RunId,
    what: Large,
    text: &str,
) -> rusqlite::Result<()> {
    if text.len() > INLINE_BYTES_MAX {
        let sql = "insert or replace into large (run, what, text)
            select ord, ?2, ?3 from run where id = ?1";
        let values = params![run.as_uuid().into_bytes(), what as i64, text];
        on.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

/// Yields what stands in the row for a text: itself, or 0 if it is in the table `large`.
pub(crate) fn inline(text: &str) -> ToSqlOutput<'_> {
    if text.len() > INLINE_BYTES_MAX { ToSqlOutput::from(0_i64) } else { ToSqlOutput::from(text) }
}

/// As [`inline`], for a payload that may be absent.
pub(crate) fn inline_payload(payload: Option<&Payload>) -> Option<ToSqlOutput<'_>> {
    payload.map(|payload| inline(payload.as_json()))
}

/// Yields an epoch as SQLite keeps it. Its order holds below 2^31 boots.
pub(crate) const fn number(epoch: Epoch) -> i64 {
    epoch.as_u64().cast_signed()
}

/// Yields the number of an event as SQLite keeps it. One beyond the largest is the largest.
pub(crate) fn bits(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Yields a status as a number: terminal from 3 on, and live below that.
pub(crate) fn status_number(status: RunStatus) -> i64 {
    if status == RunStatus::Paused {
        return PAUSED;
    }
    RunStatus::ALL.iter().zip(0..).find(|(it, _)| **it == status).map_or(0, |(_, nth)| nth)
}

/// Yields the status of a number, if there is one.
pub(crate) fn status_of(number: i64) -> Option<RunStatus> {
    RunStatus::ALL.into_iter().find(|status| status_number(*status) == number)
}

/// The number of the status `Paused`. It came after those that are terminal.
const PAUSED: i64 = -1;

/// Yields a mode as a number: the more urgent, the higher.
pub(crate) fn mode_number(mode: StopMode) -> i64 {
    // One that is not known here is as urgent as a stop is by default.
    MODES.iter().zip(0..).find(|(it, _)| **it == mode).map_or(1, |(_, nth)| nth)
}
