//! [`unreadable`]: what is in a file that is whole, and cannot be read.

use quell_core::RunId;
use quell_core::store::{StoreError, Stored, Unreadable};
use quell_durable::Listed;
use rusqlite::{Connection, Row};

use crate::event_row;
use crate::fault::fault;
use crate::read::checkpoint;
use crate::row::{columns, run_of};
use crate::schema;

/// Reads all runs, events and states of lanes one after the other, and yields the first ones that
/// cannot be read.
pub(crate) fn unreadable(on: &Connection, max: usize) -> Result<Vec<Unreadable>, StoreError> {
    let mut found = Vec::new();
    let mut search = Search { on, max, found: &mut found };
    search.each(&format!("select {} from run order by ord", columns(on)?), run_of)?;
    search.lost_texts()?;
    search.events()?;
    let states = "select c.nr, r.id, c.epoch, c.at, c.state from checkpoint c
        left join run r on r.ord = c.run order by c.nr";
    search.each(states, checkpoint)?;
    Ok(found)
}

/// What is left of a search.
struct Search<'a> {
    on: &'a Connection,
    max: usize,
    found: &'a mut Vec<Unreadable>,
}

impl Search<'_> {
    /// Reads every row.
    fn each<T>(
        &mut self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> Result<Listed<T>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.on.prepare(sql).map_err(|error| fault(&error))?;
        let mut rows = statement.query([]).map_err(|error| fault(&error))?;
        while self.found.len() < self.max
            && let Some(row) = rows.next().map_err(|error| fault(&error))?
        {
            let value: Stored<T> = read(row)?.value;
            self.found.extend(value.err());
        }
        Ok(())
    }

    /// Reads every event.
    fn events(&mut self) -> Result<(), StoreError> {
        let sql = format!(
            "select {}, r.id from event e left join run r on r.ord = e.root
            order by e.root, e.seq",
            event_row::columns(self.on)?
        );
        let mut statement = self.on.prepare(&sql).map_err(|error| fault(&error))?;
        let mut rows = statement.query([]).map_err(|error| fault(&error))?;
        while self.found.len() < self.max
            && let Some(row) = rows.next().map_err(|error| fault(&error))?
        {
            let events = event_row::events_of(id_of(row, 3), 0, row)?;
            let room = self.max - self.found.len();
            self.found.extend(events.into_iter().filter_map(|(event, _)| event.err()).take(room));
        }
        Ok(())
    }

    /// Finds the texts of runs that are said to stand elsewhere, and do not. A reader takes them
    /// for what was never stored. An end without a report is such a text, too.
    fn lost_texts(&mut self) -> Result<(), StoreError> {
        let all = ["spec", "input", "paused", "report", "annotations", "answer"];
        // A file of schema 1 has no answers.
        let known = if schema::number(self.on)? < 2 { 5 } else { all.len() };
        for (number, column) in all.iter().take(known).enumerate() {
            let is_ended =
                if *column == "report" { "or (status >= 3 and report is null)" } else { "" };
            let sql = format!(
                "select ord, id from run where ({column} = 0 and not exists
                    (select 1 from large where run = ord and what = {number})) {is_ended}
                order by ord"
            );
            self.each(&sql, |row| {
                let place = row.get(0).map_err(|error| fault(&error))?;
                let lost: Stored<()> = Err(Unreadable::new(id_of(row, 1), *column, "it is gone"));
                Ok(Listed { place, bytes: 0, value: lost })
            })?;
        }
        Ok(())
    }
}

/// Yields the id in a column; none if it is no id.
fn id_of(row: &Row<'_>, column: usize) -> Option<RunId> {
    let id = row.get::<_, [u8; 16]>(column).ok()?;
    Some(quell_durable::id_of(id))
}
