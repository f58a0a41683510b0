//! How long does it take from a call of `cancel` until nothing of a tree executes any more?
//!
//! Trees of three shapes, flat, bushy and deep; every run has an id, a name, an entry in a map by
//! id, and a handle that its parent holds. Leaves and inner nodes await their stop. Against a tree
//! of `CancellationToken`s with a `TaskTracker`: ours ends when the report of the root is made.
//!
//! 1. `cancel_tree/SHAPE`: from the call to quiescent, in rounds without a probe.
//! 2. When each run of the tree heard of it, in rounds of their own.
//! 3. `cancel_tree/status_read`: the worst time that a thread outside the runtime waits for the
//!    status of the root, by id, while the tree is cancelled.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quell::{CancelRequest, Engine, Failure, RunContext, RunId, RunSpec, RunStatus, testing};
use quell_benches::figures::{compare, latency, per, quotient, ratio, section, spread};
use quell_benches::peer::Peer;
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_long, is_wanted};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A part of the bench, and its name on the command line.
type Part = (&'static str, fn(&Ring));

fn main() {
    // A chain of a million runs is deeper than an engine allows at its defaults.
    let ring = Ring::new(|limits| {
        if is_long() {
            limits.depth_max = 2_000_000;
        }
    });
    let parts: [Part; 7] = [
        ("flat", flat),
        ("bushy", bushy),
        ("deep", deep),
        ("heard", heard),
        ("status_read", status_read),
        ("growth", growth),
        ("check", check_a_sampled_round),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| is_wanted(name)) {
        part(&ring);
    }
}

fn flat(ring: &Ring) {
    timed_shape(ring, "flat", &[100_000], 15);
    if is_long() {
        timed_shape(ring, "flat_1m", &[1_000_000], 5);
    }
}

fn bushy(ring: &Ring) {
    timed_shape(ring, "bushy", &[46; 3], 15);
    if is_long() {
        timed_shape(ring, "bushy_1m", &[100; 3], 5);
    }
}

fn deep(ring: &Ring) {
    timed_shape(ring, "deep", &CHAIN, 41);
}

fn timed_shape(ring: &Ring, name: &str, fanout: Shape, rounds: usize) {
    section("from cancel to quiescent", &describe(name, fanout));
    let race = race(ring, rounds, fanout);
    compare(&format!("cancel_tree/{name}"), size(fanout), &race);
    let times = |side: Vec<Took>| side.iter().map(|took| took.time).collect();
    latency("ours", "a round", times(race.ours));
    latency("theirs", "a round", times(race.theirs));
}

fn race(ring: &Ring, rounds: usize, fanout: Shape) -> Race {
    Race::run(
        rounds,
        || ring.drive(our_round(ring.engine.clone(), Probe::new(fanout, false))),
        || ring.drive(their_round(ring.peer.clone(), Probe::new(fanout, false))),
    )
}

fn growth(ring: &Ring) {
    let mut flat: Vec<Shape> = vec![&[1_000], &[10_000], &[100_000]];
    let mut deep: Vec<Shape> = vec![&[1; 1_000], &CHAIN];
    if is_long() {
        flat.push(&[1_000_000]);
        deep.extend([99_999, 999_999].map(|depth| &*vec![1; depth].leak()));
    }
    growth_of(ring, "flat", &flat);
    growth_of(ring, "deep", &deep);
}

fn growth_of(ring: &Ring, name: &str, shapes: &[Shape]) {
    section("growth of a cancel with the tree", name);
    let mut costs = Vec::new();
    for fanout in shapes {
        let runs = size(fanout);
        let race = race(ring, (400_000 / runs).clamp(5, 41), fanout);
        let (ours, theirs) = race.medians();
        println!(
            "   {runs:>9} runs: ours {:.0} ns, theirs {:.0} ns per run",
            per(ours, runs),
            per(theirs, runs)
        );
        costs.push((per(ours, runs), per(theirs, runs)));
    }
    spread(&costs);
}

/// When each run of a flat tree was polled after the call.
fn heard(ring: &Ring) {
    let fanout: Shape = &[100_000];
    section("from cancel to the moment at which a run hears of it", &describe("flat", fanout));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let probe = Probe::new(fanout, true);
        ring.drive(our_round(ring.engine.clone(), Arc::clone(&probe)));
        ours.extend(probe.latencies());
        let probe = Probe::new(fanout, true);
        ring.drive(their_round(ring.peer.clone(), Arc::clone(&probe)));
        theirs.extend(probe.latencies());
    }
    latency("ours", "to a run", ours);
    latency("theirs", "to a run", theirs);
}

