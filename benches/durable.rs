//! What does an engine on a durable store cost, and how soon is a stop durable, terminal and
//! quiescent?
//!
//! `durable/runs/N`: N submitters each let runs with an empty body be accepted and end, and wait
//! until both are durable, against bare SQLite with the same group commit: one insert and one
//! update of a row of 260 bytes per run. A round is so long that each side copies its log into the
//! file several times: a shorter one would leave out what that costs.
//!
//! `durable/stop`: from the cancel until it is acknowledged, against one commit.
//! `durable/stopped`: from the cancel until the run is terminal, quiescent and stored so, against
//! two.
//! `durable/tree`: the same of a tree of 85 runs that wait, in milliseconds.
//! `durable/recover`: runs that a process has left behind, all decided, in milliseconds.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell::store::{Accepted, Epoch, Record, Store};
use quell::{
    CancelRequest, Engine, EngineConfig, Failure, Recovery, RunContext, RunId, RunKind, RunRef,
    RunSpec, Shutdown,
};
use quell_benches::bare::{Bare, Op};
use quell_benches::figures::{latency, quotient, ratio, section};
use quell_benches::race::{Race, is_wanted, median};
use quell_benches::submitters::{durable_round, round, throughput};
use quell_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let folder = std::env::temp_dir().join(format!("quell-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is a place for files");
    if is_wanted("runs") {
        runs(&runtime, &folder, Synchronous::Full, "");
        runs(&runtime, &folder, Synchronous::Normal, "/normal");
    }
    if is_wanted("stop") {
        stops(&runtime, &folder);
    }
    if is_wanted("tree") {
        trees(&runtime, &folder);
    }
    if is_wanted("recover") {
        recover(&runtime, &folder);
    }
    std::fs::remove_dir_all(&folder).expect("the files are ours");
}

/// An engine on a file.
struct Ours {
    engine: Engine,
    store: Arc<SqliteStore>,
}

impl Ours {
    fn open(runtime: &Runtime, path: &Path) -> Self {
        Self::open_with(runtime, path, Synchronous::Full)
    }

    fn open_with(runtime: &Runtime, path: &Path, synchronous: Synchronous) -> Self {
        let mut options = SqliteOptions::default();
        options.synchronous = synchronous;
        let store = Arc::new(SqliteStore::open_with(path, &options).expect("it opens"));
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let engine = Engine::with_config(config.runtime(runtime.handle().clone()));
        Self { engine, store }
    }

    fn close(self, runtime: &Runtime) {
        runtime.block_on(async {
            self.engine.shutdown(Shutdown::from(Duration::ZERO)).await;
            self.store.close().await.expect("it closes");
        });
    }

    async fn waiting(&self) -> RunRef {
        let run = self.engine.submit_durably(RunSpec::agent("research"), waits);
        let run = run.await.expect("it is stored").into_ref();
        while run.row().started_at.is_none() {
            tokio::task::yield_now().await;
        }
        run.stored().await.expect("it is stored");
        run
    }
}

async fn waits(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    Ok(())
}

fn runs(runtime: &Runtime, folder: &Path, synchronous: Synchronous, suffix: &str) {
    let how = format!("accepted and ended, each stored; synchronous = {synchronous:?}");
    section("durable runs of an engine", &how);
    for (submitters, each) in [(1, 1_000), (32, 500), (256, 200)] {
        let path = |side: &str| folder.join(format!("runs-{submitters}-{side}-{synchronous:?}.db"));
        let ours = Ours::open_with(runtime, &path("ours"), synchronous);
        let theirs = Arc::new(Bare::open(path("theirs"), synchronous));
        let race = Race::run(
            ROUNDS,
            || durable_round(runtime, &ours.engine, (submitters, each)),
            || {
                let bare = Arc::clone(&theirs);
                round(runtime, (submitters, each), move || {
                    let (bare, id) = (Arc::clone(&bare), Uuid::now_v7());
                    async move { bare.run(id).await }
                })
            },
        );
        throughput((submitters, each), &race, ours.store.committed());
        ratio(&format!("durable/runs/{submitters}{suffix}"), quotient(race.medians()));
        ours.close(runtime);
    }
}

