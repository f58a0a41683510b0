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
use quell_core::{RunId, limits};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::asked::{self, column};
use crate::decided::Decided;
use crate::fault::in_time;
use crate::readers::{Query, Readers};
use crate::renewals::Renewals;
use crate::seat::Seat;
use crate::session::Target;
use crate::slots::Slots;
use crate::step::Value;
use crate::turns::Turns;
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
    /// What transactions have decided, until the engine hears of it.
    pub(crate) decided: Arc<Decided>,
    /// What it knows of the slots of limits.
    pub(crate) slots: Slots,
    renewals: Renewals,
    /// Turns in lanes.
    pub(crate) turns: Turns,
    pub(crate) sessions: Readers,
    /// Stops were asked for, perhaps.
    pub(crate) news: watch::Sender<()>,
    /// The last run of the page of work of forgotten members that was told last, if there may be
    /// more behind it.
    pub(crate) told: Mutex<Option<RunId>>,
    /// Calls that wait for an answer of another member.
    waiting: Mutex<HashMap<Uuid, Arc<Notify>>>,
    /// The newest boot that whoever has the member was told of.
    known: AtomicI64,
    /// When the lease of another member is over at the soonest, as the last look has found it.
    next_lease_end: Mutex<Option<std::time::Instant>>,
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
        (watches, decided): (Arc<Watches>, Arc<Decided>),
    ) -> Result<Self, StoreError> {
        let sessions = Readers::new(Arc::clone(&target), handle, SESSIONS)?;
        let renewals = Renewals::new(Arc::clone(&target));
        let (channel, known) = (target.channel(), AtomicI64::new(seat.joined));
        let (news, waiting) = (watch::Sender::new(()), Mutex::default());
        let (next_lease_end, is_deaf) = (Mutex::default(), AtomicBool::new(false));
        let slots = Slots::new(seat.joined);
        Ok(Self {
            target,
            seat,
            channel,
            watches,
            decided,
            slots,
            renewals,
            turns: Turns::default(),
            sessions,
            news,
            told: Mutex::default(),
            waiting,
            known,
            next_lease_end,
            is_deaf,
        })
    }

    /// Extends the lease.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        self.extend(self.target.options.lease_ms(), false).await
    }

    /// Ends the lease.
    pub(crate) async fn leave(&self, is_drained: bool) -> Result<(), StoreError> {
        self.extend(0, is_drained).await
    }

    async fn extend(&self, lease_ms: i64, is_drained: bool) -> Result<(), StoreError> {
        let is_there = self.renewals.extend(&self.seat, lease_ms, is_drained).await?;
        if is_there { Ok(()) } else { Err(self.seat.lost()) }
    }

    /// Gives up roots that others may have.
    pub(crate) async fn release(&self, roots: &[RunId]) -> Result<(), StoreError> {
        let roots: Vec<_> = roots.iter().map(RunId::as_uuid).collect();
        let mut client = self.target.session().await?;
        let is_there = self.seat.release(&mut client, &roots).await?;
        if is_there { Ok(()) } else { Err(self.seat.lost()) }
    }

    /// Takes over from one member whose lease is over.
    pub(crate) async fn take_over(&self) -> Result<Option<TakenOver>, StoreError> {
        let known = self.known.load(Ordering::Acquire);
        let rows = self.rows(OVER, self.own()).await?;
        let Some(row) = rows.first() else { return Err(self.seat.lost()) };
        let (boot, is_any): (i64, bool) = (column(row, 0)?, column(row, 1)?);
        let next = column::<Option<i64>>(row, 2)?.and_then(|ms| u64::try_from(ms).ok());
        let next = next.map(|ms| std::time::Instant::now() + Duration::from_millis(ms));
        *self.next_lease_end.lock() = next;
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
        self.slots.look_all();
        self.turns.ask(&taken.freed);
        Ok(Some(TakenOver { from: taken.from.into(), boot }))
    }

    /// Yields when the lease of another member is over at the soonest.
    pub(crate) fn next_lease_end(&self) -> Option<std::time::Instant> {
        *self.next_lease_end.lock()
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

    /// Reads the stops that nobody has answered, those of each run in their order.
    pub(crate) async fn asked(&self) -> Result<HashMap<RunId, Vec<AskedStop>>, StoreError> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for asked in self.unanswered((limits::ASKED_STOPS_WAITING_MAX, 0), Vec::new()).await? {
            if let Asked::Stop(stop) = asked {
                all.entry(stop.run).or_default().push(stop);
            }
        }
        Ok(all)
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
        let values: Vec<Value<'static>> = vec![Box::new(self.channel.clone()), Box::new(words)];
        self.rows("select pg_notify($1::text, $2::text)", values).await.map(drop)
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
        select 1 from node where lease_until <= now() and name <> $1),
    (select ceil(1000 * extract(epoch from min(lease_until) - now()))::int8
        from node where lease_until > now() and name <> $1)
    from node where name = $1 and joined = $2";

/// Sessions of a member beside those that write and read, and that of its lease.
pub(crate) const SESSIONS: usize = 3;

/// For how long an answer is kept.
const KEPT: Duration = Duration::from_mins(10);

/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// How long nobody looks for stops and answers although nothing was heard.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The same where notifications do not come.
const PAUSE_DEAF: Duration = Duration::from_millis(250);
