//! What engines have said before they were killed, and whether that is what is stored.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use quell_core::store::{ImpliedEvents, Page, RunRecord, Store};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_sqlite::SqliteStore;
use rusqlite::OptionalExtension as _;

use crate::dump;
use crate::engine::LANES;
use crate::fixture::block_on;

/// What the engines have said, each run with the lives in which they did.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The life that was taken last.
    last: usize,
    accepted: HashSet<String>,
    /// Runs of which something was acknowledged, whether their process lived to say that they were
    /// accepted or not.
    known: HashSet<String>,
    stopped: HashMap<String, usize>,
    ended: HashMap<String, (usize, String)>,
    /// Runs that were paused, those that had their answer, and those that have asked for one.
    paused: HashMap<String, usize>,
    answered: HashMap<String, usize>,
    asked: HashMap<String, Vec<usize>>,
    /// Bodies that have begun, by run.
    begun: HashMap<String, Vec<usize>>,
    /// States that were saved, by run.
    saved: HashMap<String, HashSet<String>>,
    /// Runs whose place in a lane another one has taken.
    superseded: HashMap<String, usize>,
    /// Runs that were to be taken back, and whose end with that was acknowledged.
    taking_back: HashSet<String>,
    taken_back: HashMap<String, usize>,
    /// Runs that were to be forgotten, and those of which that was acknowledged.
    forgetting: HashSet<String>,
    forgotten: HashSet<String>,
    /// Bodies that have been in a lane.
    in_lanes: usize,
    /// How often a body has begun again.
    resumed: usize,
}

impl Told {
    /// Takes what one engine has said. No two bodies were in a lane at once, and what had its
    /// answer is paused no more: no body asks twice.
    pub(crate) fn take(&mut self, life: usize, lines: Vec<String>) {
        self.last = life;
        let mut inside: HashMap<String, String> = HashMap::new();
        for line in lines {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let [what, run, rest @ ..] = &*words else { continue };
            let (run, rest) = (run.clone(), rest.join(" "));
            if ["a", "s", "k", "p", "r", "e"].contains(&what.as_str()) {
                self.known.insert(run.clone());
            }
            if ["p", "q"].contains(&what.as_str()) {
                let answered = self.answered.get(&run);
                assert_eq!(answered, None, "{run} had its answer, and in life {life}: {line}");
            }
            match what.as_str() {
                "a" => drop(self.accepted.insert(run)),
                "s" => drop(self.stopped.insert(run, life)),
                "b" => self.begun.entry(run).or_default().push(life),
                "p" => drop(self.paused.insert(run, life)),
                "r" => drop(self.answered.insert(run, life)),
                "q" => self.asked.entry(run).or_default().push(life),
                "k" => drop(self.saved.entry(run).or_default().insert(rest)),
                "c" => drop(self.superseded.insert(run, life)),
                "u?" => drop(self.taking_back.insert(run)),
                "u" => drop(self.taken_back.insert(run, life)),
                "f?" => drop(self.forgetting.insert(run)),
                "f" => drop(self.forgotten.insert(run)),
                "in" => {
                    let before = inside.insert(rest.clone(), run.clone());
                    assert_eq!(before, None, "{run} is in {rest} as well");
                    self.in_lanes += 1;
                }
                "out" => assert_eq!(inside.remove(&rest), Some(run)),
                "e" => {
                    let before = self.ended.insert(run.clone(), (life, rest));
                    assert_eq!(before, None, "{run} ended twice");
                }
                _ => {}
            }
        }
    }

    pub(crate) fn count(&mut self, other: &Self) {
        self.accepted.extend(other.accepted.iter().cloned());
        self.stopped.extend(other.stopped.clone());
        self.ended.extend(other.ended.clone());
        self.paused.extend(other.paused.clone());
        self.answered.extend(other.answered.clone());
        self.saved.extend(other.saved.clone());
        self.superseded.extend(other.superseded.clone());
        self.taken_back.extend(other.taken_back.clone());
        self.forgotten.extend(other.forgotten.iter().cloned());
        self.in_lanes += other.in_lanes;
        let again = |lives: &&Vec<usize>| lives.len() > 1;
        self.resumed += other.begun.values().filter(again).count();
    }

