//! Lanes that hold for all members: what an append decides of them, in SQL.
//!
//! `run.turn` says how a root stands in its lane: 1 if it has the lane, 0 if it waits, 2 if it
//! waits and has taken the place of what other members had, and nothing if it was accepted without
//! a rule. Whoever gives a turn, with an acceptance or later, has the advisory lock of the lane
//! until it commits; so a turn is given once, and nothing is left to be cleaned up. A turn ends
//! without that lock, by what the row says of the run.
//!
//! Lock order: the row of the member, then the lanes in the order of their numbers, then rows of
//! runs. A statement sees what was committed before it began: the one that locks is one of its own.

use quell_core::RunId;
use quell_core::cluster::Placed;
use quell_core::store::{Accepted, LaneRule};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::text::given;

/// Reads the row of [`ACCEPT`]: how a root stands in its lane.
///
/// # Errors
///
/// Fails if it is none.
pub(crate) fn place_of(row: &Row) -> Result<Placed, Error> {
    let replaced: Vec<Uuid> = row.try_get(3)?;
    Ok(Placed {
        run: RunId::from_uuid(row.try_get(0)?),
        lane: given(row.try_get(1)?).into(),
        has_turn: row.try_get(2)?,
        replaced: replaced.into_iter().map(RunId::from_uuid).collect(),
    })
}

/// Yields the lane of a root that is to be asked, and the number of its rule.
pub(crate) fn rule_of(accepted: &Accepted) -> Option<(&str, i64)> {
    let rule = match accepted.lane_rule? {
        LaneRule::Wait => 0,
        LaneRule::Refuse => 1,
        LaneRule::Replace => 2,
        LaneRule::Join => 3,
        LaneRule::NoWait => 4,
    };
    Some((accepted.lane.as_deref()?, rule))
}

/// What has a lane, or waits for it: roots that are live, and those of which something executes
/// still. Of one that was on a member which is lost nobody can tell.
macro_rules! busy {
    ($of:literal) => {
        concat!(
            $of,
            ".turn is not null and (",
            $of,
            ".status < 3 or not ",
            $of,
            ".quiescent) and (",
            $of,
            ".status < 3 or (select true from hold where hold.run = ",
            $of,
            ".ord and hold.what = 'node' limit 1) is null)"
        )
    };
}

/// What waits for a lane although another member's root has taken its place: its own member may not
/// have heard of that stop.
macro_rules! replaced {
    ($of:literal) => {
        concat!(
            "exists (select 1 from run l where l.lane = ",
            $of,
            ".lane and l.turn = 2 and l.status < 3 and l.ord > ",
            $of,
            ".ord and l.node <> ",
            $of,
            ".node)"
        )
    };
}

pub(crate) use {busy, replaced};

/// Locks lanes until the end of the transaction, in one order for all.
pub(crate) const LOCK: &str = "select pg_advisory_xact_lock(nr) from (
        select distinct hashtextextended(current_schema() || ' lane ' || lane, 0) as nr
        from unnest($1::text[]) of (lane) order by nr offset 0) locked";

/// Which run of the lane $1 refuses one of the rule $2, on the member $3, of the owner $4.
macro_rules! refuses {
    ($lane:literal, $rule:literal, $node:literal, $owner:literal) => {
        concat!(
            "r.lane = ",
            $lane,
            " and ",
            busy!("r"),
            " and case ",
            $rule,
            "::int8 when 1 then r.node <> ",
            $node,
            " or r.status >= 3 when 2 then r.node <> ",
            $node,
            " and r.owner is distinct from ",
            $owner,
            " when 3 then r.node <> ",
            $node,
            " and r.status <> 2 when 4 then (r.node <> ",
            $node,
            " or r.status >= 3) and (r.turn = 1 or r.due is null or r.due <= ",
            crate::asked::now!(),
            ") else false end"
        )
    };
}

/// Accepts a root in a lane. It has its turn if nobody has the lane or waits for it.
pub(crate) const ACCEPT: &str = concat!(
    "insert into run (id, root, parent, epoch, kind, name, owner, lane, labels,
    annotations, key, payload, spec, input, at, due, bytes, node, turn)
    select $1::uuid, $2::uuid, $3::uuid, $4::int8, $5::text, $6::text, $7::text, $8::text,
        $9::text, $10::text, $11::text, $12::bytea, $13::text, $14::text, $15::int8, $16::int8,
        $17::int8, $18::text,
        case when $16 is null and not exists (select 1 from run r where r.lane = $8 and ",
    busy!("r"),
    " and (r.turn = 1 or r.due is null or r.due <= ",
    crate::asked::now!(),
    ")) then 1 when $19::int8 = 2 then 2 else 0 end
    where not exists (select 1 from run r where ",
    refuses!("$8", "$19", "$18", "$7"),
    ") on conflict do nothing
    returning id, lane, turn = 1, case when $19 = 2 then array(
        select r.id from run r where r.lane = $8 and r.node <> $18 and ",
    busy!("r"),
    ") else '{}'::uuid[] end"
);

/// The run that refuses another one: the one that has the lane, or the first that waits for it.
pub(crate) const BUSY: &str = concat!(
    "select r.id from run r where ",
    refuses!("$1::text", "$2", "$3::text", "$4::text"),
    " order by r.turn desc, r.ord limit 1"
);
