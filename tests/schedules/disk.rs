//! A store that writes when the schedule says so, and fails some of what it is asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, MemoryStore, Page, Pages, Record, RunRecord, Store,
    StoreError, Stored,
};
use quell::{RunEvent, RunFilter, RunId};
use shuttle::sync::Mutex;
use shuttle::thread;
use tokio::sync::oneshot;

use crate::play::pause;

/// Appends are taken in the order in which they came; one of stops alone may overtake, as the port
/// allows. Each is written by a thread of its own, at a moment that the schedule draws.
#[derive(Debug)]
pub(crate) struct Disk {
    kept: MemoryStore,
    jobs: Mutex<VecDeque<Job>>,
    /// Held from the choice of an append until it is written: one is after the other.
    arm: Mutex<()>,
    /// How many appends fail, from now on.
    faults: AtomicUsize,
    /// What is written, in its order. No point of the schedule.
    written: std::sync::Mutex<Vec<Record>>,
}

#[derive(Debug)]
struct Job {
    batch: Vec<Record>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Disk {
    /// Makes a disk of which the first appends fail.
    pub(crate) fn new(faults: u32) -> Arc<Self> {
        Arc::new(Self {
            kept: MemoryStore::new(),
            jobs: Mutex::new(VecDeque::new()),
            arm: Mutex::new(()),
            faults: AtomicUsize::new(faults as usize),
            written: std::sync::Mutex::default(),
        })
    }

    /// Has further appends fail.
    pub(crate) fn fail(&self, faults: u32) {
        self.faults.fetch_add(faults as usize, Ordering::SeqCst);
    }

    /// Yields what is written, in its order.
    pub(crate) fn written(&self) -> Vec<Record> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether a record is written. No point of the schedule.
    pub(crate) fn has(&self, is_it: impl Fn(&Record) -> bool) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_it)
    }

    /// Writes one append, or fails it.
    fn turn(&self) {
        let _arm = self.arm.lock().unwrap();
        let job = {
            let mut jobs = self.jobs.lock().unwrap();
            let is_stop = |record: &Record| matches!(record, Record::StopAccepted(_));
            let stop = jobs.iter().position(|job| job.batch.iter().all(is_stop));
            jobs.remove(stop.unwrap_or(0)).expect("each append has a thread")
        };
        let fails = |faults: usize| faults.checked_sub(1);
        if self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            let _ = job.done.send(Err(StoreError::Io { what: "the disk is gone".into() }));
            return;
        }
        let done = shuttle::future::block_on(self.kept.append(job.batch.clone()));
        if done.is_ok() {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).extend(job.batch);
        }
        let _ = job.done.send(done);
    }
}

/// A disk as engines have it: appends outlive those who wait for them.
#[derive(Debug)]
pub(crate) struct OnDisk(pub(crate) Arc<Disk>);

impl Store for OnDisk {
    fn boot(&self) -> u32 {
        self.0.kept.boot()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let (done, answer) = oneshot::channel();
            self.0.jobs.lock().unwrap().push_back(Job { batch, done });
            let disk = Arc::clone(&self.0);
            drop(thread::spawn(move || {
                pause(40);
                disk.turn();
            }));
            answer.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.0.kept.get(run)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.0.kept.claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.0.kept.list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.0.kept.events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.0.kept.checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.0.kept.recover(page)
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.0.kept.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.kept.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.kept.close()
    }
}
