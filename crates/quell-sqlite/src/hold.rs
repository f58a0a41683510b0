//! Work of runs that does not end with the process.

use quell_core::RunId;
use quell_core::store::{Epoch, StoredHold};
use quell_durable::number;
use rusqlite::{Connection, params};

use crate::fault::Fault;

/// Stores that work begins. Yields how many runs it is of.
pub(crate) fn begin(
    on: &Connection,
    (run, epoch): (RunId, Epoch),
    hold: &StoredHold,
) -> Result<usize, Fault> {
    let id = run.as_uuid().into_bytes();
    let sql = "update run set epoch = ?2 where id = ?1 and epoch <= ?2 and status < 3";
    let changed = on.prepare_cached(sql)?.execute(params![id, number(epoch)])?;
    if changed == 1 {
        let sql = "insert or replace into hold (run, nr, what, name)
            select ord, ?2, ?3, ?4 from run where id = ?1";
        let StoredHold { nr, what, name, .. } = hold;
        let values = params![id, nr, what.as_str(), &**name];
        on.prepare_cached(sql)?.execute(values)?;
    }
    Ok(changed)
}

/// Stores that work has ended. Yields how many runs it is of.
pub(crate) fn end(on: &Connection, (run, epoch): (RunId, Epoch), nr: u32) -> Result<usize, Fault> {
    let id = run.as_uuid().into_bytes();
    let sql = "update run set epoch = ?2 where id = ?1 and epoch <= ?2";
    let changed = on.prepare_cached(sql)?.execute(params![id, number(epoch)])?;
    if changed == 1 {
        let sql = "delete from hold where run = (select ord from run where id = ?1) and nr = ?2";
        on.prepare_cached(sql)?.execute(params![id, nr])?;
    }
    Ok(changed)
}

/// The work of a run as one column: its texts as JSON, in the order of their numbers; null if there
/// is none.
pub(crate) const COLUMN: &str = "(select nullif(json_group_array(json_array(nr, what, name)
    order by nr), '[]') from hold where hold.run = run.ord)";
