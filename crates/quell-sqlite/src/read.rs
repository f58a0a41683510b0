//! What is read: runs, events and states of lanes.

use std::fmt;
use std::time::SystemTime;

use quell_core::store::{
    Checkpoint, Claim, Cursor, Epoch, Page, Pages, RunRecord, StoreError, Stored, Unreadable,
};
use quell_core::{Payload, RunEvent, RunId, limits};
use quell_durable::{Listed, bits, id_of, instant};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use crate::accept::claim_at;
use crate::event_row;
use crate::fault::fault;
use crate::row::{columns, run_of};

/// Reads a run.
pub(crate) fn get(on: &Connection, run: RunId) -> Result<Option<RunRecord>, StoreError> {
    let sql = format!("select {} from run where id = ?", columns(on)?);
    let mut statement = on.prepare_cached(&sql).map_err(|error| fault(&error))?;
    let id = run.as_uuid().into_bytes();
    let found = statement.query_row([id], |row| Ok(run_of(row))).optional();
    let Some(found) = found.map_err(|error| fault(&error))? else { return Ok(None) };
    Ok(Some(found?.value?))
}

/// Reads which run has a key, or had it, at an instant.
pub(crate) fn claim(
    on: &Connection,
    owner: Option<&str>,
    key: &str,
    at: SystemTime,
) -> Result<Option<Claim>, StoreError> {
    claim_at(on, owner, key, at).map_err(|error| fault(&error))
}

/// Reads the runs that are not terminal, and those that are and were rolled back, the first one
/// first.
pub(crate) fn recover(on: &Connection, page: Page) -> Result<Pages<Stored<RunRecord>>, StoreError> {
    let after = page.begin().map_or(i64::MIN, |cursor| bits(cursor.as_u64()));
    let sql = format!(
        "select {} from run where ord in (
            select * from (select ord from run indexed by run_live
                where status < 3 and ord > ?1 order by ord limit ?2)
            union all
            select * from (select ord from run indexed by run_rolled_back
                where stop_rollback = 1 and status >= 5 and ord > ?1 order by ord limit ?2))
        order by ord limit ?2",
        columns(on)?
    );
    paged(on, &sql, vec![after.into(), more_than(page)], page, run_of)
}

/// Reads events behind a number.
pub(crate) fn events(
    on: &Connection,
    root: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Stored<RunEvent>>, StoreError> {
    let sql = format!(
        "select {} from event e where root = (select ord from run where id = ?)
        and seq > ? order by seq",
        event_row::columns(on)?
    );
    let mut statement = on.prepare_cached(&sql).map_err(|error| fault(&error))?;
    let id = root.as_uuid().into_bytes();
    let mut rows = statement.query((id, bits(after))).map_err(|error| fault(&error))?;
    let limit = Page::first(limit).limit();
    let (mut events, mut sum) = (Vec::new(), 0_usize);
    while events.len() < limit
        && let Some(row) = rows.next().map_err(|error| fault(&error))?
    {
        for (event, bytes) in event_row::events_of(Some(root), after, row)? {
            sum = sum.saturating_add(bytes);
            let is_full = events.len() == limit || sum > limits::STORE_PAGE_BYTES_MAX;
            if is_full && !events.is_empty() {
                return Ok(events);
            }
            events.push(event);
        }
    }
    Ok(events)
}

/// Reads the ids from one to another.
pub(crate) fn ids(
    on: &Connection,
    from: RunId,
    to: RunId,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let sql = "select id from run where id between ? and ? order by id limit ?";
    let mut statement = on.prepare_cached(sql).map_err(|error| fault(&error))?;
    let [from, to] = [from, to].map(|id| id.as_uuid().into_bytes());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = statement.query_map((from, to, limit), |row| row.get::<_, [u8; 16]>(0));
    let ids = ids.map_err(|error| fault(&error))?;
    ids.map(|bytes| bytes.map(id_of).map_err(|error| fault(&error))).collect()
}

/// Reads the states of a lane, the newest first.
pub(crate) fn checkpoints(
    on: &Connection,
    lane: String,
    page: Page,
) -> Result<Pages<Stored<Checkpoint>>, StoreError> {
    let before = page.begin().map_or(i64::MAX, |cursor| bits(cursor.as_u64()));
    let sql = "select c.nr, r.id, c.epoch, c.at, c.state from checkpoint c
        cross join run r on r.ord = c.run
        where c.lane = ? and c.nr < ? order by c.nr desc limit ?";
    let values = vec![lane.into(), before.into(), more_than(page)];
    paged(on, sql, values, page, checkpoint)
}

/// Reads a state of a lane.
pub(crate) fn checkpoint(row: &Row<'_>) -> Result<Listed<Checkpoint>, StoreError> {
    let place = row.get(0).map_err(|error| fault(&error))?;
    let run = row.get::<_, [u8; 16]>(1).map(id_of);
    let value = state_of(&run, row).map_err(|fault| {
        let what = format!("checkpoint {place} of the lane");
        Unreadable::new(run.ok(), what, fault)
    });
    let bytes = value.as_ref().map_or(0, |checkpoint| checkpoint.state.len());
    Ok(Listed { place, bytes, value })
}

/// Reads a state of a lane, or says why it cannot be read.
fn state_of(run: &rusqlite::Result<RunId>, row: &Row<'_>) -> Result<Checkpoint, String> {
    let words = |error: &dyn fmt::Display| error.to_string();
    let run = *run.as_ref().map_err(|error| words(error))?;
    let epoch: i64 = row.get(2).map_err(|error| words(&error))?;
    let at: i64 = row.get(3).map_err(|error| words(&error))?;
    let text = row.get_ref(4).map_err(|error| words(&error))?.as_str();
    let state = Payload::from_json_text(text.map_err(|error| words(&error))?);
    let at = instant(at).ok_or_else(|| format!("instant {at}"))?;
    let state = state.map_err(|error| words(&error))?;
    Ok(Checkpoint { run, epoch: Epoch::from_u64(epoch.cast_unsigned()), at, state })
}

/// One more than a page has room for: then there is a next page.
pub(crate) fn more_than(page: Page) -> Value {
    Value::Integer(i64::try_from(page.limit() + 1).unwrap_or(i64::MAX))
}

/// Reads as much as a page has room for.
pub(crate) fn paged<T>(
    on: &Connection,
    sql: &str,
    values: Vec<Value>,
    page: Page,
    read: impl Fn(&Row<'_>) -> Result<Listed<T>, StoreError>,
) -> Result<Pages<Stored<T>>, StoreError> {
    let mut statement = on.prepare_cached(sql).map_err(|error| fault(&error))?;
    let mut rows = statement.query(params_from_iter(values)).map_err(|error| fault(&error))?;
    let (mut items, mut ends, mut sum) = (Vec::new(), Vec::new(), 0_usize);
    while let Some(row) = rows.next().map_err(|error| fault(&error))? {
        let Listed { place, bytes, value } = read(row)?;
        sum = sum.saturating_add(bytes);
        let is_full = items.len() == page.limit() || sum > limits::STORE_PAGE_BYTES_MAX;
        if is_full && !items.is_empty() {
            let next = ends.last().copied();
            return Ok(Pages { items, ends, next });
        }
        items.push(value);
        ends.push(Cursor::from_u64(place.cast_unsigned()));
    }
    Ok(Pages { items, ends, next: None })
}