fn stops(runtime: &Runtime, folder: &Path) {
    section("durable stop of a run that waits", "one after the other; synchronous = Full");
    let ours = Ours::open(runtime, &folder.join("stop-ours.db"));
    let theirs = Bare::connect(&folder.join("stop-theirs.db"), Synchronous::Full);
    let (mut told, mut ended, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STOPS {
        let run = runtime.block_on(ours.waiting());
        let began = Instant::now();
        let (at, over) = runtime.block_on(async {
            let (_, stored) = run.cancel_durably(CancelRequest::because("enough")).await;
            stored.expect("it is stored");
            let at = began.elapsed();
            run.quiescent_status().await;
            run.stored().await.expect("it is stored");
            (at, began.elapsed())
        });
        told.push(at);
        ended.push(over);
        let id = Uuid::now_v7();
        Bare::execute(&theirs, Op::Insert(id));
        let began = Instant::now();
        Bare::execute(&theirs, Op::Update(id));
        one.push(began.elapsed());
        Bare::execute(&theirs, Op::Update(id));
        two.push(began.elapsed());
    }
    for (name, ours, theirs) in [("stop", told, one), ("stopped", ended, two)] {
        latency("ours", name, ours.clone());
        latency("theirs", "commits", theirs.clone());
        let p99 = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() * 99 / 100]
        };
        ratio(&format!("durable/{name}/p99"), quotient((p99(ours.clone()), p99(theirs.clone()))));
        ratio(&format!("durable/{name}"), quotient((median(ours), median(theirs))));
    }
    ours.close(runtime);
}

fn trees(runtime: &Runtime, folder: &Path) {
    section("durable stop of a tree", "85 runs in four levels, all of them waiting");
    let ours = Ours::open(runtime, &folder.join("tree.db"));
    let mut times = Vec::new();
    for _ in 0..TREES {
        let spec = RunSpec::team("team");
        let root = runtime.block_on(ours.engine.submit_durably(spec, async |ctx| {
            level(&ctx, 3);
            ctx.stopped().await;
            Ok(())
        }));
        let root = root.expect("it is stored").into_ref();
        while root.report().rows.len() < 85 {
            std::thread::yield_now();
        }
        let below: Vec<_> =
            root.report().rows.iter().filter_map(|row| ours.engine.get(row.run)).collect();
        for run in &below {
            runtime.block_on(run.stored()).expect("it is stored");
        }
        let began = Instant::now();
        runtime.block_on(async {
            root.cancel(CancelRequest::because("enough"));
            root.quiescent_status().await;
            for run in &below {
                run.stored().await.expect("it is stored");
            }
        });
        times.push(began.elapsed());
    }
    latency("ours", "all terminal, quiescent and stored", times);
    ours.close(runtime);
}

fn level(ctx: &RunContext, left: u32) {
    if left > 0 {
        for _ in 0..4 {
            drop(ctx.spawn(RunSpec::agent("member"), async move |ctx: RunContext| {
                level(&ctx, left - 1);
                ctx.stopped().await;
                Ok(())
            }));
        }
    }
}

fn recover(runtime: &Runtime, folder: &Path) {
    section("recovery", "roots that were running when their process was killed; all are decided");
    for count in [10_000, 100_000] {
        let path = folder.join(format!("left-{count}.db"));
        let store = SqliteStore::open(&path).expect("it opens");
        let epoch = Epoch::new(store.boot(), 1);
        let mut left = 0;
        while left < count {
            let batch = (0..500).flat_map(|_| running(epoch)).collect();
            runtime.block_on(store.append(batch)).expect("it is stored");
            left += 500;
        }
        runtime.block_on(store.close()).expect("it closes");
        let began = Instant::now();
        let ours = Ours::open(runtime, &path);
        let recovered = runtime.block_on(ours.engine.recover(|_| Recovery::Fail));
        let took = began.elapsed();
        assert_eq!(recovered.expect("it reads").ended.failed, count, "all are decided");
        println!("   {count} runs: {:.0} ms", took.as_secs_f64() * 1e3);
        ours.close(runtime);
    }
}

fn running(epoch: Epoch) -> [Record; 2] {
    let (run, at) = (RunId::from_uuid(Uuid::now_v7()), SystemTime::now());
    let accepted = Accepted::new(run, RunKind::Agent, "research".into(), epoch, at);
    [Record::Accepted(Box::new(accepted)), Record::Started { run, epoch, at }]
}

/// Rounds that count.
const ROUNDS: usize = 7;

/// Stops that are measured.
const STOPS: usize = 400;

/// Trees that are measured.
const TREES: usize = 100;
