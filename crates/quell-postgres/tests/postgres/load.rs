//! [`Load`]: writers that remember what they were told, and the look whether it is so.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use quell_core::RunId;
use quell_core::store::{Store, StoreError};
use quell_postgres::PostgresStore;
use quell_test_support::records::{accept, epoch, event};
use tokio::task::JoinHandle;

/// Writers that go on until they are told to end.
pub(crate) struct Load {
    store: Arc<PostgresStore>,
    told: Arc<Mutex<Vec<Told>>>,
    acknowledged: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

/// What was said of an append.
pub(crate) struct Told {
    runs: [RunId; 2],
    answer: Result<(), StoreError>,
}

impl Load {
    /// Starts so many writers. Each appends two runs at a time, and every fifth time with them one
    /// that is there, which is refused. A log of its own tells whether an event is lost.
    pub(crate) fn start(store: &Arc<PostgresStore>, writers: u32) -> Self {
        let mut load = Self {
            store: Arc::clone(store),
            told: Arc::default(),
            acknowledged: Arc::default(),
            is_over: Arc::default(),
            writers: Vec::new(),
        };
        load.writers = (0..writers).map(|writer| load.writer(writer)).collect();
        load
    }

    fn writer(&self, writer: u32) -> JoinHandle<()> {
        let store = Arc::clone(&self.store);
        let (told, is_over) = (Arc::clone(&self.told), Arc::clone(&self.is_over));
        let acknowledged = Arc::clone(&self.acknowledged);
        tokio::spawn(async move {
            let epoch = epoch(&*store);
            let mut last = None;
            for nth in 0_u64.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let runs = [0, 1].map(|half| RunId::from_text(&format!("{writer} {nth} {half}")));
                let mut batch = runs.map(|run| accept(run, epoch)).to_vec();
                batch.push(event(runs[0], epoch, 1));
                if nth % 5 == 4 {
                    batch.extend(last.map(|run| accept(run, epoch)));
                }
                let answer = store.append(batch).await;
                if answer.is_ok() {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    last = Some(runs[1]);
                }
                told.lock().unwrap().push(Told { runs, answer });
            }
        })
    }

    /// Yields how many appends were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the writers, and yields what they were told.
    pub(crate) async fn end(self) -> Vec<Told> {
        self.is_over.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

/// Checks what writers were told against what a later store has: all of what was acknowledged is
/// there, nothing of what was refused, and of what was in trouble all or nothing. Yields how many
/// there were of each.
pub(crate) async fn check(told: &[Told], later: &PostgresStore) -> [usize; 3] {
    let mut counts = [0; 3];
    for Told { runs, answer } in told {
        let mut there = Vec::new();
        for run in *runs {
            there.push(later.get(run).await.unwrap().is_some());
        }
        there.push(!later.events(runs[0], 0, 9).await.unwrap().is_empty());
        let (all, none) = (there.iter().all(|it| *it), there.iter().all(|it| !it));
        let (kind, is_right) = match answer {
            Ok(()) => (0, all),
            Err(error) if error.is_refusal() => (1, none),
            Err(StoreError::Unreachable { .. } | StoreError::Io { .. }) => (2, all || none),
            Err(error) => panic!("{error:?}"),
        };
        assert!(is_right, "{runs:?} was told {answer:?}, and there is {there:?}");
        counts[kind] += 1;
    }
    counts
}
