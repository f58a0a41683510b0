//! Soak: waves of random trees for a given time, on real threads, in real time.
//!
//! ```sh
//! QUELL_SOAK=600 cargo test --release -p quell-tests soak -- --nocapture
//! ```
//!
//! `QUELL_SOAK` is in seconds and defaults to 8; `QUELL_SEED` repeats one wave. After every wave
//! each log is checked, the witness says that nothing runs, and the engine must be as empty as a
//! new one.

mod bodies;
mod tree;

use std::env;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::future::join_all;
use quell::testing::{Checked, Held, held};
use quell::{CancelRequest, RunFilter};

use crate::support::{Lab, Seed, body_runtime, bounded, config, is_repeat, ms, secs, seeds, soon};
use tree::Tree;

/// Trees of one wave.
const TREES: usize = 40;
/// Grace and abort wait: bodies that block for longer are abandoned.
const GRACE: Duration = ms(15);
const ABORT_WAIT: Duration = ms(15);
/// How much more memory may be in use at the end than after the first quarter, besides a half.
const MEMORY_SLACK: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i39_waves_of_random_trees_end_on_time_and_leave_nothing_behind() {
    let bodies = body_runtime(3);
    // Trees are forgotten when they are quiescent: whatever is still held then has leaked.
    let limits = bounded(|limits| limits.ended_trees_max = 0);
    let config = config().limits(limits).grace(GRACE).abort_wait(ABORT_WAIT);
    let lab = Lab::with(config.runtime(bodies.handle().clone()));
    let mut soak = Soak::new(time());
    for (seed, mut rng) in seeds(1 << 40) {
        soak.add(wave(&lab, &mut rng).await);
        soon("the engine is as empty as a new one", || held(&lab) == Held::default()).await;
        let metrics = bodies.metrics();
        soon("no task is left", || metrics.num_alive_tasks() == 0).await;
        if soak.is_over(&seed) {
            break;
        }
    }
    soak.assert_worthwhile();
    lab.finish().await;
    tokio::task::spawn_blocking(move || drop(bodies)).await.unwrap();
}

/// Plants trees, lets it rain commands, and looks at what is left.
async fn wave(lab: &Lab, rng: &mut Rng) -> Checked {
    let trees: Vec<_> = (0..TREES).map(|_| Tree::plant(lab, rng)).collect();
    let weather = trees.iter().map(|tree| tree.weather(lab, Rng::with_seed(rng.u64(..))));
    join_all(weather).await;
    lab.cancel_where(&RunFilter::new().roots().live(), CancelRequest::because("the wave is over"));
    let mut all = Checked::default();
    for tree in trees {
        let checked = tree.examine().await;
        all.runs += checked.runs;
        all.stopped += checked.stopped;
        all.non_quiescent += checked.non_quiescent;
    }
    all
}

/// How long the soak goes on.
fn time() -> Duration {
    let asked = env::var("QUELL_SOAK").ok();
    asked.map_or(secs(8), |asked| secs(asked.parse().expect("QUELL_SOAK is in whole seconds")))
}

/// What was seen so far.
struct Soak {
    began: Instant,
    time: Duration,
    told: Instant,
    waves: u64,
    all: Checked,
    /// Resident bytes after the first quarter.
    memory: Option<u64>,
}

impl Soak {
    fn new(time: Duration) -> Self {
        let began = Instant::now();
        Self { began, time, told: began, waves: 0, all: Checked::default(), memory: None }
    }

    fn add(&mut self, checked: Checked) {
        self.waves += 1;
        self.all.runs += checked.runs;
        self.all.stopped += checked.stopped;
        self.all.non_quiescent += checked.non_quiescent;
    }

    /// Tells how far it is, and whether this wave was the last one.
    fn is_over(&mut self, seed: &Seed) -> bool {
        let (elapsed, resident) = (self.began.elapsed(), resident_bytes());
        if elapsed * 4 > self.time && self.memory.is_none() {
            self.memory = resident;
        }
        let is_over = elapsed >= self.time;
        if is_over || self.told.elapsed() > secs(5) {
            self.told = Instant::now();
            self.tell(seed, resident);
        }
        if let (true, Some(before), Some(after)) = (is_over, self.memory, resident) {
            assert!(after <= before + before / 2 + MEMORY_SLACK, "{before} bytes became {after}");
        }
        is_over
    }

    #[expect(clippy::print_stderr, reason = "a long run has to show that it goes on")]
    fn tell(&self, Seed(seed): &Seed, resident: Option<u64>) {
        let Checked { runs, stopped, non_quiescent, .. } = self.all;
        eprintln!(
            "soak: {:.0?} of {:?}, {} waves, {runs} runs, {stopped} stopped, {non_quiescent} ended \
             non-quiescent, {} MiB, seed {seed}",
            self.began.elapsed(),
            self.time,
            self.waves,
            resident.unwrap_or_default() >> 20,
        );
    }

    /// Fails if the waves did not do what they are for.
    fn assert_worthwhile(&self) {
        let Checked { runs, stopped, non_quiescent, .. } = self.all;
        let worthwhile = stopped * 20 > runs && stopped < runs && non_quiescent > 0;
        assert!(is_repeat() || worthwhile, "too uniform: {:?}", self.all);
    }
}

/// The memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}
