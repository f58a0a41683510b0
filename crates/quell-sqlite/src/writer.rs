//! The thread that writes: group commit.
//!
//! It blocks for the first append, takes whatever comes while it works, up to a bound, and commits.
//! It never waits for more. An append is answered after COMMIT has returned, also one that was
//! refused: what refused it is durable then.
//!
//! After an error of COMMIT nobody knows what the disk has, and the connection is not asked again.
//! Another one is opened, which reads the log back; the log is copied into the file, which flushes
//! it anew; then the number of the last transaction says whether this one is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quell_core::store::{Record, StoreError};
use rusqlite::Connection;

use crate::accept;
use crate::apply::{self, Standings};
use crate::connect;
use crate::fault::{Fault, fault};
use crate::options::SqliteOptions;
use crate::queue::{Job, Queue};
use crate::wal::Wal;

/// How often was committed, and how many records.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commits: AtomicU64,
    pub(crate) records: AtomicU64,
}

/// What the thread has.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) queue: Arc<Queue>,
    pub(crate) wal: Arc<Wal>,
    pub(crate) tally: Arc<Tally>,
    /// None after an error of COMMIT, until another one could be opened.
    pub(crate) connection: Option<Connection>,
    pub(crate) known: Standings,
    /// The number of the last transaction.
    pub(crate) commits: i64,
}

/// Appends of one transaction, each with its answer.
#[derive(Default)]
struct Batch {
    jobs: Vec<(Job, Result<(), StoreError>)>,
    records: usize,
    bytes: usize,
    has_stop: bool,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.wait() {
            let mut batch = Batch::default();
            let answers = match self.write(first, &mut batch) {
                Ok(()) => batch.jobs,
                // Nothing of it is stored.
                Err(error) => {
                    let jobs = batch.jobs.into_iter();
                    jobs.map(|(job, _)| (job, Err(error.clone()))).collect()
                }
            };
            for (job, answer) in answers {
                // Who gave up is not told.
                let _ = job.answer.send(answer);
            }
        }
    }

    fn write(&mut self, first: Job, batch: &mut Batch) -> Result<(), StoreError> {
        let failed = self.begin();
        if let Err(error) = failed {
            batch.jobs.push((first, Ok(())));
            return Err(error);
        }
        let mut next = Some(first);
        while let Some(job) = next {
            let answer = self.store(&job);
            batch.take(job);
            match answer {
                Ok(()) => {}
                Err(Fault::Refused(error)) => batch.refuse_last(error),
                Err(Fault::Trouble(error)) => {
                    self.roll_back();
                    return Err(fault(&error));
                }
            }
            next = self.queue.next(batch.records, batch.bytes, batch.has_stop);
        }
        self.commit(batch)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.reopen()?;
        }
        let Some(connection) = &self.connection else { return Err(StoreError::Closed) };
        let begun = connection.prepare_cached("begin immediate").and_then(|mut it| it.execute([]));
        begun.map(drop).map_err(|error| {
            let error = fault(&error);
            self.connection = None;
            error
        })
    }

    /// Stores an append within the transaction, completely or not at all.
    fn store(&mut self, job: &Job) -> Result<(), Fault> {
        let Some(on) = &self.connection else { return Ok(()) };
        let is_one_statement = match &*job.writes {
            [write] => match &write.record {
                Record::Accepted(accepted) => !accept::takes_several(accepted, &write.annotations),
                // Whatever else is refused is refused before its second statement.
                _ => true,
            },
            _ => false,
        };
        let execute = |sql| on.prepare_cached(sql).and_then(|mut it| it.execute([])).map(drop);
        if !is_one_statement {
            execute("savepoint one")?;
        }
        let applied =
            job.writes.iter().try_for_each(|write| apply::apply(on, &mut self.known, write));
        if is_one_statement {
            return applied;
        }
        if matches!(applied, Err(Fault::Refused(_))) {
            execute("rollback to one")?;
            // It may have taken runs over, or forgotten them.
            self.known.clear();
        }
        if !matches!(applied, Err(Fault::Trouble(_))) {
            execute("release one")?;
        }
        applied
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let Some(on) = &self.connection else { return Err(StoreError::Closed) };
        let number = self.commits + 1;
        let sql = "update meta set value = ? where name = 'commits'";
        let counted = on.prepare_cached(sql).and_then(|mut it| it.execute([number]));
        if let Err(error) = counted {
            self.roll_back();
            return Err(fault(&error));
        }
        let committed = on.prepare_cached("commit").and_then(|mut it| it.execute([]));
        if let Err(error) = committed {
            let error = fault(&error);
            tracing::warn!(%error, "a commit failed; the file is opened anew and read back");
            self.known.clear();
            self.connection = None;
            self.reopen()?;
            if self.commits != number {
                return Err(error);
            }
        }
        self.commits = number;
        self.tally.commits.fetch_add(1, Ordering::Relaxed);
        self.tally.records.fetch_add(batch.records as u64, Ordering::Relaxed);
        self.wal.written(batch.records, batch.bytes);
        Ok(())
    }

    fn roll_back(&mut self) {
        self.known.clear();
        let Some(on) = &self.connection else { return };
        // SQLite has rolled back by itself after some errors.
        if !on.is_autocommit() && on.execute_batch("rollback").is_err() {
            self.connection = None;
        }
    }

    /// Opens another connection, and reads back which transaction was the last one.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let connection = connect::writer(&self.path, &self.options)?;
        let busy = "pragma wal_checkpoint(truncate)";
        let copied: i64 =
            connection.query_row(busy, [], |row| row.get(0)).map_err(|error| fault(&error))?;
        if copied != 0 {
            return Err(StoreError::Io { what: "the log could not be copied and flushed".into() });
        }
        self.commits = last_commit(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Batch {
    fn take(&mut self, job: Job) {
        self.records += job.writes.len();
        self.bytes += job.bytes;
        self.has_stop |= job.is_stop();
        self.jobs.push((job, Ok(())));
    }

    fn refuse_last(&mut self, error: StoreError) {
        if let Some((_, answer)) = self.jobs.last_mut() {
            *answer = Err(error);
        }
    }
}

/// Yields the number of the last transaction.
pub(crate) fn last_commit(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "select value from meta where name = 'commits'";
    connection.query_row(sql, [], |row| row.get(0)).map_err(|error| fault(&error))
}
