//! What does it cost to find a run by its id while others start and end?
//!
//! `registry/lookup`: one thread looks up the status of 10 000 live runs by id, in no order, while
//! a second one starts and ends a run every 10 µs, against a bare `DashMap` of the same ids, in
//! which the second thread puts and takes an entry as often. What the first thread takes is
//! measured, in time of its processor where the system tells.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use quell::{CancelRequest, Engine, EngineConfig, Limits, RunId, RunSpec, RunStatus};
use quell_benches::figures::{quotient, ratio, section};
use quell_benches::race::{Race, Took, thread_time};
use tokio::runtime::Builder;
use uuid::Uuid;

fn main() {
    let shape = "10 000 live runs; a second thread starts and ends one every 10 µs";
    section("find a run by its id", shape);
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let mut limits = Limits::default();
    limits.ended_trees_max = 0;
    let config = EngineConfig::new().runtime(runtime.handle().clone()).limits(limits);
    let engine = Engine::with_config(config);
    let parked = Arc::new(AtomicUsize::new(0));
    let runs: Vec<_> = (0..LIVE).map(|_| parked_run(&engine, &parked)).collect();
    runtime.block_on(async {
        while parked.load(Ordering::Relaxed) < LIVE {
            tokio::task::yield_now().await;
        }
    });
    let ids: Vec<Uuid> = runs.iter().map(|run| run.id().as_uuid()).collect();
    let map: Arc<DashMap<Uuid, Arc<AtomicU32>>> = Arc::default();
    for id in &ids {
        map.insert(*id, Arc::new(AtomicU32::new(1)));
    }
    let race = Race::run(
        ROUNDS,
        || {
            let churn = || {
                let run = engine.submit(RunSpec::step("churn"), async |_| Ok(()));
                runtime.block_on(run.expect("there is room")).expect("it completes");
            };
            let find = |id| engine.get(RunId::from_uuid(id)).map(|run| run.status());
            measure(&ids, churn, |id| find(id) == Some(RunStatus::Running))
        },
        || {
            let churn = || {
                let id = Uuid::now_v7();
                map.insert(id, Arc::new(AtomicU32::new(1)));
                map.remove(&id);
            };
            let find = |id| map.get(&id).map(|entry| Arc::clone(&entry));
            measure(&ids, churn, |id| {
                find(id).is_some_and(|status| status.load(Ordering::Acquire) == 1)
            })
        },
    );
    let medians = race.medians_of(|took| took.processor);
    let (ours, theirs) = medians;
    println!(
        "   ours {:.0} ns, theirs {:.0} ns per look-up",
        per_look_up(ours),
        per_look_up(theirs)
    );
    ratio("registry/lookup", quotient(medians));
    for run in &runs {
        run.cancel(CancelRequest::because("enough"));
    }
    for run in runs {
        runtime.block_on(run.ended());
    }
}

fn parked_run(engine: &Engine, parked: &Arc<AtomicUsize>) -> quell::RunHandle<()> {
    let parked = Arc::clone(parked);
    let run = engine.submit(RunSpec::step("leaf"), async move |ctx| {
        parked.fetch_add(1, Ordering::Relaxed);
        ctx.stopped().await;
        Ok(())
    });
    run.expect("there is room")
}

/// Looks up on a thread of its own while this one churns.
fn measure(ids: &[Uuid], churn: impl Fn(), find: impl Fn(Uuid) -> bool + Sync) -> Took {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut place = 0;
            let (processor, began) = (thread_time(), Instant::now());
            for _ in 0..LOOK_UPS {
                // A step that is no divisor of the length: every id has its turn, in no order.
                place = (place + STEP) % ids.len();
                assert!(find(ids[place]), "a live run is found");
            }
            let time = began.elapsed();
            let processor = thread_time().saturating_sub(processor);
            over.store(true, Ordering::Release);
            let told = processor > Duration::ZERO;
            Took { time, processor: if told { processor } else { time } }
        });
        let mut next = Instant::now();
        while !over.load(Ordering::Acquire) {
            churn();
            next += PACE;
            while Instant::now() < next && !over.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        }
        reader.join().expect("every look-up finds its run")
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
fn per_look_up(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / LOOK_UPS as f64
}

const LIVE: usize = 10_000;
const LOOK_UPS: usize = 300_000;
const STEP: usize = 7_919;
const PACE: Duration = Duration::from_micros(10);
const ROUNDS: usize = 21;
