//! [`Sql`]: the statements of the one that writes, prepared once per session.
//!
//! A statement says in its condition what a run has to be for it: none fails because of what is
//! stored, for that would end the transaction. What was refused shows in the number of rows.
//!
//! A higher epoch takes a run over. Statements that do not change its row otherwise raise it within
//! themselves, and leave the row alone if it has that epoch.
//!
//! Each finds its runs by their ids, however many there are. A server that has seen few live runs
//! would rather read the index of those, with all that have ended since it was cleaned: what must
//! have no end is written as `coalesce(status, 0) < 3`, for which that index is no use. What has
//! several runs names them by `any` as well, so that it does not read the index of all ids.

use crate::asked::now;
use crate::lanes;
use crate::rollback::{rolled_back, rolls_back};

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sql {
    Fence,
    Count,
    Accept,
    LockLanes,
    AcceptInLane,
    LaneBusy,
    Come,
    Claim,
    Label,
    Events,
    Detach,
    Save,
    Annotate,
    Start,
    Stop,
    Pause,
    Resume,
    HoldBegan,
    HoldEnded,
    Ends,
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
    pub(crate) const ALL: [Self; 27] = [
        Self::Fence,
        Self::Count,
        Self::Accept,
        Self::LockLanes,
        Self::AcceptInLane,
        Self::LaneBusy,
        Self::Come,
        Self::Claim,
        Self::Label,
        Self::Events,
        Self::Detach,
        Self::Save,
        Self::Annotate,
        Self::Start,
        Self::Stop,
        Self::Pause,
        Self::Resume,
        Self::HoldBegan,
        Self::HoldEnded,
        Self::Ends,
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
            Self::LockLanes => lanes::LOCK,
            Self::AcceptInLane => lanes::ACCEPT,
            Self::LaneBusy => lanes::BUSY,
            Self::Come => COME,
            Self::Claim => CLAIM,
            // Of the run that was just accepted: another one that has its id keeps its own.
            Self::Label => {
                "insert into label (run, key, value)
                select ord, l.key, l.value from run, unnest($2::text[], $3::text[]) l (key, value)
                where id = $1 and epoch = $4 and at = $5 on conflict do nothing"
            }
            Self::Events => EVENTS,
            Self::Detach => DETACH,
            Self::Save => SAVE,
            Self::Annotate => {
                "update run set epoch = $2, annotations = $3, bytes = bytes + $4
                where id = $1 and epoch <= $2 and coalesce(status, 0) < 3"
            }
            Self::Start => {
                "update run set epoch = $2, started = coalesce(started, $3), paused = null,
                status = case when status < 1 then 1 else status end
                where id = $1 and epoch <= $2 and coalesce(status, 0) < 3"
            }
            Self::Stop => STOP,
            Self::Pause => PAUSE,
            Self::Resume => RESUME,
            Self::HoldBegan => HOLD_BEGAN,
            Self::HoldEnded => HOLD_ENDED,
            Self::Ends => ENDS,
            Self::RollBack => ROLL_BACK,
            Self::Quiesce => {
                "update run set epoch = $2, quiescent = true, quiesced = coalesce(quiesced, $3)
                where id = $1 and epoch <= $2 and status >= 3"
            }
            Self::Forget => FORGET,
            Self::DropKeys => DROP_KEYS,
            Self::Standing => "select epoch, status >= 3, node from run where id = $1",
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

/// Those of several runs, and several of one run in one epoch.
const EVENTS: &str = "with given as materialized (
        select * from unnest($1::uuid[], $2::int8[], $3::int8[], $4::text[])
            given (id, epoch, seq, text)),
    raised as (update run set epoch = of.epoch from (select distinct id, epoch from given) of
        where run.id = of.id and run.id = any($1) and run.epoch < of.epoch)
    insert into event (root, seq, text)
    select ord, seq, text from given join run using (id)
    where run.id = any($1) and run.epoch <= given.epoch
    on conflict do nothing";

const SAVE: &str = "with raised as (
        update run set epoch = $2 where id = $1 and epoch < $2 and coalesce(status, 0) < 3)
    insert into checkpoint (lane, run, epoch, at, state)
    select $3::text, ord, $2, $4::int8, $5::text from run
    where id = $1 and epoch <= $2 and coalesce(status, 0) < 3";

const RESUME: &str = "update run set epoch = $2, paused = null, answer = $3, stood = $4,
    attempt = greatest(attempt, $5),
    status = case when status < 2 then 0 else status end, bytes = bytes + $6
    where id = $1 and epoch <= $2 and coalesce(status, 0) < 3";

const HOLD_BEGAN: &str = "with raised as (
        update run set epoch = $2 where id = $1 and epoch < $2 and coalesce(status, 0) < 3)
    insert into hold (run, nr, what, name)
    select ord, $3::int8, $4::text, $5::text from run
    where id = $1 and epoch <= $2 and coalesce(status, 0) < 3
    on conflict (run, nr) do update set what = excluded.what, name = excluded.name";

