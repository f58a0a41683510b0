//! What is read: runs, events, states of lanes, and what may leave.
//!
//! A page ends where it has as many items, or as many bytes, as it may. The server counts both, so
//! that what is not in the page is not sent.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{
    Checkpoint, Claim, Cursor, EndedTree, Epoch, Page, Pages, RunRecord, StoreError, Stored,
    Unreadable,
};
use quell_core::{Payload, RunEvent, RunId, RunStatus, limits};
use quell_durable::{Listed, bits, instant, key_ttl_ms, millis, owner_text};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::{self, OWNER};
use crate::fault::fault;
use crate::readers::{Query, Readers};
use crate::row::{COLUMNS, run_of};
use crate::seat::Seat;
use crate::step::{Value, id};
use crate::text::kept;

/// Reads a run.
pub(crate) async fn get(on: &Readers, run: RunId) -> Result<Option<RunRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from run where id = $1");
    let query = Query { sql, values: vec![Box::new(id(run))], is_list: false };
    let rows = on.rows(query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(run_of(row, 0).value?))
}

/// Reads which of these runs there are, and when each was accepted.
pub(crate) async fn accepted_at(
    on: &Readers,
    runs: Vec<RunId>,
) -> Result<Vec<(RunId, SystemTime)>, StoreError> {
    let sql = "select id, at from run where id = any($1)".to_owned();
    let runs: Vec<_> = runs.into_iter().map(id).collect();
    let rows = on.rows(Query { sql, values: vec![Box::new(runs)], is_list: true }).await?;
    rows.iter().map(accepted_of).collect()
}

fn accepted_of(row: &Row) -> Result<(RunId, SystemTime), StoreError> {
    let run = RunId::from_uuid(row.try_get(0).map_err(|error| fault(&error))?);
    let at: i64 = row.try_get(1).map_err(|error| fault(&error))?;
    let far = || Unreadable::new(Some(run), "time of its acceptance", "out of range");
    Ok((run, instant(at).ok_or_else(far)?))
}

