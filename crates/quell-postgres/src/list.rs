//! [`list`]: the runs that a filter means.

use quell_core::store::{Cursor, Page, Pages, RunRecord, StoreError, Stored};
use quell_core::{RunFilter, RunStatus};
use quell_durable::{Listed, bits, meant};
use tokio_postgres::Row;

use crate::fault::fault;
use crate::read::{FIRST, more_than, paged};
use crate::readers::{Query, Readers};
use crate::row::{columns_but, run_of};
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
        let Listed { place, mut value, .. } = run_of(row, 1 + FIRST);
        if let Ok(run) = &mut value {
            // What the server could not leave out.
            page.omitted().take_out(&mut run.accepted);
        }
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
/// runs that are live, of a label, of an owner, in the order of an index, so that no more is looked
/// at than a page has.
fn query(filter: &RunFilter, page: Page) -> Option<Query> {
    let before = page.begin().map_or(i64::MAX, |cursor| bits(cursor.as_u64()));
    let mut values: Vec<Value<'static>> = vec![Box::new(before)];
    let mut bind = |text: &str| {
        values.push(Box::new(kept(text).into_owned()));
        format!("${}", values.len())
    };
    let mut statuses = RunStatus::ALL.into_iter().filter(|status| filter.lets_through(*status));
    let is_live = statuses.all(|status| !status.is_terminal());
    let meant = meant(filter, &mut bind)?;
    let label = filter.asked_labels().iter().next();
    let of_label = "cross join lateral (select * from run where ord = l.run offset 0) run";
    let (from, with, is_in, ord) = match (label, filter.asked_owner()) {
        _ if is_live => ("run", "", "status < 3".to_owned(), "ord"),
        (Some((key, value)), _) => {
            let both = [("l.key", bind(key)), ("l.value", bind(value))];
            let is = |(column, text): &(&str, String)| {
                let hash = |text: &str| format!("hashtextextended({text}, 0)");
                format!("{} = {} and {column} = {text}", hash(column), hash(text))
            };
            ("label l", of_label, both.each_ref().map(is).join(" and "), "l.run")
        }
        (None, Some(owner)) => {
            // By both columns of its index: the last runs of all may be those of others.
            let owner = bind(owner);
            let (above, below) = (format!("({owner}, 0)"), format!("({owner}, $1)"));
            let both = format!("(owner, ord) > {above} and (owner, ord) < {below}");
            ("run", "", format!("owner is not null and {both}"), "ord")
        }
        (None, None) => ("run", "", "true".to_owned(), "ord"),
    };
    let is_of_owner = !is_live && label.is_none() && filter.asked_owner().is_some();
    let (also, by) = if is_of_owner { (", owner", "owner desc, ") } else { ("", "") };
    values.push(more_than(page));
    let limit = values.len();
    let looked = |with: &str, more: &str, most: usize| {
        format!(
            "(select {ord} as ord{also}{more} from {from} {with} where {is_in} and {ord} < $1
                order by {by}{ord} desc limit {most}) looked"
        )
    };
    let (columns, given, size) = columns_but(page.omitted());
    let runs = format!(
        "select {size} as size, {columns} from (
            select ord from {looked} where is_meant order by {by}ord desc limit ${limit}) meant
        cross join lateral (select * from run where ord = meant.ord offset 0) run {given}
        order by meant.ord desc",
        looked = looked(with, &format!(", ({meant}) is true as is_meant"), ROWS_MAX),
    );
    // A page that is full says itself where the next one begins.
    let sql = format!(
        "select case when page.found = ${limit} then null else (
                select max(ord) from (
                    select ord from {all} order by {by}ord desc offset {last} limit 2) last
                having count(*) = 2) end as looked_to, page.*
        from (select 1) one left join ({page}) page on true",
        all = looked("", "", ROWS_MAX + 1),
        last = ROWS_MAX - 1,
        page = paged(&runs, "ord desc", limit),
    );
    Some(Query { sql, values, is_list: true })
}
