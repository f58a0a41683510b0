//! [`Member::forgotten`] hears of members that are gone for good, and of those that have come back;
//! [`Member::programs_before`] has others hear of that.
//!
//! The rows of `forgotten` and `hold` are the truth. A notification only says that it is time to
//! look, and one that was lost costs a second. What was released is no row of `hold` any more, so
//! that a look finds nothing most of the time.

use std::time::Duration;

use quell_core::cluster::ForgottenWork;
use quell_core::store::StoreError;
use quell_core::{RunId, limits};
use quell_durable::id_of;
use tokio::time::timeout;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::asked::column;
use crate::fault::{fault, in_time};
use crate::member::Member;

impl Member {
    /// Waits until runs of this member have work of members that were forgotten. Of many each call
    /// yields a further page, and then the first one again: those that cannot be released yet hold
    /// up no others.
    pub(crate) async fn forgotten(&self) -> Result<Vec<ForgottenWork>, StoreError> {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            let behind = *self.told.lock();
            let work = self.in_time(self.work(behind)).await?;
            let last = work.last().filter(|_| work.len() == limits::STORE_PAGE_MAX);
            *self.told.lock() = last.map(|last| last.run);
            if !work.is_empty() {
                return Ok(work);
            }
            if behind.is_some() {
                continue;
            }
            let _ = timeout(LOOK, news.changed()).await;
        }
    }

    /// Reads a page of it, behind a run.
    async fn work(&self, behind: Option<RunId>) -> Result<Vec<ForgottenWork>, StoreError> {
        let mut values = self.own();
        values.push(Box::new(i64::try_from(limits::STORE_PAGE_MAX).unwrap_or(i64::MAX)));
        values.push(Box::new(behind.map(|run| run.as_uuid())));
        let rows = self.rows(WORK, values).await?;
        rows.iter().map(|row| work(row).map_err(|error| fault(&error))).collect()
    }

    /// Says what is known of programs that processes before this one had begun under its name, and
    /// yields what has ended of runs of this one: page by page, each within a time limit.
    pub(crate) async fn programs_before(
        &self,
        have_ended: bool,
        limit: Duration,
    ) -> Result<Vec<ForgottenWork>, StoreError> {
        let mut values = self.own();
        values.push(Box::new(if have_ended { ENDED } else { IN_DOUBT }));
        let rows = in_time(limit, self.rows(SAY, values)).await?;
        if !rows.first().map_or(Ok(false), |row| column(row, 0))? {
            return Err(self.seat.lost());
        }
        let mut all = Vec::new();
        loop {
            let behind = all.last().map(|last: &ForgottenWork| last.run);
            let page = in_time(limit, self.work(behind)).await?;
            let is_last = page.len() < limits::STORE_PAGE_MAX;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
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
/// itself may go on, unless it knows that that has ended. Each is looked up: that is asked every
/// second, and most members that are named are neither forgotten nor back.
const WORK: &str = "select r.id, array_agg(distinct h.nr order by h.nr)
    from (select h.run, h.nr from forgotten f
        cross join lateral (
            select run, nr from hold where member = f.name and coalesce(boot, 0) <= f.boot
            offset 0) h
        union all select run, nr from hold where fate = 1) h
    cross join lateral (select id, node, status from run where ord = h.run offset 0) r
    where exists (select 1 from node where name = $1 and joined = $2)
    and (r.node = $1
        or r.status >= 3 and (select true from node n where n.name = r.node limit 1) is null)
    and ($4::uuid is null or r.id > $4)
    group by r.id order by r.id limit $3";

/// All that processes before have begun is known as theirs: who joins under a name, and who takes
/// over, notes it in the step that makes it somebody else's ([`BEGUN`](crate::begun::BEGUN)).
/// What is said stays with the work, whatever becomes of the member.
const SAY: &str = "with me as materialized (
        select name from node where name = $1 and joined = $2 for key share),
    said as (
        update hold set fate = $3::int2 where member = (select name from me)
        and what = 'process' and boot < $2 and fate is null returning fate),
    told as materialized (
        select pg_notify(channel, '') from node
        where lease_until > now() and exists (select 1 from said where fate = 1))
    select exists (select 1 from me), (select count(*) from told)";

/// What is said of programs: see [`FATES`](crate::latest::FATES).
const ENDED: i16 = 1;
const IN_DOUBT: i16 = 2;

/// How long nobody looks although nothing was heard.
const LOOK: Duration = Duration::from_secs(1);