/// Reads the name of the node that has a run, or had it last.
pub(crate) async fn owner(on: &Readers, run: RunId) -> Result<Option<Arc<str>>, StoreError> {
    let (sql, values): (_, Vec<Value<'static>>) = (OWNER.to_owned(), vec![Box::new(id(run))]);
    let rows = on.rows(Query { sql, values, is_list: false }).await?;
    rows.first().map_or(Ok(None), asked::owner)
}

/// Reads ids from one to another, both included, in their order and at most so many.
pub(crate) async fn ids(
    on: &Readers,
    from: RunId,
    to: RunId,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let sql = "select id from run where id between $1 and $2 order by id limit $3".to_owned();
    let limit = Box::new(i64::try_from(limit).unwrap_or(i64::MAX));
    let values: Vec<Value<'static>> = vec![Box::new(id(from)), Box::new(id(to)), limit];
    let rows = on.rows(Query { sql, values, is_list: true }).await?;
    let ids = rows.iter().map(|row| row.try_get(0).map(RunId::from_uuid));
    ids.collect::<Result<_, _>>().map_err(|error| fault(&error))
}

/// Reads which run has a key, or had it, at an instant.
pub(crate) async fn claim(
    on: &Readers,
    owner: Option<&str>,
    key: &str,
    at: SystemTime,
) -> Result<Option<Claim>, StoreError> {
    let sql = "select run, payload, forgotten is not null from claim
        where owner = $1 and key = $2 and (forgotten is null or forgotten > $3)";
    let owner: Value<'static> = Box::new(kept(&owner_text(owner)).into_owned());
    let (key, free) = (Box::new(kept(key).into_owned()), Box::new(millis(at) - key_ttl_ms()));
    let query = Query { sql: sql.to_owned(), values: vec![owner, key, free], is_list: false };
    let rows = on.rows(query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let read = || -> Result<_, Box<dyn Error + Send + Sync>> {
        let payload: &[u8] = row.try_get(1)?;
        let run = RunId::from_uuid(row.try_get::<_, Uuid>(0)?);
        Ok(Claim { run, payload: payload.try_into()?, is_forgotten: row.try_get(2)? })
    };
    let unreadable = |error| Unreadable::new(None, "an idempotency key", error);
    read().map(Some).map_err(|error| unreadable(error).into())
}

/// Reads the runs of a seat that are not terminal, and those that are and were rolled back, the
/// first one first.
///
/// A page begins and ends at a pair, here as of all that have a place in an index behind a name:
/// by the name alone the server may rather read all runs in their order until it has a page of
/// those that are meant, if it takes them for many.
pub(crate) async fn recover(
    on: &Readers,
    seat: &Seat,
    page: Page,
) -> Result<Pages<Stored<RunRecord>>, StoreError> {
    let of = format!(
        "select run.bytes as size, {COLUMNS}, run.unstarted from run
        where (status < 3 or stop_rollback and status >= 5)
        and (run.node, ord) > ((select name from node where name = $3 and joined = $4), $1)
        and (run.node, ord) <= ($3, {max})
        order by run.node, ord limit $2",
        max = i64::MAX
    );
    let sql = paged(&of, "ord", 2);
    let (name, joined) = (Box::new(seat.name.to_string()), Box::new(seat.joined));
    let values: Vec<Value<'static>> = vec![Box::new(after(page)), more_than(page), name, joined];
    let query = Query { sql, values, is_list: false };
    Ok(pages(&on.rows(query).await?, |row| {
        let mut run = run_of(row, FIRST);
        if let Ok(record) = &mut run.value {
            // It is set when the run changes hands, and not changed when it starts.
            record.is_unstarted = record.status == RunStatus::Queued
                && record.started_at.is_none()
                && row.try_get("unstarted").unwrap_or(false);
        }
        run
    }))
}

/// Reads events behind a number.
pub(crate) async fn events(
    on: &Readers,
    root: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Stored<RunEvent>>, StoreError> {
    let of = "select octet_length(text) as size, seq, text from event
        where root = (select ord from run where id = $1) and seq > $2 order by seq limit $3";
    let values: Vec<Value<'static>> =
        vec![Box::new(id(root)), Box::new(bits(after)), more_than(Page::first(limit))];
    let query = Query { sql: paged(of, "seq", 3), values, is_list: false };
    Ok(pages(&on.rows(query).await?, |row| event(root, row)).items)
}

/// Reads the states of a lane, the newest first.
pub(crate) async fn checkpoints(
    on: &Readers,
    lane: &str,
    page: Page,
) -> Result<Pages<Stored<Checkpoint>>, StoreError> {
    let of = "select octet_length(c.state) as size, c.nr, r.id, c.epoch, c.at, c.state
        from checkpoint c
        cross join lateral (select id from run where ord = c.run offset 0) r
        where (c.lane, c.nr) > ($1, 0) and (c.lane, c.nr) < ($1, $2)
        order by c.lane desc, c.nr desc limit $3";
    let before = page.begin().map_or(i64::MAX, |cursor| bits(cursor.as_u64()));
    let values: Vec<Value<'static>> =
        vec![Box::new(kept(lane).into_owned()), Box::new(before), more_than(page)];
    let query = Query { sql: paged(of, "nr desc", 3), values, is_list: false };
    Ok(pages(&on.rows(query).await?, checkpoint))
}

/// Reads the trees that may leave, the first one first. Of one that is not quiescent its owner
/// knows what executes, if it is still there.
pub(crate) async fn ended(
    on: &Readers,
    seat: &Seat,
    page: Page,
) -> Result<Pages<Stored<EndedTree>>, StoreError> {
    // The numbers of events are dense: the last one says how many there are. Whether a live run has
    // the lane is looked up for each, and all else: `exists` would have the lanes of all live runs
    // read first. A limit that the server does not know has runs be read in their order, and no
    // more than the page needs, however few it takes them for.
    let of = "select 0 as size, ord, id, epoch, at, coalesce(quiesced, ended, at) as until,
        1 + (select count(*) from run b where b.root = r.id)
        + greatest(0, (select max(seq) from event e where e.root = r.ord)) as all_rows, quiescent
        from (select * from run where ord > $1 and parent is null and status >= 3
            order by ord limit (select 9223372036854775807)) r
        where (select true from run b
            where b.root = r.id and coalesce(b.status, 0) < 3 limit 1) is null
        and (lane is null
            or (select true from run l where l.status < 3 and l.lane = r.lane limit 1) is null)
        and (quiescent or node = $3
            or (select true from node n where n.name = r.node limit 1) is null)
        order by ord limit $2";
    let name = Box::new(seat.name.to_string());
    let values: Vec<Value<'static>> = vec![Box::new(after(page)), more_than(page), name];
    let query = Query { sql: paged(of, "ord", 2), values, is_list: true };
    Ok(pages(&on.rows(query).await?, tree))
}

/// Reads nothing: tells whether the server answers, the schema is there, nobody has locked the
/// runs, and something may be written. A lock on no row is refused where nothing may.
pub(crate) async fn ready(on: &Readers) -> Result<(), StoreError> {
    let sql = "with writable as materialized (select 1 from tally where false for update)
        select exists (select 1 from tally) and exists (select 1 from run)
        and not exists (select 1 from writable)";
    on.rows(Query { sql: sql.to_owned(), values: Vec::new(), is_list: false }).await.map(drop)
}

/// Reads how many bytes everything has that is stored.
pub(crate) async fn bytes(on: &Readers) -> Result<u64, StoreError> {
    let sql = "select sum(bytes)::int8 from tally".to_owned();
    let rows = on.rows(Query { sql, values: Vec::new(), is_list: false }).await?;
    let bytes = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose();
    let bytes = bytes.map_err(|error| fault(&error))?.flatten().unwrap_or_default();
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// Cuts a query with a column `size` after as many rows or bytes as a page has. Its last parameter
/// is one more than the rows, so that there is a next page if they are all there. The first column
/// of the result says how many rows there were.
pub(crate) fn paged(of: &str, order: &str, limit: usize) -> String {
    format!(
        "select q.* from (
            select count(*) over () as found, p.*, row_number() over w as nth,
                sum(p.size) over w as total
            from ({of}) p window w as (order by p.{order})) q
        where nth = 1 or (nth < ${limit} and total <= {bytes_max}) order by nth",
        bytes_max = limits::STORE_PAGE_BYTES_MAX
    )
}

/// Reads as much as was found of a page.
fn pages<T>(rows: &[Row], read: impl Fn(&Row) -> Listed<T>) -> Pages<Stored<T>> {
    let found = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok()).unwrap_or_default();
    let (mut items, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        let Listed { place, value, .. } = read(row);
        items.push(value);
        ends.push(Cursor::from_u64(place.cast_unsigned()));
    }
    let is_whole = i64::try_from(rows.len()).is_ok_and(|read| read == found);
    let next = if is_whole { None } else { ends.last().copied() };
    Pages { items, ends, next }
}

fn event(root: RunId, row: &Row) -> Listed<RunEvent> {
    let place = number(row, FIRST).unwrap_or_default();
    let unreadable = |fault: &dyn fmt::Display| {
        let mut unreadable = Unreadable::new(Some(root), "event", fault);
        unreadable.seq = Some(place.cast_unsigned());
        unreadable
    };
    let text = row.try_get::<_, &str>(FIRST + 1).map_err(|error| unreadable(&error));
    let bytes = text.as_ref().map_or(0, |text| text.len());
    let value = text.and_then(|text| {
        serde_json::from_str::<RunEvent>(text).map_err(|error| unreadable(&error))
    });
    Listed { place, bytes, value }
}

fn checkpoint(row: &Row) -> Listed<Checkpoint> {
    let place = number(row, FIRST).unwrap_or_default();
    let run = run(row, FIRST + 1);
    let value = state_of(run.clone(), row).map_err(|fault| {
        Unreadable::new(run.ok(), format!("checkpoint {place} of the lane"), fault)
    });
    let bytes = value.as_ref().map_or(0, |checkpoint| checkpoint.state.len());
    Listed { place, bytes, value }
}

/// Reads a state of a lane, or says why it cannot be read.
fn state_of(run: Result<RunId, String>, row: &Row) -> Result<Checkpoint, String> {
    let (run, epoch) = (run?, Epoch::from_u64(number(row, FIRST + 2)?.cast_unsigned()));
    let at = instant_of(row, FIRST + 3)?;
    let text = row.try_get::<_, &str>(FIRST + 4).map_err(|error| error.to_string())?;
    let state = Payload::from_json_text(text).map_err(|error| error.to_string())?;
    Ok(Checkpoint { run, epoch, at, state })
}

fn tree(row: &Row) -> Listed<EndedTree> {
    let place = number(row, FIRST).unwrap_or_default();
    let run = run(row, FIRST + 1);
    let value = tree_of(run.clone(), row).map_err(|fault| {
        Unreadable::new(run.ok(), format!("the times of the run in row {place}"), fault)
    });
    Listed { place, bytes: size_of::<EndedTree>(), value }
}

/// Reads a tree, or says why it cannot be read.
fn tree_of(run: Result<RunId, String>, row: &Row) -> Result<EndedTree, String> {
    let epoch = Epoch::from_u64(number(row, FIRST + 2)?.cast_unsigned());
    let (at, until) = (instant_of(row, FIRST + 3)?, instant_of(row, FIRST + 4)?);
    let mut tree = EndedTree::new(run?, epoch, at, until);
    tree.rows = number(row, FIRST + 5)?.cast_unsigned();
    tree.quiescent = row.try_get(FIRST + 6).map_err(|error| error.to_string())?;
    Ok(tree)
}

fn number(row: &Row, column: usize) -> Result<i64, String> {
    row.try_get(column).map_err(|error| error.to_string())
}

fn run(row: &Row, column: usize) -> Result<RunId, String> {
    row.try_get::<_, Uuid>(column).map(RunId::from_uuid).map_err(|error| error.to_string())
}

fn instant_of(row: &Row, column: usize) -> Result<SystemTime, String> {
    let millis = number(row, column)?;
    instant(millis).ok_or_else(|| format!("instant {millis}"))
}

/// Yields the place behind which a page begins that goes up.
fn after(page: Page) -> i64 {
    page.begin().map_or(i64::MIN, |cursor| bits(cursor.as_u64()))
}

/// One more than a page has room for: then there is a next page.
pub(crate) fn more_than(page: Page) -> Value<'static> {
    Box::new(i64::try_from(page.limit() + 1).unwrap_or(i64::MAX))
}

/// The first column of a query within a page: how many rows there were and `size` stand before it.
pub(crate) const FIRST: usize = 2;
