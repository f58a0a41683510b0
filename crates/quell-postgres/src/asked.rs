//! Stops and acts that members ask each other for, as their rows say.
//!
//! Whoever asks chooses the id of the row, so that what is asked for again, because an answer of
//! the server was lost, is the same. Acts are in [`acts`](crate::acts).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell_core::cluster::{Asked, AskedStop, RunMeant};
use quell_core::store::StoreError;
use quell_core::{CancelRequest, Disposition, Payload};
use quell_durable::{id_of, instant, status_of};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::fault::fault;

/// What came of asking for a stop.
#[derive(Debug)]
pub(crate) enum Put {
    /// Nobody needs to be asked.
    Known(Disposition),
    /// It waits for the owner of its run.
    Waits,
    /// Too many wait for the owner.
    Full(String),
    /// The seat of whoever asks was taken away.
    Lost,
}

/// What has become of a stop.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its owner has decided.
    Answered(Disposition),
    /// It has not.
    Open {
        /// Its name.
        owner: Arc<str>,
        /// Until when it has the run at least.
        lease_until: SystemTime,
    },
    /// It is not there any more.
    Gone,
}

/// Yields what is kept of a stop: what is asked, and when the run was accepted that is meant.
/// Members of the release before read the first, and take whichever run has the id.
///
/// # Errors
///
/// Fails if it cannot be written.
pub(crate) fn words(
    request: &CancelRequest,
    accepted_ms: Option<u64>,
) -> Result<String, serde_json::Error> {
    let mut words = serde_json::to_value(request)?;
    if let (Some(words), Some(at)) = (words.as_object_mut(), accepted_ms) {
        words.insert(ACCEPTED.to_owned(), at.into());
    }
    serde_json::to_string(&words)
}

/// Where it is kept when the run was accepted that is meant.
const ACCEPTED: &str = "run_accepted_ms";

/// Reads a stop. One whose words are none that are known here is a plain one: a stop is not lost
/// for the way in which it is asked.
pub(crate) fn read(nr: i64, run: Uuid, request: &str, at: i64) -> AskedStop {
    let words = serde_json::from_str::<serde_json::Value>(request).ok();
    let accepted_ms = words.as_ref().and_then(|words| words.get(ACCEPTED)?.as_u64());
    let request = serde_json::from_str(request).unwrap_or_else(|_| {
        CancelRequest::because("asked by another node in words that are not known here")
    });
    let at = instant(at).unwrap_or(SystemTime::UNIX_EPOCH);
    let (nr, run) = (nr.cast_unsigned(), id_of(run.into_bytes()));
    AskedStop { nr, run, accepted_ms, request, at }
}

/// Reads a row of [`INBOX`]. The words of an act that cannot be read are none that an engine knows.
///
/// # Errors
///
/// Fails if it is none.
pub(crate) fn asked(row: &Row) -> Result<Asked, StoreError> {
    let asked = || -> Result<Asked, Error> {
        let (nr, run, text) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if row.try_get(4)? {
            let words = Payload::from_json_text(text).unwrap_or_else(|_| Payload::from(""));
            let (nr, run) = (i64::cast_unsigned(nr), id_of(Uuid::into_bytes(run)));
            let accepted_ms = row.try_get::<_, &str>(5)?.parse().ok();
            return Ok(Asked::Act { nr, run: RunMeant::of_stored(run, accepted_ms), words });
        }
        Ok(Asked::Stop(read(nr, run, text, row.try_get(3)?)))
    };
    asked().map_err(|error| fault(&error))
}

/// Reads the row of [`PUT`] or [`PUT_ACT`]; none if the run has no owner in this moment.
///
/// # Errors
///
/// Fails if it is none.
pub(crate) fn put(row: &Row) -> Result<Option<Put>, StoreError> {
    let (is_member, is_there) = (column::<bool>(row, 0)?, column::<bool>(row, 1)?);
    let (status, owner) = (column::<Option<i64>>(row, 2)?, column::<Option<String>>(row, 3)?);
    if !is_member {
        return Ok(Some(Put::Lost));
    }
    if is_there {
        return Ok(Some(Put::Waits));
    }
    let Some(status) = status else { return Ok(Some(Put::Known(Disposition::Unknown))) };
    let status = status_of(status);
    let status = status.ok_or_else(|| StoreError::Corrupt { what: "a status of a run".into() })?;
    if status.is_terminal() {
        return Ok(Some(Put::Known(Disposition::AlreadyTerminal { status })));
    }
    Ok(owner.map(Put::Full))
}

