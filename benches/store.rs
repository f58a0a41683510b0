//! What does a durable run cost, and how soon is the intent of a stop durable?
//!
//! `store/runs/N`, `store/runs_normal/N`: N submitters each let runs be accepted and ended, and
//! wait for each to be durable, against bare SQLite with the same group commit: one insert and one
//! update of a row of 260 bytes per run, with a blob as its key. `synchronous = FULL`, and then
//! `NORMAL`.
//!
//! `store/intent`: one append of a stop, against one commit of an update.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell::store::{Accepted, Epoch, Record, StopAccepted, Store};
use quell::{Cause, CauseKind, Counts, RunId, RunKind, RunReport, RunRow, RunStatus, StopMode};
use quell_benches::bare::{Bare, Op};
use quell_benches::figures::{latency, quotient, ratio, section};
use quell_benches::race::{Race, Stopwatch, Took, is_wanted};
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let folder = std::env::temp_dir().join(format!("quell-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is a place for files");
    for (part, synchronous) in [("runs", Synchronous::Full), ("runs_normal", Synchronous::Normal)] {
        if is_wanted(part) {
            runs(&runtime, &folder, part, synchronous);
        }
    }
    if is_wanted("intent") {
        intent(&runtime, &folder);
    }
    std::fs::remove_dir_all(&folder).expect("the files are ours");
}

fn runs(runtime: &Runtime, folder: &Path, part: &str, synchronous: Synchronous) {
    let shape = format!("accepted and ended, each durable; synchronous = {synchronous:?}");
    section("durable runs", &shape);
    for (submitters, each) in [(1, 200), (32, 60), (256, 20)] {
        let path = |side: &str| folder.join(format!("{part}-{submitters}-{side}.db"));
        let ours = Arc::new(Ours::open(&path("ours"), synchronous));
        let theirs = Arc::new(Bare::open(path("theirs"), synchronous));
        let race = Race::run(
            ROUNDS,
            || {
                let run = |ours: Arc<Ours>, id| async move { ours.run(id).await };
                round(runtime, submitters, each, &ours, run)
            },
            || {
                let run = |bare: Arc<Bare>, id| async move {
                    bare.write(Op::Insert(id)).await;
                    bare.write(Op::Update(id)).await;
                };
                round(runtime, submitters, each, &theirs, run)
            },
        );
        let medians = race.medians();
        let per_second =
            |time: std::time::Duration| f64::from(submitters * each) / time.as_secs_f64();
        let committed = ours.store.committed();
        #[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
        let per_commit = committed.records as f64 / committed.commits as f64;
        println!(
            "   {submitters} submitters: ours {:.0} runs/s, theirs {:.0} runs/s, {:.2} of them; \
             {per_commit:.1} records per commit",
            per_second(medians.0),
            per_second(medians.1),
            medians.1.as_secs_f64() / medians.0.as_secs_f64()
        );
        ratio(&format!("store/{part}/{submitters}"), quotient(medians));
        runtime.block_on(ours.store.close()).expect("it closes");
    }
}

/// Lets every submitter bring so many runs, one after the other.
fn round<S, F>(
    runtime: &Runtime,
    submitters: u32,
    each: u32,
    side: &Arc<S>,
    run: impl Fn(Arc<S>, Uuid) -> F + Copy + Send + 'static,
) -> Took
where
    S: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let watch = Stopwatch::start();
    let tasks: Vec<_> = (0..submitters)
        .map(|_| {
            let side = Arc::clone(side);
            runtime.spawn(async move {
                for _ in 0..each {
                    run(Arc::clone(&side), Uuid::now_v7()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).expect("no submitter panics");
    }
    watch.stop()
}

fn intent(runtime: &Runtime, folder: &Path) {
    section("durable intent of a stop", "one after the other; synchronous = FULL");
    let ours = Ours::open(&folder.join("intent-ours.db"), Synchronous::Full);
    let theirs = Bare::connect(&folder.join("intent-theirs.db"), Synchronous::Full);
    let ids: Vec<_> = (0..INTENTS).map(|_| Uuid::now_v7()).collect();
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for id in ids {
        runtime.block_on(ours.store.append(vec![ours.accepted(id)])).expect("it is stored");
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
    let median = quell_benches::race::median;
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

    async fn run(&self, id: Uuid) {
        self.store.append(vec![self.accepted(id)]).await.expect("it is stored");
        let (run, epoch) = (RunId::from_uuid(id), self.epoch);
        let now = SystemTime::now();
        let status = RunStatus::Completed;
        let row = RunRow::new(run, RunKind::Agent, "research".into(), status, now);
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        let ended = Record::Ended { run, epoch, report, rollback: false };
        self.store.append(vec![ended]).await.expect("it is stored");
    }

    fn accepted(&self, id: Uuid) -> Record {
        let (run, now) = (RunId::from_uuid(id), SystemTime::now());
        let accepted = Accepted::new(run, RunKind::Agent, "research".into(), self.epoch, now);
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
