//! [`trees_now`]: who is left of trees whose roots are stopping.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{RunNow, StoreError, StoredHold, TreeAsk, TreeNow};
use quell_core::{Abandoned, Cause, RunId};
use quell_durable::{HoldTexts, id_of, instant, millis, parsed};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::column;
use crate::readers::{Query, Readers};
use crate::step::{Value, id};
use crate::text::given;
use crate::trees_sql::{ABORTED, COUNTS, HELD, SMALL_MAX, WORKS, sizes, sql};

/// Reads who is left of these trees: the small ones first, several in one statement, and each that
/// is large by itself. Of those that are not read in time, or cannot be, nothing is known.
///
/// # Errors
///
/// Fails if none could be read.
pub(crate) async fn trees_now(
    on: &Readers,
    mut asked: Vec<TreeAsk>,
) -> Result<Vec<TreeNow>, StoreError> {
    asked.truncate(TreeNow::TREES_MAX);
    let until = Instant::now() + WAIT;
    let sizes = match &asked[..] {
        [] | [_] => vec![0; asked.len()],
        _ => sizes_of(on, &asked).await?,
    };
    let mut trees = vec![TreeNow::unknown(); asked.len()];
    let (mut is_any_read, mut trouble) = (asked.is_empty(), None);
    for part in portions(&sizes) {
        let asks: Vec<_> = part.iter().filter_map(|nth| asked.get(*nth)).copied().collect();
        match timeout_at(until, read(on, &asks)).await {
            Ok(Ok(read)) => {
                is_any_read = true;
                part.into_iter().zip(read).for_each(|(nth, tree)| trees[nth] = tree);
            }
            Ok(Err(error)) => trouble = Some(error),
            // There is no time for those behind it, which are larger.
            Err(_) => break,
        }
    }
    match trouble {
        Some(error) if !is_any_read => Err(error),
        _ => Ok(trees),
    }
}

/// Counts the runs of trees, as far as it matters which are small.
async fn sizes_of(on: &Readers, asked: &[TreeAsk]) -> Result<Vec<usize>, StoreError> {
    let roots: Vec<_> = asked.iter().map(|ask| id(ask.root)).collect();
    let query = Query { sql: sizes(), values: vec![Box::new(roots)], is_list: true };
    let rows = on.rows(query).await?;
    rows.iter().map(|row| Ok(number(column(row, 0)?))).collect()
}

/// Puts the places of trees together of which one statement reads: the smallest first, and large
/// ones by themselves.
fn portions(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut places: Vec<_> = (0..sizes.len()).collect();
    places.sort_by_key(|nth| sizes[*nth]);
    let (mut parts, mut has) = (Vec::<Vec<usize>>::new(), 0);
    for nth in places {
        has += sizes[nth];
        match parts.last_mut() {
            Some(part) if has <= PORTION_MAX && sizes[nth] <= SMALL_MAX => part.push(nth),
            _ => {
                has = sizes[nth];
                parts.push(vec![nth]);
            }
        }
    }
    parts
}

/// Reads trees by one statement.
async fn read(on: &Readers, asked: &[TreeAsk]) -> Result<Vec<TreeNow>, StoreError> {
    let roots: Vec<_> = asked.iter().map(|ask| id(ask.root)).collect();
    let stopped: Vec<_> = asked.iter().map(|ask| millis(ask.stopped_at)).collect();
    let values: Vec<Value<'static>> = vec![Box::new(roots), Box::new(stopped)];
    let rows = on.rows(Query { sql: sql(), values, is_list: true }).await?;
    let mut trees = vec![TreeNow::default(); asked.len()];
    for row in &rows {
        let nth = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        if let Some((tree, ask)) = trees.get_mut(nth).zip(asked.get(nth)) {
            add(tree, ask, row)?;
        }
    }
    for tree in &mut trees {
        let named = tree.working.len() + tree.aborted.len() + tree.abandoned.len();
        tree.omitted = tree.omitted.saturating_sub(named);
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
            tree.omitted = count(4)?;
            tree.more = count(5)? > TreeNow::ROWS_MAX;
        }
        WORKS => tree.working.push(working(ask, row)?),
        ABORTED => tree.aborted.push((run(row)?, name(row)?)),
        HELD => {
            let (nr, what, name) = parsed::<HoldTexts>("work", column(row, 8)?)?;
            let hold = StoredHold::new(nr, what, given(&name).into());
            tree.abandoned.push(hold.abandoned(run(row)?));
        }
        _ => {
            let mut left = parsed::<Abandoned>("report", column(row, 8)?)?;
            if left.name.contains(NUL) {
                left.name = left.name.replace(NUL, "\0").into();
            }
            tree.abandoned.push(left);
        }
    }
    Ok(())
}

fn run(row: &Row) -> Result<RunId, StoreError> {
    Ok(id_of(column::<Uuid>(row, 6)?.into_bytes()))
}

fn name(row: &Row) -> Result<Arc<str>, StoreError> {
    Ok(Arc::from(given(column(row, 7)?)))
}

fn working(ask: &TreeAsk, row: &Row) -> Result<RunNow, StoreError> {
    let at = instant(column(row, 2)?).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = if millis(at) > millis(ask.stopped_at) { at } else { ask.stopped_at };
    let cause = column::<Option<&str>>(row, 8)?.map(|text| parsed::<Cause>("cause", text));
    let own = cause.transpose()?.map(|cause| cause.at);
    let holds = column::<Option<&str>>(row, 9)?.map(|text| parsed::<Vec<HoldTexts>>("work", text));
    let hold = |(nr, what, name): HoldTexts| StoredHold::new(nr, what, given(&name).into());
    let holds = holds.transpose()?.unwrap_or_default().into_iter().map(hold).collect();
    let is_leaf = column::<i64>(row, 3)? != 0;
    let since = own.map_or(since, |own| own.min(since));
    Ok(RunNow { run: run(row)?, name: name(row)?, since, is_leaf, holds })
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

/// How a NUL is read that a report has in a name.
const NUL: &str = r"\u0000";

/// How long all trees of a list may take. Who asks waits for 5 s at most, and for nothing behind
/// that.
const WAIT: Duration = Duration::from_secs(3);

/// Runs of trees that one statement looks at, unless one tree has more. Of each a large report may
/// be looked through, so that more of them take too long together.
const PORTION_MAX: usize = SMALL_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_trees_are_read_together_and_first_and_large_ones_by_themselves() {
        let most = SMALL_MAX + 1;
        let sizes = [most, 3, SMALL_MAX, most, 0, 3];
        assert_eq!(portions(&sizes), [vec![4, 1, 5], vec![2], vec![0], vec![3]]);
        let many = [SMALL_MAX / 10; 25];
        let parts: Vec<_> = portions(&many).iter().map(Vec::len).collect();
        assert_eq!(parts, [10, 10, 5]);
        assert_eq!(portions(&[]), [[0; 0]; 0]);
    }
}
