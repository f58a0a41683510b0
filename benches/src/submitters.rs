//! Submitters that bring runs, each one after the other, and what they reach.

use std::future::Future;
use std::time::Duration;

use quell::{Engine, RunSpec};
use quell_sqlite::Committed;
use tokio::runtime::Runtime;

use crate::race::{Race, Stopwatch, Took};

/// Lets so many submitters each bring so many runs, one after the other.
pub fn round<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    (submitters, each): (u32, u32),
    run: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Took {
    let watch = Stopwatch::start();
    let tasks: Vec<_> = (0..submitters)
        .map(|_| {
            let run = run.clone();
            runtime.spawn(async move {
                for _ in 0..each {
                    run().await;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).expect("no submitter panics");
    }
    watch.stop()
}

/// As [`round`], of runs that an engine accepts, and that end, each stored.
pub fn durable_round(runtime: &Runtime, engine: &Engine, size: (u32, u32)) -> Took {
    let engine = engine.clone();
    round(runtime, size, move || {
        let engine = engine.clone();
        async move {
            let run = engine.submit_durably(RunSpec::agent("research"), async |_| Ok(())).await;
            let run = run.expect("it is stored").into_ref();
            run.ended_status().await;
            run.stored().await.expect("it is stored");
        }
    })
}

/// Prints what both sides reach in a second, and how many records of ours went into one commit.
pub fn throughput((submitters, each): (u32, u32), race: &Race, committed: Committed) {
    let (ours, theirs) = race.medians();
    let per_second = |time: Duration| f64::from(submitters * each) / time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
    let per_commit = committed.records as f64 / committed.commits as f64;
    println!(
        "   {submitters} submitters: ours {:.0} runs/s, theirs {:.0} runs/s, {:.2} of them; \
         {per_commit:.1} records per commit",
        per_second(ours),
        per_second(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
}