    /// Fails if something happened less often.
    pub(crate) fn assert_enough(&self, at_least: usize) {
        let counts = [
            ("accepted", self.accepted.len()),
            ("stopped", self.stopped.len()),
            ("ended", self.ended.len()),
            ("paused", self.paused.len()),
            ("answered", self.answered.len()),
            ("saved a state", self.saved.len()),
            ("superseded", self.superseded.len()),
            ("taken back", self.taken_back.len()),
            ("forgotten", self.forgotten.len()),
            ("in a lane", self.in_lanes),
            ("resumed", self.resumed),
        ];
        let is_enough = counts.iter().all(|(_, count)| *count >= at_least);
        assert!(is_enough, "too little happened: {counts:?}");
    }

    /// Looks at a file as an engine has left it that was killed, before its successor decides: what
    /// was acknowledged is there, and no run has ended that was taken back and has states.
    pub(crate) fn look(&self, file: &Path) {
        let on = dump::as_it_is(file);
        let one = |sql: &str, run: &str| -> Option<i64> {
            let id = RunId::from_text(run).as_uuid().into_bytes();
            on.prepare_cached(sql).unwrap().query_row([id], |row| row.get(0)).optional().unwrap()
        };
        let sql = "select status >= 3 and stop_rollback from run where id = ?";
        for run in &self.known {
            let found = one(sql, run);
            assert!(found.is_some() || self.may_be_gone(run), "{run} is gone");
            let states = "select count(*) from checkpoint join run on run = ord where id = ?";
            let states = usize::try_from(one(states, run).unwrap()).unwrap();
            let saved = self.saved.get(run).map_or(0, HashSet::len);
            match found {
                None | Some(1) => assert_eq!(states, 0, "{run} was taken back"),
                Some(_) => assert!(states >= saved, "{run}: {states} states of {saved}"),
            }
        }
        for run in self.stopped.keys() {
            let stop = one("select stop_cause is not null from run where id = ?", run);
            assert!(stop == Some(1) || self.may_be_gone(run), "{run} has lost its stop");
        }
        for (run, life) in &self.taken_back {
            let is_live = one(sql, run) == Some(0);
            assert!(!is_live, "{run} was taken back in life {life}, and has not ended");
        }
    }

    fn may_be_gone(&self, run: &str) -> bool {
        self.taking_back.contains(run) || self.forgetting.contains(run)
    }

    /// Compares what was said with what is stored.
    pub(crate) fn verify(&self, file: &Path) {
        assert_eq!(quell_sqlite::check(file).unwrap(), []);
        let store = SqliteStore::open(file).unwrap();
        let records = block_on(all(&store));
        let logs = block_on(check_logs(&store, &records));
        let states = block_on(states(&store, &records));
        block_on(store.close()).unwrap();
        assert!(logs > 0, "no tree was cut off");
        for run in &self.known {
            let is_there = self.may_be_gone(run) || records.contains_key(run);
            assert!(is_there, "{run} is not there");
        }
        for (run, life) in &self.stopped {
            self.never_begins_after(*life, run);
            let Some(record) = records.get(run) else { continue };
            let cause = record.stop.as_ref().and_then(|stop| stop.cause.message.as_deref());
            assert_eq!(cause, Some("enough"), "{run}: its cause stays");
            let is_over = record.status == RunStatus::Cancelled;
            assert!(is_over || self.is_left_stopping(*life, record), "{run}: {record:?}");
        }
        for (run, (life, status)) in &self.ended {
            self.never_begins_after(*life, run);
            let Some(record) = records.get(run) else { continue };
            assert_eq!(record.status.to_string(), *status, "{run}");
        }
        for (run, life) in &self.superseded {
            self.never_begins_after(*life, run);
            let Some(record) = records.get(run) else { continue };
            let is_over = record.status.is_terminal() || self.is_left_stopping(*life, record);
            assert!(is_over, "{run} was superseded: {record:?}");
        }
        for run in &self.forgotten {
            assert!(!records.contains_key(run), "{run} was forgotten, and is there");
        }
        self.verify_pauses(&records);
        self.verify_states(&records, &states);
        verify_lanes(&records);
        for (run, record) in &records {
            assert_eq!(record.status.is_terminal(), record.report.is_some(), "{run}: {record:?}");
        }
    }

