//! Values as SQLite keeps them.

use quell_core::{Payload, RunId};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params};

use crate::encode::Large;
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
