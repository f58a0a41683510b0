//! [`list`]: the runs that a filter means.

use quell_core::store::{Cursor, Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunFilter, RunStatus};
use quell_durable::{Listed, bits, meant};
use tokio_postgres::Row;

use crate::fault::fault;
use crate::read::{FIRST, more_than, paged};
use crate::readers::{Query, Readers};
use crate::row::{COLUMNS, run_of};
use crate::step::Value;
use crate::text::kept;

/// Rows that one read looks at, those that the filter does not mean included.
const ROWS_MAX: usize = 10_000;

/// Reads the runs that a filter means, the last one first.
pub(crate) async fn list(
    on: &Readers,
    filter: &RunFilter,
    page: Page,
) -> Result<Pages<Stored<RunRecord>>, StoreError> {
    let Some(query) = query(filter, page) else { return Ok(Pages::none()) };
    let rows = on.rows(query).await?;
    // The first two columns say where the look has ended before all was looked at, if it has.
    let Some(first) = rows.first() else { return Ok(Pages::none()) };
    let looked_to = first.try_get::<_, Option<i64>>(0).map_err(|error| fault(&error))?;
    let found = first.try_get::<_, Option<i64>>(1).map_err(|error| fault(&error))?;
    let (mut items, mut ends) = (Vec::new(), Vec::new());
    let is_any = |row: &&Row| row.try_get::<_, Option<i64>>(1).is_ok_and(|found| found.is_some());
    for row in rows.iter().filter(is_any) {
        let Listed { place, value, .. } = run_of(row, 1 + FIRST);
        items.push(value);
        ends.push(Cursor::from_u64(place.cast_unsigned()));
    }
    let is_whole = i64::try_from(items.len()).is_ok_and(|read| read == found.unwrap_or_default());
    let next = if is_whole {
        looked_to.map(|ord| Cursor::from_u64(ord.cast_unsigned()))
    } else {
        ends.last().copied()
    };
    Ok(Pages { items, ends, next })
}

/// Writes the query of a filter; none if it means nothing. Looked at is what is there least often:
/// runs that are live, of a label, of an owner. The latter begin and end at a row of their index,
/// as in [`recover`](crate::read::recover).
fn query(filter: &RunFilter, page: Page) -> Option<Query> {
    let mut values: Vec<Value<'static>> = Vec::new();
    let mut bind = |text: &str| {
        values.push(Box::new(kept(text).into_owned()));
        format!("${}", values.len())
    };
    let mut statuses = RunStatus::ALL.into_iter().filter(|status| filter.lets_through(*status));
    let is_live = statuses.all(|status| !status.is_terminal());
    let meant = meant(filter, &mut bind)?;
    let label = filter.asked_labels().iter().next();
    let (from, found_by, ord) = match (label, filter.asked_owner()) {
        _ if is_live => ("run where status < 3".to_owned(), Vec::new(), "ord"),
        (Some((key, value)), _) => {
            let (key, value) = (bind(key), bind(value));
            let from = format!(
                "label l cross join lateral (select * from run where ord = l.run offset 0) run
                where l.key = {key} and l.value = {value}"
            );
            let hash = |text: &str| format!("hashtextextended({text}, 0)");
            let by = [("l.key", key), ("l.value", value)];
            (from, by.map(|(column, text)| (hash(column), hash(&text))).to_vec(), "l.run")
        }
        (None, Some(owner)) => (
            "run where owner is not null".to_owned(),
            vec![("owner".to_owned(), bind(owner))],
            "ord",
        ),
        (None, None) => ("run where true".to_owned(), Vec::new(), "ord"),
    };
    let before = page.begin().map_or(i64::MAX, |cursor| bits(cursor.as_u64()));
    values.push(Box::new(before));
    let (before, limit) = (values.len(), values.len() + 1);
    values.push(more_than(page));
    let runs = format!(
        "select run.bytes as size, {COLUMNS} from (
            select ord from looked where is_meant order by ord desc limit ${limit}) meant
        cross join lateral (select * from run where ord = meant.ord offset 0) run
        order by meant.ord desc"
    );
    let columns = || found_by.iter().map(|(column, _)| &**column).chain([ord]);
    let row = |last: &str| {
        let first = found_by.iter().map(|(_, value)| &**value);
        first.chain([last]).collect::<Vec<_>>().join(", ")
    };
    let sql = format!(
        "with looked as materialized (
            select {ord} as ord, ({meant}) is true as is_meant from {from}
            and ({columns}) > ({first}) and ({columns}) < ({end})
            order by {order} limit {most})
        select (select ord from looked where (select count(*) from looked) = {most}
                order by ord desc offset {last} limit 1) as looked_to, page.*
        from (select 1) one left join ({page}) page on true",
        columns = columns().collect::<Vec<_>>().join(", "),
        first = row("0"),
        end = row(&format!("${before}")),
        order = columns().map(|column| format!("{column} desc")).collect::<Vec<_>>().join(", "),
        most = ROWS_MAX + 1,
        last = ROWS_MAX - 1,
        page = paged(&runs, "ord desc", limit),
    );
    Some(Query { sql, values, is_list: true })
}
