//! A member remembers a stop for a run to come: [`crate::reserved`] says how they find each other.

use quell_core::cluster::StopToCome;
use quell_core::limits::{self, share_of};
use quell_core::store::StoreError;
use uuid::Uuid;

use crate::asked::{column, now};
use crate::member::Member;
use crate::readers::Query;
use crate::rollback::{rolled_back, rolls_back};
use crate::step::Value;
use crate::text::kept;

impl Member {
    /// Remembers a stop for a run to come; yields false if there is such a run.
    pub(crate) async fn remember(&self, stop: StopToCome) -> Result<bool, StoreError> {
        let request = serde_json::to_string(&stop.request);
        let request = request.map_err(|error| StoreError::Io { what: error.to_string() })?;
        let by = stop.request.asked_by().map(|by| kept(by).into_owned());
        let millis = i64::try_from(stop.request.remembered_for().as_millis()).unwrap_or(i64::MAX);
        let scope = stop.scope.map_or(Vec::new(), Vec::from);
        let (run, ask) = (stop.run.as_uuid(), Uuid::now_v7());
        let query = |sql: &str, values| Query { sql: sql.to_owned(), values, is_list: true };
        let keep: Vec<Value<'static>> = vec![
            Box::new(run),
            Box::new(ask),
            Box::new(scope),
            Box::new(by.clone()),
            Box::new(self.channel.clone()),
            Box::new(request),
            Box::new(millis),
        ];
        let mut probe = self.own();
        probe.push(Box::new(run));
        let mut all = vec![
            query(PROBE, probe),
            query(LAPSE, Vec::new()),
            query(KEEP, keep),
            query(PROBED, vec![Box::new(run)]),
        ];
        let number = |number: usize| Box::new(i64::try_from(number).unwrap_or(i64::MAX));
        let (max, bytes_max) = (stop.max, limits::RESERVATIONS_BYTES_MAX);
        if let Some(by) = by {
            let share = |max| share_of(max, stop.share_percent);
            if is_time_to_trim(ask, share(max)) {
                let (most, bytes_most) = (number(share(max)), number(share(bytes_max)));
                let values: Vec<Value<'static>> = vec![most, bytes_most, Box::new(by)];
                all.push(query(TRIM_ONE, values));
            }
        }
        if is_time_to_trim(ask, max) {
            all.push(query(TRIM_ALL, vec![number(max), number(bytes_max)]));
        }
        let rows = self.in_time(self.sessions.transaction(all)).await?;
        let said =
            rows.iter().map(|row| column::<String>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        if !said.iter().any(|said| said == "me") {
            return Err(self.seat.lost());
        }
        Ok(said.iter().any(|said| said == "kept"))
    }
}

/// Tells whether it is counted how many there are. That looks at each of them, so that one in so
/// many stops has it done that each stop pays for a few. Which one it is chance says, in the part
/// of the id that has no time: nobody can see to it that it is never theirs. Meanwhile there are
/// more than the bound says, by about a part in [`COUNTED`] of it.
fn is_time_to_trim(ask: Uuid, max: usize) -> bool {
    let one_in = u64::try_from(max / COUNTED).unwrap_or(u64::MAX).max(1);
    ask.as_u64_pair().1.is_multiple_of(one_in)
}

/// How many rows a stop looks at on average, about.
const COUNTED: usize = 64;

/// A run is of some kind: none is like this row. A member whose seat was taken away puts none, and
/// so keeps nothing.
const PROBE: &str = "with me as materialized (
        select 'me' as word from node where name = $1 and joined = $2 for key share),
    probe as (
        insert into run (id, epoch, kind, name, at, status, bytes)
        select $3::uuid, 0, '', '', 0, 3, 0 from me on conflict do nothing)
    select word from me";

const PROBED: &str = "delete from run where id = $1 and kind = ''";

/// What an accepted run is using up in this moment is left alone. A time of the clock is read once,
/// in a query of its own: an index finds nothing by one that changes while it is looked for.
const LAPSE: &str = concat!(
    "delete from reserved where nr = any(array(
        select nr from reserved where until <= (select ",
    now!(),
    ") order by until limit 1000 for update skip locked))"
);

/// Of several for one run and scope the first one stands, until the latest of their times. It takes
/// the run back if any of them does.
const KEEP: &str = concat!(
    "insert into reserved (ask, run, scope, asker, channel, request, at, until)
    select $2::uuid, run.id, $3::bytea, $4::text, $5::text, $6::text, ",
    now!(),
    ", ",
    now!(),
    " + $7::int8 from run where id = $1 and kind = ''
    on conflict (run, scope) do update set until = greatest(reserved.until, excluded.until),
        request = case when ",
    rolls_back!("excluded.request"),
    " then ",
    rolled_back!("reserved.request"),
    " else reserved.request end
    returning 'kept'"
);

/// Has the oldest leave that are too many, or too much. What has to be gone through for that is
/// gone through only then.
macro_rules! trim {
    ($whose:literal) => {
        concat!(
            "delete from reserved where nr = any(array(
                select nr from reserved where nr = any(array(
                    select nr from (
                        select nr, row_number() over newest as nth,
                            sum(octet_length(request)) over newest as bytes
                        from reserved where ",
            $whose,
            " window newest as (order by nr desc)) one
                    where nth > $1 or bytes > $2))
                order by nr for update skip locked))
            and (select count(*) > $1 or sum(octet_length(request)) > $2 from reserved where ",
            $whose,
            ")"
        )
    };
}

const TRIM_ONE: &str = trim!("asker = $3");

const TRIM_ALL: &str = trim!("true");
