//! What does it cost to start a run and to see it end, or to stop it by its id?
//!
//! 1. `submit/empty`: empty runs to their end, against bare `tokio::spawn` and join of an empty
//!    body. Ours has an id, a name, a log, a status and a report; the bare task has none of them.
//! 2. `submit/stop`: start, stop by id, join, against the hand-made peer. Ours brings cause, events
//!    and a report, which is made and looked at; the peer brings none of them.
//! 3. `submit/stop_child`: the same with all runs of a wave below one root.
//! 4. Growth: whether a run costs more when there are more of them.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quell::{CancelRequest, Engine, RunHandle, RunReport, RunSpec, RunStatus, testing};
use quell_benches::figures::{compare, latency, per, section, spread};
use quell_benches::peer::Peer;
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_long, is_wanted};

/// A part of the bench, and its name on the command line.
type Part = (&'static str, fn(&Ring));

fn main() {
    let ring = Ring::new(|_| {});
    let parts: [Part; 6] = [
        ("empty", empty),
        ("stop", stop),
        ("stop_child", stop_child),
        ("alone", alone),
        ("growth", growth),
        ("check", check_a_sampled_round),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| is_wanted(name)) {
        part(&ring);
    }
}

fn empty(ring: &Ring) {
    let shape = "roots without children, 20 waves of 1 000; theirs: bare tokio::spawn + join";
    section("an empty run to its end", shape);
    let race = Race::run(
        ROUNDS,
        || ring.drive(timed(our_empty(ring.engine.clone(), WAVE, WAVES))),
        || ring.drive(timed(bare_empty(WAVE, WAVES))),
    );
    compare("submit/empty", WAVE * WAVES, &race);
}

fn stop(ring: &Ring) {
    let shape = "roots without children, 20 waves of 1 000; theirs: hand-made";
    section("start, stop by id, join", shape);
    let race = stop_race(ring, ROUNDS, WAVE, WAVES);
    compare("submit/stop", WAVE * WAVES, &race);
}

fn stop_child(ring: &Ring) {
    let shape = "20 roots, one after the other, each with 1 000 children; theirs: hand-made";
    section("start, stop by id, join, below a root", shape);
    let race = Race::run(
        ROUNDS,
        || ring.drive(timed(our_stop_child(ring.engine.clone(), WAVE, WAVES))),
        || ring.drive(timed(their_stop_child(ring.peer.clone(), WAVE, WAVES))),
    );
    compare("submit/stop_child", WAVE * WAVES, &race);
}

/// One run at a time: what a caller waits for.
fn alone(ring: &Ring) {
    section("one run at a time", "a root without children; 20 000 of each, by turns of 1 000");
    let mut all: [Vec<Duration>; 4] = Default::default();
    for _ in 0..20 {
        let engine = ring.engine.clone();
        all[0].extend(ring.drive(sampled(WAVE, move || our_empty(engine.clone(), 1, 1))));
        all[1].extend(ring.drive(sampled(WAVE, || bare_empty(1, 1))));
        all[2].extend(ring.drive(our_stop_latency(ring.engine.clone(), WAVE)));
        all[3].extend(ring.drive(their_stop_latency(ring.peer.clone(), WAVE)));
    }
    let [empty, bare, ours, theirs] = all;
    latency("ours", "start to join of an empty run", empty);
    latency("bare", "start to join of an empty task", bare);
    latency("ours", "stop by id to join", ours);
    latency("theirs", "stop by id to join", theirs);
}

fn growth(ring: &Ring) {
    section("growth: start, stop by id, join, all live at once", "roots without children");
    let sizes: &[usize] = if is_long() { &[1_000, 10_000, 100_000, 1_000_000] } else { &SIZES };
    let mut costs = Vec::new();
    for &size in sizes {
        let rounds = (400_000 / size).clamp(3, 41);
        let race = stop_race(ring, rounds, size, 1);
        println!("   {size} runs:");
        compare(&format!("submit/stop/{size}"), size, &race);
        let (ours, theirs) = race.medians();
        costs.push((per(ours, size), per(theirs, size)));
    }
    spread(&costs);
}

fn stop_race(ring: &Ring, rounds: usize, wave: usize, waves: usize) -> Race {
    Race::run(
        rounds,
        || ring.drive(timed(our_stop(ring.engine.clone(), wave, waves))),
        || ring.drive(timed(their_stop(ring.peer.clone(), wave, waves))),
    )
}

async fn our_empty(engine: Engine, wave: usize, waves: usize) {
    let mut runs = Vec::with_capacity(wave);
    for _ in 0..waves {
        runs.extend((0..wave).map(|_| {
            engine.submit(RunSpec::step("empty"), async |_| Ok(())).expect("there is room")
        }));
        for run in runs.drain(..) {
            run.await.expect("it completes");
        }
    }
}

async fn bare_empty(wave: usize, waves: usize) {
    let mut tasks = Vec::with_capacity(wave);
    for _ in 0..waves {
        tasks.extend((0..wave).map(|_| tokio::spawn(async {})));
        for task in tasks.drain(..) {
            task.await.expect("it completes");
        }
    }
}

async fn our_stop(engine: Engine, wave: usize, waves: usize) {
    let mut runs = Vec::with_capacity(wave);
    for _ in 0..waves {
        let parked = Arc::new(AtomicUsize::new(0));
        runs.extend((0..wave).map(|_| our_leaf(&engine, &parked)));
        all_of(&parked, wave).await;
        for run in &runs {
            engine.cancel(run.id(), CancelRequest::because("enough"));
        }
        for run in runs.drain(..) {
            must_be_cancelled(&run.ended().await);
        }
    }
}

fn our_leaf(engine: &Engine, parked: &Arc<AtomicUsize>) -> RunHandle<()> {
    let parked = Arc::clone(parked);
    let leaf = engine.submit(RunSpec::step("leaf"), async move |ctx| {
        parked.fetch_add(1, Ordering::Relaxed);
        ctx.stopped().await;
        Ok(())
    });
    leaf.expect("there is room")
}

async fn their_stop(peer: Peer, wave: usize, waves: usize) {
    let mut runs = Vec::with_capacity(wave);
    for _ in 0..waves {
        let parked = Arc::new(AtomicUsize::new(0));
        runs.extend((0..wave).map(|_| {
            let parked = Arc::clone(&parked);
            peer.submit("leaf", async move |token| {
                parked.fetch_add(1, Ordering::Relaxed);
                token.cancelled().await;
            })
        }));
        all_of(&parked, wave).await;
        for run in &runs {
            peer.cancel(run.id);
        }
        for run in runs.drain(..) {
            run.join.await.expect("it ends");
        }
    }
}

async fn our_stop_child(engine: Engine, wave: usize, waves: usize) {
    for _ in 0..waves {
        let stopper = engine.clone();
        let root = engine.submit(RunSpec::step("root"), async move |ctx| {
            let parked = Arc::new(AtomicUsize::new(0));
            let mut runs = Vec::with_capacity(wave);
            runs.extend((0..wave).map(|_| {
                let parked = Arc::clone(&parked);
                ctx.spawn(RunSpec::step("leaf"), async move |ctx| {
                    parked.fetch_add(1, Ordering::Relaxed);
                    ctx.stopped().await;
                    Ok(())
                })
            }));
            all_of(&parked, wave).await;
            for run in &runs {
                stopper.cancel(run.id(), CancelRequest::because("enough"));
            }
            for run in runs {
                must_be_cancelled(&run.ended().await);
            }
            Ok(())
        });
        root.expect("there is room").await.expect("it completes");
    }
}

async fn their_stop_child(peer: Peer, wave: usize, waves: usize) {
    for _ in 0..waves {
        let inner = peer.clone();
        let root = peer.submit("root", async move |token| {
            let parked = Arc::new(AtomicUsize::new(0));
            let mut runs = Vec::with_capacity(wave);
            runs.extend((0..wave).map(|_| {
                let parked = Arc::clone(&parked);
                inner.spawn(&token, "leaf", async move |token| {
                    parked.fetch_add(1, Ordering::Relaxed);
                    token.cancelled().await;
                })
            }));
            all_of(&parked, wave).await;
            for run in &runs {
                inner.cancel(run.id);
            }
            for run in runs {
                run.join.await.expect("it ends");
            }
        });
        root.join.await.expect("it ends");
    }
}

async fn our_stop_latency(engine: Engine, times: usize) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(times);
    for _ in 0..times {
        let parked = Arc::new(AtomicUsize::new(0));
        let run = our_leaf(&engine, &parked);
        all_of(&parked, 1).await;
        let began = Instant::now();
        engine.cancel(run.id(), CancelRequest::because("enough"));
        must_be_cancelled(&run.ended().await);
        latencies.push(began.elapsed());
    }
    latencies
}

