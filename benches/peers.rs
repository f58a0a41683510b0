//! What does it cost to start one unit of work, to stop it and to join it, beside the crates that
//! people take for it?
//!
//! 1. `peers/kameo`: an actor without messages, `stop_gracefully`, `wait_for_shutdown`.
//! 2. `peers/ractor`: an actor without messages, `stop`, its join handle.
//! 3. `peers/tokio_graceful_shutdown`: a nested subsystem, `initiate_shutdown`, `join`.
//!
//! A unit is up before it is stopped, on every side. Ours has a cause, events and a report, which
//! is made and looked at; theirs have not, and are not found by an id.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kameo::actor::Spawn as _;
use quell::{CancelRequest, Engine, RunSpec, RunStatus};
use quell_benches::figures::{compare, section};
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_wanted};
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};

/// A part of the bench: its name on the command line, and the round of the other side.
type Part = (&'static str, fn(&Ring) -> Took);

fn main() {
    let ring = Ring::new(|_| {});
    let parts: [Part; 3] = [
        ("kameo", |ring| ring.drive(kameo_round())),
        ("ractor", |ring| ring.drive(ractor_round())),
        ("tokio_graceful_shutdown", |ring| ring.drive(graceful_round())),
    ];
    for (name, theirs) in parts.iter().filter(|(name, _)| is_wanted(name)) {
        section("start, stop, join one unit", &format!("10 waves of 1 000; theirs: {name}"));
        let race =
            Race::run(ROUNDS, || ring.drive(our_round(ring.engine.clone())), || theirs(&ring));
        compare(&format!("peers/{name}"), WAVE * WAVES, &race);
    }
    println!("\n   theirs have no cause, no events and no report");
}

async fn our_round(engine: Engine) -> Took {
    let watch = Stopwatch::start();
    let mut runs = Vec::with_capacity(WAVE);
    for _ in 0..WAVES {
        let up = Arc::new(AtomicUsize::new(0));
        runs.extend((0..WAVE).map(|_| {
            let up = Arc::clone(&up);
            let run = engine.submit(RunSpec::step("unit"), async move |ctx| {
                up.fetch_add(1, Ordering::Relaxed);
                ctx.stopped().await;
                Ok(())
            });
            run.expect("there is room")
        }));
        all_of(&up).await;
        for run in &runs {
            run.cancel(CancelRequest::because("enough"));
        }
        for run in runs.drain(..) {
            let report = run.ended().await;
            assert!(report.status == RunStatus::Cancelled, "a stop takes hold");
        }
    }
    watch.stop()
}

/// An actor of kameo that waits for its stop.
struct KameoUnit;

impl kameo::Actor for KameoUnit {
    type Args = Arc<AtomicUsize>;
    type Error = kameo::error::Infallible;

    async fn on_start(
        up: Self::Args,
        _: kameo::actor::ActorRef<Self>,
    ) -> Result<Self, Self::Error> {
        up.fetch_add(1, Ordering::Relaxed);
        Ok(Self)
    }
}

async fn kameo_round() -> Took {
    let watch = Stopwatch::start();
    let mut units = Vec::with_capacity(WAVE);
    for _ in 0..WAVES {
        let up = Arc::new(AtomicUsize::new(0));
        units.extend((0..WAVE).map(|_| KameoUnit::spawn(Arc::clone(&up))));
        all_of(&up).await;
        for unit in &units {
            unit.stop_gracefully().await.expect("it is up");
        }
        for unit in units.drain(..) {
            unit.wait_for_shutdown().await;
        }
    }
    watch.stop()
}

/// An actor of ractor that waits for its stop.
struct RactorUnit;

impl ractor::Actor for RactorUnit {
    type Msg = ();
    type State = ();
    type Arguments = Arc<AtomicUsize>;

    async fn pre_start(
        &self,
        _: ractor::ActorRef<Self::Msg>,
        up: Self::Arguments,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        up.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn ractor_round() -> Took {
    let watch = Stopwatch::start();
    let mut units = Vec::with_capacity(WAVE);
    for _ in 0..WAVES {
        let up = Arc::new(AtomicUsize::new(0));
        for _ in 0..WAVE {
            let unit = ractor::Actor::spawn(None, RactorUnit, Arc::clone(&up)).await;
            units.push(unit.expect("it starts"));
        }
        all_of(&up).await;
        for (unit, _) in &units {
            unit.stop(None);
        }
        for (_, join) in units.drain(..) {
            join.await.expect("it ends");
        }
    }
    watch.stop()
}

async fn graceful_round() -> Took {
    let (tell, told) = tokio::sync::oneshot::channel();
    let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
        let watch = Stopwatch::start();
        let mut units = Vec::with_capacity(WAVE);
        for _ in 0..WAVES {
            let up = Arc::new(AtomicUsize::new(0));
            units.extend((0..WAVE).map(|_| {
                let up = Arc::clone(&up);
                let body = async move |unit: &mut SubsystemHandle| {
                    up.fetch_add(1, Ordering::Relaxed);
                    unit.on_shutdown_requested().await;
                    Ok::<(), std::io::Error>(())
                };
                top.start(SubsystemBuilder::new("unit", body))
            }));
            all_of(&up).await;
            for unit in &units {
                unit.initiate_shutdown();
            }
            for unit in units.drain(..) {
                unit.join().await.expect("it ends");
            }
        }
        tell.send(watch.stop()).expect("the round waits for it");
    });
    top.handle_shutdown_requests(Duration::from_secs(10)).await.expect("everything has ended");
    told.await.expect("the round has ended")
}

/// Waits until the units of a wave are up.
async fn all_of(up: &AtomicUsize) {
    while up.load(Ordering::Relaxed) < WAVE {
        tokio::task::yield_now().await;
    }
}

const WAVE: usize = 1_000;
const WAVES: usize = 10;
const ROUNDS: usize = 15;
