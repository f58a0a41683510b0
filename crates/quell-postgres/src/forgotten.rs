//! [`Member::forgotten`] hears of members that are gone for good, and of those that have come back;
//! [`Member::programs_before`] has others hear of that.
//!
//! The rows of `forgotten` and `hold` are the truth. A notification only says that it is time to
//! look, and one that was lost costs a second. What was released is no row of `hold` any more, so
//! that a look finds nothing most of the time.

use std::time::Duration;

use quell_core::cluster::ForgottenWork;
use quell_core::limits;
use quell_core::store::StoreError;
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
            let (work, next) = self.in_time(self.work(behind)).await?;
            *self.told.lock() = next;
            if !work.is_empty() {
                return Ok(work);
            }
            if next.is_none() {
                let _ = timeout(LOOK, news.changed()).await;
            }
        }
    }

    /// Reads a page of it, behind the run of a number. Yields the last number of the page as well,
    /// if there may be more behind it: what is read may be of other members.
    async fn work(
        &self,
        behind: Option<i64>,
    ) -> Result<(Vec<ForgottenWork>, Option<i64>), StoreError> {
        let mut values = self.own();
        values.push(Box::new(i64::try_from(limits::STORE_PAGE_MAX).unwrap_or(i64::MAX)));
        values.push(Box::new(behind.unwrap_or_default()));
        let rows = self.rows(WORK, values).await?;
        let next = rows.first().map_or(Ok(None), |row| column(row, 0))?;
        let work = rows.iter().filter_map(|row| work(row).transpose());
        Ok((work.collect::<Result<_, _>>().map_err(|error| fault(&error))?, next))
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
        let (mut all, mut behind) = (Vec::new(), None);
        loop {
            let (page, next) = in_time(limit, self.work(behind)).await?;
            all.extend(page);
            if next.is_none() {
                return Ok(all);
            }
            behind = next;
        }
    }
}

/// None of a page that has no work of this member.
fn work(row: &Row) -> Result<Option<ForgottenWork>, Error> {
    let (run, holds): (Option<Uuid>, Option<Vec<i64>>) = (row.try_get(1)?, row.try_get(2)?);
    let Some(run) = run else { return Ok(None) };
    let holds = holds.into_iter().flatten().filter_map(|nr| u32::try_from(nr).ok()).collect();
    Ok(Some(ForgottenWork { run: id_of(run.into_bytes()), holds }))
}

/// A member has the runs that it owns. Of one that has ended, and whose owner is gone, any has what
/// remains to be said.
///
/// Who has joined under a name knows that the process before is gone. What that had begun beside
/// itself may go on, unless it knows that that has ended. Each is looked up: that is asked every
/// second, and most members that are named are neither forgotten nor back. Nobody counts what has
/// ended: a page ends at a run, whoever has that, and nothing of the other pages is looked up.
const WORK: &str = "with page as materialized (
        select run from (
            (select run from hold where fate = 1 and run > $4 order by run limit $3)
            union all
            (select h.run from forgotten f cross join lateral (
                select run from (
                    select run from hold where member = f.name and coalesce(boot, 0) <= f.boot
                    offset 0) h
                where run > $4 order by run limit $3) h)) c
        order by run limit $3),
    last as materialized (select max(run) as run, count(*) = $3 as has_more from page),
    work as (
        select h.run, array_agg(h.nr order by h.nr) as nrs
        from hold h where h.run = any(array(select run from page))
        and (h.fate = 1 or exists (select 1 from forgotten f
            where f.name = h.member and coalesce(h.boot, 0) <= f.boot))
        group by h.run)
    select case when last.has_more then last.run end, of.id, of.nrs
    from last left join lateral (
        select r.id, w.nrs from work w
        cross join lateral (select id, node, status from run where ord = w.run offset 0) r
        where r.node = $1
        or r.status >= 3 and (select true from node n where n.name = r.node limit 1) is null) of
    on true
    where exists (select 1 from node where name = $1 and joined = $2)";

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
