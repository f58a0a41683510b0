//! [`Member`]: what a member does beside writing: its lease, take-overs, and stops between members.
//!
//! What it asks is one statement each, on a few sessions that are for nothing else: a renewal never
//! waits for an append, for a list of runs, or for a stop that another member is asked for. It runs
//! on the threads of the store, whatever becomes of the runtime of the caller, and each call has a
//! time limit.
//!
//! The row of a stop is the truth. A notification only says that it is time to look, and one that
//! was lost costs a second at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quell_core::cluster::{Answer, Asked, AskedStop, TakenOver};
use quell_core::store::StoreError;
use quell_core::{CancelRequest, Disposition, RunId, limits};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::{self, Put, Reply, column};
use crate::readers::{Query, Readers};
use crate::renewals::Renewals;
use crate::seat::Seat;
use crate::session::Target;
use crate::step::Value;
use crate::watches::Watches;

/// What a member asks of the database.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    pub(crate) seat: Seat,
    /// Where this member hears of stops.
    pub(crate) channel: String,
    /// Whose logs are read where.
    pub(crate) watches: Arc<Watches>,
    renewals: Renewals,
    sessions: Readers,
    /// Stops were asked for, perhaps.
    news: watch::Sender<()>,
    /// Calls that wait for an answer of another member.
    waiting: Mutex<HashMap<Uuid, Arc<Notify>>>,
    /// The newest boot that whoever has the member was told of.
    known: AtomicI64,
    /// Whether notifications do not come.
    is_deaf: AtomicBool,
}

impl Member {
    /// Makes the way to a few sessions. None is opened yet.
    ///
    /// # Errors
    ///
    /// As [`Readers::new`].
    pub(crate) fn new(
        target: Arc<Target>,
        seat: Seat,
        handle: Handle,
        watches: Arc<Watches>,
    ) -> Result<Self, StoreError> {
        let sessions = Readers::new(Arc::clone(&target), handle, SESSIONS)?;
        let renewals = Renewals::new(Arc::clone(&target));
        let (channel, known) = (target.channel(), AtomicI64::new(seat.joined));
        let (news, waiting) = (watch::Sender::new(()), Mutex::default());
        let is_deaf = AtomicBool::new(false);
        Ok(Self {
            target,
            seat,
            channel,
            watches,
            renewals,
            sessions,
            news,
            waiting,
            known,
            is_deaf,
        })
    }

