//! The end of a run becomes a part of its row: a plain report as its output, another one as text.

use std::time::SystemTime;

use quell_core::store::{Epoch, Unreadable};
use quell_core::{RunId, RunReport};
use quell_durable::{Write, millis, number, status_number};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::bind::{inline, put_large};
use crate::encode::Large;
use crate::fault::Fault;
use crate::plain;

/// Stores the end of a run. Yields how many rows were changed.
pub(crate) fn end(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    report: &RunReport,
    rollback: bool,
    write: &Write,
) -> Result<usize, Fault> {
    let id = run.as_uuid().into_bytes();
    let is_over = write.is_without_text() && end_plainly(on, (run, epoch), report, write.started)?;
    let has_paused =
        if is_over { Some(false) } else { end_in_full(on, (run, epoch), report, write)? };
    let Some(has_paused) = has_paused else { return Ok(0) };
    if has_paused {
        // The answer to the last pause stays; that to one before may be here still.
        let sql = "delete from large where run = (select ord from run where id = ?1)
            and (what in (?2, ?3, ?4)
                or what = ?5 and (select answer from run where id = ?1) is not 0)";
        let of_pauses = [Large::Paused, Large::Partial, Large::Summary, Large::Answer];
        let [paused, partial, summary, answer] = of_pauses.map(|what| what as i64);
        on.prepare_cached(sql)?.execute(params![id, paused, partial, summary, answer])?;
    }
    if rollback {
        let sql = "delete from checkpoint where run = (select ord from run where id = ?)";
        on.prepare_cached(sql)?.execute([id])?;
    }
    Ok(1)
}

/// Ends a run that never paused with a plain report, if its row says all else of that. Yields
/// whether it was changed.
fn end_plainly(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    report: &RunReport,
    started: Option<SystemTime>,
) -> Result<bool, Fault> {
    let Some(own) = report.rows.first() else { return Ok(false) };
    let sql = "update run set epoch = ?2, status = ?3, quiescent = 1, quiesced = ?4, report = ?5,
        ended = ?6, started = ?7
        where id = ?1 and epoch <= ?2 and status < 3 and root is null and parent is null
        and coalesce(started, ?8) is ?7 and kind = ?9 and name = ?10 and at = ?11
        and paused_at is null";
    let values = params![
        run.as_uuid().into_bytes(),
        number(epoch),
        status_number(report.status),
        own.quiesced_at.map(millis),
        plain::output_of(own).as_bytes(),
        own.ended_at.map(millis),
        own.started_at.map(millis),
        started.map(millis),
        own.kind.as_str(),
        &*own.name,
        millis(own.queued_at),
    ];
    Ok(on.prepare_cached(sql)?.execute(values)? == 1)
}

/// Ends a run with the text of its report. Yields whether it has paused; none if nothing was
/// changed.
fn end_in_full(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    report: &RunReport,
    write: &Write,
) -> Result<Option<bool>, Fault> {
    let sql = "update run set epoch = ?2, status = ?3, quiescent = ?4, quiesced = ?5, report = ?6,
        ended = ?7, started = coalesce(started, ?8), paused = null,
        partial = null, summary = null, used = null
        where id = ?1 and epoch <= ?2 and status < 3 returning paused_at is not null";
    // That of a plain report is not there. Its output was written before: no foreign code runs.
    let made = if write.is_without_text() { Some(serde_json::to_string(report)) } else { None };
    let made = made
        .transpose()
        .map_err(|error| Fault::Refused(Unreadable::new(Some(run), "record", error).into()))?;
    let text = made.as_deref().unwrap_or(&write.text);
    let own = report.rows.first();
    let values = params![
        run.as_uuid().into_bytes(),
        number(epoch),
        status_number(report.status),
        report.quiescent,
        own.and_then(|row| row.quiesced_at).map(millis),
        inline(text),
        own.and_then(|row| row.ended_at).map(millis),
        write.started.map(millis),
    ];
    let has_paused = on.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if has_paused.is_some() {
        put_large(on, run, Large::Report, text)?;
    }
    Ok(has_paused)
}
