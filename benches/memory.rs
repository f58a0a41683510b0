//! How many bytes does a run take that waits for its stop, and how many does a deadline add?
//!
//! 1. `memory/leaf`: a root with 1 000 000 leaves that await their stop, against the hand-made
//!    peer. On both sides each has an id, a name, an entry in a map by id, and a handle that its
//!    parent holds.
//! 2. `memory/deadline`: what a timeout of an hour adds to each; its bar is 64 bytes. Then what
//!    the processors do in a second in which nothing is due.
//! 3. `memory/roots`: 200,000 roots that wait: in the queue of a limit (bar 1 KiB each), for an
//!    answer, and for their stop in an engine on a durable store (bar 2 KiB each).
//!
//! Each figure comes from a process of its own: what the system has given it (`VmRSS`) after, less
//! what it had before, so that the allocator's share is in it.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quell::{CancelRequest, Engine, EngineConfig, Failure, RunContext, RunSpec, RunStatus};
use quell_benches::figures::{ratio, section};
use quell_benches::race::{Ring, Stopwatch, is_wanted};
use quell_sqlite::SqliteStore;
use tokio::runtime::Builder;

fn main() {
    if let Some(side) = env::var_os(SIDE) {
        let figures = match side.to_string_lossy().as_ref() {
            "theirs" => their_leaves(),
            "deadlines" => our_leaves(Some(Duration::from_hours(1))),
            "queued" => roots(Wait::Queued),
            "paused" => roots(Wait::Paused),
            "stored" => roots(Wait::Stored),
            _ => our_leaves(None),
        };
        println!("{} {}", figures.bytes, figures.busy.as_nanos());
        return;
    }
    let shape = format!("a root with {RUNS} leaves that await their stop");
    let per_run = |figures: &Figures| per(figures.bytes, RUNS);
    if is_wanted("leaf") {
        section("bytes per parked run", &shape);
        let (ours, theirs) = (median("ours"), median("theirs"));
        println!("   ours     {:>6.0} bytes per run", per_run(&ours));
        println!("   theirs   {:>6.0} bytes per run", per_run(&theirs));
        ratio("memory/leaf", per_run(&ours) / per_run(&theirs));
    }
    if is_wanted("deadline") {
        section("bytes per armed deadline", &shape);
        let (without, with) = (median("ours"), median("deadlines"));
        let added = per_run(&with) - per_run(&without);
        println!("   a deadline {added:>6.0} bytes; smaller is better, the bar is 64");
        println!(
            "   at rest, in a second: {:.2} ms of processor time with, {:.2} ms without",
            millis(with.busy),
            millis(without.busy)
        );
        ratio("memory/deadline", added / 64.0);
    }
    if is_wanted("roots") {
        section("bytes per root that waits", &format!("{ROOTS} roots"));
        for (side, bar) in [("queued", 1_024.0), ("paused", 2_048.0), ("stored", 2_048.0)] {
            let bytes = per(median(side).bytes, ROOTS);
            println!("   {side:<8} {bytes:>6.0} bytes per run, the bar is {bar}");
            ratio(&format!("memory/{side}"), bytes / bar);
        }
    }
}

/// What a root waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The slot that another one has.
    Queued,
    /// An answer.
    Paused,
    /// Its stop; its acceptance and its start are in a store.
    Stored,
}

/// What a process has found.
#[derive(Clone, Copy, Debug)]
struct Figures {
    bytes: u64,
    /// What the processors have done while nothing was due.
    busy: Duration,
}

/// Asks three processes, and takes the one in the middle.
fn median(side: &str) -> Figures {
    let mut all: Vec<_> = (0..3).map(|_| ask(side)).collect();
    all.sort_unstable_by_key(|figures| figures.bytes);
    all[1]
}

fn ask(side: &str) -> Figures {
    let this = env::current_exe().expect("a process knows its program");
    let output = Command::new(this).env(SIDE, side).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace().map(|word| word.parse().expect("a number"));
    let (bytes, busy) = (words.next().expect("two"), words.next().expect("two"));
    Figures { bytes, busy: Duration::from_nanos(busy) }
}

