//! Plays schedules of a model, and what every model begins and ends with.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use quell::testing::{self, Held};
use quell::{
    CancelRequest, Engine, EngineConfig, Limits, RunContext, RunEvent, RunHandle, RunRef, RunSpec,
    RunStatus, Shutdown,
};
use shuttle::future::block_on;
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, Runner, thread};
use tokio::runtime::{Builder, Runtime};

use crate::witness::Witness;

/// How often each of the outcomes of a race was met.
#[derive(Debug, Default)]
pub(crate) struct Seen([AtomicUsize; 4]);

impl Seen {
    pub(crate) fn note(&self, outcome: usize) {
        self.0[outcome].fetch_add(1, Ordering::Relaxed);
    }
}

/// Plays schedules of a model, and fails unless each of its outcomes was met.
#[expect(clippy::print_stderr, reason = "how much was played is part of the result")]
pub(crate) fn play(name: &str, outcomes: usize, model: impl Fn(&Seen) + Sync + Send + 'static) {
    let _ = handle();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let schedules = number("QUELL_SCHEDULES").unwrap_or(SCHEDULES);
    let drawn = || RandomState::new().hash_one(name) >> 32;
    let seed = number("QUELL_SEED").map_or_else(drawn, |seed| seed as u64);
    let (outcome, began) = (Arc::new(Seen::default()), Instant::now());
    let model = Arc::new({
        let outcome = Arc::clone(&outcome);
        move || model(&outcome)
    });
    eprintln!("{name}: QUELL_SEED={seed}");
    // A schedule that is played twice has to go the same way: else no failure could be repeated.
    let twice = RandomScheduler::new_from_seed(seed, schedules.min(TWICE));
    run(UncontrolledNondeterminismCheckScheduler::new(twice), &model);
    run(RandomScheduler::new_from_seed(seed, schedules), &model);
    run(PctScheduler::new_from_seed(seed, DEPTH, schedules), &model);
    let met: Vec<_> = outcome.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (played, took) = (2 * schedules, began.elapsed());
    eprintln!("{name}: {played} schedules in {took:.1?}, outcomes {met:?}");
    assert!(met[..outcomes].iter().all(|count| *count > 0), "{name} is no race: {met:?}");
}

fn run(scheduler: impl Scheduler + 'static, model: &Arc<impl Fn() + Sync + Send + 'static>) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    let model = Arc::clone(model);
    Runner::new(scheduler, config).run(move || model());
}

/// An engine that keeps no ended tree, and whose graces are never over.
pub(crate) fn engine() -> Engine {
    Engine::with_config(config().grace(NEVER).abort_wait(NEVER))
}

pub(crate) fn config() -> EngineConfig {
    let mut limits = Limits::default();
    limits.ended_trees_max = 0;
    EngineConfig::new().runtime(handle().handle().clone()).limits(limits)
}

/// Nothing ever runs on it: it is there to be named.
fn handle() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().build().unwrap())
}

/// Submits a run that waits for its stop.
pub(crate) fn submit_listening(
    engine: &Engine,
    spec: RunSpec,
    tree: &Arc<Witness>,
) -> RunHandle<()> {
    let tree = Arc::clone(tree);
    let run = engine.submit(spec, async move |ctx: RunContext| {
        let _here = tree.enter(&ctx);
        ctx.stopped().await;
        Ok(())
    });
    run.unwrap()
}

pub(crate) fn because(words: &str) -> CancelRequest {
    CancelRequest::because(words)
}

pub(crate) const fn is_stopped(status: RunStatus) -> bool {
    matches!(status, RunStatus::Stopping | RunStatus::Cancelled | RunStatus::TimedOut)
}

/// Draws a number below a bound.
pub(crate) fn draw(bound: u32) -> u32 {
    use shuttle::rand::Rng as _;
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// Reads the log of a tree to its end, and checks it.
pub(crate) fn checked_log(root: &RunRef) -> Vec<RunEvent> {
    let log = block_on(testing::trace(root));
    if let Err(what) = testing::check_trace(&log) {
        panic!("{what}: {log:#?}");
    }
    log
}

/// Shuts an engine down. Then nothing is left of it.
pub(crate) fn shut_down(engine: &Engine) {
    accept_shutdown(engine, || {});
    assert_nothing_held(engine);
}

/// Shuts an engine down; calls back when the shutdown is accepted.
pub(crate) fn accept_shutdown(engine: &Engine, accepted: impl FnOnce()) {
    let plan = Shutdown { grace: NEVER, abort_wait: NEVER, ..Shutdown::default() };
    let mut accepted = Some(accepted);
    block_on(async {
        let mut shutdown = pin!(engine.shutdown(plan));
        std::future::poll_fn(|cx| {
            let polled = shutdown.as_mut().poll(cx);
            if let Some(accepted) = accepted.take() {
                accepted();
            }
            polled.map(drop)
        })
        .await;
    });
}

/// What has ended is forgotten at once, by whoever ended it.
pub(crate) fn assert_nothing_held(engine: &Engine) {
    for _ in 0..1_000 {
        if testing::held(engine) == Held::default() {
            return;
        }
        thread::yield_now();
    }
    panic!("left over: {:?}", testing::held(engine));
}

/// Lets the others go on for a while that the schedule draws.
pub(crate) fn pause(switches_max: u32) {
    for _ in 0..draw(switches_max) {
        thread::sleep(Duration::ZERO);
    }
}

/// Beyond what passes in a schedule, and so is half of it, when a ladder looks for who may still
/// give way: the time of the schedules does not pass towards what is half an hour away.
pub(crate) const NEVER: Duration = Duration::from_hours(12);

/// Soon over, at a point that the schedule draws.
pub(crate) const SOON: Duration = Duration::from_millis(5);

/// Schedules of each kind, unless `QUELL_SCHEDULES` says otherwise.
const SCHEDULES: usize = 3_000;

/// How many of them are played once more.
const TWICE: usize = 100;

/// Changes of priority that PCT looks for, plus one.
const DEPTH: usize = 4;
