//! The tables, and how a schema comes to have them.
//!
//! They only go forward, each step in a transaction of its own that also says the new number. What
//! a newer release has made is refused and not changed.

use quell_core::store::StoreError;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::fault::{fault, not_made};
use crate::latest::{DOUBTED, FATES, LEFT, SO_FAR};
use crate::session::Target;

/// Step `n` leads from schema `n` to `n + 1`.
pub(crate) const STEPS: [&str; 11] =
    [SCHEMA_1, SCHEMA_2, RESERVED, DRAINED, FORGOTTEN, LANES, QUOTAS, DOUBTED, SO_FAR, LEFT, FATES];

/// What a schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is not there.
    Missing,
    /// Nothing.
    Nothing,
    /// Tables of this schema, which is known.
    Schema(usize),
}

/// Looks whether a schema is ours, and of which release. Changes nothing.
///
/// Names of functions and operators are looked for in the schema too, so that whoever makes one
/// there, for types that fit better than those of PostgreSQL, would have it run by the store.
///
/// # Errors
///
/// Fails if it has tables of somebody else, or of a newer release than these steps lead to, if
/// somebody else has made a function or an operator in it, or if everybody may.
pub(crate) async fn look(
    client: &Client,
    target: &Target,
    steps: &[&str],
) -> Result<Found, StoreError> {
    let meta = format!("{}.meta", target.schema());
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&target.options.schema, Type::TEXT), (&meta, Type::TEXT)];
    let row = client.query_typed_one(LOOK, &values).await.map_err(|error| fault(&error))?;
    let is = |column: usize| row.try_get::<_, bool>(column).map_err(|error| fault(&error));
    let (is_there, has_any, has_meta) = (is(0)?, is(1)?, is(2)?);
    let foreign = || StoreError::Foreign {
        what: format!("the schema {} has tables of somebody else", target.schema()),
    };
    if is(3)? {
        let what = format!("the schema {} has functions of somebody else", target.schema());
        return Err(StoreError::Foreign { what });
    }
    if is(4)? {
        let (setting, found) = ("CREATE on the schema", "granted to everybody".into());
        return Err(StoreError::Setting { setting, found, wanted: "revoked from PUBLIC".into() });
    }
    match (is_there, has_any, has_meta) {
        (false, ..) => return Ok(Found::Missing),
        (true, false, _) => return Ok(Found::Nothing),
        (true, true, false) => return Err(foreign()),
        (true, true, true) => {}
    }
    let rows = client.query_typed(&format!("select schema::int8 from {meta}"), &[]).await;
    let rows = rows.map_err(|error| match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_COLUMN => foreign(),
        _ => fault(&error),
    })?;
    let number = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    let number = number.ok_or_else(foreign)?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    match u32::try_from(number) {
        Ok(found) if found > known => Err(StoreError::NewerSchema { found, known }),
        Ok(found) if found > 0 => Ok(Found::Schema(found as usize)),
        _ => Err(StoreError::Corrupt { what: format!("it says that its schema is {number}") }),
    }
}

/// Brings a schema to the newest tables. The session has the lock.
///
/// # Errors
///
/// Fails if it cannot be written. Then it has the tables that it had, or those of a step between.
pub(crate) async fn migrate(
    client: &Client,
    target: &Target,
    found: Found,
    steps: &[&str],
) -> Result<(), StoreError> {
    let from = match found {
        Found::Missing | Found::Nothing => 0,
        Found::Schema(schema) => schema,
    };
    for (number, step) in (1..).zip(steps).skip(from) {
        let is_missing = found == Found::Missing && number == 1;
        let make =
            if is_missing { format!("create schema {};", target.schema()) } else { String::new() };
        // A table of years takes longer than a statement may.
        let sql = format!(
            "begin; set local statement_timeout = 0; {make} {step};
            update meta set schema = {number}; commit"
        );
        if let Err(error) = client.batch_execute(&sql).await {
            let _ = client.batch_execute("rollback").await;
            return Err(not_made(&error, &target.schema(), from == 0));
        }
    }
    Ok(())
}

const LOOK: &str = "select exists (select 1 from pg_namespace where nspname = $1),
    exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1),
    to_regclass($2) is not null,
    exists (select 1 from pg_namespace n join (
            select pronamespace, proowner from pg_proc
            union all select oprnamespace, oprowner from pg_operator) made (place, by)
        on made.place = n.oid where n.nspname = $1
        and not (select rolsuper or rolname = current_user from pg_roles where oid = made.by)),
    exists (select 1 from pg_namespace n where nspname = $1
        and has_schema_privilege('public', n.oid, 'create'))";

