//! [`Sql`]: the statements of the one that writes, prepared once per session.
//!
//! A statement says in its condition what a run has to be for it: none fails because of what is
//! stored, for that would end the transaction. What was refused shows in the number of rows.
//!
//! A higher epoch takes a run over. Statements that do not change its row otherwise raise it within
//! themselves, and leave the row alone if it has that epoch.

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sql {
    Fence,
    Count,
    Accept,
    Claim,
    Label,
    Event,
    Detach,
    Save,
    Start,
    Stop,
    Pause,
    Resume,
    HoldBegan,
    HoldEnded,
    End,
    RollBack,
    Quiesce,
    Forget,
    DropKeys,
    Standing,
    Claimed,
    Live,
}

impl Sql {
    /// Every statement.
    pub(crate) const ALL: [Self; 22] = [
        Self::Fence,
        Self::Count,
        Self::Accept,
        Self::Claim,
        Self::Label,
        Self::Event,
        Self::Detach,
        Self::Save,
        Self::Start,
        Self::Stop,
        Self::Pause,
        Self::Resume,
        Self::HoldBegan,
        Self::HoldEnded,
        Self::End,
        Self::RollBack,
        Self::Quiesce,
        Self::Forget,
        Self::DropKeys,
        Self::Standing,
        Self::Claimed,
        Self::Live,
    ];

    /// Yields its text.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            // Whoever takes the seat away waits for the end of this transaction, or is before it.
            Self::Fence => "select 1 from node where name = $1 and joined = $2 for key share",
            Self::Count => {
                "update tally set commits = commits + 1, bytes = bytes + $2 where name = $1"
            }
            Self::Accept => ACCEPT,
            Self::Claim => CLAIM,
            Self::Label => {
                "insert into label (run, key, value)
                select ord, l.key, l.value from run, unnest($2::text[], $3::text[]) l (key, value)
                where id = $1"
            }
            Self::Event => EVENT,
            Self::Detach => DETACH,
            Self::Save => SAVE,
            Self::Start => {
                "update run set epoch = $2, started = coalesce(started, $3), paused = null,
                status = case when status < 1 then 1 else status end
                where id = $1 and epoch <= $2 and status < 3"
            }
            Self::Stop => STOP,
            Self::Pause => PAUSE,
            Self::Resume => RESUME,
            Self::HoldBegan => HOLD_BEGAN,
            Self::HoldEnded => HOLD_ENDED,
            Self::End => END,
            Self::RollBack => ROLL_BACK,
            Self::Quiesce => {
                "update run set epoch = $2, quiescent = true, quiesced = coalesce(quiesced, $3)
                where id = $1 and epoch <= $2 and status >= 3"
            }
            Self::Forget => FORGET,
            Self::DropKeys => DROP_KEYS,
            Self::Standing => "select epoch, status >= 3 from run where id = $1",
            Self::Claimed => {
                "select run, payload, forgotten is not null from claim
                where owner = $1 and key = $2"
            }
            Self::Live => LIVE,
        }
    }
}

const CLAIM: &str = "insert into claim (owner, key, payload, run) values ($1, $2, $3, $4)
    on conflict (owner, key) do update
    set payload = excluded.payload, run = excluded.run, forgotten = null
    where claim.forgotten <= $5";

const EVENT: &str = "with raised as (update run set epoch = $2 where id = $1 and epoch < $2)
    insert into event (root, seq, text)
    select ord, $3::int8, $4::text from run where id = $1 and epoch <= $2
    on conflict do nothing";

const SAVE: &str = "with raised as (
        update run set epoch = $2 where id = $1 and epoch < $2 and status < 3)
    insert into checkpoint (lane, run, epoch, at, state)
    select $3::text, ord, $2, $4::int8, $5::text from run
    where id = $1 and epoch <= $2 and status < 3";

const RESUME: &str = "update run set epoch = $2, paused = null, answer = $3, stood = $4,
    attempt = greatest(attempt, $5),
    status = case when status < 2 then 0 else status end, bytes = bytes + $6
    where id = $1 and epoch <= $2 and status < 3";

const HOLD_BEGAN: &str = "with raised as (
        update run set epoch = $2 where id = $1 and epoch < $2 and status < 3)
    insert into hold (run, nr, what, name)
    select ord, $3::int8, $4::text, $5::text from run
    where id = $1 and epoch <= $2 and status < 3
    on conflict (run, nr) do update set what = excluded.what, name = excluded.name";

const HOLD_ENDED: &str = "with raised as (update run set epoch = $2 where id = $1 and epoch < $2),
    of as (select ord from run where id = $1 and epoch <= $2),
    gone as (delete from hold using of where run = of.ord and nr = $3)
    select 1 from of";

