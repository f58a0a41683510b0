//! The thread that writes: group commit.
//!
//! It blocks for the first append, takes whatever comes while it works, up to a bound, and commits.
//! It never waits for more. An append is answered after COMMIT has returned, also one that was
//! refused: what refused it is durable then.
//!
//! An append that fails takes no other with it. If a statement of it fails, nothing is committed;
//! those before it get a transaction without it, and it gets one alone.
//!
//! After an error of COMMIT nobody knows what the disk has, and the connection is not asked again.
//! Another one is opened, which reads the log back; the log is copied into the file, which flushes
//! it anew; then the number of the last transaction says whether this one is there. If it is not,
//! each append gets a transaction of its own: the disk may have room for some of them.

use std::path::PathBuf;
use std::sync::Arc;

use quell_core::store::{Record, StoreError};
use quell_durable::{Batch, Job, Pending, Queue, Tally, catch_panic, fail, succeed};
use rusqlite::Connection;

use crate::accept;
use crate::apply::{self, Known};
use crate::connect;
use crate::fault::{Fault, fault};
use crate::gate::Gate;
use crate::options::SqliteOptions;
use crate::share;
use crate::wal::{self, Wal};
use crate::watch::{self, Watch};

/// What the thread has.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) queue: Arc<Queue>,
    pub(crate) wal: Arc<Wal>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) watch: Arc<Watch>,
    /// None after an error of COMMIT, until another one could be opened.
    pub(crate) connection: Option<Connection>,
    pub(crate) known: Known,
    /// The number of the last transaction.
    pub(crate) commits: i64,
    /// Nothing is in the transaction yet: what it refuses is taken back with it, which costs less
    /// than a savepoint does, that copies each page before it is changed.
    pub(crate) is_empty: bool,
}

/// Why a transaction was not committed.
enum Trouble {
    /// It could not begin, or nobody knows whether it was committed.
    Store(StoreError),
    /// A statement of the last append in it failed. Nothing of it is stored.
    Statement(StoreError),
    /// COMMIT failed, and nothing of it is stored.
    Commit(StoreError),
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(&mut self) {
        while let Some(first) = self.queue.wait() {
            let mut batch = Batch::of(first);
            // A fault of ours in one transaction is not the end of those that follow.
            if catch_panic(|| self.write(&mut batch)).is_none() {
                self.connection = None;
                self.known.clear();
            }
            batch.answer(&StoreError::Io { what: "writing has panicked".into() });
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        let trouble = match self.fill(batch) {
            Ok(()) => return,
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Store(error) => fail(&mut batch.jobs, &error),
            Trouble::Statement(error) => {
                let last = batch.jobs.len() - 1;
                let (before, guilty) = batch.jobs.split_at_mut(last);
                if before.is_empty() {
                    return fail(guilty, &error);
                }
                if let Err(trouble) = self.again(before) {
                    self.each(before, trouble);
                }
                // Now that those before it are stored its own answer may be another one.
                if let Err(trouble) = self.again(guilty) {
                    fail(guilty, trouble.error());
                }
            }
            trouble @ Trouble::Commit(_) => self.each(&mut batch.jobs, trouble),
        }
    }

    /// Gives each append a transaction of its own, after one of all has failed. When several have
    /// failed one after the other the store is in trouble, and the rest fails as they did.
    fn each(&mut self, jobs: &mut [Pending], trouble: Trouble) {
        let (mut trouble, mut failures) = (trouble, 0);
        if jobs.len() > 1 && !matches!(trouble, Trouble::Store(_)) {
            for nth in 0..jobs.len() {
                if failures == FAILURES_MAX {
                    break;
                }
                let alone = &mut jobs[nth..=nth];
                match self.again(alone) {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        fail(alone, error.error());
                        (trouble, failures) = (error, failures + 1);
                    }
                }
            }
        }
        fail(jobs, trouble.error());
    }