/// A run that has ended, and names a lost member no more, keeps no lane all the same: of what else
/// that has left of it nobody may learn that it ends.
const HOLD_ENDED: &str = "with raised as (
        update run set epoch = $2, turn = case when status < 3 or quiescent
            or not exists (select 1 from hold where run = ord and nr = $3 and what = 'node')
            then turn end
        where id = $1 and epoch <= $2 and (epoch < $2 or status >= 3 and turn is not null)),
    of as (select ord from run where id = $1 and epoch <= $2),
    gone as (delete from hold using of where run = of.ord and nr = $3)
    select 1 from of";

/// Those of several runs, of each run one.
const ENDS: &str = "update run set epoch = given.epoch, status = given.status,
    quiescent = given.quiescent, quiesced = given.quiesced, report = given.report,
    ended = given.ended, started = coalesce(run.started, given.started), paused = null,
    partial = null, summary = null, used = null,
    bytes = run.bytes + given.bytes
    from unnest($1::uuid[], $2::int8[], $3::int8[], $4::bool[], $5::int8[], $6::text[],
        $7::int8[], $8::int8[], $9::int8[])
        given (id, epoch, status, quiescent, quiesced, report, ended, started, bytes)
    where run.id = given.id and run.id = any($1) and run.epoch <= given.epoch
        and coalesce(run.status, 0) < 3";

const ROLL_BACK: &str = "with gone as (delete from checkpoint
        where run = (select ord from run where id = $1)
        returning octet_length(state) + 64 as bytes)
    select coalesce(sum(bytes), 0)::int8, 0::int8 from gone";

/// A key that another member has claimed anew since it was read is no longer one too many.
const DROP_KEYS: &str = "with too_many as (select owner, key from claim where forgotten is not null
        order by forgotten desc, owner, key offset $2),
    over as (delete from claim where forgotten <= $1)
    delete from claim c using too_many m where c.owner = m.owner and c.key = m.key
        and c.forgotten is not null";

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
    where id = $1 and epoch <= $2 and coalesce(status, 0) < 3";

/// The answer to the pause before is needed no more.
const PAUSE: &str = "update run set epoch = $2, paused = $3, paused_at = $4, pause_by = $5,
    pause_expires = $6, pause_timeout = $7, pause_stands = $8, answer = null,
    attempt = greatest(attempt, $9), status = case when status < 2 then $10 else status end,
    bytes = bytes + $11, partial = $12, summary = $13, used = $14
    where id = $1 and epoch <= $2 and coalesce(status, 0) < 3";

/// A run becomes the root of those below it.
const DETACH: &str = "with recursive below (id) as (
        select id from run where id = $1
        union select r.id from below b
            cross join lateral (select id from run where parent = b.id offset 0) r)
    update run set root = case when id = $1 then null else $1 end,
        parent = case when id = $1 then null else parent end
    where id = any(array(select id from below))";

