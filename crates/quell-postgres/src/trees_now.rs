//! [`trees_now`]: who is left of trees whose roots are stopping.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{RunNow, StoreError, StoredHold, TreeAsk, TreeNow};
use quell_core::{Cause, RunReport, RunRow};
use quell_durable::{HoldTexts, id_of, instant, millis, parsed};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::column;
use crate::readers::{Query, Readers};
use crate::step::{Value, id};
use crate::text::given;

/// Reads who is left of these trees, all in one statement.
pub(crate) async fn trees_now(
    on: &Readers,
    mut asked: Vec<TreeAsk>,
) -> Result<Vec<TreeNow>, StoreError> {
    asked.truncate(TreeNow::TREES_MAX);
    let mut trees = vec![TreeNow::default(); asked.len()];
    if asked.is_empty() {
        return Ok(trees);
    }
    let roots: Vec<_> = asked.iter().map(|ask| id(ask.root)).collect();
    let stopped: Vec<_> = asked.iter().map(|ask| millis(ask.stopped_at)).collect();
    let values: Vec<Value<'static>> = vec![Box::new(roots), Box::new(stopped)];
    let rows = on.rows(Query { sql: sql(), values, is_list: true }).await?;
    for row in &rows {
        let nth = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        if let Some((tree, ask)) = trees.get_mut(nth).zip(asked.get(nth)) {
            add(tree, ask, row)?;
        }
    }
    for tree in &mut trees {
        tree.omitted = tree.omitted.saturating_sub(tree.working.len() + tree.left.len());
    }
    Ok(trees)
}

/// Adds what a row says of its tree.
fn add(tree: &mut TreeNow, ask: &TreeAsk, row: &Row) -> Result<(), StoreError> {
    match column::<i64>(row, 1)? {
        COUNTS => {
            let count = |nth| Ok::<_, StoreError>(number(column(row, nth)?));
            (tree.live, tree.signalled) = (count(2)?, count(3)?);
            // All of them, until it is known how many are named.
            tree.omitted = count(4)? + count(5)?;
            tree.more = count(6)? > TreeNow::ROWS_MAX;
        }
        WORKS => tree.working.push(working(ask, row)?),
        // What is too large to be read is counted.
        _ => tree.left.extend(left(row)?),
    }
    Ok(())
}

fn working(ask: &TreeAsk, row: &Row) -> Result<RunNow, StoreError> {
    let run = id_of(column::<Uuid>(row, 7)?.into_bytes());
    let name: &str = column(row, 8)?;
    let at = instant(column(row, 2)?).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = if millis(at) > millis(ask.stopped_at) { at } else { ask.stopped_at };
    let cause = column::<Option<&str>>(row, 9)?.map(|text| parsed::<Cause>("cause", text));
    let own = cause.transpose()?.map(|cause| cause.at);
    let holds = column::<Option<&str>>(row, 10)?.map(|text| parsed::<Vec<HoldTexts>>("work", text));
    let hold = |(nr, what, name): HoldTexts| StoredHold::new(nr, what, given(&name).into());
    let holds = holds.transpose()?.unwrap_or_default().into_iter().map(hold).collect();
    let is_leaf = column::<i64>(row, 3)? != 0;
    let since = own.map_or(since, |own| own.min(since));
    Ok(RunNow { run, name: Arc::from(given(name)), since, is_leaf, holds })
}

fn left(row: &Row) -> Result<Option<RunRow>, StoreError> {
    let Some(text) = column::<Option<&str>>(row, 9)? else { return Ok(None) };
    let report: RunReport = parsed("report", text)?;
    Ok(report.rows.into_iter().next())
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

/// Writes the statement. Each tree is looked at by the index of its root; the rows of all that were
/// looked at are there once, and texts of those alone are sent that are yielded. Whether a run was
/// aborted its report says before the times and what it gave, which may have the same words.
fn sql() -> String {
    let (rows, names) = (TreeNow::ROWS_MAX + 1, TreeNow::NAMES_MAX);
    format!(
        "select t.nth, tree.* from
            unnest($1::uuid[], $2::int8[]) with ordinality t (root, stopped, nth)
        cross join lateral (
            with looked as materialized (
                select ord, id, parent, status, at, ended, quiescent, stop_mode
                from run where root = t.root limit {rows}),
            live as materialized (
                select l.ord, l.id, l.at, (c.parent is null) as is_leaf,
                    l.at <= t.stopped or coalesce(l.stop_mode, 0) > 0 as is_told,
                    (select json_agg(json_build_array(h.nr, h.what, h.name) order by h.nr)::text
                        from hold h where h.run = l.ord) as holds
                from looked l left join (
                    select distinct parent from looked where status < 3) c on c.parent = l.id
                where l.status < 3),
            works as materialized (
                select * from live where is_leaf or holds is not null),
            gone as materialized (
                select l.ord, l.id from looked l where status >= 3 and (not quiescent
                    or ended >= t.stopped and (
                        select strpos(split_part(r.report, '\"queued_at\":', 1),
                            '\"aborted\":true') > 0
                        from run r where r.ord = l.ord)))
            (select {WORKS}::int8 as what, w.at as a, w.is_leaf::int::int8 as b, 0::int8 as c,
                0::int8 as d, 0::int8 as e, w.id, run.name,
                case when run.stop_mode > 0 then run.stop_cause end as text, w.holds
                from (select * from works order by ord limit {names}) w
                cross join lateral (
                    select name, stop_mode, stop_cause from run where ord = w.ord offset 0) run
                order by w.ord)
            union all
            (select {LEFT}, 0, 0, 0, 0, 0, g.id, null,
                case when octet_length(run.report) <= {REPORT_BYTES_MAX} then run.report end, null
                from (select * from gone order by ord limit {names}) g
                cross join lateral (select report from run where ord = g.ord offset 0) run
                order by g.ord)
            union all
            select {COUNTS}, (select count(*) from live), (select count(*) from live where is_told),
                (select count(*) from works), (select count(*) from gone),
                (select count(*) from looked), null, null, null, null
        ) tree"
    )
}

/// What a row says.
const COUNTS: i64 = 0;
const WORKS: i64 = 1;
const LEFT: i64 = 2;

/// A larger report of a run below a root, which has its output, is not read: it is counted. All
/// that are read of one list are there at once.
const REPORT_BYTES_MAX: usize = 4 << 10;
