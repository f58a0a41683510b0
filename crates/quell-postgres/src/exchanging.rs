//! A member exchanges slots of limits that all keep together: [`crate::slots`] says how they agree.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use quell_core::cluster::{SlotShare, SlotsAsked, SlotsHeld, SlotsShared, share};
use quell_core::store::StoreError;
use tokio_postgres::Row;

use crate::asked::{column, now};
use crate::member::{Member, SESSIONS};
use crate::readers::Query;
use crate::slots::MOVED;
use crate::step::Value;
use crate::text::{given, kept};

/// A limit, as it was read.
#[derive(Debug, Default)]
struct Stands {
    max: usize,
    set_by: Arc<str>,
    taken: usize,
    own: SlotShare,
    /// The number of the last exchange of this member, as its part has it.
    nr: i64,
    others: Vec<SlotShare>,
}

impl Member {
    /// Waits until limits are to be looked at; none are named if any may be.
    pub(crate) async fn slots_moved(&self) -> Result<Vec<Arc<str>>, StoreError> {
        loop {
            if let Some(moved) = self.slots.take_moved() {
                return Ok(moved);
            }
            self.slots.moved.notified().await;
        }
    }

    /// Exchanges slots of limits; without any, yields those of which this member has slots.
    pub(crate) async fn slots(&self, asked: Vec<SlotsAsked>) -> Result<Vec<SlotsHeld>, StoreError> {
        if asked.is_empty() {
            let rows = self.rows(HELD, self.own()).await?;
            return rows.iter().map(held).collect();
        }
        let all = stream::iter(asked).map(|asked| self.exchange(asked));
        // A session is left for what is asked of runs.
        all.buffered(SESSIONS - 1).try_collect().await
    }

    async fn exchange(&self, asked: SlotsAsked) -> Result<SlotsHeld, StoreError> {
        for _ in 0..TRIES {
            let is_known = self.slots.state.lock().known.contains(&asked.limit);
            if !is_known {
                self.register(&asked).await?;
            }
            let Some(stands) = self.stands(&asked.limit).await? else {
                // Its rows have left because nobody used them.
                self.slots.state.lock().known.remove(&asked.limit);
                continue;
            };
            let wanted = (asked.give, asked.want, asked.spare);
            let shared = share(stands.max, stands.own, &stands.others, wanted);
            // What may still come has no larger number, and none at all behind a write.
            let is_unsure = stands.nr < self.slots.unanswered.load(Ordering::Acquire);
            let changes = shared.gave + shared.got > 0 || shared.wants != stands.own.wants;
            if !changes && !is_unsure {
                return Ok(answer(&asked, &stands, shared, stands.own.held, stands.taken));
            }
            if let Some((held, taken)) = self.write(&asked, shared).await? {
                return Ok(answer(&asked, &stands, shared, held, taken));
            }
            // Another one was before, or its rows have left because nobody used them.
            self.slots.state.lock().known.remove(&asked.limit);
        }
        // It may ask again: nothing has changed.
        let what = format!("too many nodes take slots of the limit `{}`", asked.limit);
        Err(StoreError::Io { what })
    }

    /// Makes the rows of a limit, and has the maximum be what this member was told, unless one has
    /// set it that joined later.
    async fn register(&self, asked: &SlotsAsked) -> Result<(), StoreError> {
        let max = asked.max.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
        let mut values = self.own();
        values.push(Box::new(kept(&asked.limit).into_owned()));
        values.push(Box::new(self.slots.nr.load(Ordering::Acquire)));
        values.push(Box::new(kept(&asked.scope).into_owned()));
        values.push(Box::new(max));
        let query = |sql: &str| Query { sql: sql.to_owned(), values: Vec::new(), is_list: false };
        self.sessions.transaction(vec![query(LAPSE), query(SWEEP)]).await?;
        let rows = self.rows(REGISTER, values).await?;
        if rows.is_empty() {
            return Err(self.seat.lost());
        }
        self.slots.state.lock().know(&asked.limit);
        Ok(())
    }

