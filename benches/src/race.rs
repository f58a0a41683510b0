//! Two sides, one after the other, again and again.

use std::future::Future;
use std::time::{Duration, Instant};

use quell::{Engine, EngineConfig, Limits, testing};
use tokio::runtime::{Builder, Runtime};

use crate::peer::Peer;

/// What both sides took.
#[derive(Clone, Debug, Default)]
pub struct Race {
    /// Of quell, in the order of the rounds.
    pub ours: Vec<Took>,
    /// Of what it is compared with.
    pub theirs: Vec<Took>,
}

/// What a round took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// From its begin to its end.
    pub time: Duration,
    /// Of the processors, in all threads of this process; zero where the system does not tell.
    /// Steadier than the time on a machine that is shared.
    pub processor: Duration,
}

/// Measures a round.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    processor: Duration,
    began: Instant,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self { processor: processor_time(), began: Instant::now() }
    }

    /// Ends now.
    pub fn stop(self) -> Took {
        let time = self.began.elapsed();
        Took { time, processor: processor_time().saturating_sub(self.processor) }
    }
}

impl Race {
    /// Runs both sides by turns, after one round each that does not count.
    pub fn run(
        rounds: usize,
        mut ours: impl FnMut() -> Took,
        mut theirs: impl FnMut() -> Took,
    ) -> Self {
        let mut race = Self::default();
        ours();
        theirs();
        for _ in 0..rounds {
            race.ours.push(ours());
            race.theirs.push(theirs());
        }
        race
    }

    /// Yields the medians of the times, ours first.
    pub fn medians(&self) -> (Duration, Duration) {
        self.medians_of(|took| took.time)
    }

    /// Yields the medians of one figure, ours first.
    pub fn medians_of(&self, figure: fn(&Took) -> Duration) -> (Duration, Duration) {
        let median = |side: &[Took]| median(side.iter().map(figure).collect());
        (median(&self.ours), median(&self.theirs))
    }
}

/// Both sides at work in one runtime.
#[derive(Debug)]
pub struct Ring {
    /// The runtime: two workers, as the machine has cores.
    pub runtime: Runtime,
    /// Our side.
    pub engine: Engine,
    /// The other side.
    pub peer: Peer,
}

impl Ring {
    /// Makes a runtime with two workers, an engine that keeps no ended tree, and a peer.
    ///
    /// The peer forgets a run when it ends. An engine at its defaults keeps 10,000 ended trees for
    /// those who ask later, and would be measured with a working set that the peer does not have.
    /// All else is at its default, but for what `adjust` changes.
    pub fn new(adjust: impl FnOnce(&mut Limits)) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
        let runtime = runtime.expect("the system lets a runtime be made");
        let mut limits = Limits::default();
        limits.ended_trees_max = 0;
        adjust(&mut limits);
        let config = EngineConfig::new().runtime(runtime.handle().clone()).limits(limits);
        Self { runtime, engine: Engine::with_config(config), peer: Peer::default() }
    }

    /// Drives one round from a spawned task, and waits untimed until nothing of it is left.
    pub fn drive<T: Send + 'static>(&self, round: impl Future<Output = T> + Send + 'static) -> T {
        let yielded = self.runtime.block_on(self.runtime.spawn(round)).expect("no round panics");
        let patience = Instant::now();
        while !self.is_at_rest() {
            assert!(patience.elapsed() < Duration::from_mins(1), "a round leaves something behind");
            std::thread::sleep(Duration::from_micros(200));
        }
        yielded
    }

    fn is_at_rest(&self) -> bool {
        let tasks = self.runtime.metrics().num_alive_tasks();
        tasks == 0
            && self.peer.is_empty()
            && testing::held(&self.engine) == testing::Held::default()
    }
}

/// Tells whether a part of a bench is asked for: by name on the command line, else all are.
pub fn is_wanted(part: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == part)
}

/// Yields the middle one, the upper of two.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What the threads of this process that are alive have used so far.
fn processor_time() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanos = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// What the calling thread has used of its processor so far; zero where the system does not tell.
pub fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Tells whether the sizes that take minutes are asked for, by `QUELL_LONG`.
pub fn is_long() -> bool {
    std::env::var_os("QUELL_LONG").is_some_and(|value| value != "0")
}