const END: &str = "update run set epoch = $2, status = $3, quiescent = $4, quiesced = $5,
    report = $6, ended = $7, started = coalesce(started, $8), paused = null,
    answer = null, bytes = bytes + $9
    where id = $1 and epoch <= $2 and status < 3";

const ROLL_BACK: &str = "with gone as (delete from checkpoint
        where run = (select ord from run where id = $1)
        returning octet_length(state) + 64 as bytes)
    select coalesce(sum(bytes), 0)::int8, 0::int8 from gone";

const DROP_KEYS: &str = "with too_many as (select owner, key from claim where forgotten is not null
        order by forgotten desc, owner, key offset $2),
    over as (delete from claim where forgotten <= $1)
    delete from claim c using too_many m where c.owner = m.owner and c.key = m.key";

/// Below a root an epoch that was superseded starts nothing.
const ACCEPT: &str = "insert into run (id, root, parent, epoch, kind, name, owner, lane, labels,
    annotations, key, payload, spec, input, at, due, bytes, node)
    select $1::uuid, $2::uuid, $3::uuid, $4::int8, $5::text, $6::text, $7::text, $8::text,
        $9::text, $10::text, $11::text, $12::bytea, $13::text, $14::text, $15::int8, $16::int8,
        $17::int8, $18::text
    where $2 is null or exists (select 1 from run where id = $2 and epoch <= $4)
    on conflict do nothing";

/// The first cause stays, the mode only rises, and the deadline only shrinks.
const STOP: &str = "update run set epoch = $2, stop_epoch = $2,
    stop_cause = coalesce(stop_cause, $3), stop_mode = greatest(stop_mode, $4),
    stop_deadline = least(stop_deadline, $5), stop_rollback = stop_rollback or $6,
    status = case when greatest(stop_mode, $4) > 0 then 2 else status end, bytes = bytes + $7
    where id = $1 and epoch <= $2 and status < 3";

/// The answer to the pause before is needed no more.
const PAUSE: &str = "update run set epoch = $2, paused = $3, paused_at = $4, pause_by = $5,
    pause_expires = $6, pause_timeout = $7, pause_stands = $8, answer = null,
    attempt = greatest(attempt, $9), status = case when status < 2 then $10 else status end,
    bytes = bytes + $11
    where id = $1 and epoch <= $2 and status < 3";

/// A run becomes the root of those below it.
const DETACH: &str = "with recursive below (id) as (
        select id from run where id = $1
        union select r.id from run r join below b on r.parent = b.id)
    update run set root = case when run.id = $1 then null else $1 end,
        parent = case when run.id = $1 then null else run.parent end
    from below where run.id = below.id";

/// A run and those below it, the tree of a root as a whole. Each is found by an index: two
/// conditions with an `or` between them would have all runs looked at.
macro_rules! tree {
    () => {
        "with recursive below (ord, id, status, key, bytes) as (
            select ord, id, status, key, bytes from run where id = $1
            union select r.ord, r.id, r.status, r.key, r.bytes
                from run r join below b on r.parent = b.id),
        member as materialized (
            select * from below
            union select ord, id, status, key, bytes from run where root = $1)"
    };
}

/// The first one of a tree that has not ended.
const LIVE: &str = concat!(tree!(), "select id from member where status < 3 order by ord limit 1");

/// A tree leaves at once or not at all, with all that is stored of it. Yields how many bytes it
/// had, and how many keys are kept from now on; no row if it stays. Arrays have rows found by an
/// index: a join of as many as a tree is guessed to have would look whole tables through.
const FORGET: &str = concat!(
    tree!(),
    ", gone as materialized (
        select ord, id, key, bytes from member
        where exists (select 1 from run where id = $1 and epoch <= $2)
        and not exists (select 1 from member where status < 3)),
    events as (delete from event where root = any(array(select ord from gone))
        returning octet_length(text) + 64 as bytes),
    states as (delete from checkpoint where run = any(array(select ord from gone))
        returning octet_length(state) + 64 as bytes),
    labels as (delete from label where run = any(array(select ord from gone))),
    holds as (delete from hold where run = any(array(select ord from gone))),
    keys as (update claim set forgotten = $3
        where run = any(array(select id from gone where key is not null))
        and forgotten is null returning 1),
    runs as (delete from run where ord = any(array(select ord from gone)) returning bytes)
    select (coalesce((select sum(bytes) from runs), 0)
            + coalesce((select sum(bytes) from events), 0)
            + coalesce((select sum(bytes) from states), 0))::int8,
        (select count(*) from keys)
    where exists (select 1 from gone)"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_one_of_all() {
        let mut all = Sql::ALL.map(|sql| format!("{sql:?}")).to_vec();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), Sql::ALL.len()), (Sql::Live as usize + 1, all.len()));
    }
}
