//! [`list`]: the runs that a filter means.

use quell_core::store::{Cursor, Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunFilter, RunStatus, limits};
use quell_durable::{Listed, bits, meant};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use crate::fault::fault;
use crate::row::{columns_but, run_of};

/// Rows that one read looks at, those that the filter does not mean included.
const ROWS_MAX: usize = 10_000;

/// Reads the runs that a filter means, the last one first.
pub(crate) fn list(
    on: &Connection,
    filter: &RunFilter,
    page: Page,
) -> Result<Pages<Stored<RunRecord>>, StoreError> {
    let before = page.begin().map_or(i64::MAX, |cursor| bits(cursor.as_u64()));
    let Some((sql, values)) = select(filter, before) else { return Ok(Pages::none()) };
    let whole = format!("select {} from run where ord = ?", columns_but(on, page.omitted())?);
    let mut looked = on.prepare_cached(&sql).map_err(|error| fault(&error))?;
    let mut whole = on.prepare_cached(&whole).map_err(|error| fault(&error))?;
    let mut rows = looked.query(params_from_iter(values)).map_err(|error| fault(&error))?;
    let (mut items, mut ends, mut sum) = (Vec::new(), Vec::new(), 0_usize);
    let (mut count, mut last) = (0_usize, None);
    while let Some(row) = rows.next().map_err(|error| fault(&error))? {
        if count == ROWS_MAX {
            return Ok(Pages { items, ends, next: last });
        }
        count += 1;
        let ord: i64 = row.get(0).map_err(|error| fault(&error))?;
        if row.get(1).map_err(|error| fault(&error))? {
            let read = whole.query_row([ord], |row| Ok(run_of(row))).optional();
            // An index that names a row which is not there is damage of the file.
            let gone = || StoreError::Corrupt { what: format!("no row {ord} is in its table") };
            let read = read.map_err(|error| fault(&error))?.ok_or_else(gone)?;
            let Listed { bytes, mut value, .. } = read?;
            let omitted = value.as_mut().map(|run| page.omitted().take_out(&mut run.accepted));
            sum = sum.saturating_add(bytes.saturating_sub(omitted.unwrap_or_default()));
            let is_full = items.len() == page.limit() || sum > limits::STORE_PAGE_BYTES_MAX;
            if is_full && !items.is_empty() {
                return Ok(Pages { items, ends, next: last });
            }
            items.push(value);
            ends.push(Cursor::from_u64(ord.cast_unsigned()));
        }
        last = Some(Cursor::from_u64(ord.cast_unsigned()));
    }
    Ok(Pages { items, ends, next: None })
}

/// Writes the query of a filter: what is looked at, the last one first, and whether it is meant;
/// none if it means nothing.
/// Looked at is what is there least often: runs that are live, of a label, of an owner.
fn select(filter: &RunFilter, before: i64) -> Option<(String, Vec<Value>)> {
    let mut statuses = RunStatus::ALL.into_iter().filter(|status| filter.lets_through(*status));
    let is_live = statuses.all(|status| !status.is_terminal());
    let text = |text: &str| Value::Text(text.to_owned());
    let label = filter.asked_labels().iter().next();
    let (from, ord, of_rows) = match (label, filter.asked_owner()) {
        _ if is_live => ("run indexed by run_live where status < 3", "ord", vec![]),
        (Some((key, value)), _) => (
            "label l cross join run on run.ord = l.run where l.key = ? and l.value = ?",
            "l.run",
            vec![text(key), text(value)],
        ),
        (None, Some(owner)) => {
            ("run indexed by run_owner where owner = ?", "ord", vec![text(owner)])
        }
        (None, None) => ("run where true", "ord", vec![]),
    };
    let mut values = Vec::new();
    let meant = meant(filter, |asked| {
        values.push(text(asked));
        "?".to_owned()
    })?;
    let sql = format!(
        "select {ord}, ({meant}) is true from {from} and {ord} < ? order by {ord} desc limit ?"
    );
    values.extend(of_rows);
    let most = i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX);
    values.extend([before.into(), most.into()]);
    Some((sql, values))
}
