//! What does a durable run cost, and how soon is the intent of a stop durable?
//!
//! `store/runs/N`, `store/runs_normal/N`: N submitters each let runs be accepted and ended, and
//! wait for each to be durable, against bare SQLite with the same group commit: one insert and one
//! update of a row of 260 bytes per run, with a blob as its key. `synchronous = FULL`, and then
//! `NORMAL`. The report of a run says what that of one that has completed does.
//!
//! `store/runs_text/N`: the same of reports that say more than the row of their run can: a text of
//! some 700 bytes each.
//!
//! `store/intent`: one append of a stop, against one commit of an update.

#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell::store::{Accepted, Epoch, Record, StopAccepted, Store};
use quell::{Cause, CauseKind, Counts, RunId, RunKind, RunReport, RunRow, RunStatus, StopMode};
use quell_benches::bare::{Bare, Op};
use quell_benches::figures::{latency, quotient, ratio, section};
use quell_benches::race::{Race, is_wanted, median};
use quell_benches::submitters::{round, throughput};
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let folder = std::env::temp_dir().join(format!("quell-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is a place for files");
    let (full, normal) = (Synchronous::Full, Synchronous::Normal);
    let parts = [
        ("runs", full, Says::Plain),
        ("runs_normal", normal, Says::Plain),
        ("runs_text", full, Says::More),
    ];
    for (part, synchronous, says) in parts {
        if is_wanted(part) {
            runs(&runtime, &folder, part, (synchronous, says));
        }
    }
    if is_wanted("intent") {
        intent(&runtime, &folder);
    }
    std::fs::remove_dir_all(&folder).expect("the files are ours");
}

/// How much a report says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// That its run has completed, and when.
    Plain,
    /// More than the row of its run can.
    More,
}

fn runs(runtime: &Runtime, folder: &Path, part: &str, (synchronous, says): (Synchronous, Says)) {
    let shape = format!("accepted and ended, each durable; synchronous = {synchronous:?}");
    section("durable runs", &shape);
    for (submitters, each) in [(1, 200), (32, 60), (256, 20)] {
        let path = |side: &str| folder.join(format!("{part}-{submitters}-{side}.db"));
        let ours = Arc::new(Ours::open(&path("ours"), synchronous));
        let theirs = Arc::new(Bare::open(path("theirs"), synchronous));
        let race = Race::run(
            ROUNDS,
            || {
                let ours = Arc::clone(&ours);
                round(runtime, (submitters, each), move || {
                    let ours = Arc::clone(&ours);
                    async move { ours.run(Uuid::now_v7(), says).await }
                })
            },
            || {
                let bare = Arc::clone(&theirs);
                round(runtime, (submitters, each), move || {
                    let (bare, id) = (Arc::clone(&bare), Uuid::now_v7());
                    async move { bare.run(id).await }
                })
            },
        );
        throughput((submitters, each), &race, ours.store.committed());
        ratio(&format!("store/{part}/{submitters}"), quotient(race.medians()));
        runtime.block_on(ours.store.close()).expect("it closes");
    }
}

fn intent(runtime: &Runtime, folder: &Path) {
    section("durable intent of a stop", "one after the other; synchronous = FULL");
    let ours = Ours::open(&folder.join("intent-ours.db"), Synchronous::Full);
    let theirs = Bare::connect(&folder.join("intent-theirs.db"), Synchronous::Full);
    let ids: Vec<_> = (0..INTENTS).map(|_| Uuid::now_v7()).collect();
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for id in ids {
        runtime
            .block_on(ours.store.append(vec![ours.accepted(id, SystemTime::now())]))
            .expect("it is stored");
        Bare::execute(&theirs, Op::Insert(id));
        let began = Instant::now();
        runtime.block_on(ours.store.append(vec![ours.stop(id)])).expect("it is stored");
        of_ours.push(began.elapsed());
        let began = Instant::now();
        Bare::execute(&theirs, Op::Update(id));
        of_theirs.push(began.elapsed());
    }
    latency("ours", "intent", of_ours.clone());
    latency("theirs", "commit", of_theirs.clone());
    ratio("store/intent", quotient((median(of_ours), median(of_theirs))));
    runtime.block_on(ours.store.close()).expect("it closes");
}

/// Our side.
struct Ours {
    store: SqliteStore,
    epoch: Epoch,
}

impl Ours {
    fn open(path: &Path, synchronous: Synchronous) -> Self {
        let mut options = SqliteOptions::default();
        options.synchronous = synchronous;
        let store = SqliteStore::open_with(path, &options).expect("it opens");
        let epoch = Epoch::new(store.boot(), 1);
        Self { store, epoch }
    }

    /// Stores what an engine does of a run that completes at once.
    async fn run(&self, id: Uuid, says: Says) {
        let at = SystemTime::now();
        self.store.append(vec![self.accepted(id, at)]).await.expect("it is stored");
        let (run, epoch) = (RunId::from_uuid(id), self.epoch);
        let status = RunStatus::Completed;
        let mut row = RunRow::new(run, RunKind::Agent, "research".into(), status, at);
        if says == Says::Plain {
            (row.started_at, row.ended_at, row.quiesced_at) = (Some(at), Some(at), Some(at));
            row.quiescent = true;
        }
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        let started = Record::Started { run, epoch, at };
        let ended = Record::Ended { run, epoch, report, rollback: false };
        self.store.append(vec![started, ended]).await.expect("it is stored");
    }

    fn accepted(&self, id: Uuid, at: SystemTime) -> Record {
        let run = RunId::from_uuid(id);
        let accepted = Accepted::new(run, RunKind::Agent, "research".into(), self.epoch, at);
        Record::Accepted(Box::new(accepted))
    }

    fn stop(&self, id: Uuid) -> Record {
        let run = RunId::from_uuid(id);
        let cause = Arc::new(Cause::new(CauseKind::UserRequest, SystemTime::now(), run));
        let stop = StopAccepted::new(run, self.epoch, StopMode::Cooperative, cause);
        Record::StopAccepted(Box::new(stop))
    }
}

/// Rounds that count.
const ROUNDS: usize = 7;

/// Stops that are measured.
const INTENTS: usize = 400;
