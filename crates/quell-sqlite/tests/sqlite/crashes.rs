//! I34 to I37: engines that are killed, one after the other on one file. What they had said is
//! the witness.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use quell_core::store::{Page, RunRecord, Store};
use quell_core::{RunFilter, RunStatus};
use quell_sqlite::SqliteStore;
use quell_test_support::seeds;

use crate::child::Writing;
use crate::fixture::{Folder, block_on};

/// Engines on one file.
const LIVES: usize = 20;

#[test]
fn i34_what_an_engine_has_acknowledged_survives_its_kill_and_a_stopped_run_never_goes_on() {
    let (mut kills, mut said) = (0, Told::default());
    for (_seed, mut rng) in seeds(8) {
        let folder = Folder::new();
        let file = folder.file("runs.db");
        let mut told = Told::default();
        for life in 0..LIVES {
            let mut child = Writing::start("engine", &file);
            told.take(life, std::mem::take(&mut child.before));
            std::thread::sleep(Duration::from_micros(rng.u64(0..40_000)));
            told.take(life, child.kill());
            kills += 1;
        }
        // The last one decides what is left, and is killed when it has.
        let mut child = Writing::start("engine", &file);
        told.take(LIVES, std::mem::take(&mut child.before));
        told.take(LIVES, child.kill());
        told.verify(&file);
        said.count(&told);
    }
    let (accepted, stopped, ended, resumed) =
        (said.accepted.len(), said.stopped.len(), said.ended.len(), said.resumed);
    let counts = format!(
        "{kills} kills: {accepted} accepted, {stopped} stopped, {ended} ended, {resumed} again"
    );
    // Few on a busy machine, but some of each.
    let is_enough = accepted > kills / 2 && stopped.min(ended) > kills / 10 && resumed > 0;
    assert!(is_enough, "too little happened: {counts}");
}

/// What the engines have said, each run with the lives in which they did.
#[derive(Debug, Default)]
struct Told {
    accepted: HashSet<String>,
    stopped: HashMap<String, usize>,
    ended: HashMap<String, (usize, String)>,
    /// Bodies that have begun, by run.
    begun: HashMap<String, Vec<usize>>,
    /// How often a body has begun again.
    resumed: usize,
}

impl Told {
    fn take(&mut self, life: usize, lines: Vec<String>) {
        for line in lines {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let [what, run, rest @ ..] = &*words else { continue };
            match what.as_str() {
                "a" => drop(self.accepted.insert(run.clone())),
                "s" => drop(self.stopped.insert(run.clone(), life)),
                "b" => self.begun.entry(run.clone()).or_default().push(life),
                "e" => {
                    let before = self.ended.insert(run.clone(), (life, rest.join(" ")));
                    assert_eq!(before, None, "{run} ended twice");
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, other: &Self) {
        self.accepted.extend(other.accepted.iter().cloned());
        self.stopped.extend(other.stopped.clone());
        self.ended.extend(other.ended.clone());
        let again = |lives: &&Vec<usize>| lives.len() > 1;
        self.resumed += other.begun.values().filter(again).count();
    }

    /// Compares what was said with what is stored.
    fn verify(&self, file: &Path) {
        assert_eq!(quell_sqlite::check(file).unwrap(), []);
        let store = SqliteStore::open(file).unwrap();
        let records = block_on(all(&store));
        block_on(store.close()).unwrap();
        for run in &self.accepted {
            assert!(records.contains_key(run), "{run} was accepted, and is not there");
        }
        for (run, life) in &self.stopped {
            let record = &records[run];
            let cause = record.stop.as_ref().and_then(|stop| stop.cause.message.as_deref());
            assert_eq!(cause, Some("enough"), "{run}: its cause stays");
            assert_eq!(record.status, RunStatus::Cancelled, "{run}: {record:?}");
            let after = self.begun.get(run).into_iter().flatten().find(|begun| *begun > life);
            assert_eq!(after, None, "{run} was stopped in life {life}, and has begun again");
        }
        for (run, (life, status)) in &self.ended {
            let record = &records[run];
            assert_eq!(record.status.to_string(), *status, "{run}");
            let after = self.begun.get(run).into_iter().flatten().find(|begun| *begun > life);
            assert_eq!(after, None, "{run} ended in life {life}, and has begun again");
        }
        for (run, record) in &records {
            assert_eq!(record.status.is_terminal(), record.report.is_some(), "{run}: {record:?}");
        }
    }
}

async fn all(store: &SqliteStore) -> HashMap<String, RunRecord> {
    let (mut records, mut page) = (HashMap::new(), Page::first(500));
    loop {
        let read = store.list(RunFilter::new(), page).await.unwrap();
        let read_now = read.items.into_iter().map(Result::unwrap);
        records.extend(read_now.map(|record| (record.run().to_string(), record)));
        let Some(next) = read.next else { return records };
        page = Page::first(500).after(next);
    }
}