/// A boot is given once, to whoever opens the store or takes over: `meta.boot` is the last one. A
/// store writes under its row of `node`, and counts in its row of `tally`, so that no two wait for
/// each other. `run.node` says who has a run that is live.
///
/// Instants are milliseconds since 1970. `ord` is never given again: cursors of pages are such
/// numbers. No table refers to another one: rows are made by statements that find their run, and
/// leave with it in one statement; a reference would be looked up once more for each of them.
/// Labels are found by hashes: an entry of an index has at most 2,704 bytes.
const SCHEMA_1: &str = r#"
create table meta (
    is_one boolean primary key default true check (is_one),
    schema bigint not null,
    boot bigint not null
);
insert into meta (schema, boot) values (1, 0);

create table node (
    name text collate "C" primary key,
    joined bigint not null,
    boot bigint not null,
    took_from text collate "C",
    channel text collate "C" not null,
    lease_until timestamptz
);

create table tally (
    name text collate "C" primary key,
    commits bigint not null,
    bytes bigint not null
);

create table stop (
    nr bigint generated always as identity primary key,
    ask uuid not null unique,
    run uuid not null,
    owner text collate "C" not null,
    channel text collate "C" not null,
    request text not null,
    at bigint not null,
    answer text,
    answered bigint
);
create index stop_waits on stop (owner, nr) where answer is null;
create index stop_answered on stop (answered) where answer is not null;

create table run (
    ord bigint generated always as identity primary key,
    id uuid not null unique,
    root uuid,
    parent uuid,
    node text collate "C" not null default '',
    epoch bigint not null,
    kind text collate "C" not null,
    name text collate "C" not null,
    owner text collate "C",
    lane text collate "C",
    labels text,
    annotations text,
    key text collate "C",
    payload bytea,
    spec text,
    input text,
    at bigint not null,
    due bigint,
    status bigint not null default 0,
    attempt bigint,
    started bigint,
    stop_epoch bigint,
    stop_mode bigint,
    stop_cause text,
    stop_deadline bigint,
    stop_rollback boolean not null default false,
    paused text,
    paused_at bigint,
    pause_by uuid,
    pause_expires bigint,
    pause_timeout bigint,
    pause_stands boolean not null default false,
    answer text,
    stood bigint not null default 0,
    report text,
    ended bigint,
    quiescent boolean not null default false,
    quiesced bigint,
    bytes bigint not null
);
create index run_live on run (ord) where status < 3 or stop_rollback and status >= 5;
create index run_node on run (node, ord) where status < 3 or stop_rollback and status >= 5;
create index run_lane on run (lane) where status < 3 and lane is not null;
create index run_owner on run (owner, ord) where owner is not null;
create index run_root on run (root) where root is not null;
create index run_parent on run (parent) where parent is not null;

create table label (
    run bigint not null,
    key text collate "C" not null,
    value text collate "C" not null,
    primary key (run, key)
);
create index label_value on label (hashtextextended(key, 0), hashtextextended(value, 0), run);

create table claim (
    owner text collate "C" not null,
    key text collate "C" not null,
    payload bytea not null,
    run uuid not null,
    forgotten bigint,
    primary key (owner, key)
);
create index claim_run on claim (run);
create index claim_forgotten on claim (forgotten) where forgotten is not null;

create table event (
    root bigint not null,
    seq bigint not null,
    text text not null,
    primary key (root, seq)
);

create table checkpoint (
    nr bigint generated always as identity primary key,
    lane text collate "C" not null,
    run bigint not null,
    epoch bigint not null,
    at bigint not null,
    state text not null
);
create index checkpoint_lane on checkpoint (lane, nr);
create index checkpoint_run on checkpoint (run);

create table hold (
    run bigint not null,
    nr bigint not null,
    what text collate "C" not null,
    name text not null,
    primary key (run, nr)
);
"#;

/// Rows of `stop` may be acts: what members ask of each other beside stops, in `act`. Members of
/// the release before are on the same schema while it is brought forward: for them such a row is a
/// stop that is answered long since, for `answer` has a word. So theirs and ours is the same index
/// of stops, and an act that is asked of such a member lapses.
///
/// `taken` is the boot with which a member joined that carries the act out. Nobody takes it after
/// `until`, nor when its row was taken away.
const SCHEMA_2: &str = "
alter table stop
    add column act text, add column until bigint, add column taken bigint, add column said text;
