//! [`Batch`]: appends of one transaction, each with its answer.

use quell_core::store::StoreError;

use crate::foreign::catch_panic;
use crate::lane::Job;

/// Appends of one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they are stored.
    pub jobs: Vec<Pending>,
    /// How many records they have.
    pub records: usize,
    /// How many bytes those have, about.
    pub bytes: usize,
    /// Whether one of them is nothing but stops.
    pub has_stop: bool,
}

/// An append with its answer.
#[derive(Debug)]
pub struct Pending {
    /// The append.
    pub job: Job,
    /// What is answered if its transaction is committed.
    pub verdict: Result<(), StoreError>,
    /// None until its transaction is committed, or has failed for good.
    pub answer: Option<Result<(), StoreError>>,
}

impl Batch {
    /// Begins with one append.
    pub fn of(job: Job) -> Self {
        let mut batch = Self::default();
        batch.take(job);
        batch
    }

    /// Adds an append.
    pub fn take(&mut self, job: Job) {
        self.records += job.writes.len();
        self.bytes += job.bytes;
        self.has_stop |= job.is_stop();
        self.jobs.push(Pending { job, verdict: Ok(()), answer: None });
    }

    /// Answers every caller; who has no answer yet gets the one that is given.
    pub fn answer(self, otherwise: &StoreError) {
        for Pending { job, answer, .. } in self.jobs {
            job.answer(answer.unwrap_or_else(|| Err(otherwise.clone())));
        }
    }
}

/// Gives each its answer: what it is in was committed.
pub fn succeed(jobs: &mut [Pending]) {
    for pending in jobs {
        pending.answer = Some(pending.verdict.clone());
    }
}

/// Gives an error to those that have no answer yet.
pub fn fail(jobs: &mut [Pending], error: &StoreError) {
    for pending in jobs {
        pending.answer.get_or_insert_with(|| Err(error.clone()));
    }
}

impl Job {
    /// Answers the caller. Its waker, and what its records hold, are foreign code.
    pub fn answer(self, answer: Result<(), StoreError>) {
        let Self { writes, answer: sender, .. } = self;
        // Who gave up is not told.
        catch_panic(|| drop(sender.send(answer)));
        catch_panic(|| drop(writes));
    }
}