/// The worst of many reads of the root's status by id, from a thread of its own.
fn status_read(ring: &Ring) {
    let fanout: Shape = if is_long() { &[1_000_000] } else { &[100_000] };
    section("worst status read during a cancel, by id", &describe("flat", fanout));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let probe = Probe::new(fanout, false);
        let engine = ring.engine.clone();
        let read = move |id| {
            engine.get(RunId::from_uuid(id)).is_some_and(|run| run.status().is_terminal())
        };
        let reader = Reader::start(&probe, read);
        ring.drive(our_round(ring.engine.clone(), Arc::clone(&probe)));
        ours.extend(reader.stop());
        let probe = Probe::new(fanout, false);
        let peer = ring.peer.clone();
        let reader = Reader::start(&probe, move |id| peer.is_stopping(id).unwrap_or(true));
        ring.drive(their_round(ring.peer.clone(), Arc::clone(&probe)));
        theirs.extend(reader.stop());
    }
    let worst = |reads: &[Duration]| reads.iter().max().copied().unwrap_or_default();
    let (our_worst, their_worst) = (worst(&ours), worst(&theirs));
    latency("ours", "a read", ours);
    latency("theirs", "a read", theirs);
    ratio("cancel_tree/status_read", quotient((our_worst, their_worst)));
}

async fn our_round(engine: Engine, probe: Arc<Probe>) -> Took {
    let inner = Arc::clone(&probe);
    let root = engine.submit(RunSpec::workflow("root"), |ctx| our_node(ctx, inner, 0));
    let root = root.expect("there is room");
    probe.all_parked().await;
    let id = root.id();
    let watch = probe.begin(id.as_uuid());
    engine.cancel(id, CancelRequest::because("enough"));
    let report = root.run().quiescent().await;
    let took = watch.stop();
    probe.end();
    assert!(report.status == RunStatus::Cancelled && report.quiescent, "a stop takes hold");
    took
}

async fn their_round(peer: Peer, probe: Arc<Probe>) -> Took {
    let (inner, spawner) = (Arc::clone(&probe), peer.clone());
    let root = peer.submit("root", |token| their_node(spawner, token, inner, 0));
    probe.all_parked().await;
    let watch = probe.begin(root.id);
    peer.cancel(root.id);
    peer.quiescent().await;
    let took = watch.stop();
    probe.end();
    took
}

/// How many children the runs of each level have.
type Shape = &'static [usize];

type Body<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn our_node(ctx: RunContext, probe: Arc<Probe>, level: usize) -> Body<Result<(), Failure>> {
    Box::pin(async move {
        let mut runs = Vec::with_capacity(probe.fanout[level]);
        let leaves = level + 1 == probe.fanout.len();
        runs.extend((0..probe.fanout[level]).map(|_| {
            let probe = Arc::clone(&probe);
            if leaves {
                ctx.spawn(RunSpec::step("leaf"), |ctx| our_leaf(ctx, probe))
            } else {
                ctx.spawn(RunSpec::step("node"), move |ctx| our_node(ctx, probe, level + 1))
            }
        }));
        let place = probe.park();
        ctx.stopped().await;
        probe.hear(place);
        drop(runs);
        Ok(())
    })
}

async fn our_leaf(ctx: RunContext, probe: Arc<Probe>) -> Result<(), Failure> {
    let place = probe.park();
    ctx.stopped().await;
    probe.hear(place);
    Ok(())
}

fn their_node(peer: Peer, token: CancellationToken, probe: Arc<Probe>, level: usize) -> Body<()> {
    Box::pin(async move {
        let mut runs = Vec::with_capacity(probe.fanout[level]);
        let leaves = level + 1 == probe.fanout.len();
        runs.extend((0..probe.fanout[level]).map(|_| {
            let probe = Arc::clone(&probe);
            if leaves {
                peer.spawn(&token, "leaf", |token| their_leaf(token, probe))
            } else {
                let inner = peer.clone();
                peer.spawn(&token, "node", move |token| their_node(inner, token, probe, level + 1))
            }
        }));
        let place = probe.park();
        token.cancelled().await;
        probe.hear(place);
        drop(runs);
    })
}

async fn their_leaf(token: CancellationToken, probe: Arc<Probe>) {
    let place = probe.park();
    token.cancelled().await;
    probe.hear(place);
}

/// What the bodies of a round share: the shape of the tree, and what they note.
#[derive(Debug)]
struct Probe {
    fanout: Shape,
    parked: AtomicUsize,
    base: Instant,
    /// Nanoseconds after `base` at which the cancel began; zero before.
    began: AtomicU64,
    /// Nanoseconds after `base` at which each run heard of it; empty if nobody notes it.
    heard: Vec<AtomicU64>,
    root: std::sync::OnceLock<Uuid>,
    over: AtomicBool,
}

