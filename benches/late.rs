//! How late does a deadline fire while every worker of the bodies spins?
//!
//! 200 runs with timeouts of 20 to 219 ms have started; then a body spins on the only worker of
//! their runtime, and gives no turn to anything else. How late is the time at which a run was
//! stopped, less the time at which it started and its timeout. The bar is 5 ms. There is one
//! worker, so that the system has a core for the thread that is measured. There is no other side:
//! without a thread of its own for deadlines, none fires before the body gives way.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use quell::{Engine, EngineConfig, RunHandle, RunSpec, RunStatus};
use quell_benches::figures::{latency, ratio, section};
use tokio::runtime::{Builder, Runtime};

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    let engine = Engine::with_config(EngineConfig::new().runtime(runtime.handle().clone()));
    let shape = format!("{RUNS} timeouts, 1 ms apart; the only worker spins");
    section("how late a deadline fires", &shape);
    let mut late: Vec<Duration> = (0..ROUNDS).flat_map(|_| round(&runtime, &engine)).collect();
    late.sort_unstable();
    let worst = late[late.len() - 1];
    let most = late[late.len() * 99 / 100];
    latency("ours", "late", late);
    println!("   the bar is 5 ms; at p99, then at worst, by the bar");
    ratio("late/p99", most.as_secs_f64() / BAR.as_secs_f64());
    ratio("late/worst", worst.as_secs_f64() / BAR.as_secs_f64());
}

fn round(runtime: &Runtime, engine: &Engine) -> Vec<Duration> {
    let (parked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let runs: Vec<_> = (0..RUNS).map(|place| timed(engine, place, &parked)).collect();
    while parked.load(Ordering::Acquire) < RUNS {
        thread::sleep(Duration::from_micros(100));
    }
    let spinner = spinner(engine, &over);
    // By then the last deadline is over.
    thread::sleep(FIRST + STEP * RUNS_AS_STEPS + Duration::from_millis(30));
    let late = runs.iter().zip(0..).map(|(run, place)| {
        let row = run.run().row();
        let started = row.started_at.expect("it was polled");
        let stopped = row.stopped_at.expect("its deadline has fired while the workers spin");
        let took = stopped.duration_since(started).expect("time goes on");
        took.checked_sub(timeout(place)).expect("none fires early")
    });
    let late = late.collect();
    over.store(true, Ordering::Release);
    runtime.block_on(async {
        spinner.await.expect("it completes");
        for run in runs {
            assert_eq!(run.ended().await.status, RunStatus::TimedOut, "its own deadline fired");
        }
    });
    late
}

fn timed(engine: &Engine, place: usize, parked: &Arc<AtomicUsize>) -> RunHandle<()> {
    let parked = Arc::clone(parked);
    let place = u32::try_from(place).expect("there are few");
    let run = engine.submit(RunSpec::step("timed").timeout(timeout(place)), async move |ctx| {
        parked.fetch_add(1, Ordering::Release);
        ctx.stopped().await;
        Ok(())
    });
    run.expect("there is room")
}

fn spinner(engine: &Engine, over: &Arc<AtomicBool>) -> RunHandle<()> {
    let over = Arc::clone(over);
    let run = engine.submit(RunSpec::step("spinner"), async move |_| {
        while !over.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    run.expect("there is room")
}

fn timeout(place: u32) -> Duration {
    FIRST + STEP * place
}

const RUNS: usize = 200;
const RUNS_AS_STEPS: u32 = 200;
const FIRST: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(1);
const BAR: Duration = Duration::from_millis(5);
const ROUNDS: usize = 10;