    /// Tells whether a run was stopped by the last engine and had not ended when that was killed,
    /// which may have come a while after it was up. Nobody has decided it yet.
    fn is_left_stopping(&self, life: usize, record: &RunRecord) -> bool {
        life == self.last && record.status == RunStatus::Stopping
    }

    fn never_begins_after(&self, life: usize, run: &str) {
        let after = self.begun.get(run).into_iter().flatten().find(|begun| **begun > life);
        assert_eq!(after, None, "{run} was stopped or ended in life {life}, and has begun again");
    }

    /// Compares what was said of pauses and answers with what is stored.
    fn verify_pauses(&self, records: &HashMap<String, RunRecord>) {
        for (run, life) in &self.paused {
            let again = self.asked[run].iter().find(|asked| *asked > life);
            assert_eq!(again, None, "{run} was paused in life {life}, and has asked again");
            let Some(record) = records.get(run) else { continue };
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
            let status = records.get(run).map(|record| record.status);
            assert_ne!(status, Some(RunStatus::Paused), "{run} has lost its answer");
        }
    }

    /// Compares what was said of states with what is stored: a run has all or none.
    fn verify_states(
        &self,
        records: &HashMap<String, RunRecord>,
        states: &HashMap<String, HashSet<String>>,
    ) {
        for run in states.keys() {
            assert!(records.contains_key(run), "{run} is gone, and has states");
        }
        let none = HashSet::new();
        for (run, saved) in &self.saved {
            let Some(record) = records.get(run) else { continue };
            let stored = states.get(run).unwrap_or(&none);
            if record.stop.as_ref().is_some_and(|stop| stop.rollback) {
                assert_eq!(stored, &none, "{run} was taken back: {record:?}");
            } else {
                assert!(saved.is_subset(stored), "{run}: {saved:?} of {stored:?}");
            }
        }
        for (run, life) in &self.taken_back {
            assert_eq!(states.get(run), None, "{run} was taken back");
            // The last one has recovered what those before have left.
            let is_forgotten = *life == self.last || !records.contains_key(run);
            assert!(is_forgotten, "{run} was taken back in life {life}: {:?}", records.get(run));
        }
    }
}

/// Checks that no run of a lane had started before the one before was over, in whatever life.
fn verify_lanes(records: &HashMap<String, RunRecord>) {
    for lane in LANES {
        let mut times: Vec<_> = records
            .values()
            .filter(|record| record.accepted.lane.as_deref() == Some(lane))
            .filter_map(|record| {
                let row = record.report.as_ref()?.rows.first()?;
                Some((record.started_at?, row.quiesced_at.or(row.ended_at)?, record.run()))
            })
            .collect();
        times.sort_unstable();
        for pair in times.windows(2) {
            let [(_, over, first), (started, _, second)] = pair else { continue };
            let early = over.duration_since(*started).unwrap_or_default();
            assert!(started >= over, "{second} began {early:?} before {first} was over, in {lane}");
        }
    }
}

/// Reads the states of all lanes, by the runs that have saved them.
async fn states(
    store: &SqliteStore,
    records: &HashMap<String, RunRecord>,
) -> HashMap<String, HashSet<String>> {
    let mut states: HashMap<String, HashSet<String>> = HashMap::new();
    // What has no lane has a history of its own.
    let own = records.keys().cloned();
    for lane in LANES.into_iter().map(str::to_owned).chain(own) {
        let mut page = Page::first(500);
        loop {
            let read = store.checkpoints(lane.clone(), page).await.unwrap();
            for state in read.items.into_iter().map(Result::unwrap) {
                let text = state.state.as_text().unwrap().into_owned();
                states.entry(state.run.to_string()).or_default().insert(text);
            }
            let Some(next) = read.next else { break };
            page = Page::first(500).after(next);
        }
    }
    states
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