/// Reads the row of [`OWNER`].
///
/// # Errors
///
/// Fails if it is none.
pub(crate) fn owner(row: &Row) -> Result<Option<Arc<str>>, StoreError> {
    Ok(column::<Option<String>>(row, 0)?.map(Into::into))
}

/// Reads the row of [`REPLY`].
///
/// # Errors
///
/// Fails if it is none, or has an answer that is not known here.
pub(crate) fn reply(row: &Row) -> Result<Reply, StoreError> {
    if let Some(text) = column::<Option<&str>>(row, 0)? {
        let age = u64::try_from(column::<i64>(row, 1)?).unwrap_or_default();
        let now = Instant::now();
        let then = now.checked_sub(Duration::from_millis(age)).unwrap_or(now);
        let from = &mut serde_json::Deserializer::from_str(text);
        let answer = Disposition::read_as_of(from, then);
        let answer = answer.map_err(|error| StoreError::Io { what: error.to_string() })?;
        return Ok(Reply::Answered(answer));
    }
    let until = column::<Option<i64>>(row, 3)?.and_then(instant);
    let lease_until = until.unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Reply::Open { owner: column::<String>(row, 2)?.into(), lease_until })
}

pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, nth: usize) -> Result<T, StoreError> {
    row.try_get(nth).map_err(|error| fault(&error))
}

/// Milliseconds since 1970, by the clock of the database.
macro_rules! now {
    () => {
        "(extract(epoch from clock_timestamp()) * 1000)::int8"
    };
}

pub(crate) use now;

/// Takes something for the owner of a run, and wakes it: how much waits for the owner, what is kept
/// of the row, and while how much waits. Nobody takes the seat of the owner, or that of whoever
/// asks, before it is there. An owner whose seat somebody takes in this moment is none, and so is
/// one that gives the run up in this moment, or has since it was read: its row is locked, and
/// looked at again. What the owner writes of the run meanwhile goes on beside that. A run that has
/// the id, and was accepted at another time than the one that is meant, is none.
macro_rules! put {
    ($waiting:literal, $columns:literal, $values:expr, $while:literal) => {
        concat!(
            "with me as materialized (
                select name from node where name = $1 and joined = $2 for key share),
            seen as materialized (
                select node, status from run where id = $3 and ($10::int8 is null or at = $10)),
            owner as materialized (
                select name, channel from node
                where name = (select node from seen where status < 3)
                for key share skip locked),
            still as materialized (
                select 1 from run where id = $3 and node = (select name from owner)
                and ($10 is null or at = $10)
                for key share skip locked),
            waiting as materialized (",
            $waiting,
            "), put as (
                insert into stop (ask, run, owner, channel, at, ",
            $columns,
            ") select $4::uuid, $3::uuid, owner.name, $6::text, ",
            now!(),
            ", ",
            $values,
            " from owner, still, me, waiting where ",
            $while,
            " on conflict do nothing returning ask),
            told as materialized (select pg_notify(owner.channel, '') from owner, put)
            select exists (select 1 from me),
                exists (select 1 from put) or exists (select 1 from stop where ask = $4),
                (select status from seen),
                (select name from owner where exists (select 1 from still)),
                (select count(*) from told)"
        )
    };
}

/// Takes a stop. Of which owners the trees are is looked for only if so many wait that one of them
/// may have used up its share.
pub(crate) const PUT: &str = put!(
    "select count(*) as stops, count(*) filter (where run = $3) as of_run from stop
        where owner = (select name from owner) and answer is null",
    "request",
    "$5::text",
    "stops < $7 and of_run < $8 and case when stops < $9 then true else $9 > (
        select count(*) from stop s join run r on r.id = s.run
        join run tree on tree.id = coalesce(r.root, r.id)
        where s.owner = (select name from owner) and s.answer is null and tree.owner = (
            select tree.owner from run r join run tree on tree.id = coalesce(r.root, r.id)
            where r.id = $3)) end"
);

