//! I34 to I37: engines that are killed, one after the other on one file. What they had said is
//! the witness.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quell::{Engine, EngineConfig, Recovery};
use quell_core::store::{Accepted, ImpliedEvents, Page, Record, RunRecord, Store};
use quell_core::{RunFilter, RunId, RunKind, RunStatus};
use quell_sqlite::SqliteStore;
use quell_test_support::seeds;

use crate::child::Writing;
use crate::fixture::{Folder, accept, block_on, epoch};

/// Engines on one file.
const LIVES: usize = 20;

/// What most of them say before they are killed, in lines.
const LINES: usize = 60;

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
            // It is killed when it has done so much, however slow the machine is.
            let lines = (0..rng.usize(0..LINES)).map_while(|_| child.line()).collect();
            told.take(life, lines);
            std::thread::sleep(Duration::from_micros(rng.u64(0..3_000)));
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
    let (paused, answered) = (said.paused.len(), said.answered.len());
    let counts = format!("{counts}, {paused} paused, {answered} answered");
    let is_enough = is_enough && paused.min(answered) > kills / 20;
    assert!(is_enough, "too little happened: {counts}");
}

/// What the engines have said, each run with the lives in which they did.
#[derive(Debug, Default)]
struct Told {
    accepted: HashSet<String>,
    stopped: HashMap<String, usize>,
    ended: HashMap<String, (usize, String)>,
    /// Runs that were paused, those that had their answer, and those that have asked for one.
    paused: HashMap<String, usize>,
    answered: HashMap<String, usize>,
    asked: HashMap<String, Vec<usize>>,
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
                "p" => drop(self.paused.insert(run.clone(), life)),
                "r" => drop(self.answered.insert(run.clone(), life)),
                "q" => self.asked.entry(run.clone()).or_default().push(life),
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
        self.paused.extend(other.paused.clone());
        self.answered.extend(other.answered.clone());
        let again = |lives: &&Vec<usize>| lives.len() > 1;
        self.resumed += other.begun.values().filter(again).count();
    }

    /// Compares what was said with what is stored.
    fn verify(&self, file: &Path) {
        assert_eq!(quell_sqlite::check(file).unwrap(), []);
        let store = SqliteStore::open(file).unwrap();
        let records = block_on(all(&store));
        let logs = block_on(check_logs(&store, &records));
        block_on(store.close()).unwrap();
        assert!(logs > 0, "no tree was cut off");
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
        self.verify_pauses(&records);
        for (run, record) in &records {
            assert_eq!(record.status.is_terminal(), record.report.is_some(), "{run}: {record:?}");
        }
    }
}

impl Told {
    /// Compares what was said of pauses and answers with what is stored.
    fn verify_pauses(&self, records: &HashMap<String, RunRecord>) {
        for (run, life) in &self.paused {
            let record = &records[run];
            let again = self.asked[run].iter().find(|asked| *asked > life);
            assert_eq!(again, None, "{run} was paused in life {life}, and has asked again");
            let is_there = match record.status {
                RunStatus::Paused => record.paused.as_ref().unwrap().request == "may I?".into(),
                RunStatus::Queued | RunStatus::Running => record.answer == Some("yes".into()),
                RunStatus::Completed => self.begun.contains_key(run),
                RunStatus::Cancelled | RunStatus::Stopping => record.stop.is_some(),
                RunStatus::Failed | RunStatus::TimedOut => false,
            };
            assert!(is_there, "{run}: {record:?}");
        }
        for run in self.answered.keys() {
            assert_ne!(records[run].status, RunStatus::Paused, "{run} has lost its answer");
        }
    }
}

/// Checks the log of each tree that has ended within one attempt, the ends that recovery has
/// decided included. Yields how many had children.
async fn check_logs(store: &SqliteStore, records: &HashMap<String, RunRecord>) -> usize {
    let mut trees = 0;
    for (run, record) in records {
        let is_root = record.accepted.parent.is_none();
        if !is_root || record.report.is_none() || record.epoch.attempt() > 1 {
            continue;
        }
        let events = store.events(record.run(), 0, 1_000).await.unwrap();
        let mut log: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        let mut implied = ImpliedEvents::new(record.run());
        for event in &log {
            implied.saw(event);
        }
        log.extend(implied.missing(record));
        let checked = quell::testing::check_trace(&log);
        let checked = checked.unwrap_or_else(|what| panic!("{run}: {what}: {log:#?}"));
        let rows = record.report.as_ref().map_or(0, |report| report.rows.len());
        assert_eq!(rows, checked.runs, "{run}: its report has what its log tells of");
        trees += usize::from(checked.runs > 1);
    }
    trees
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

#[test]
fn what_is_below_a_root_that_cannot_be_read_is_left_as_it_is_and_named() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    let [root, below] = ["root", "below"].map(RunId::from_text);
    let store = SqliteStore::open(&file).unwrap();
    let mut child = Accepted::new(
        below,
        RunKind::Step,
        "below".into(),
        epoch(&store),
        std::time::SystemTime::now(),
    );
    (child.root, child.parent) = (root, Some(root));
    let batch = vec![accept(root, epoch(&store)), Record::Accepted(child.into())];
    block_on(store.append(batch)).unwrap();
    block_on(store.close()).unwrap();
    let newer = rusqlite::Connection::open(&file).unwrap();
    let sql = "update run set kind = 'swarm' where parent is null";
    assert_eq!(newer.execute(sql, []).unwrap(), 1);
    drop(newer);
    let store = Arc::new(SqliteStore::open(&file).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let engine = Engine::with_config(config);
        let recovered = engine.recover(|_| Recovery::Fail).await.unwrap();
        assert_eq!(recovered.ended.total(), 0, "{recovered:?}");
        let runs: Vec<_> = recovered.unreadable.iter().map(|it| it.run.unwrap()).collect();
        assert_eq!(runs, [root, below]);
        assert!(!store.get(below).await.unwrap().unwrap().status.is_terminal());
    });
}