    /// Extends the lease.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        self.extend(self.target.options.lease_ms()).await
    }

    /// Ends the lease.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        self.extend(0).await
    }

    async fn extend(&self, lease_ms: i64) -> Result<(), StoreError> {
        let is_there = self.renewals.extend(&self.seat, lease_ms).await?;
        if is_there { Ok(()) } else { Err(self.seat.lost()) }
    }

    /// Takes over from one member whose lease is over.
    pub(crate) async fn take_over(&self) -> Result<Option<TakenOver>, StoreError> {
        let known = self.known.load(Ordering::Acquire);
        let rows = self.rows(OVER, self.own()).await?;
        let Some(row) = rows.first() else { return Err(self.seat.lost()) };
        let (boot, is_any): (i64, bool) = (column(row, 0)?, column(row, 1)?);
        if boot == known && !is_any {
            return Ok(None);
        }
        let mut client = self.target.session().await?;
        let taken = self.seat.take_over(&mut client, known).await?;
        let Some(taken) = taken else { return Ok(None) };
        self.known.fetch_max(taken.boot, Ordering::AcqRel);
        let boot = u32::try_from(taken.boot)
            .map_err(|_| StoreError::Corrupt { what: format!("{} is no boot", taken.boot) })?;
        // Stops that its former owner was asked for.
        self.look();
        Ok(Some(TakenOver { from: taken.from.into(), boot }))
    }

    /// Asks the owner of a run to stop it, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        run: RunId,
        request: CancelRequest,
    ) -> Result<Disposition, StoreError> {
        let waits = Waits::new(self);
        let request = serde_json::to_string(&request);
        let request = request.map_err(|error| StoreError::Io { what: error.to_string() })?;
        match self.put_on(|| self.put(waits.ask, run, &request)).await? {
            Put::Known(answer) => return Ok(answer),
            Put::Lost => return Err(self.seat.lost()),
            Put::Full(owner) => {
                let what = format!("{STOPS_MAX} stops wait for node {owner}");
                return Err(StoreError::Io { what });
            }
            Put::Waits => {}
            Put::Moves => return Ok(Disposition::Unknown),
        }
        let until = Instant::now() + limits::ASKED_STOP_WAIT;
        loop {
            let look_at = until.min(Instant::now() + self.pause());
            let _ = timeout_at(look_at, waits.woken.notified()).await;
            match self.in_time(self.reply(waits.ask)).await? {
                Reply::Answered(answer) => return Ok(answer),
                Reply::Gone => return Ok(Disposition::Unknown),
                Reply::Open { owner, lease_until } if Instant::now() >= until => {
                    return Ok(Disposition::Recorded { owner, lease_until });
                }
                Reply::Open { .. } => {}
            }
        }
    }

    /// Puts something to the owner of a run, and waits while that changes.
    pub(crate) async fn put_on<W>(&self, put: impl Fn() -> W) -> Result<Put, StoreError>
    where
        W: Future<Output = Result<Put, StoreError>>,
    {
        for _ in 0..MOVES_MAX {
            match self.in_time(put()).await? {
                // Somebody takes it over in this moment.
                Put::Moves => sleep(PAUSE).await,
                put => return Ok(put),
            }
        }
        Ok(Put::Moves)
    }

    async fn put(&self, ask: Uuid, run: RunId, request: &str) -> Result<Put, StoreError> {
        let stops_max = i64::try_from(STOPS_MAX).unwrap_or(i64::MAX);
        self.put_row(asked::PUT, (ask, run, request), vec![Box::new(stops_max)]).await
    }

    pub(crate) async fn put_row(
        &self,
        sql: &str,
        (ask, run, text): (Uuid, RunId, &str),
        more: Vec<Value<'static>>,
    ) -> Result<Put, StoreError> {
        let mut values = self.own();
        values.push(Box::new(run.as_uuid()));
        values.push(Box::new(ask));
        values.push(Box::new(text.to_owned()));
        values.push(Box::new(self.channel.clone()));
        values.extend(more);
        // It waits while somebody takes the owner of the run over: a session is left for others.
        let query = Query { sql: sql.to_owned(), values, is_list: true };
        let rows = self.sessions.rows(query).await?;
        rows.first().map_or(Ok(Put::Known(Disposition::Unknown)), asked::put)
    }

    async fn reply(&self, ask: Uuid) -> Result<Reply, StoreError> {
        let rows = self.rows(asked::REPLY, vec![Box::new(ask)]).await?;
        rows.first().map_or(Ok(Reply::Gone), asked::reply)
    }

    /// Yields the name of the member that has a run.
    pub(crate) async fn owner(&self, run: RunId) -> Result<Option<Arc<str>>, StoreError> {
        let rows = self.rows(asked::OWNER, vec![Box::new(run.as_uuid())]).await?;
        rows.first().map_or(Ok(None), asked::owner)
    }

    /// Waits until something is asked of this member that is not known.
    pub(crate) async fn inbox(&self, known: Vec<u64>) -> Result<Vec<Asked>, StoreError> {
        let mut news = self.news.subscribe();
        let known: Vec<_> = known.into_iter().map(u64::cast_signed).collect();
        loop {
            news.mark_unchanged();
            let most = (limits::ASKED_STOPS_MAX, limits::ASKED_ACTS_MAX);
            let asked = self.in_time(self.unanswered(most, known.clone())).await?;
            if !asked.is_empty() {
                return Ok(asked);
            }
            let _ = timeout(self.pause(), news.changed()).await;
        }
    }

    /// Reads the stops that nobody has answered, the first one of each run.
    pub(crate) async fn asked(&self) -> Result<HashMap<RunId, AskedStop>, StoreError> {
        let mut first = HashMap::new();
        for asked in self.unanswered((STOPS_MAX, 0), Vec::new()).await? {
            if let Asked::Stop(stop) = asked {
                first.entry(stop.run).or_insert(stop);
            }
        }
        Ok(first)
    }

    /// Reads so many stops, and so many acts, that nobody has answered, but for the known ones.
    async fn unanswered(
        &self,
        (stops_max, acts_max): (usize, usize),
        known: Vec<i64>,
    ) -> Result<Vec<Asked>, StoreError> {
        let mut values = self.own();
        values.push(Box::new(i64::try_from(stops_max).unwrap_or(i64::MAX)));
        values.push(Box::new(known));
        values.push(Box::new(i64::try_from(acts_max).unwrap_or(i64::MAX)));
        let rows = self.rows(asked::INBOX, values).await?;
        rows.iter().map(asked::asked).collect()
    }

    /// Answers a stop or an act.
    pub(crate) async fn answer(&self, nr: u64, answer: &Answer) -> Result<(), StoreError> {
        let (sql, text) = match answer {
            Answer::Stop(answer) => {
                (asked::ANSWER, serde_json::to_string(&answer.as_of(std::time::Instant::now())))
            }
            Answer::Act(said) => (asked::SAY, Ok(said.as_json().to_owned())),
        };
        let answer = text.map_err(|error| StoreError::Io { what: error.to_string() })?;
        let mut values = self.own();
        values.push(Box::new(nr.cast_signed()));
        values.push(Box::new(answer));
        values.push(Box::new(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX)));
        self.rows(sql, values).await.map(drop)
    }

    /// Takes a notification: that of a stop has no words, and that of an answer names the call.
    pub(crate) fn heard(&self, words: &str) {
        let Ok(ask) = Uuid::try_parse(words) else { return self.look() };
        let woken = self.waiting.lock().get(&ask).cloned();
        if let Some(woken) = woken {
            woken.notify_one();
        }
    }

    /// Has everybody look again, since notifications may have been lost.
    pub(crate) fn look_all(&self) {
        let all: Vec<_> = self.waiting.lock().values().cloned().collect();
        for woken in all {
            woken.notify_one();
        }
        self.look();
    }

    fn look(&self) {
        self.news.send_replace(());
    }

    /// Sends words to channels, each of its own.
    pub(crate) async fn say(&self, words: Vec<(String, String)>) -> Result<(), StoreError> {
        let sql = "select pg_notify(channel, words)
            from unnest($1::text[], $2::text[]) said (channel, words)";
        let (channels, words): (Vec<_>, Vec<_>) = words.into_iter().unzip();
        let said = self.rows(sql, vec![Box::new(channels), Box::new(words)]);
        self.in_time(said).await.map(drop)
    }

    /// Tells whether notifications come, as far as is known.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Acquire)
    }

    /// Says whether notifications come.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Release);
    }

    /// How long nobody looks although nothing was heard.
    pub(crate) fn pause(&self) -> Duration {
        if self.is_deaf() { PAUSE_DEAF } else { PAUSE_MAX }
    }

    /// Notifies this member itself.
    pub(crate) async fn notify_itself(&self, words: &'static str) -> Result<(), StoreError> {
        let sql = "select pg_notify($1::text, $2::text)";
        self.rows(sql, vec![Box::new(self.channel.clone()), Box::new(words)]).await.map(drop)
    }

    /// The first two values of most statements: the seat, without which nothing is done.
    pub(crate) fn own(&self) -> Vec<Value<'static>> {
        vec![Box::new(self.seat.name.to_string()), Box::new(self.seat.joined)]
    }

    pub(crate) async fn rows(
        &self,
        sql: &str,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Row>, StoreError> {
        self.sessions.rows(Query { sql: sql.to_owned(), values, is_list: false }).await
    }

    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        in_time(self.target.options.connect_timeout, work).await
    }
}