    /// Reads how a limit stands; none if it has no rows.
    async fn stands(&self, limit: &Arc<str>) -> Result<Option<Stands>, StoreError> {
        let limit: Value<'static> = Box::new(kept(limit).into_owned());
        let rows = self.rows(READ, vec![limit]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut stands = Stands::default();
        for row in &rows {
            stands.max = count(row, 0)?;
            stands.set_by = column::<String>(row, 1)?.into();
            stands.taken = count(row, 2)?;
            let Some(node) = column::<Option<String>>(row, 3)? else { continue };
            let since = column::<i64>(row, 6)?.cast_unsigned();
            let share = SlotShare { held: count(row, 4)?, wants: count(row, 5)?, since };
            if *node == *self.seat.name {
                (stands.own, stands.nr) = (share, column(row, 7)?);
            } else {
                stands.others.push(share);
            }
        }
        Ok(Some(stands))
    }

    /// Changes what this member has, if it is free. Yields how many it has then, and all have.
    async fn write(
        &self,
        asked: &SlotsAsked,
        shared: SlotsShared,
    ) -> Result<Option<(usize, usize)>, StoreError> {
        let SlotsShared { gave, got, wants, is_last, tells, .. } = shared;
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let limit = kept(&asked.limit).into_owned();
        let words = format!("{MOVED}{} {limit}", self.seat.joined);
        let nr = self.slots.nr.fetch_add(1, Ordering::AcqRel) + 1;
        let mut values = self.own();
        values.push(Box::new(limit));
        values.push(Box::new(nr));
        values.push(Box::new(number(got) - number(gave)));
        values.push(Box::new(number(wants)));
        values.push(Box::new(is_last));
        values.push(Box::new(tells));
        values.push(Box::new(self.target.shared_channel()));
        values.push(Box::new(words));
        let sent = self.slots.begin(nr);
        let rows = self.rows(WRITE, values).await?;
        sent.answered();
        let Some(row) = rows.first() else { return Ok(None) };
        if !column::<bool>(row, 0)? {
            return Err(self.seat.lost());
        }
        let Some(held) = column::<Option<i64>>(row, 1)? else { return Ok(None) };
        Ok(Some((usize::try_from(held).unwrap_or(0), count(row, 2)?)))
    }
}

fn answer(
    asked: &SlotsAsked,
    stands: &Stands,
    shared: SlotsShared,
    held: usize,
    taken: usize,
) -> SlotsHeld {
    SlotsHeld {
        limit: Arc::clone(&asked.limit),
        max: stands.max,
        set_by: Arc::clone(&stands.set_by),
        held,
        taken,
        waits: shared.wants > 0,
        may_keep: shared.may_keep,
    }
}

/// Reads a row of [`HELD`].
fn held(row: &Row) -> Result<SlotsHeld, StoreError> {
    Ok(SlotsHeld {
        limit: given(column(row, 0)?).into(),
        max: count(row, 1)?,
        set_by: column::<String>(row, 2)?.into(),
        held: count(row, 3)?,
        taken: count(row, 4)?,
        waits: count(row, 5)? > 0,
        may_keep: None,
    })
}

fn count(row: &Row, nth: usize) -> Result<usize, StoreError> {
    column::<i64>(row, nth).map(|count| usize::try_from(count).unwrap_or(0))
}

/// How often an exchange is decided anew, because others are before it.
const TRIES: usize = 16;

const REGISTER: &str = concat!(
    "with me as materialized (
        select name, joined from node where name = $1 and joined = $2 for key share),
    told as (
        insert into quota_scope (scope, max, boot, set_by)
        select $5::text, $6::int8, joined, name from me where $6 is not null
        on conflict (scope) do update
        set max = excluded.max, boot = excluded.boot, set_by = excluded.set_by
        where quota_scope.boot < excluded.boot),
    made as (
        insert into quota (name, scope, taken) select $3::text, $5, 0 from me
        on conflict do nothing),
    part as (
        insert into quota_part (name, node, held, wants, since, nr)
        select $3, name, 0, 0, ",
    now!(),
    ", $4::int8 from me on conflict do nothing)
    select 1 from me"
);

/// What nobody has used for a while leaves: owners have limits of their own. The limits of what has
/// left are locked, and named to [`SWEEP`].
const LAPSE: &str = concat!(
    "with old as materialized (
        select name, node from quota_part where held = 0 and wants = 0 and since < (select ",
    now!(),
    " - 600000) order by since limit 16 for update skip locked),
    gone as (
        delete from quota_part p using old where p.name = old.name and p.node = old.node
        returning p.name),
    locked as (
        select name from quota where name in (select name from gone) order by name for update)
    select set_config('quell.lapsed', coalesce(json_agg(name), '[]')::text, true) from locked"
);

/// A limit leaves with the last of its parts. A statement of its own, behind the lock: of two
/// members that have the last parts leave in the same moment the second one sees what the first
/// one did. In one statement neither would.
const SWEEP: &str = "delete from quota q where taken = 0 and name in (
        select json_array_elements_text(current_setting('quell.lapsed')::json))
    and not exists (select 1 from quota_part p where p.name = q.name)";

const READ: &str = "select s.max, s.set_by, q.taken, p.node, p.held, p.wants, p.since, p.nr
    from quota q join quota_scope s on s.scope = q.scope
    left join quota_part p on p.name = q.name where q.name = $1";

/// The condition on `taken` is what keeps the limit.
const WRITE: &str = concat!(
    "with me as materialized (
        select name from node where name = $1 and joined = $2 for key share),
    own as materialized (
        select p.name from quota_part p where p.name = $3 and p.node = (select name from me)
        and p.nr < $4 for update),
    room as (
        update quota set taken = taken + $5::int8
        where name = $3 and exists (select 1 from own) and ($5::int8 <= 0 or taken + $5::int8 <= (
            select max from quota_scope s where s.scope = quota.scope))
        returning taken),
    part as (
        update quota_part set held = held + $5::int8, wants = $6::int8, nr = $4,
            since = case when $7::bool then ",
    now!(),
    " else since end
        where name = $3 and node = $1 and exists (select 1 from room) returning held),
    told as materialized (select pg_notify($9::text, $10::text) from part where $8::bool)
    select exists (select 1 from me), (select held from part), (select taken from room),
        (select count(*) from told)"
);

const HELD: &str = "select q.name, s.max, s.set_by, p.held, q.taken, p.wants
    from quota_part p join quota q on q.name = p.name join quota_scope s on s.scope = q.scope
    where p.node = (select name from node where name = $1 and joined = $2) and p.held > 0";
