//! [`Member::forgotten`] hears of members that are gone for good, and of those that have come back.
//!
//! The row of `forgotten` is the truth. A notification only says that it is time to look, and one
//! that was lost costs a second. What was released is no row of `hold` any more, so that a look
//! finds nothing most of the time.

use std::time::Duration;

use quell_core::cluster::ForgottenWork;
use quell_core::limits;
use quell_core::store::StoreError;
use quell_durable::id_of;
use tokio::time::timeout;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::fault::fault;
use crate::member::Member;

impl Member {
    /// Waits until runs of this member have work of members that were forgotten.
    pub(crate) async fn forgotten(&self) -> Result<Vec<ForgottenWork>, StoreError> {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            let mut values = self.own();
            values.push(Box::new(i64::try_from(limits::STORE_PAGE_MAX).unwrap_or(i64::MAX)));
            let rows = self.in_time(self.rows(WORK, values)).await?;
            if !rows.is_empty() {
                return rows.iter().map(|row| work(row).map_err(|error| fault(&error))).collect();
            }
            let _ = timeout(LOOK, news.changed()).await;
        }
    }
}

fn work(row: &Row) -> Result<ForgottenWork, Error> {
    let (run, holds): (Uuid, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let holds = holds.into_iter().filter_map(|nr| u32::try_from(nr).ok()).collect();
    Ok(ForgottenWork { run: id_of(run.into_bytes()), holds })
}

/// A member has the runs that it owns. Of one that has ended, and whose owner is gone, any has what
/// remains to be said.
///
/// Who has joined under a name knows that the process before is gone. What that had begun beside
/// itself may go on. Each is looked up: that is asked every second, and of most members that are
/// named nothing has been forgotten.
const WORK: &str = "select r.id, array_agg(distinct h.nr order by h.nr)
    from (select name, boot, true as is_all from forgotten
        union all select name, joined - 1, false from node) f
    cross join lateral (
        select run, nr from hold where member = f.name and coalesce(boot, 0) <= f.boot
        and (f.is_all or what = 'node') offset 0) h
    cross join lateral (select id, node, status from run where ord = h.run offset 0) r
    where exists (select 1 from node where name = $1 and joined = $2)
    and (r.node = $1
        or r.status >= 3 and (select true from node n where n.name = r.node limit 1) is null)
    group by r.id order by r.id limit $3";

/// How long nobody looks although nothing was heard.
const LOOK: Duration = Duration::from_secs(1);