/// Does work within a time.
///
/// # Errors
///
/// Fails as the work does, or if it takes longer.
pub(crate) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || StoreError::Unreachable { what: format!("no answer within {limit:?}") };
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// A call that waits for an answer, for as long as this lives.
pub(crate) struct Waits<'a> {
    member: &'a Member,
    pub(crate) ask: Uuid,
    pub(crate) woken: Arc<Notify>,
}

impl<'a> Waits<'a> {
    pub(crate) fn new(member: &'a Member) -> Self {
        let (ask, woken) = (Uuid::now_v7(), Arc::<Notify>::default());
        member.waiting.lock().insert(ask, Arc::clone(&woken));
        Self { member, ask, woken }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.member.waiting.lock().remove(&self.ask);
    }
}

const OVER: &str = "select boot, exists (
        select 1 from node where lease_until <= now() and name <> $1)
    from node where name = $1 and joined = $2";

/// Sessions of a member beside those that write and read, and that of its lease.
const SESSIONS: usize = 3;

/// Stops that wait for one member.
const STOPS_MAX: usize = 10 * limits::ASKED_STOPS_MAX;

/// For how long an answer is kept.
const KEPT: Duration = Duration::from_mins(10);

/// How often a run whose owner changes is looked at.
const MOVES_MAX: u32 = 20;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long nobody looks for stops and answers although nothing was heard.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The same where notifications do not come.
const PAUSE_DEAF: Duration = Duration::from_millis(250);