create index stop_acts on stop (owner, nr) where act is not null and said is null;
create index stop_until on stop (until) where until is not null";

/// Stops for runs to come. A stop for any run has an empty `scope`. Members of the release before
/// use none up.
const RESERVED: &str = r#"
create table reserved (
    nr bigint generated always as identity primary key,
    ask uuid not null,
    run uuid not null,
    scope bytea not null,
    asker text collate "C",
    channel text collate "C" not null,
    request text not null,
    at bigint not null,
    until bigint not null,
    unique (run, scope)
);
create index reserved_asker on reserved (asker, nr) where asker is not null;
create index reserved_until on reserved (until)"#;

/// A member that is about to leave gives up what waits: the row of a node that is `drained` has it
/// until another member takes it over. A run that was taken over from there before it started is
/// `unstarted`.
const DRAINED: &str = "
alter table node add column drained boolean not null default false;
alter table run add column unstarted boolean not null default false";

/// Members that are gone for good, by their names, up to the last boot that was given by then: who
/// joins under the name later is another one. `hold.member` and `hold.boot` say who has begun work,
/// and with which boot it had joined, as is known once it has been taken over from. Members of the
/// release before leave both out.
const FORGOTTEN: &str = r#"
create table forgotten (
    name text collate "C" primary key,
    boot bigint not null,
    at timestamptz not null default now()
);
alter table hold
    add column member text collate "C",
    add column boot bigint;
create index hold_member on hold (member) where member is not null"#;

/// How a root stands in a lane that members share: 1 if it has it, 0 if it waits, null if the
/// member decides alone. Members of the release before decide alone.
const LANES: &str = "
alter table run add column turn smallint;
create index run_turn on run (lane, ord)
    where turn is not null and (status < 3 or not quiescent)";

/// Limits that all members keep together: the maximum of a scope, by the member that has set it,
/// how many slots of a limit are taken, and by which members. `since` is an instant, and `nr` the
/// last exchange of the member.
const QUOTAS: &str = r#"
create table quota_scope (
    scope text collate "C" primary key,
    max bigint not null,
    boot bigint not null,
    set_by text collate "C" not null
);
create table quota (
    name text collate "C" primary key,
    scope text collate "C" not null,
    taken bigint not null check (taken >= 0)
);
create table quota_part (
    name text collate "C" not null,
    node text collate "C" not null,
    held bigint not null check (held >= 0),
    wants bigint not null,
    since bigint not null,
    nr bigint not null,
    primary key (name, node)
);
create index quota_part_node on quota_part (node);
create index quota_part_idle on quota_part (since) where held = 0 and wants = 0"#;

#[cfg(test)]
mod tests {
    use quell_test_support::PostgresServer;

    use super::*;
    use crate::options::PostgresOptions;

    /// A release that knows two schemas more than the first one.
    const LATER: [&str; 3] = [
        SCHEMA_1,
        "alter table run add column mood text; update run set mood = 'calm'",
        "alter table run add column tint text; update run set tint = mood",
    ];

    #[test]
    fn a_schema_goes_forward_step_by_step_and_a_step_that_fails_leaves_the_one_before() {
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Target::new(options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _) = target.connect().await.unwrap();
            let look = async |steps: &[&str]| look(&client, &target, steps).await;
            assert_eq!(look(&LATER).await, Ok(Found::Missing));
            migrate(&client, &target, Found::Missing, &LATER[..1]).await.unwrap();
            assert_eq!(look(&LATER).await, Ok(Found::Schema(1)));
            let make = "insert into run (id, epoch, kind, name, at, bytes)
                values (gen_random_uuid(), 1, 'agent', 'a', 1, 1)";
            client.batch_execute(make).await.unwrap();
            let broken = [LATER[0], LATER[1], "update run set tint = mood"];
            let error = migrate(&client, &target, Found::Schema(1), &broken).await.unwrap_err();
            assert!(error.to_string().contains("tint"), "{error}");
            assert_eq!(look(&LATER).await, Ok(Found::Schema(2)));
            migrate(&client, &target, Found::Schema(2), &LATER).await.unwrap();
            assert_eq!(look(&LATER).await, Ok(Found::Schema(3)));
            let row = client.query_one("select mood, tint from run", &[]).await.unwrap();
            assert_eq!((row.get(0), row.get(1)), ("calm", "calm"));
            let newer = Err(StoreError::NewerSchema { found: 3, known: 2 });
            assert_eq!(look(&LATER[..2]).await, newer);
        });
    }
}