    /// Begins a transaction with the append that a batch has, takes more into both, and commits.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        let filled = self.try_fill(batch);
        self.noted(filled)
    }

    fn try_fill(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        self.connected()?;
        let gate = Arc::clone(&self.gate);
        let turn = gate.writes.lock();
        self.begin()?;
        loop {
            if let Some(last) = batch.jobs.last_mut() {
                self.store(last)?;
            }
            match self.queue.next(batch.records, batch.bytes, batch.has_stop) {
                Some(job) => batch.take(job),
                None => break,
            }
        }
        let committed = self.commit();
        drop(turn);
        self.settle(committed, &mut batch.jobs)
    }

    /// Stores appends in a transaction that takes no others.
    fn again(&mut self, jobs: &mut [Pending]) -> Result<(), Trouble> {
        let stored = self.try_again(jobs);
        self.noted(stored)
    }

    fn try_again(&mut self, jobs: &mut [Pending]) -> Result<(), Trouble> {
        self.connected()?;
        let gate = Arc::clone(&self.gate);
        let turn = gate.writes.lock();
        self.begin()?;
        jobs.iter_mut().try_for_each(|pending| self.store(pending))?;
        let committed = self.commit();
        drop(turn);
        self.settle(committed, jobs)
    }

    /// Notes what came of a transaction, for those who ask how the store is.
    fn noted(&self, done: Result<(), Trouble>) -> Result<(), Trouble> {
        self.watch.wrote(done.as_ref().err().map(Trouble::error));
        done
    }

    /// Sees to it that what is committed is found under the name of the file.
    fn connected(&mut self) -> Result<(), Trouble> {
        self.watch.look().map_err(Trouble::Store)?;
        if self.connection.is_none() {
            self.reopen().map_err(Trouble::Store)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        let Some(connection) = &self.connection else {
            return Err(Trouble::Store(StoreError::Closed));
        };
        self.is_empty = true;
        let begun = connection.prepare_cached("begin immediate").and_then(|mut it| it.execute([]));
        begun.map(drop).map_err(|error| {
            let error = fault(&error);
            self.connection = None;
            Trouble::Store(error)
        })
    }

    /// Stores an append within the transaction, completely or not at all.
    fn store(&mut self, pending: &mut Pending) -> Result<(), Trouble> {
        match self.apply(&pending.job) {
            Ok(()) => {
                pending.verdict = Ok(());
                self.is_empty = false;
            }
            Err(Fault::Refused(error)) => {
                if self.is_empty {
                    self.roll_back();
                    self.begin()?;
                }
                // The first one that is refused is meant: once more, each record by itself.
                if share::split(&mut pending.job.writes) {
                    return self.store(pending);
                }
                pending.verdict = Err(error);
            }
            Err(Fault::Trouble(error)) => {
                self.roll_back();
                return Err(Trouble::Statement(fault(&error)));
            }
        }
        Ok(())
    }

    fn apply(&mut self, job: &Job) -> Result<(), Fault> {
        let Some(on) = &self.connection else { return Ok(()) };
        if job.writes.is_empty() {
            return Ok(watch::take_room(on)?);
        }
        let mut applied = job.writes.iter().filter(|write| !write.is_stored_by_another());
        let is_one_statement = match (applied.next(), applied.next()) {
            (Some(write), None) => match &write.record {
                Record::Accepted(accepted) => !accept::takes_several(accepted, &write.annotations),
                // Whatever else is refused is refused before its second statement.
                _ => true,
            },
            _ => false,
        };
        let is_guarded = !is_one_statement && !self.is_empty;
        let execute = |sql| on.prepare_cached(sql).and_then(|mut it| it.execute([])).map(drop);
        if is_guarded {
            execute("savepoint one")?;
        }
        let applied =
            job.writes.iter().try_for_each(|write| apply::apply(on, &mut self.known, write));
        if !is_guarded {
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

    /// Commits. After an error there is no connection any more.
    fn commit(&mut self) -> Result<(), Trouble> {
        let Some(on) = &self.connection else { return Err(Trouble::Store(StoreError::Closed)) };
        let sql = "update meta set value = ? where name = 'commits'";
        let number = self.commits + 1;
        let counted = on.prepare_cached(sql).and_then(|mut it| it.execute([number]));
        if let Err(error) = counted {
            self.roll_back();
            return Err(Trouble::Commit(fault(&error)));
        }
        let committed = on.prepare_cached("commit").and_then(|mut it| it.execute([]));
        committed.map(drop).map_err(|error| {
            self.known.clear();
            self.connection = None;
            Trouble::Commit(fault(&error))
        })
    }

    /// Counts what was committed. After an error of COMMIT it reads back whether it was: nothing is
    /// locked, so that reads of ours can end.
    fn settle(
        &mut self,
        committed: Result<(), Trouble>,
        jobs: &mut [Pending],
    ) -> Result<(), Trouble> {
        let number = self.commits + 1;
        if let Err(trouble) = committed {
            if self.connection.is_some() {
                return Err(trouble);
            }
            let error = trouble.error().clone();
            let words = "a commit failed; the file is opened anew and read back";
            catch_panic(|| tracing::warn!(%error, "{words}"));
            self.reopen().map_err(Trouble::Store)?;
            if self.commits != number {
                return Err(trouble);
            }
        }
        self.commits = number;
        succeed(jobs);
        let records: usize = jobs.iter().map(|pending| pending.job.writes.len()).sum();
        let bytes = jobs.iter().map(|pending| pending.job.bytes).sum();
        self.tally.count(records);
        self.wal.written(records, bytes);
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
        // By its name: nothing is written into another one that has it now.
        self.watch.look_now()?;
        let connection = connect::writer(&self.path, false, &self.options)?;
        let copies = connect::checkpointer(&self.path)?;
        let _copying = self.gate.copying.lock();
        let _reads = self.gate.reads.write();
        let copy = |how| wal::copy(&copies, how).map_err(|error| fault(&error));
        // The log is emptied as well: behind what may not be on the disk nothing is durable.
        if !copy("passive")?.is_whole() || !copy("truncate")?.is_whole() {
            let what = "the log could not be copied and flushed: another process reads the file";
            return Err(StoreError::Io { what: what.into() });
        }
        self.commits = last_commit(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Trouble {
    const fn error(&self) -> &StoreError {
        let (Self::Store(error) | Self::Statement(error) | Self::Commit(error)) = self;
        error
    }
}

/// Yields the number of the last transaction.
pub(crate) fn last_commit(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "select value from meta where name = 'commits'";
    connection.query_row(sql, [], |row| row.get(0)).map_err(|error| fault(&error))
}

/// Appends that fail one after the other, each in a transaction of its own, until the rest is not
/// tried.
const FAILURES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::beside::beside;
    use crate::place::Place;

    #[test]
    fn after_a_failed_commit_the_log_is_emptied_before_anything_is_written() {
        let folder = std::env::temp_dir().join(format!("quell-reopen-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place = Place::take(&folder.join("runs.db")).unwrap();
        let options = SqliteOptions::default();
        let before = connect::writer(&place.path, true, &options).unwrap();
        let gate = Arc::<Gate>::default();
        let mut writer = Writer {
            path: place.path.clone(),
            options,
            queue: Arc::new(Queue::new(1, 0)),
            wal: Arc::new(Wal::new(Arc::clone(&gate))),
            gate,
            tally: Arc::default(),
            watch: Arc::new(Watch::of(&place.path)),
            connection: None,
            known: Known::default(),
            commits: 0,
            is_empty: true,
        };
        let other = Connection::open(&place.path).unwrap();
        other.execute_batch("begin; select count(*) from run").unwrap();
        before.execute_batch("update meta set value = 7 where name = 'commits'").unwrap();
        let error = writer.reopen().unwrap_err();
        assert!(error.to_string().contains("another process reads the file"), "{error}");
        // The log is in the file, but is held.
        other.execute_batch("commit; begin; select count(*) from run").unwrap();
        let error = writer.reopen().unwrap_err();
        assert!(error.to_string().contains("another process reads the file"), "{error}");
        assert!(writer.connection.is_none());
        other.execute_batch("commit").unwrap();
        writer.reopen().unwrap();
        assert_eq!((writer.commits, writer.connection.is_some()), (7, true));
        assert_eq!(fs::metadata(beside(&place.path, "-wal")).unwrap().len(), 0);
        drop((other, before, writer, place));
        fs::remove_dir_all(&folder).unwrap();
    }
}