fn our_leaves(timeout: Option<Duration>) -> Figures {
    let ring = Ring::new(|_| {});
    let engine = ring.engine.clone();
    ring.drive(async move {
        let stopper = engine.clone();
        let root = engine.submit(RunSpec::step("root"), async move |ctx| {
            let mut runs = Vec::with_capacity(RUNS);
            let parked = Arc::new(AtomicUsize::new(0));
            let before = resident();
            runs.extend((0..RUNS).map(|_| {
                let parked = Arc::clone(&parked);
                let spec = RunSpec::step("leaf");
                let spec = timeout.into_iter().fold(spec, RunSpec::timeout);
                ctx.spawn(spec, async move |ctx| {
                    parked.fetch_add(1, Ordering::Relaxed);
                    ctx.stopped().await;
                    Ok(())
                })
            }));
            all_of(&parked).await;
            let bytes = resident().saturating_sub(before);
            let busy = rest().await;
            stopper.cancel(ctx.id(), CancelRequest::because("enough"));
            drop(runs);
            Ok(Figures { bytes, busy })
        });
        let outcome = root.expect("there is room").outcome().await;
        outcome.into_value().expect("a root that is stopped still returns its figures")
    })
}

fn their_leaves() -> Figures {
    let ring = Ring::new(|_| {});
    let peer = ring.peer.clone();
    ring.drive(async move {
        let inner = peer.clone();
        let root = peer.submit("root", async move |token| {
            let mut runs = Vec::with_capacity(RUNS);
            let parked = Arc::new(AtomicUsize::new(0));
            let before = resident();
            runs.extend((0..RUNS).map(|_| {
                let parked = Arc::clone(&parked);
                inner.spawn(&token, "leaf", async move |token| {
                    parked.fetch_add(1, Ordering::Relaxed);
                    token.cancelled().await;
                })
            }));
            all_of(&parked).await;
            let bytes = resident().saturating_sub(before);
            let busy = rest().await;
            token.cancel();
            drop(runs);
            Figures { bytes, busy }
        });
        root.join.await.expect("it ends")
    })
}

fn roots(wait: Wait) -> Figures {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let file = env::temp_dir().join(format!("quell-memory-{}.db", std::process::id()));
    let config = EngineConfig::new().runtime(runtime.handle().clone());
    let engine = Engine::with_config(match wait {
        Wait::Queued => config.running_max(1),
        Wait::Paused => config,
        Wait::Stored => config.store(Arc::new(SqliteStore::open(&file).expect("it opens"))),
    });
    let figures = runtime.block_on(async {
        // What the first run needs is not counted.
        let first = engine.submit(RunSpec::agent("first"), listens).expect("there is room");
        let mut runs = Vec::with_capacity(ROOTS);
        runs.resize_with(ROOTS, || None);
        let before = resident();
        for place in &mut runs {
            let spec = RunSpec::agent("clerk");
            let run = match wait {
                Wait::Paused => engine.submit_resumable(spec, asks),
                Wait::Queued | Wait::Stored => engine.submit(spec, listens),
            };
            *place = Some(run.expect("there is room").into_ref());
        }
        for run in runs.iter().flatten() {
            match wait {
                Wait::Queued => assert_eq!(run.status(), RunStatus::Queued),
                Wait::Paused => drop(run.paused().await.expect("it asks")),
                Wait::Stored => run.stored().await.expect("it is stored"),
            }
        }
        let bytes = resident().saturating_sub(before);
        let busy = rest().await;
        drop(first);
        Figures { bytes, busy }
    });
    runtime.shutdown_background();
    drop(engine);
    for end in ["", "-wal", "-shm", ".lock"] {
        let mut name = file.clone().into_os_string();
        name.push(end);
        let _ = fs::remove_file(name);
    }
    figures
}

async fn listens(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    Ok(())
}

async fn asks(ctx: RunContext) -> Result<(), Failure> {
    Err(ctx.pause("may I?"))
}

/// Waits until every leaf was polled, and has had time to reach its await.
async fn all_of(parked: &AtomicUsize) {
    while parked.load(Ordering::Relaxed) < RUNS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Yields what the processors do in a second in which nothing is due.
async fn rest() -> Duration {
    let watch = Stopwatch::start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    watch.stop().processor
}

/// What the system has given to this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1_024
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
fn per(bytes: u64, runs: usize) -> f64 {
    bytes as f64 / runs as f64
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Names the side that a process is to measure.
const SIDE: &str = "QUELL_MEMORY_SIDE";
const RUNS: usize = 1_000_000;
const ROOTS: usize = 200_000;
