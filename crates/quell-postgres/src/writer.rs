//! [`Writer`]: the thread that writes, by group commit.
//!
//! It blocks for the first append, takes whatever waits behind it, up to a bound, and commits. It
//! never waits for more. An append is answered after COMMIT has returned, also one that was
//! refused: what refused it is durable then.
//!
//! When the session is lost, another one takes its place. It has the locks, which the
//! former one has left by then: so nothing of that one happens any more, and the number of the last
//! transaction says for good whether it is there. If another process has opened the schema in
//! between, nothing is written any more.

use std::sync::Arc;
use std::time::Duration;

use quell_core::store::StoreError;
use quell_durable::{Batch, Pending, Queue, Tally, Waited, catch_panic, fail, succeed};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::checks::check;
use crate::decided::Decided;
use crate::fault::{fault, in_doubt, no_answer};
use crate::lock::Locks;
use crate::schema::{self, Found};
use crate::seat::{Seat, Terms};
use crate::session::Target;
use crate::transaction::{Broken, How, Session};
use crate::unshared::{self, pid_of};
use crate::watches::Watches;

/// What the thread has.
#[derive(Debug)]
pub(crate) struct Writer {
    target: Arc<Target>,
    queue: Arc<Queue>,
    after: After,
    locks: Locks,
    seat: Seat,
    /// None after it was lost, until another one is there.
    session: Option<Session>,
    /// The process of the server that serves the session, or the last one with the locks.
    pid: i32,
    /// The number of the last transaction.
    commits: i64,
    /// When the database was found to be away, and how.
    away: Option<(Instant, StoreError)>,
    /// Why nothing is written any more.
    superseded: Option<StoreError>,
}

/// What is done behind each transaction that was committed.
#[derive(Debug)]
pub(crate) struct After {
    /// It is counted.
    pub(crate) tally: Arc<Tally>,
    /// Those who read what it has are told.
    pub(crate) watches: Arc<Watches>,
    /// What was decided of its runs is there for the engine.
    pub(crate) decided: Arc<Decided>,
}

/// Why appends are not stored, or why that is not known.
enum Trouble {
    /// No session could be had.
    Store(StoreError),
    /// A statement of one of them failed. Nothing of them is stored.
    Statement(StoreError),
}

impl Writer {
    /// Opens the schema: takes its locks, brings its tables to the newest, and takes a seat.
    ///
    /// # Errors
    ///
    /// Fails if the server is not as it must be, somebody has the schema or the name, or the schema
    /// is none of ours.
    pub(crate) async fn open(
        target: Arc<Target>,
        queue: Arc<Queue>,
        after: After,
    ) -> Result<(Self, std::time::Instant), StoreError> {
        let limit = target.options.connect_timeout + target.options.statement_timeout + LOCK_WAIT;
        let silent = |_| StoreError::Unreachable { what: target.address.words() };
        let name: Arc<str> = target.options.node.as_deref().unwrap_or_default().into();
        let is_member = !name.is_empty();
        let locks = Locks::of(&target.options.schema, &name);
        let entered = timeout(limit, enter(&target, locks, is_member)).await;
        let (mut client, found) = entered.map_err(silent)??;
        schema::migrate(&client, &target, found, &schema::STEPS).await?;
        let channel = target.channel();
        let lease_ms = is_member.then(|| target.options.lease_ms());
        let joined_at = std::time::Instant::now();
        let begun = timeout(limit, async {
            let terms = Terms { lease_ms, channel: &channel };
            let seat = Seat::take(&mut client, &name, terms).await?;
            if is_member {
                locks.leave_door(&client).await?;
            }
            let commits = seat.settle(&client).await?.ok_or_else(|| seat.lost())?;
            let pid = pid_of(&client).await?;
            let session = Session::begin(client, Arc::clone(&after.decided)).await;
            Ok::<_, StoreError>((seat, commits, pid, session.map_err(|error| fault(&error))?))
        });
        let (seat, commits, pid, session) = begun.await.map_err(silent)??;
        let session = Some(session);
        let (away, superseded) = (None, None);
        let writer =
            Self { target, queue, after, locks, seat, session, pid, commits, away, superseded };
        Ok((writer, joined_at))
    }

    pub(crate) const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(&mut self, runtime: &Runtime) {
        loop {
            let first = match self.queue.wait_at_most(LOOK) {
                Waited::Job(job) => job,
                // A session that was lost leaves the lock to others.
                Waited::Idle => {
                    runtime.block_on(self.look());
                    continue;
                }
                Waited::Closed => break,
            };
            let mut batch = Batch::of(first);
            while let Some(job) = self.queue.next(batch.records, batch.bytes, batch.has_stop) {
                batch.take(job);
            }
            // A fault of ours in one transaction is not the end of those that follow.
            if catch_panic(|| runtime.block_on(self.write(&mut batch.jobs))).is_none() {
                self.session = None;
            }
            batch.answer(&StoreError::Io { what: "writing has panicked".into() });
        }
        runtime.block_on(self.leave());
    }

