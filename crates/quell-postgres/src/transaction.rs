//! [`Session`]: the session of the one that writes, and its transactions.
//!
//! Statements of a transaction are sent one behind the other, and answered together: one way to the
//! server and back for the records, and one for the COMMIT. If one of the records is refused,
//! nothing of it is committed; the same appends get other transactions, in which the one that is
//! refused stands among a few, each behind a savepoint and looked at alone.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::future::{BoxFuture, FutureExt as _};
use quell_core::limits;
use quell_core::store::{Record, StoreError};
use quell_durable::{Pending, key_ttl_ms, millis};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use crate::decided::Decided;
use crate::fault::{fault, is_lost, is_victim};
use crate::gather::gather;
use crate::lane_locks::lock;
use crate::lanes;
use crate::prepared::Prepared;
use crate::refusal;
use crate::reserved::{self, come};
use crate::seat::Seat;
use crate::sql::Sql;
use crate::step::Step;

/// A session with the lock of its schema.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) on: Prepared,
    /// Takes what was decided besides.
    decided: Arc<Decided>,
    /// Keys that were left since the last look whether there are too many.
    keys_left: i64,
}

/// How appends share a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// All or none.
    Together,
    /// Each behind a savepoint: what is refused takes nothing with it.
    Apart,
}

/// Why nothing was committed, or why that is not known.
#[derive(Debug)]
pub(crate) enum Broken {
    /// A record was refused. Nothing is stored.
    Refused,
    /// The seat was taken away. Nothing is stored.
    Superseded,
    /// It had to give way to another transaction. Nothing is stored, and it may be tried again.
    Victim(StoreError),
    /// A statement failed. Nothing is stored.
    Statement(StoreError),
    /// The session is of no use any more. Nothing is stored, unless COMMIT was sent.
    Lost(StoreError),
}

/// What came of a statement.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    rows: u64,
    /// Bytes that it has taken away.
    freed: i64,
    /// Keys that it has left.
    keys: i64,
}

/// What came of all that was stored.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bytes: i64,
    keys: i64,
}

impl Session {
    /// Begins with a session that has the lock.
    ///
    /// # Errors
    ///
    /// Fails as the server does.
    pub(crate) async fn begin(client: Client, decided: Arc<Decided>) -> Result<Self, Error> {
        Ok(Self { on: Prepared::of(client).await?, decided, keys_left: KEYS_LEFT_MAX })
    }

    /// Stores appends in one transaction, and says of each whether it was refused.
    ///
    /// # Errors
    ///
    /// Fails if nothing was committed, or if that is not known.
    pub(crate) async fn store(
        &mut self,
        seat: &Seat,
        jobs: &mut [Pending],
        how: How,
    ) -> Result<(), Broken> {
        for pending in &mut *jobs {
            pending.verdict = Ok(());
        }
        self.decided.begin();
        let sum = match how {
            How::Together => self.together(seat, jobs).await,
            How::Apart => self.apart(seat, jobs).await,
        };
        let sum = match sum {
            Ok(sum) => sum,
            Err(broken) => return Err(self.roll_back(broken).await),
        };
        self.commit(seat, sum, jobs).await
    }

    async fn together(&self, seat: &Seat, jobs: &[Pending]) -> Result<Sum, Broken> {
        let mut all: Vec<_> = lock(jobs).into_iter().collect();
        all.extend(gather(jobs.iter().flat_map(|pending| &pending.job.writes), &seat.name));
        all.extend(come(seat, jobs));
        let mut under_way = vec![self.command("begin"), self.fence(seat)];
        under_way.extend(all.iter().map(|step| self.run(step)));
        let mut answers = in_order(under_way).await.into_iter();
        answers.next().transpose()?;
        if answers.next().transpose()?.is_none_or(|fence| fence.rows == 0) {
            return Err(Broken::Superseded);
        }
        let mut sum = Sum::default();
        for (step, done) in all.iter().zip(answers) {
            sum.take(step, done?)?;
        }
        Ok(sum)
    }

    async fn apart(&self, seat: &Seat, jobs: &mut [Pending]) -> Result<Sum, Broken> {
        self.command("begin").await?;
        if self.fence(seat).await?.rows == 0 {
            return Err(Broken::Superseded);
        }
        let mut sum = Sum::default();
        if let Some(step) = lock(jobs) {
            self.run(&step).await?;
        }
        self.command("savepoint one").await?;
        for pending in &mut *jobs {
            let placed = self.decided.places.count();
            match self.alone(seat, pending).await? {
                Ok(own) => {
                    sum = Sum { bytes: sum.bytes + own.bytes, keys: sum.keys + own.keys };
                    self.command("release one; savepoint one").await?;
                }
                Err(refusal) => {
                    pending.verdict = Err(refusal);
                    self.decided.places.back_to(placed);
                    self.command("rollback to one").await?;
                }
            }
        }
        if let Some(step) = come(seat, jobs) {
            self.run(&step).await?;
        }
        Ok(sum)
    }

