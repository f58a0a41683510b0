//! How late does a hard deadline come while a token from outside stops 200,000 runs?
//!
//! 200 runs were stopped with graces of 20 to 219 ms, and hold work that goes on, so that the
//! control thread has to end them. 200,000 more wait for their turn when a token is cancelled: the
//! parent token of the engine, or one to which each is linked. How late is the end of one of the
//! 200, less the time at which it was stopped and its grace. The bar is 5 ms.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quell::{CancelRequest, Engine, EngineConfig, Hold, RunHandle, RunSpec, Work};
use quell_benches::figures::{latency, ratio, section};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("the system lets a runtime be made");
    for linked in [false, true] {
        let which = if linked { "of each of them" } else { "of the engine" };
        let shape = format!("{CROWD} runs wait; a token {which} is cancelled");
        section("how late a hard deadline comes", &shape);
        let late: Vec<_> = (0..ROUNDS).flat_map(|_| round(&runtime, linked)).collect();
        let worst = late.iter().max().copied().unwrap_or_default();
        latency("ours", "late", late);
        println!("   the bar is 5 ms; at worst, by the bar");
        let name = if linked { "tokens/linked" } else { "tokens/engine" };
        ratio(name, worst.as_secs_f64() / BAR.as_secs_f64());
    }
}

fn round(runtime: &Runtime, linked: bool) -> Vec<Duration> {
    let token = CancellationToken::new();
    let config = EngineConfig::new().runtime(runtime.handle().clone()).abort_wait(Duration::ZERO);
    let config = if linked { config } else { config.parent_token(token.clone()) };
    let engine = Engine::with_config(config);
    let (keep, kept) = channel();
    let runs: Vec<_> = (0..RUNS).map(|_| stubborn(&engine, &keep)).collect();
    let holds: Vec<_> = kept.iter().take(RUNS).collect();
    let far = Instant::now() + Duration::from_hours(1);
    for _ in 0..CROWD {
        let spec = RunSpec::agent("waits").not_before(far);
        let spec = if linked { spec.linked_to(token.clone()) } else { spec };
        drop(engine.submit(spec, async |_| Ok(())).expect("there is room"));
    }
    for (run, place) in runs.iter().zip(0..) {
        run.cancel(CancelRequest::because("enough").grace(grace(place)));
    }
    thread::sleep(FIRST);
    token.cancel();
    let late = runs.into_iter().zip(0..).map(|(run, place)| {
        let report = runtime.block_on(run.ended());
        let row = report.own_row();
        let stopped = row.stopped_at.expect("it was stopped");
        let ended = row.ended_at.expect("it has ended");
        let took = ended.duration_since(stopped).expect("time goes on");
        took.saturating_sub(grace(place))
    });
    let late = late.collect();
    drop(holds);
    runtime.block_on(engine.shutdown(Duration::ZERO));
    late
}

fn stubborn(engine: &Engine, keep: &Sender<Hold>) -> RunHandle<()> {
    let keep = keep.clone();
    let run = engine.submit(RunSpec::step("stubborn"), async move |ctx| {
        let hold = ctx.hold(Work::Blocking, "goes on")?;
        keep.send(hold).expect("they are taken");
        ctx.stopped().await;
        Ok(())
    });
    run.expect("there is room")
}

fn grace(place: u32) -> Duration {
    FIRST + STEP * place
}

const CROWD: usize = 200_000;
const RUNS: usize = 200;
const FIRST: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(1);
const BAR: Duration = Duration::from_millis(5);
const ROUNDS: usize = 3;
