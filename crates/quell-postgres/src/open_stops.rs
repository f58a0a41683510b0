//! [`open_stops`]: what the tables know of stops beside the runs that are stopping.

use quell_core::RunId;
use quell_core::cluster::{AskedStop, OpenStops};
use quell_core::limits;
use quell_core::store::StoreError;
use quell_durable::{id_of, instant};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::{self, column};
use crate::readers::{Query, Readers};

/// Reads what was asked for and not answered, and the roots that were stopped, have ended, and are
/// not quiescent: of trees of this owner, or of all.
pub(crate) async fn open_stops(
    on: &Readers,
    owner: Option<String>,
) -> Result<OpenStops, StoreError> {
    let (asked, has_more) = read(on, ASKED, owner.clone(), asked_of).await?;
    let (left, is_more) = read(on, LEFT, owner, root_of).await?;
    Ok(OpenStops { asked, left, more: has_more || is_more })
}

/// Reads a page, and tells whether there is more.
async fn read<T>(
    on: &Readers,
    sql: &str,
    owner: Option<String>,
    of: fn(&Row) -> Result<Option<T>, StoreError>,
) -> Result<(Vec<T>, bool), StoreError> {
    let most = i64::try_from(limits::STORE_PAGE_MAX + 1).unwrap_or(i64::MAX);
    let (sql, values) = (sql.to_owned(), vec![Box::new(owner) as _, Box::new(most) as _]);
    let rows = on.rows(Query { sql, values, is_list: true }).await?;
    let page = rows.iter().take(limits::STORE_PAGE_MAX);
    let page = page.filter_map(|row| of(row).transpose()).collect::<Result<_, _>>()?;
    Ok((page, rows.len() > limits::STORE_PAGE_MAX))
}

/// None if the run that is meant is gone, and a later one has its id.
fn asked_of(row: &Row) -> Result<Option<AskedStop>, StoreError> {
    let (nr, run, request) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    let stop = asked::read(nr, run, request, column(row, 3)?);
    let accepted_at = instant(column(row, 4)?);
    Ok(Some(stop).filter(|stop| accepted_at.is_none_or(|at| stop.means(at))))
}

fn root_of(row: &Row) -> Result<Option<RunId>, StoreError> {
    Ok(Some(id_of(column::<Uuid>(row, 0)?.into_bytes())))
}

/// Acts have an answer from the beginning.
const ASKED: &str = "select s.nr, s.run, s.request, s.at, r.at from stop s
    join run r on r.id = s.run join run tree on tree.id = coalesce(r.root, r.id)
    where s.answer is null and ($1::text is null or tree.owner = $1)
    order by s.nr limit $2";

/// As the index says of which runs it is.
const LEFT: &str = "select id from run where status >= 3 and not quiescent
    and parent is null and stop_mode is not null and ($1::text is null or owner = $1)
    order by ord limit $2";
