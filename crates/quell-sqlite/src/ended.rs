//! What may leave, and how much there is.

use std::fmt;

use quell_core::RunId;
use quell_core::store::{EndedTree, Epoch, Page, Pages, StoreError, Stored, Unreadable};
use quell_durable::{Listed, bits, id_of, instant};
use rusqlite::{Connection, Row};

use crate::fault::fault;
use crate::read::{more_than, paged};
use crate::schema;

/// Reads the trees that may leave, the first one first.
pub(crate) fn ended(on: &Connection, page: Page) -> Result<Pages<Stored<EndedTree>>, StoreError> {
    let after = page.begin().map_or(i64::MIN, |cursor| bits(cursor.as_u64()));
    // A file that is only read may be of a schema before the third, which has none.
    let ended = if schema::number(on)? < 3 { "null" } else { "ended" };
    // The numbers of events are dense: the last one says how many there are.
    let sql = format!(
        "select ord, id, epoch, at, coalesce(quiesced, {ended}, at),
        1 + (select count(*) from run b where b.root = r.id)
        + max(coalesce((select max(seq) from event e where e.root = r.ord), 0), 0), quiescent
        from run r where ord > ? and parent is null and status >= 3
        and not exists (select 1 from run b where b.root = r.id and b.status < 3)
        and (lane is null or not exists
            (select 1 from run l indexed by run_live where l.status < 3 and l.lane = r.lane))
        order by ord limit ?"
    );
    paged(on, &sql, vec![after.into(), more_than(page)], page, tree)
}

/// Reads how many bytes the pages have that are in use.
pub(crate) fn bytes(on: &Connection) -> Result<u64, StoreError> {
    // One statement, so that the three are of one instant.
    let sql = "select (c.page_count - f.freelist_count) * s.page_size
        from pragma_page_count c, pragma_freelist_count f, pragma_page_size s";
    let bytes = on.prepare_cached(sql).and_then(|mut it| it.query_row([], |row| row.get(0)));
    bytes.map(i64::cast_unsigned).map_err(|error| fault(&error))
}

fn tree(row: &Row<'_>) -> Result<Listed<EndedTree>, StoreError> {
    let place = row.get(0).map_err(|error| fault(&error))?;
    let run = row.get::<_, [u8; 16]>(1).map(id_of);
    let value = tree_of(&run, row).map_err(|fault| {
        Unreadable::new(run.ok(), format!("the times of the run in row {place}"), fault)
    });
    Ok(Listed { place, bytes: size_of::<EndedTree>(), value })
}

/// Reads a tree, or says why it cannot be read.
fn tree_of(run: &rusqlite::Result<RunId>, row: &Row<'_>) -> Result<EndedTree, String> {
    let words = |error: &dyn fmt::Display| error.to_string();
    let number = |column| row.get::<_, i64>(column).map_err(|error| words(&error));
    let at = |ms| instant(ms).ok_or_else(|| format!("instant {ms}"));
    let run = *run.as_ref().map_err(|error| words(error))?;
    let epoch = Epoch::from_u64(number(2)?.cast_unsigned());
    let mut tree = EndedTree::new(run, epoch, at(number(3)?)?, at(number(4)?)?);
    tree.rows = number(5)?.cast_unsigned();
    tree.quiescent = number(6)? == 1;
    Ok(tree)
}
