//! Models of the engine for loom: every interleaving of small cases (rung 3).
//!
//! ```sh
//! RUSTFLAGS="--cfg quell_loom" cargo test --profile model --package quell --lib \
//!     --features test-util --target-dir target/loom -- models --nocapture
//! ```
//!
//! What is real: the whole path of a run but for its runtime, that is node, step, cascade, accept,
//! body, detach, log, streams, waiters and registry, with every lock and atomic of the engine being
//! loom's. What is not:
//!
//! - The task of a body is a thread of the model ([`crate::sync`]); loom polls it.
//! - There is no control loop and no time: a model brings stages and ticks itself.
//! - `DashMap` is not modelled. It is entered and left between two points at which a model may
//!   switch, so its operations are atomic here, as its own tests are trusted to show. Two threads
//!   that enter it for one id would have to meet under a shard: a submit against a stop that is
//!   remembered is left to the schedules, and to the tests on real threads.
//! - Locks and atomics that are not the engine's: reference counts, tokens of tokio-util.
//!
//! A model plays every interleaving ([`EVERY`]) or, where these are too many, those with so many
//! preemptions; `LOOM_MAX_PREEMPTIONS` overrides it, `LOOM_LOG=trace` tells of each step. A wake-up
//! that is lost is a deadlock, which loom reports.
//!
//! "Every" is every one that loom tells apart. It has been seen to leave out a body that is parked
//! on a thread of its own before a cancel begins; so the thread that waits is the main one, which
//! loom starts with, wherever a wake-up is what a model is about.

#![expect(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a model may panic")]

mod annotating;
mod bodies;
mod claims;
mod edges;
mod failing;
mod idle;
mod log;
mod membership;
mod new_limits;
mod runs;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use quell_core::lifecycle::{BodyEnd, Input};
use quell_core::{CancelRequest, EventKind, RunEvent, RunId, RunStatus};
use tokio::runtime::{Builder, Runtime};

use crate::engine::Engine;
use crate::node::Node;
use crate::spec::RunSpec;
use crate::step::StopOrigin;
use crate::stream::EventStream;
use crate::{EngineConfig, Limits};

/// How often each of the outcomes of a race was met.
#[derive(Debug, Default)]
struct Seen([AtomicUsize; 4]);

impl Seen {
    fn note(&self, outcome: usize) {
        self.0[outcome].fetch_add(1, Ordering::Relaxed);
    }
}

/// No bound on preemptions.
const EVERY: Option<usize> = None;

/// Plays the interleavings of a model, and fails unless each of its outcomes was met.
#[expect(clippy::print_stderr, reason = "how much was explored is part of the result")]
fn explore(
    name: &str,
    preemptions: Option<usize>,
    outcomes: usize,
    model: impl Fn(&Seen) + Sync + Send + 'static,
) {
    let (seen, played) = (Arc::new(Seen::default()), Arc::new(AtomicUsize::new(0)));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let (inner_seen, inner_played) = (Arc::clone(&seen), Arc::clone(&played));
    builder.check(move || {
        inner_played.fetch_add(1, Ordering::Relaxed);
        model(&inner_seen);
    });
    let met: Vec<_> = seen.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    eprintln!("{name}: {} interleavings, outcomes {:?}", played.load(Ordering::Relaxed), met);
    assert!(met[..outcomes].iter().all(|count| *count > 0), "{name} is no race: {met:?}");
}

/// An engine whose bodies are threads of the model. It keeps no ended tree.
fn engine() -> Engine {
    engine_with(|_| {})
}

fn engine_with(set: impl FnOnce(&mut Limits)) -> Engine {
    let mut config = EngineConfig::new();
    set(&mut config.limits);
    engine_of(config)
}

fn engine_of(mut config: EngineConfig) -> Engine {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    // Nothing ever runs on it: it is there to be named.
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().unwrap());
    config.limits.ended_trees_max = 0;
    Engine::with_config(config.runtime(runtime.handle().clone()))
}

/// A root that runs, without a task: the model says when its body ends.
fn started_root(engine: &Engine) -> Arc<Node> {
    let spec = RunSpec::agent("root").id(RunId::from_text("root"));
    let node = engine.shared().accept_root(spec).expect("a root is accepted").0;
    node.apply(Input::Started, StopOrigin::default(), |_, _| {});
    node
}

/// A child that runs, without a task, unless it is refused.
fn started_child(parent: &Arc<Node>, name: &str) -> Option<Arc<Node>> {
    let spec = RunSpec::step(name).id(RunId::from_text(name));
    let child = parent.shared.accept_child(spec, parent).ok()?;
    child.apply(Input::Started, StopOrigin::default(), |_, _| {});
    Some(child)
}

/// What the task of a body does last.
fn end_body(node: &Arc<Node>, end: BodyEnd) {
    node.apply(Input::BodyEnded(end), StopOrigin::default(), |state, _| state.body = None);
}

/// What the control thread does when it is woken.
fn fire(engine: &Engine) {
    crate::control::turns::fire_due(engine.shared(), |mut spread| {
        spread.run(usize::MAX);
    });
}

fn because(words: &str) -> CancelRequest {
    CancelRequest::because(words)
}

/// Reads the log of a tree whose root is over, and checks it as the integration tests do.
fn checked_log(root: &Arc<Node>) -> Vec<RunEvent> {
    assert!(root.is_over(), "only a whole log can be checked");
    let log = loom::future::block_on(read_all(EventStream::of_run(root, 0)));
    if let Err(what) = crate::testing::check_trace(&log) {
        panic!("{what}: {log:#?}");
    }
    log
}

async fn read_all(mut events: EventStream) -> Vec<RunEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

/// How many terminal events a run has in a log.
fn ends_of(log: &[RunEvent], run: RunId) -> usize {
    let is_end = |event: &&RunEvent| event.run == run && matches!(event.kind, EventKind::Ended(_));
    log.iter().filter(is_end).count()
}

const fn is_stopped(status: RunStatus) -> bool {
    matches!(status, RunStatus::Stopping | RunStatus::Cancelled | RunStatus::TimedOut)
}