    /// Stores an append, one statement after the other, or says why it is refused.
    async fn alone(
        &self,
        seat: &Seat,
        pending: &Pending,
    ) -> Result<Result<Sum, StoreError>, Error> {
        let mut sum = Sum::default();
        for write in &pending.job.writes {
            for step in &gather([write], &seat.name) {
                let mut tries = 1;
                while sum.take(step, self.run(step).await?).is_err() {
                    let why = refusal::why(&self.on, (step.sql, &seat.name), write).await?;
                    if tries == TRIES || !refusal::has_passed(&why, write) {
                        return Ok(Err(why));
                    }
                    tries += 1;
                }
            }
        }
        Ok(Ok(sum))
    }

    async fn commit(&mut self, seat: &Seat, sum: Sum, jobs: &[Pending]) -> Result<(), Broken> {
        self.keys_left += sum.keys;
        let leaves = jobs.iter().flat_map(|pending| &pending.job.writes).filter_map(|write| {
            if let Record::Forgotten { at, .. } = &write.record { Some(millis(*at)) } else { None }
        });
        let drops = leaves.max().filter(|_| self.keys_left >= KEYS_LEFT_MAX);
        if let Some(at) = drops {
            let keys_max = i64::try_from(limits::KEYS_MAX).unwrap_or(i64::MAX);
            let dropped = self.on.rows(Sql::DropKeys, &[&(at - key_ttl_ms()), &keys_max]).await;
            if let Err(error) = dropped {
                return Err(self.roll_back(error.into()).await);
            }
            self.keys_left = 0;
        }
        let count = async {
            let values: [&(dyn ToSql + Sync); 2] = [&&*seat.name, &sum.bytes];
            let rows = self.on.change(Sql::Count, &values).await?;
            Ok(Done { rows, ..Done::default() })
        };
        let mut answers = in_order(vec![count.boxed(), self.command("commit")]).await.into_iter();
        match (answers.next(), answers.next()) {
            (Some(Ok(counted)), Some(Ok(_))) if counted.rows == 1 => Ok(()),
            // The COMMIT behind it has rolled back.
            (Some(Err(error)), Some(Ok(_))) => Err(error.into()),
            // Nobody knows what is there.
            (_, Some(Err(error))) => Err(Broken::Lost(fault(&error))),
            _ => Err(Broken::Lost(StoreError::Io { what: "a commit had no number".into() })),
        }
    }

    /// Ends a transaction that is not to be committed.
    async fn roll_back(&self, broken: Broken) -> Broken {
        if matches!(broken, Broken::Lost(_)) {
            return broken;
        }
        match self.command("rollback").await {
            Ok(_) => broken,
            Err(error) => Broken::Lost(fault(&error)),
        }
    }

    fn command<'a>(&'a self, sql: &'static str) -> BoxFuture<'a, Result<Done, Error>> {
        async move { self.on.client.batch_execute(sql).await.map(|()| Done::default()) }.boxed()
    }

    fn fence<'a>(&'a self, seat: &'a Seat) -> BoxFuture<'a, Result<Done, Error>> {
        let fence = async move {
            let values: [&(dyn ToSql + Sync); 2] = [&&*seat.name, &seat.joined];
            let rows = self.on.change(Sql::Fence, &values).await?;
            Ok(Done { rows, ..Done::default() })
        };
        fence.boxed()
    }

    fn run<'a>(&'a self, step: &'a Step<'_>) -> BoxFuture<'a, Result<Done, Error>> {
        let run = async move {
            let values: Vec<&(dyn ToSql + Sync)> =
                step.values.iter().map(|it| &**it as _).collect();
            if !step.yields() {
                let rows = self.on.change(step.sql, &values).await?;
                return Ok(Done { rows, ..Done::default() });
            }
            let rows = self.on.rows(step.sql, &values).await?;
            if step.sql == Sql::Come {
                for row in &rows {
                    self.decided.stops.add(reserved::stop_of(row)?);
                }
                return Ok(Done::default());
            }
            let Some(row) = rows.first() else { return Ok(Done::default()) };
            if step.sql == Sql::AcceptInLane {
                self.decided.places.add(lanes::place_of(row)?);
                return Ok(Done { rows: 1, ..Done::default() });
            }
            Ok(Done { rows: 1, freed: row.try_get(0)?, keys: row.try_get(1)? })
        };
        run.boxed()
    }
}

impl Sum {
    /// Counts what came of a statement.
    fn take(&mut self, step: &Step<'_>, done: Done) -> Result<(), Broken> {
        if done.rows < step.rows {
            return Err(Broken::Refused);
        }
        self.bytes += step.bytes - done.freed;
        self.keys += done.keys;
        Ok(())
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        let why = fault(&error);
        if is_lost(&error) {
            Self::Lost(why)
        } else if is_victim(&error) {
            Self::Victim(why)
        } else {
            Self::Statement(why)
        }
    }
}

/// Sends all in their order, and waits for all answers.
async fn in_order<T>(mut all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    // A statement is sent when its future is first polled.
    let mut first = Vec::with_capacity(all.len());
    poll_fn(|context| {
        first.extend(all.iter_mut().map(|one| one.as_mut().poll(context)));
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(all.len());
    for (first, one) in first.into_iter().zip(all) {
        answers.push(match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => one.await,
        });
    }
    answers
}

/// Keys that may be left of runs until it is looked whether all of them are too many.
const KEYS_LEFT_MAX: i64 = 256;

/// How often a root is tried that nothing refuses by the second look.
const TRIES: usize = 8;