    async fn look(&mut self) {
        // Sessions are driven while something is waited for: so their end is seen.
        sleep(DRIVEN).await;
        let is_lost = self.session.as_ref().is_none_or(|session| session.on.client.is_closed());
        if is_lost && self.superseded.is_none() {
            self.session = None;
            // Whether it went well the next append finds out.
            let _ = timeout(self.target.options.connect_timeout, self.reopen()).await;
        }
    }

    /// Lets the locks go, so that another store may open at once.
    async fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            let left = Locks::leave(&session.on.client);
            let _ = timeout(self.target.options.connect_timeout, left).await;
        }
    }

    async fn write(&mut self, jobs: &mut [Pending]) {
        match self.commit(jobs).await {
            Ok(()) => {}
            Err(Trouble::Store(error)) => fail(jobs, &error),
            Err(Trouble::Statement(error)) if jobs.len() == 1 => fail(jobs, &error),
            Err(Trouble::Statement(error)) => self.each(jobs, error).await,
        }
    }

    /// Gives each append a transaction of its own, after one of all has failed. When several have
    /// failed one after the other the store is in trouble, and the rest fails as they did.
    async fn each(&mut self, jobs: &mut [Pending], mut error: StoreError) {
        let mut failures = 0;
        for nth in 0..jobs.len() {
            if failures == FAILURES_MAX {
                break;
            }
            let alone = &mut jobs[nth..=nth];
            match self.commit(alone).await {
                Ok(()) => failures = 0,
                Err(Trouble::Store(why) | Trouble::Statement(why)) => {
                    fail(alone, &why);
                    (error, failures) = (why, failures + 1);
                }
            }
        }
        fail(jobs, &error);
    }

    /// Stores appends in one transaction, and gives each its answer. A session that is lost
    /// meanwhile is replaced, and what is not there is stored anew.
    async fn commit(&mut self, jobs: &mut [Pending]) -> Result<(), Trouble> {
        let (mut how, mut losses, mut deferrals) = (How::Together, 0, 0);
        loop {
            let until = Instant::now() + self.target.options.connect_timeout;
            self.connected(until).await.map_err(Trouble::Store)?;
            let Some(session) = &mut self.session else { continue };
            let (number, limit) = (self.commits + 1, self.target.transaction_limit());
            let stored = timeout(limit, session.store(&self.seat, jobs, how)).await;
            let is_late = stored.is_err();
            match stored.unwrap_or_else(|_| Err(Broken::Lost(no_answer(limit)))) {
                Ok(()) => {}
                Err(Broken::Refused) if jobs.len() > APART_MAX => {
                    // Those around what is refused share transactions all the same.
                    for part in jobs.chunks_mut(jobs.len().div_ceil(APART_MAX)) {
                        Box::pin(self.write(part)).await;
                    }
                    return Ok(());
                }
                Err(Broken::Refused) => {
                    how = How::Apart;
                    continue;
                }
                Err(Broken::Victim(_)) if deferrals < DEFERRALS_MAX => {
                    deferrals += 1;
                    continue;
                }
                Err(Broken::Victim(error) | Broken::Statement(error)) => {
                    return Err(Trouble::Statement(error));
                }
                Err(Broken::Superseded) => {
                    self.leave().await;
                    return Err(Trouble::Store(self.supersede()));
                }
                Err(Broken::Lost(error)) => {
                    let words = "the session was lost; another one reads what is there";
                    catch_panic(|| tracing::warn!(%error, "{words}"));
                    self.session = None;
                    let until = Instant::now() + self.target.options.connect_timeout;
                    self.connected(until).await.map_err(|why| Trouble::Store(in_doubt(why)))?;
                    if self.commits != number {
                        // What one of them waits for, the others need not wait for again.
                        if is_late && jobs.len() > 1 {
                            return Err(Trouble::Statement(error));
                        }
                        losses += if is_late { LOSSES_MAX.div_ceil(LATE_MAX) } else { 1 };
                        if losses >= LOSSES_MAX {
                            return Err(Trouble::Store(error));
                        }
                        continue;
                    }
                }
            }
            self.commits = number;
            // Before those who have appended hear of it.
            self.after.decided.committed();
            succeed(jobs);
            self.after.tally.count(jobs.iter().map(|pending| pending.job.writes.len()).sum());
            self.after.watches.committed(jobs);
            return Ok(());
        }
    }

    /// Sees to it that there is a session, until an instant at the latest.
    async fn connected(&mut self, until: Instant) -> Result<(), StoreError> {
        if let Some(error) = &self.superseded {
            return Err(error.clone());
        }
        if self.session.as_ref().is_some_and(|session| !session.on.client.is_closed()) {
            return Ok(());
        }
        self.session = None;
        // What has waited behind an append that found the database away does not wait again.
        if let Some((at, error)) = &self.away
            && at.elapsed() < AWAY
        {
            return Err(error.clone());
        }
        loop {
            let late = || Err(StoreError::Unreachable { what: "no session in time".into() });
            let error = match timeout_at(until, self.reopen()).await.unwrap_or_else(|_| late()) {
                Ok(()) => {
                    self.away = None;
                    return Ok(());
                }
                Err(error) => error,
            };
            if self.superseded.is_some() || Instant::now() + PAUSE >= until {
                self.away = Some((Instant::now(), error.clone()));
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    /// Opens another session in the place of one that was lost.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        let client = self.target.session().await?;
        check(&client, &self.target).await?;
        if let Some(holder) = self.locks.take(&client).await? {
            if self.seat.is_lost(&client).await? {
                return Err(self.supersede());
            }
            if holder.pid == self.pid {
                // Our own, which the server takes for alive: the way to it is broken.
                let end = "select pg_terminate_backend($1)";
                let ended = client.query_typed(end, &[(&holder.pid, Type::INT4)]).await;
                ended.map_err(|error| fault(&error))?;
            }
            return Err(StoreError::InUse { by: holder.words });
        }
        // From here on it has the locks, whatever becomes of what follows.
        self.pid = pid_of(&client).await?;
        let Some(commits) = self.seat.settle(&client).await? else {
            // The session ends soon, and others need not wait for that.
            let _ = Locks::leave(&client).await;
            return Err(self.supersede());
        };
        self.commits = commits;
        let session = Session::begin(client, Arc::clone(&self.after.decided)).await;
        self.session = Some(session.map_err(|error| fault(&error))?);
        Ok(())
    }

    fn supersede(&mut self) -> StoreError {
        let error = self.seat.lost();
        let words = "another process has what this store had: nothing is written any more";
        catch_panic(|| tracing::error!(%error, "{words}"));
        self.session = None;
        self.superseded.insert(error).clone()
    }
}

/// Opens a session with the locks of a store, and looks what its schema has.
async fn enter(
    target: &Target,
    locks: Locks,
    is_member: bool,
) -> Result<(Client, Found), StoreError> {
    let client = unshared::session(target).await?;
    check(&client, target).await?;
    // Those of a process that has just ended go in a moment.
    take(locks, false, &client, LOCK_WAIT).await?;
    if is_member {
        take(locks, true, &client, Duration::from_millis(target.statement_ms())).await?;
    }
    let found = schema::look(&client, target, &schema::STEPS).await?;
    Ok((client, found))
}

/// Takes locks as soon as nobody has them, within a time; or, once a member has them, that of those
/// who join.
async fn take(
    locks: Locks,
    is_door: bool,
    client: &Client,
    limit: Duration,
) -> Result<(), StoreError> {
    let until = Instant::now() + limit;
    loop {
        let holder = if is_door { locks.take_door(client).await } else { locks.take(client).await };
        match holder? {
            None => return Ok(()),
            Some(holder) if Instant::now() >= until => {
                return Err(StoreError::InUse { by: holder.words });
            }
            Some(_) => sleep(PAUSE).await,
        }
    }
}

/// How often a thread with nothing to do looks whether its session is still there.
const LOOK: Duration = Duration::from_secs(1);

/// For how long the session is driven then.
const DRIVEN: Duration = Duration::from_millis(1);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it is not tried again after the database was away.
const AWAY: Duration = Duration::from_millis(250);

/// How long whoever opens waits for the lock of a process that has ended.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Appends that are looked at one after the other when one of them is refused, and parts of more.
/// Each look is a way to the server and back.
const APART_MAX: usize = 8;

/// Appends that fail one after the other, each in a transaction of its own, until the rest is not
/// tried.
const FAILURES_MAX: usize = 4;

/// How often one transaction may give way to another one until it has failed.
const DEFERRALS_MAX: usize = 8;

/// Sessions that one transaction may lose until it has failed.
const LOSSES_MAX: usize = 8;

/// How often a transaction may take too long until it has failed.
const LATE_MAX: usize = 2;
