//! Stops that are remembered for runs to come, and used up when these have come.
//!
//! A stop is remembered by whoever finds no run, and used up by the transaction that stores one. Of
//! the two one is first, and the unique index of the ids of runs decides which: whoever remembers
//! puts a row of this id among the runs and takes it away in the same transaction, so that nobody
//! ever sees it. If there is a run it conflicts; if one is being stored it waits for that; and
//! whoever stores one waits for it, and looks for stops behind its own row.

use quell_core::cluster::AskedStop;
use quell_core::store::{Accepted, Record};
use quell_durable::Pending;
use tokio_postgres::{Error, Row};

use crate::asked;
use crate::seat::Seat;
use crate::sql::Sql;
use crate::step::{Step, Value, id};

/// Reads a row of [`COME`](crate::sql): a stop whose run has come.
///
/// # Errors
///
/// Fails if it is none.
pub(crate) fn stop_of(row: &Row) -> Result<AskedStop, Error> {
    Ok(asked::read(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}

/// Makes the statement that uses up what was remembered for the runs that appends store; none if
/// they store no run, or the store is alone.
pub(crate) fn come<'a>(seat: &'a Seat, jobs: &[Pending]) -> Option<Step<'a>> {
    if seat.name.is_empty() {
        return None;
    }
    let stored = jobs.iter().filter(|pending| pending.verdict.is_ok());
    let records = stored.flat_map(|pending| &pending.job.writes).map(|write| &write.record);
    let accepted = records.filter_map(|record| match record {
        Record::Accepted(accepted) => Some(&**accepted),
        _ => None,
    });
    let (mut runs, mut of, mut scopes) = (Vec::new(), Vec::new(), Vec::new());
    for Accepted { run, stop_scopes, .. } in accepted {
        runs.push(id(*run));
        of.extend(stop_scopes.iter().map(|_| id(*run)));
        scopes.extend(stop_scopes.iter().map(|scope| scope.to_vec()));
    }
    if runs.is_empty() {
        return None;
    }
    let values: Vec<Value<'a>> =
        vec![Box::new(&*seat.name), Box::new(runs), Box::new(of), Box::new(scopes)];
    Some(Step { sql: Sql::Come, values, rows: 0, bytes: 0 })
}
