//! What does it cost to emit an event, beside a broadcast channel?
//!
//! `events/N_M`: a body emits, with N idle subscribers (they never read) and M reading ones,
//! against `tokio::sync::broadcast` of the same length. Both sides build the same [`RunEvent`] with
//! its time and share its payload. Ours is numbered, kept for readers to come, and refused after
//! the end of the run.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::time::SystemTime;

use quell::{Engine, EventKind, Payload, RunEvent, RunSpec, Written, limits, testing};
use quell_benches::figures::{compare, section};
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_wanted};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

fn main() {
    let ring = Ring::new(|_| {});
    for (idle, reading) in [(0, 0), (1, 0), (0, 1), (1, 1), (100, 0)] {
        let name = format!("{idle}_{reading}");
        if !is_wanted(&name) {
            continue;
        }
        let shape = format!("{EVENTS} in a row; {idle} idle subscribers, {reading} reading");
        section("emit an event", &shape);
        let race = Race::run(
            ROUNDS,
            || ring.drive(our_round(ring.engine.clone(), idle, reading)),
            || ring.drive(their_round(ring.engine.clone(), idle, reading)),
        );
        compare(&format!("events/{name}"), EVENTS, &race);
    }
    check_a_sampled_round(&ring);
}

/// Emits, and yields now and then, so that a reader on the same worker has its turn.
async fn our_round(engine: Engine, idle: usize, reading: usize) -> Took {
    let run = engine.submit(RunSpec::step("emitter"), async move |ctx| {
        let idle: Vec<_> = (0..idle).map(|_| ctx.run().events()).collect();
        let readers: Vec<JoinHandle<usize>> = (0..reading)
            .map(|_| {
                let mut events = ctx.run().events();
                tokio::spawn(async move {
                    let mut seen = 0;
                    while let Some(event) = events.next().await {
                        seen += usize::from(matches!(event.kind, EventKind::Emitted(_)));
                    }
                    seen
                })
            })
            .collect();
        let payload = Payload::from(TEXT);
        let watch = Stopwatch::start();
        for turn in 0..EVENTS {
            assert!(ctx.emit(payload.clone()) == Written::Recorded, "the run is live");
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let took = watch.stop();
        drop(idle);
        Ok((took, readers))
    });
    let (took, readers) = run.expect("there is room").await.expect("it completes");
    for reader in readers {
        assert!(reader.await.expect("it ends") > 0, "a reader reads");
    }
    took
}

async fn their_round(engine: Engine, idle: usize, reading: usize) -> Took {
    // A run lends its id.
    let run = engine.submit(RunSpec::step("lender"), async |ctx| Ok(ctx.id()));
    let id = run.expect("there is room").await.expect("it completes");
    let emitter = tokio::spawn(async move {
        let (sender, first) = broadcast::channel(limits::EVENTS_PER_ROOT_MAX);
        let idle: Vec<_> = (0..idle).map(|_| sender.subscribe()).collect();
        let readers: Vec<JoinHandle<usize>> = (0..reading)
            .map(|_| {
                let mut events = sender.subscribe();
                tokio::spawn(async move {
                    let mut seen = 0;
                    loop {
                        match events.recv().await {
                            Ok(event) => {
                                let event: RunEvent = event;
                                seen += usize::from(matches!(event.kind, EventKind::Emitted(_)));
                            }
                            Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => return seen,
                        }
                    }
                })
            })
            .collect();
        // One more than asked for would be a subscriber; none at all would refuse to send.
        let first = (idle.len() + reading == 0).then_some(first);
        let payload = Payload::from(TEXT);
        let watch = Stopwatch::start();
        for turn in 0..EVENTS {
            let (seq, kind) = (turn as u64 + 1, EventKind::Emitted(payload.clone()));
            let event = RunEvent::new(seq, id, id, SystemTime::now(), kind);
            sender.send(event).expect("somebody listens");
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let took = watch.stop();
        drop((idle, first));
        (took, readers)
    });
    let (took, readers) = emitter.await.expect("it ends");
    for reader in readers {
        assert!(reader.await.expect("it ends") > 0, "a reader reads");
    }
    took
}

/// What is measured keeps its promises: the log of a round is without a contradiction.
fn check_a_sampled_round(ring: &Ring) {
    let engine = ring.engine.clone();
    let checked = ring.runtime.block_on(async move {
        let run = engine.submit(RunSpec::step("emitter"), async |ctx| {
            for _ in 0..TURN {
                ctx.emit(TEXT);
            }
            Ok(())
        });
        let run = run.expect("there is room");
        run.ended().await;
        let trace = testing::trace(run.run()).await;
        testing::check_trace(&trace).expect("a trace keeps the promises");
        trace.len()
    });
    println!("\n   a sampled round: the trace of {checked} events passes the checker");
}

const TEXT: &str = "a chunk of text as a model writes it, some dozen tokens or so";
const EVENTS: usize = 50_000;
const TURN: usize = 128;
const ROUNDS: usize = 21;