/// Takes an act. It has no request: there is when the run was accepted that is meant.
pub(crate) const PUT_ACT: &str = put!(
    "select count(*) as acts, coalesce(sum(octet_length(act)), 0) as bytes from stop
        where owner = (select name from owner) and act is not null and said is null
        and (until > extract(epoch from clock_timestamp()) * 1000 or taken is not null)",
    "request, answer, act, until",
    concat!("coalesce($10::int8::text, ''), 'act', $5::text, ", now!(), " + $9::int8"),
    "acts < $7 and bytes < $8"
);

/// Reads who has a run.
pub(crate) const OWNER: &str = "select nullif(node, '') from run where id = $1";

/// Reads what has become of a stop.
pub(crate) const REPLY: &str = concat!(
    "select s.answer, ",
    now!(),
    " - s.answered, s.owner, (extract(epoch from o.lease_until) * 1000)::int8
    from stop s left join node o on o.name = s.owner where s.ask = $1"
);

/// Reads what waits for a member, but for what it knows: stops, then acts.
pub(crate) const INBOX: &str = concat!(
    "with me as materialized (select name from node where name = $1 and joined = $2)
    (select nr, run, request, at, false, '' from stop
        where owner = (select name from me) and answer is null
        and nr <> all($4) order by nr limit $3)
    union all
    (select nr, run, act, at, true, request from stop
        where owner = (select name from me) and act is not null and said is null
        and (taken = $2 or taken is null and until > ",
    now!(),
    ") and nr <> all($4) order by nr limit $5)"
);

/// Has a member take an act; once more changes nothing.
pub(crate) const TAKE: &str = concat!(
    "with me as materialized (
        select name from node where name = $1 and joined = $2 for key share)
    update stop set taken = $2 where nr = $3 and owner = (select name from me)
    and act is not null and said is null and (taken = $2 or taken is null and until > ",
    now!(),
    ") returning nr"
);

/// Answers an act, and wakes whoever has asked for it. What nobody asks for any more leaves: who
/// asks takes its row away itself.
pub(crate) const SAY: &str = concat!(
    "with me as materialized (
        select name from node where name = $1 and joined = $2 for key share),
    done as (
        update stop set said = $4::text, act = ''
        where nr = $3 and owner = (select name from me) and taken = $2 and said is null
        returning ask, channel),
    old as materialized (
        select nr from stop where until < (select ",
    now!(),
    " - $5::int8) order by until limit 16 for update skip locked),
    gone as (delete from stop where nr in (select nr from old))
    select pg_notify(channel, ask::text) from done"
);

/// Takes an act away that nobody has taken.
pub(crate) const WITHDRAW: &str =
    "delete from stop where ask = $1 and taken is null and said is null returning owner";

/// Reads what the owner says of an act.
pub(crate) const SAID: &str = "select said, owner from stop where ask = $1";

/// Takes an act away, whatever has become of it.
pub(crate) const END: &str = "delete from stop where ask = $1 returning said, owner";

/// Answers a stop, and wakes whoever has asked for it. What was answered long ago leaves.
pub(crate) const ANSWER: &str = concat!(
    "with me as materialized (
        select name from node where name = $1 and joined = $2 for key share),
    done as (
        update stop set answer = $4::text, answered = ",
    now!(),
    " where nr = $3 and owner = (select name from me) and answer is null
        returning ask, channel),
    old as materialized (
        select nr from stop where answer is not null and answered < (select ",
    now!(),
    " - $5::int8) order by answered limit 16 for update skip locked),
    gone as (delete from stop where nr in (select nr from old))
    select pg_notify(channel, ask::text) from done"
);