impl Probe {
    fn new(fanout: Shape, notes: bool) -> Arc<Self> {
        let places = if notes { size(fanout) } else { 0 };
        Arc::new(Self {
            fanout,
            parked: AtomicUsize::new(0),
            base: Instant::now(),
            began: AtomicU64::new(0),
            heard: (0..places).map(|_| AtomicU64::new(0)).collect(),
            root: std::sync::OnceLock::new(),
            over: AtomicBool::new(false),
        })
    }

    fn park(&self) -> usize {
        self.parked.fetch_add(1, Ordering::Relaxed)
    }

    fn hear(&self, place: usize) {
        if let Some(heard) = self.heard.get(place) {
            heard.store(self.nanos(), Ordering::Relaxed);
        }
    }

    /// Waits until every run has been polled. The last one may still be on its way to its await.
    async fn all_parked(&self) {
        while self.parked.load(Ordering::Relaxed) < size(self.fanout) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    fn begin(&self, root: Uuid) -> Stopwatch {
        self.root.set(root).expect("a round has one root");
        let watch = Stopwatch::start();
        self.began.store(self.nanos(), Ordering::Release);
        watch
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn latencies(&self) -> impl Iterator<Item = Duration> {
        let began = self.began.load(Ordering::Acquire);
        let heard = self.heard.iter().map(|heard| heard.load(Ordering::Relaxed));
        heard.map(move |heard| Duration::from_nanos(heard.saturating_sub(began)))
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A thread that reads the status of a root during its cancel, again and again. A read counts from
/// its begin to its end, without the time in which the thread was ready and had no core: on two
/// cores with two busy workers that is the system's time, not that of either side.
#[derive(Debug)]
struct Reader(thread::JoinHandle<Vec<Duration>>);

impl Reader {
    fn start(probe: &Arc<Probe>, read: impl Fn(Uuid) -> bool + Send + 'static) -> Self {
        let probe = Arc::clone(probe);
        Self(thread::spawn(move || {
            let mut reads = Vec::with_capacity(1 << 16);
            while !probe.over.load(Ordering::Acquire) {
                if probe.began.load(Ordering::Acquire) > 0
                    && let Some(root) = probe.root.get()
                {
                    let queued = time_in_run_queue();
                    let began = Instant::now();
                    std::hint::black_box(read(*root));
                    let took = began.elapsed();
                    reads.push(took.saturating_sub(time_in_run_queue().saturating_sub(queued)));
                }
                // Rested, it is not taken off its core in the middle of a read.
                thread::sleep(Duration::from_micros(50));
            }
            reads
        }))
    }

    fn stop(self) -> Vec<Duration> {
        self.0.join().expect("a reader does not panic")
    }
}

/// How long this thread has been ready without a core so far; zero where the system does not tell.
fn time_in_run_queue() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// How many runs a tree has, its root included.
fn size(fanout: &[usize]) -> usize {
    let mut level = 1;
    fanout.iter().fold(1, |sum, children| {
        level *= children;
        sum + level
    })
}

fn describe(name: &str, fanout: &[usize]) -> String {
    let shape = match fanout {
        [children] => format!("{children} children of one root"),
        [a, b, c] => format!("{a} × {b} × {c} below one root"),
        _ => format!("a chain of {} below one root", fanout.len()),
    };
    format!("{name}: {shape}, {} runs; theirs: CancellationTokens and a TaskTracker", size(fanout))
}

/// What is measured keeps its promises: the log of a tree is whole and without a contradiction.
fn check_a_sampled_round(_: &Ring) {
    let shapes: [Shape; 3] = [&[100_000], &[46; 3], &CHAIN];
    for fanout in shapes {
        let ring = Ring::new(|limits| limits.events_per_root_max = size(fanout) * 4);
        let (engine, probe) = (ring.engine.clone(), Probe::new(fanout, false));
        let checked = ring.drive(async move {
            let inner = Arc::clone(&probe);
            let root = engine.submit(RunSpec::workflow("root"), |ctx| our_node(ctx, inner, 0));
            let root = root.expect("there is room");
            probe.all_parked().await;
            root.cancel(CancelRequest::because("enough"));
            root.run().quiescent().await;
            testing::check_trace(&testing::trace(root.run()).await)
        });
        let checked = checked.expect("a trace keeps the promises");
        assert_eq!((checked.runs, checked.stopped, checked.non_quiescent), {
            (size(fanout), size(fanout), 0)
        });
        println!("   a sampled round: the trace of {} runs passes the checker", checked.runs);
    }
}

/// The root is at depth 1, and the bound is 10,000.
const DEPTH: usize = 9_999;
/// One child under another.
static CHAIN: [usize; DEPTH] = [1; DEPTH];
