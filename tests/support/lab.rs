//! Engines under test. Every test ends with [`Lab::finish`], which checks the log of every root.

use std::ops::Deref;
use std::time::Instant;

use quell::testing::{self, Checked};
use quell::{Engine, EngineConfig, Limits, RunFilter, Shutdown};
use quell_test_support::within;
use tokio::runtime::{Builder, Runtime};

/// An engine under test. It holds every event of every tree, so that traces are whole.
pub(crate) struct Lab {
    engine: Engine,
    finished: bool,
}

impl Lab {
    /// An engine whose control loop follows the paused clock of the test.
    pub(crate) fn paused() -> Self {
        Self::with(config().control_on_runtime())
    }

    /// An engine with a control thread of its own.
    pub(crate) fn real() -> Self {
        Self::with(config())
    }

    /// As [`Lab::paused`], with bounds of its own.
    pub(crate) fn paused_with(limits: Limits) -> Self {
        Self::with(config().control_on_runtime().limits(limits))
    }

    /// An engine with a configuration of its own; see [`config`].
    pub(crate) fn with(config: EngineConfig) -> Self {
        Self { engine: Engine::with_config(config), finished: false }
    }

    /// Waits until every tree is quiescent, checks its log, and shuts the engine down.
    pub(crate) async fn finish(mut self) -> Checked {
        self.finished = true;
        let mut all = Checked::default();
        for root in self.engine.runs(&RunFilter::new().roots()) {
            let what = format!("{root:?} becomes quiescent");
            within(&what, root.quiescent()).await;
            let trace = within("the log ends", testing::trace(&root)).await;
            match testing::check_trace(&trace) {
                Ok(checked) => {
                    all.runs += checked.runs;
                    all.stopped += checked.stopped;
                    all.non_quiescent += checked.non_quiescent;
                }
                Err(what) => panic!("trace of {root:?}: {what}\n{}", told(&trace)),
            }
        }
        self.close().await;
        all
    }

    /// Ends a test whose logs are not whole on purpose.
    pub(crate) async fn finish_unchecked(mut self, why: &str) {
        assert!(!why.is_empty(), "a log that is not checked needs a reason");
        self.finished = true;
        for root in self.engine.runs(&RunFilter::new().roots()) {
            within("a root becomes quiescent", root.quiescent()).await;
        }
        self.close().await;
    }

    async fn close(&self) {
        let report = within("shutdown", self.engine.shutdown(Shutdown::default())).await;
        assert!(report.abandoned.is_empty(), "nothing was left to abandon: {report:?}");
        let held = testing::held(&self.engine);
        assert_eq!((held.live, held.timers), (0, 0), "an engine at rest holds nothing live");
    }
}

impl Deref for Lab {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test ends with `Lab::finish`");
    }
}

/// The default configuration, but for whole logs.
pub(crate) fn config() -> EngineConfig {
    EngineConfig::new().limits(whole())
}

/// Bounds under which every log stays whole.
fn whole() -> Limits {
    let mut limits = Limits::default();
    limits.events_per_root_max = 10_000_000;
    limits.ended_trees_max = 10_000_000;
    limits.events_per_root_bytes_max = 1 << 40;
    limits.live_bytes_max = 1 << 40;
    limits.ended_bytes_max = 1 << 40;
    limits
}

/// As [`whole`], with some bounds set.
pub(crate) fn bounded(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = whole();
    set(&mut limits);
    limits
}

fn told(trace: &[quell::RunEvent]) -> String {
    let lines = trace.iter().take(60).map(|event| {
        let run = event.run.to_string();
        format!("{:>5} …{} {:?}\n", event.seq, &run[run.len() - 6..], event.kind)
    });
    lines.collect()
}

/// A runtime for bodies alone: a body that blocks its workers blocks no test.
pub(crate) fn body_runtime(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().thread_name("bodies");
    builder.build().expect("a runtime can be made")
}

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