async fn their_stop_latency(peer: Peer, times: usize) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(times);
    for _ in 0..times {
        let parked = Arc::new(AtomicUsize::new(0));
        let inner = Arc::clone(&parked);
        let run = peer.submit("leaf", async move |token| {
            inner.fetch_add(1, Ordering::Relaxed);
            token.cancelled().await;
        });
        all_of(&parked, 1).await;
        let began = Instant::now();
        peer.cancel(run.id);
        run.join.await.expect("it ends");
        latencies.push(began.elapsed());
    }
    latencies
}

async fn sampled<F>(times: usize, round: impl Fn() -> F) -> Vec<Duration>
where
    F: Future<Output = ()>,
{
    let mut latencies = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        round().await;
        latencies.push(began.elapsed());
    }
    latencies
}

async fn timed(round: impl Future<Output = ()>) -> Took {
    let watch = Stopwatch::start();
    round.await;
    watch.stop()
}

/// Waits until so many bodies have been polled.
async fn all_of(parked: &AtomicUsize, count: usize) {
    while parked.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
}

fn must_be_cancelled(report: &Arc<RunReport>) {
    assert!(report.status == RunStatus::Cancelled && report.cause.is_some(), "a stop takes hold");
}

/// What is measured keeps its promises: the logs of a wave are whole and without a contradiction.
fn check_a_sampled_round(ring: &Ring) {
    let engine = ring.engine.clone();
    let checked = ring.runtime.block_on(async move {
        let parked = Arc::new(AtomicUsize::new(0));
        let runs: Vec<_> = (0..WAVE).map(|_| our_leaf(&engine, &parked)).collect();
        all_of(&parked, WAVE).await;
        for run in &runs {
            engine.cancel(run.id(), CancelRequest::because("enough"));
        }
        for run in &runs {
            run.ended().await;
            let trace = testing::trace(run.run()).await;
            let checked = testing::check_trace(&trace).expect("a trace keeps the promises");
            assert_eq!((checked.runs, checked.stopped, checked.non_quiescent), (1, 1, 0));
        }
        runs.len()
    });
    println!("\n   a sampled round: the traces of {checked} runs pass the checker");
}

const WAVE: usize = 1_000;
const WAVES: usize = 20;
const ROUNDS: usize = 41;
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