/// A run and those below it, the tree of a root as a whole. Each is found by an index: two
/// conditions with an `or` between them would have all runs looked at.
macro_rules! tree {
    () => {
        "with recursive below (ord, id, status, key, bytes) as (
            select ord, id, status, key, bytes from run where id = $1
            union select r.ord, r.id, r.status, r.key, r.bytes from below b
                cross join lateral (
                    select ord, id, status, key, bytes from run where parent = b.id offset 0) r),
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
///
/// What another member owns by now may be a further run of the id: its very epoch has to be named.
/// A root that is forgotten as of a time before it was accepted, by as long as keys are kept, was
/// refused, and never was: what was remembered for it is remembered again. No clock is so late.
const FORGET: &str = concat!(
    tree!(),
    ", gone as materialized (
        select ord, id, key, bytes from member
        where exists (select 1 from run where id = $1
            and (epoch = $2 or epoch < $2 and node = $5))
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
    never as materialized (
        select id, node from run where id = $1 and at - $4 >= $3 and exists (select 1 from gone)),
    unused as (delete from stop where exists (select 1 from never)
        and owner = (select node from never) and answer is null
        and run = (select id from never) and act is null and said is not null returning *),
    back (nr, ask, run, scope, asker, channel, request, at, until) as (
        select 0, ask, run, decode(split_part(said, ' ', 1), 'hex'),
            convert_from(decode(nullif(split_part(said, ' ', 3), '-'), 'hex'), 'UTF8'),
            channel, request, at, split_part(said, ' ', 2)::int8
        from unused where split_part(said, ' ', 4) = ''
        union all
        select one.nr, one.ask, one.run, one.scope, one.asker, one.channel, one.request, one.at,
            one.until
        from unused cross join lateral json_populate_recordset(null::reserved,
            convert_from(decode(coalesce(nullif(split_part(said, ' ', 4), ''), '5b5d'), 'hex'),
                'UTF8')::json) one),
    kept as (insert into reserved (ask, run, scope, asker, channel, request, at, until)
        select ask, run, scope, asker, channel, request, at, until from back order by nr
        on conflict do nothing),
    runs as (delete from run where ord = any(array(select ord from gone)) returning bytes)
    select (coalesce((select sum(bytes) from runs), 0)
            + coalesce((select sum(bytes) from events), 0)
            + coalesce((select sum(bytes) from states), 0))::int8,
        (select count(*) from keys)
    where exists (select 1 from gone)"
);

/// Uses up what was remembered for runs that are stored: the first stop of each is one that this
/// member was asked for. It takes the run back if any of them does. What a stop that was asked for
/// has no use for, `said`, has its scope, its time and who has asked, and behind that all of them
/// as they were, if they are several: see [`FORGET`]. Members of the release before read the first.
const COME: &str = concat!(
    "with come as materialized (
        delete from reserved r where run = any($2)
        and exists (select 1 from run where id = r.run and id = any($2))
        and (scope = '' or (run, scope) in (
            select of.run, of.scope from unnest($3::uuid[], $4::bytea[]) of (run, scope)))
        returning *),
    first as (
        select distinct on (run) *, bool_or(",
    rolls_back!("request"),
    ") over (partition by run) as any_back, count(*) over (partition by run) as count,
            json_agg(to_json(come)) over (partition by run order by nr
                rows between unbounded preceding and unbounded following) as whole
        from come where until > ",
    now!(),
    " order by run, nr)
    insert into stop (ask, run, owner, channel, request, at, said)
    select ask, run, $1::text, channel, case when any_back then ",
    rolled_back!("request"),
    " else request end, at, concat_ws(' ', encode(scope, 'hex'), until,
        coalesce(encode(convert_to(asker, 'UTF8'), 'hex'), '-'),
        case when count > 1 then encode(convert_to(whole::text, 'UTF8'), 'hex') end) from first
    returning nr, run, request, at"
);

#[cfg(test)]
mod tests {
    use quell_core::store::Store as _;
    use quell_test_support::PostgresServer;
    use tokio_postgres::SimpleQueryMessage;

    use super::*;
    use crate::options::PostgresOptions;
    use crate::session::Target;
    use crate::store::PostgresStore;

    const SOME: &str = "insert into run (id, epoch, kind, name, at, status, quiescent, bytes)
        select gen_random_uuid(), 1, 'agent', 'a', 1, 3, true, 1 from generate_series(1, 5000)";

    #[tokio::test]
    async fn every_run_is_found_by_an_index_whatever_the_server_has_seen() {
        let server = PostgresServer::shared();
        let address = server.address(&server.database());
        let store = PostgresStore::open(PostgresOptions::new(&address)).await.unwrap();
        store.close().await.unwrap();
        let target = Target::new(PostgresOptions::new(&address)).unwrap();
        let looked_over = "vacuum analyze run";
        let seen =
            [("new", ""), ("empty", looked_over), ("filled", SOME), ("at rest", looked_over)];
        let mut wrong = Vec::new();
        for (what, before) in seen {
            let (client, _) = target.connect().await.unwrap();
            client.batch_execute(before).await.unwrap();
            client.batch_execute("set plan_cache_mode = force_generic_plan").await.unwrap();
            for sql in Sql::ALL {
                let values = client.prepare(sql.text()).await.unwrap().params().len();
                let nulls = vec!["null"; values].join(", ");
                client.batch_execute(&format!("prepare it as {}", sql.text())).await.unwrap();
                let explain = format!("explain (costs off) execute it({nulls})");
                let plan = client.simple_query(&explain).await.unwrap();
                let lines = plan.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                let plan = lines.collect::<Vec<_>>();
                for (at, _) in plan.iter().enumerate().filter(|(_, line)| reads_runs(line)) {
                    let below = plan[at + 1..].iter().take_while(|line| !line.contains("->"));
                    let is_found = below.into_iter().any(|line| line.contains("Index Cond"));
                    if !is_found {
                        wrong.push(format!("{what}: {sql:?}\n{}", plan.join("\n")));
                    }
                }
                client.batch_execute("deallocate it").await.unwrap();
            }
        }
        assert!(wrong.is_empty(), "these read all of them: {}", wrong.join("\n"));
    }

    fn reads_runs(line: &str) -> bool {
        let names = ["Seq Scan on run", "Index Scan using run_", "Index Only Scan using run_"];
        names.iter().any(|name| line.contains(name)) || line.contains("Bitmap Index Scan on run_")
    }

    #[test]
    fn every_statement_is_one_of_all() {
        let mut all = Sql::ALL.map(|sql| format!("{sql:?}")).to_vec();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), Sql::ALL.len()), (Sql::Live as usize + 1, all.len()));
    }
}
